"""What operators read of trouble on a running gateway: events in order, health, decisions, and what commands show."""

import asyncio
import json
import logging
from typing import Any

import pytest
from click.testing import CliRunner
from gateway_shared import CHAT, Answer, ask, chat, gateway, node, run, until

from fairlead.cli import cli
from fairlead.config import CircuitBreakerConfig, KeyConfig, Secret
from fairlead.domain.health import Verdict
from fairlead.engine.events import FailedOver
from fairlead.gateway import RunningGateway
from fairlead.health.config import DegradationConfig, HedgingConfig
from fairlead.testing.provider import FakeProvider, Fate, Reply

SECRET = "the-launch-code-is-4711"
BREAKER = CircuitBreakerConfig(failure_threshold=3, timeout_s=60.0)
KEYS = (
    KeyConfig(name="alice", key=Secret("fl-alice-key")),
    KeyConfig(name="ops", key=Secret("fl-ops-key"), admin=True),
)
OPS = {"authorization": "Bearer fl-ops-key"}


async def command(running: RunningGateway, *args: str, code: int = 0) -> str:
    """Run a command against a gateway, in a thread, and return what it prints."""
    asked = [*args, "--url", running.url]
    done = await asyncio.to_thread(CliRunner().invoke, cli, asked, env={"FAIRLEAD_KEY": ""})
    assert done.exit_code == code, (done.output, done.exception)
    return done.output


async def events(running: RunningGateway, query: str = "after=0&limit=1000") -> list[Any]:
    told: list[Any] = (await ask(running, f"/admin/events?{query}")).json["events"]
    return told


def of(told: list[Any], *kinds: str) -> list[str]:
    return [one["text"] for one in told if one["kind"] in kinds]


def test_a_node_that_dies_is_told_in_order_to_pages_commands_and_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.RESET)) as dead, FakeProvider() as alive:
            nodes = node(dead, "a"), node(alive, "b")
            async with gateway(*nodes, strategy="round_robin", circuit_breaker=BREAKER) as running:
                answers = [await ask(running, CHAT, chat(SECRET, stream=bool(n % 2))) for n in range(12)]
                assert {answer.status for answer in answers} == {200}
                told = await events(running)
                numbers = [one["number"] for one in told]
                assert numbers == sorted(set(numbers))
                assert all(one["at"] > 1.7e9 for one in told)

                moved = [
                    answer.headers["x-fairlead-decision"]
                    for answer in answers
                    if answer.headers["x-fairlead-attempts"] == "2"
                ]
                assert len(moved) == 3
                opened = "node a: circuit closed -> open (tripped)"
                expected = [f"task {name}: node a failed it (transport), sent to b" for name in moved]
                assert of(told, "failed_over") == expected
                assert of(told, "circuit_changed") == [opened]
                texts = of(told, "failed_over", "circuit_changed")
                assert texts.index(opened) >= 2
                assert of(await events(running, "after=0&kind=circuit_changed&node=a"), *["circuit_changed"]) == [
                    opened
                ]
                assert await events(running, "after=0&kind=circuit_changed&node=b") == []

                printed = await command(running, "events", "--kind", "failed_over")
                assert [line.partition("task ")[2] for line in printed.splitlines()] == [
                    one.removeprefix("task ") for one in expected
                ]
                lines = (await command(running, "events", "--json", "--last", "1000")).splitlines()
                assert [json.loads(line) for line in lines][: len(told)] == told
                assert opened in caplog.text

    with caplog.at_level(logging.INFO, "fairlead"):
        run(main())


def test_no_prompt_reaches_an_event_or_the_log_though_nodes_quote_it(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        quoting = json.dumps({"error": {"message": f"cannot do: {SECRET}", "type": "x"}}).encode()
        fates = (
            *(Reply(status=status, body=quoting) for status in (401, 404, 429, 500, 503)),
            Reply(text=f"quite another answer: {SECRET}", fate=Fate.CUT),
            *(Reply(text=SECRET, fate=fate) for fate in (Fate.CUT, Fate.MALFORMED, Fate.ERROR_EVENT, Fate.RESET)),
        )
        seen: set[str] = set()
        async with FakeProvider() as bad, FakeProvider(default=Reply(text=SECRET)) as good:
            for fate in fates:
                bad.default = fate
                async with gateway(node(bad, "a"), node(good, "b"), strategy="round_robin") as running:
                    for number in range(4):
                        await ask(running, CHAT, chat(SECRET, stream=bool(number % 2)))
                    answer = await ask(running, "/admin/events?after=0&limit=1000")
                    seen.update(one["kind"] for one in answer.json["events"])
                    assert SECRET.encode() not in answer.body
        assert seen >= {"failed_over", "rescued", "rescue_failed", "pair_blocked", "node_cooling"}

    with caplog.at_level(logging.DEBUG, "fairlead"):
        run(main())
    assert SECRET not in caplog.text


def test_a_storm_on_a_running_gateway_keeps_what_is_rare() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider, "a"), node(provider, "b")) as running:
            orchestrator = running.orchestrator
            orchestrator.change_node("a", "drain")
            (drained,) = await events(running, "after=0&kind=node_draining")
            assert drained["text"] == "node a drains: no further tasks"
            for number in range(5_000):
                moved = FailedOver(at_s=0.0, task=f"t-{number}", node="a", fault="timeout", to_node="b", to_model="m")
                orchestrator.bus.publish(moved)
            orchestrator.change_node("a", "undrain")
            told = await events(running, "after=0&kind=node_draining")
            assert [one["text"] for one in told] == [drained["text"], "node a takes tasks again"]
            page = (await ask(running, "/admin/events?limit=1000")).json
            assert len(page["events"]) == 1000
            assert page["next"] == page["events"][-1]["number"] > 5_000

    run(main())


class TestPages:
    @pytest.mark.parametrize("path", ["/admin/events", "/admin/health"])
    def test_only_admins_are_told(self, path: str) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(node(provider), keys=KEYS) as running:
                assert (await ask(running, path)).status == 401
                alice = await ask(running, path, headers={"authorization": "Bearer fl-alice-key"})
                assert (alice.status, alice.json["error"]["code"]) == (403, "admin_only")
                assert (await ask(running, path, headers=OPS)).status == 200
                assert (await ask(running, path, method="POST", headers=OPS, body={})).status == 405

        run(main())

    @pytest.mark.parametrize(
        ("query", "reason"),
        [
            ("after=x", "after must be a whole number from 0 to"),
            ("after=-1", "after must be a whole number from 0 to"),
            ("after=" + "9" * 5000, "after must be a whole number from 0 to"),
            ("limit=0", "limit must be a whole number from 1 to 1000"),
            ("limit=1001", "limit must be a whole number from 1 to 1000"),
            ("limit=%D9%A3", "limit must be a whole number from 1 to 1000"),
            ("kind=circuit", "unknown kind 'circuit'; there are: circuit_changed, "),
            ("node=nobody", "there is no node 'nobody'"),
            ("since=3", "unknown parameter 'since'; there are: after, limit, node, kind"),
            ("after=1&after=2", "after is given twice"),
            ("&".join(f"a{n}=1" for n in range(50)), "parameters"),
        ],
    )
    def test_a_bad_question_is_answered_with_the_reason(self, query: str, reason: str) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(node(provider)) as running:
                answer = await ask(running, f"/admin/events?{query}")
                assert answer.status == 400
                assert reason in answer.json["error"]["message"]

        run(main())

    def test_how_the_fleet_fares(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=Reply(fate=Fate.RESET)) as dead, FakeProvider() as alive:
                nodes = node(dead, "a"), node(alive, "b")
                async with gateway(*nodes, strategy="round_robin", circuit_breaker=BREAKER) as running:
                    for _ in range(8):
                        await ask(running, CHAT, chat())
                    running.orchestrator.change_node("b", "drain")
                    told: Any = {}
                    while not told or {one["verdict"] for one in told["nodes"]} != {Verdict.DOWN, Verdict.DRAINED}:
                        await asyncio.sleep(0.05)  # it is looked at once a second
                        told = (await ask(running, "/admin/health")).json
                    assert told.keys() == {"pressure", "capacity_share", "utilization", "given_up", "nodes"}
                    shown = {one["name"]: one for one in told["nodes"]}
                    assert {name: one["verdict"] for name, one in shown.items()} == {
                        "a": Verdict.DOWN, "b": Verdict.DRAINED,
                    }  # fmt: skip
                    for one in shown.values():
                        assert one.keys() == {
                            "name", "verdict", "why", "error_rate", "excess_ms", "reachable", "outcomes", "for_s",
                        }  # fmt: skip
                    pages = {one["name"]: one for one in (await ask(running, "/admin/nodes")).json["nodes"]}
                    assert pages["a"]["health"].keys() == {"verdict", "why", "error_rate", "excess_ms", "reachable"}
                    assert pages["a"]["health"]["verdict"] == "down"
                    text = await command(running, "nodes")
                    assert "given no tasks: a, b" in text
                    assert "drained" in text
                    running.orchestrator.change_node("b", "undrain")

        run(main())

    def test_what_is_given_up_under_pressure(self) -> None:
        async def main() -> None:
            ladder = DegradationConfig(begin_at=0.5)
            async with FakeProvider() as provider, gateway(node(provider), degradation=ladder) as running:
                orchestrator = running.orchestrator
                assert (await ask(running, "/admin/health")).json["given_up"] == []
                orchestrator.degrading.climb(0.75, orchestrator.clock())
                given_up = (await ask(running, "/admin/health")).json["given_up"]
                assert given_up == ["hedging", "exploration", "cheaper_model"]
                metrics = (await ask(running, "/metrics")).body.decode()
                assert "\nfairlead_degradation_step 3.0\n" in metrics

        run(main())


class TestDecisions:
    def test_a_failover_is_read_in_one_line_and_billed_to_who_answered(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=Reply(fate=Fate.RESET)) as dead, FakeProvider() as alive:
                nodes = node(dead, "a"), node(alive, "b")
                async with gateway(*nodes, strategy="round_robin") as running:
                    answers = [await ask(running, CHAT, chat()) for _ in range(2)]
                    moved = next(one for one in answers if one.headers["x-fairlead-attempts"] == "2")
                    name = moved.headers["x-fairlead-decision"]
                    record = (await ask(running, f"/v1/decisions/{name}")).json
                    assert [(one["attempt"], one["node"], one["fault"]) for one in record["failures"]] == [
                        (1, "a", "transport")
                    ]
                    assert (record["rescues"], record["hedge"]) == ([], None)
                    assert "failed     a (transport), then b answered" in await command(running, "explain", name)
                    metrics = (await ask(running, "/metrics")).body.decode()
                    assert 'fairlead_failovers_total{fault="transport",node="a"}' in metrics
                    billed = [line for line in metrics.splitlines() if line.startswith("fairlead_tokens_total{")]
                    assert billed
                    assert all('node="b"' in line for line in billed)

        run(main())

    def test_a_rescue_is_recorded_counted_and_told(self) -> None:
        async def main() -> None:
            said = "one two three four five six seven eight nine ten"
            async with (
                FakeProvider(default=Reply(fate=Fate.CUT), says=lambda _: said) as broken,
                FakeProvider(says=lambda _: said) as whole,
            ):
                nodes = node(broken, "a"), node(whole, "b")
                async with gateway(*nodes, strategy="round_robin") as running:
                    answers = [await ask(running, CHAT, chat(stream=True)) for _ in range(2)]
                    assert [answer.text for answer in answers] == [said, said]
                    text, *others = of(await events(running), "rescued")
                    name = text.split(":")[0].removeprefix("task ")
                    record = (await ask(running, f"/v1/decisions/{name}")).json
                    (rescue,) = record["rescues"]
                    assert (rescue["node"], rescue["to_node"], rescue["to_model"]) == ("a", "b", "m")
                    assert 0 < rescue["kept_bytes"] < len(said)
                    assert (record["outcome"], record["decision"]["chosen"]["node"]) == ("success", "b")
                    assert "rescue     the answer broke on a after" in await command(running, "explain", name)
                    metrics = (await ask(running, "/metrics")).body.decode()
                    assert f'fairlead_rescues_total{{how="{rescue["how"]}"}} {1.0 + len(others)}' in metrics

        run(main())

    @pytest.mark.parametrize("is_won", [True, False])
    def test_a_second_node_that_was_asked_is_recorded_counted_and_told(self, is_won: bool) -> None:
        async def main() -> None:
            async with FakeProvider() as first, FakeProvider() as second:
                nodes = node(first, "a"), node(second, "b")
                hedging = HedgingConfig(enabled=True, budget=1.0, min_outcomes=4)
                async with gateway(*nodes, strategy="round_robin", hedging=hedging) as running:
                    for _ in range(8):
                        await ask(running, CHAT, chat(stream=True))
                    first.default, second.default = Reply(late_s=0.3), Reply(late_s=0.0 if is_won else 20.0)
                    hedges: list[Any] = []
                    while not [one for one in hedges if one["node"] == "a"]:
                        await ask(running, CHAT, chat(stream=True))
                        hedges = await events(running, "after=0&kind=hedged")
                    name = next(one["task"] for one in hedges if one["node"] == "a")
                    record = (await ask(running, f"/v1/decisions/{name}")).json
                    hedge = record["hedge"]
                    assert (hedge["node"], hedge["to_node"], hedge["won"]) == ("a", "b", is_won)
                    assert 0.0 < hedge["after_s"] < 0.3
                    assert (record["outcome"], record["failures"]) == ("success", [])
                    assert record["decision"]["chosen"]["node"] == ("b" if is_won else "a")
                    ended = "answered first" if is_won else "was later than it"
                    assert f"b was asked too and {ended}" in await command(running, "explain", name)
                    counted = running.gateway._recorder.metrics.hedges
                    assert counted[is_won] > 0
                    assert counted.total() == len(hedges)

        run(main())


class TestDraining:
    def test_waiting_until_nothing_is_left(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=Reply(fate=Fate.HOLD)) as provider, FakeProvider() as other:
                nodes = node(provider, "a"), node(other, "b")
                async with gateway(*nodes, strategy="round_robin") as running:
                    asked: list[asyncio.Task[Answer]] = []
                    while not provider.answering:
                        asked.append(asyncio.ensure_future(ask(running, CHAT, chat())))
                        await asyncio.sleep(0.02)
                    draining = asyncio.ensure_future(command(running, "drain", "a", "--wait"))
                    await until(lambda: running.orchestrator.fleet.nodes["a"].is_draining)
                    for _ in range(4):
                        answer = await ask(running, CHAT, chat())
                        assert answer.headers["x-fairlead-node"] == "b"
                    assert not draining.done()
                    provider.release()
                    assert (await draining).splitlines()[-1] == "no task is left on node a"
                    assert {answer.status for answer in await asyncio.gather(*asked)} == {200}
                    assert "gets tasks again" in await command(running, "undrain", "a")
                    assert "circuit closed" in await command(running, "recover", "a")
                    assert of(await events(running, "after=0&node=a"), "node_draining") == [
                        "node a drains: no further tasks", "node a takes tasks again",
                    ]  # fmt: skip

        run(main())

    def test_an_unknown_node_is_told_with_those_there_are(self) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(node(provider, "gpu-1")) as running:
                asked = ["drain", "gpu 9/x", "--url", running.url]
                done = await asyncio.to_thread(CliRunner().invoke, cli, asked, env={"FAIRLEAD_KEY": ""})
                assert "there is no node 'gpu 9/x'; the nodes are: gpu-1" in str(done.exception)

        run(main())
