"""A node that is left: what waits for it moves at once, what flows is let finish, and all of it is told in order."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from gateway_shared import CHAT, Answer, ask, caller, chat, gateway, is_at_rest, node, run, times, until

from fairlead.admission.config import WaitLimits
from fairlead.config import CircuitBreakerConfig, NodeConfig, QueueConfig
from fairlead.domain.health import Incident, Verdict
from fairlead.engine.events import Event, FailedOver, HealthChanged, Recovered, Rescued
from fairlead.gateway import RunningGateway
from fairlead.health.config import CheckingConfig, HealthConfig
from fairlead.testing.fates import Fate, Reply
from fairlead.testing.provider import FakeProvider

FAVOURITE = 1e9
"""A weight that makes a node the first choice under `random`."""
SAID = " ".join(f"word{number}" for number in range(40))
UNCHECKED = HealthConfig(check=CheckingConfig(enabled=False))
"""For tests that say themselves what checks find."""
CHECKING = CheckingConfig(interval_s=0.5, timeout_s=0.2, down_after=3)
LIMIT_S = 12.0
"""Of a test: far below the 20 s for which a node that is silent would be waited for."""


class Two(msgspec.Struct):
    """A gateway before a node that everybody prefers, and another."""

    running: RunningGateway
    bad: FakeProvider
    good: FakeProvider
    told: list[Event]

    def ask(self, **more: Any) -> "asyncio.Task[Answer]":
        return asyncio.ensure_future(ask(self.running, CHAT, chat(stream=more.pop("stream", True), **more)))

    def checks_fail(self) -> None:
        """Let a third check in a row fail."""
        for _ in range(3):
            self.running.orchestrator.checked("bad", False, "nothing listens there")

    def verdict(self, name: str = "bad") -> Verdict:
        return self.running.orchestrator.recovery.check_system_health().nodes[name].verdict

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.told if type(event) in kinds]


@asynccontextmanager
async def two(
    reply: Reply | None = None, health: HealthConfig = UNCHECKED, limits: Any = None, **more: Any
) -> AsyncIterator[Two]:
    async with (
        FakeProvider(default=reply, says=lambda _: SAID) as bad,
        FakeProvider(says=lambda _: SAID) as good,
    ):
        first = node(bad, "bad", weight=FAVOURITE, timeouts=limits or times())
        nodes: list[NodeConfig] = [first, node(good, "good")]
        async with gateway(*nodes, **({"strategy": "random", "health": health} | more)) as running:
            told: list[Event] = []
            running.orchestrator.bus.subscribe(Event, told.append)
            yield Two(running, bad, good, told)


async def begun(it: Two, text: bytes = b"word1 ") -> Any:
    """Return a caller that has the beginning of an answer of the bad node."""
    one = caller(it.running)
    connection = await one.__aenter__()
    connection.send("POST", CHAT, chat(stream=True))
    head = await connection.head()
    assert head.headers["x-fairlead-node"] == "bad"
    got = b""
    while text not in got:
        got += await connection.chunk()
    return one, connection, got


async def rest(connection: Any) -> bytes:
    got = b""
    while chunk := await connection.chunk():
        got += chunk
    return got


def text_of(body: bytes) -> str:
    data = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    parts = [json.loads(one) for one in data if one != b"[DONE]"]
    return "".join(choice["delta"].get("content") or "" for part in parts for choice in part["choices"])


class TestANodeThatGoesSilent:
    def test_what_waits_for_its_first_token_is_sent_elsewhere_once_checks_fail(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.SILENT), HealthConfig(check=CHECKING)) as it:
                asked = [it.ask(stream=bool(number % 2)) for number in range(6)]
                await until(lambda: it.bad.answering == 6)
                it.bad.pages["/health"] = Reply(fate=Fate.SILENT)
                answers = await asyncio.gather(*asked)
                assert {(answer.status, answer.text) for answer in answers} == {(200, SAID)}
                assert {answer.headers["x-fairlead-attempts"] for answer in answers} == {"2"}
                assert (it.bad.attempts, it.good.attempts) == (6, 6)
                await until(lambda: it.bad.abandoned == 6)

                kinds = [type(event) for event in it.told]
                order = [kinds.index(kind) for kind in (HealthChanged, Recovered, FailedOver)]
                assert order == sorted(order)
                changed, done = it.of(HealthChanged)[0], it.of(Recovered)
                assert (changed.node, changed.after) == ("bad", "down")
                assert [(one.remedy, one.subject) for one in done] == [("fail_over", "bad")]
                assert "tasks let finish: 0, sent elsewhere: 6" in done[0].why
                moved = it.of(FailedOver)
                assert len(moved) == len({one.task for one in moved}) == 6
                assert {(one.node, one.to_node, one.fault) for one in moved} == {("bad", "good", "transport")}
                shown = (await ask(it.running, "/admin/events?after=0&kind=recovered")).json["events"]
                assert shown[0]["text"].startswith("recovery: fail over bad (down: ")
                assert "did not answer within" in shown[0]["text"]

        run(main(), LIMIT_S)

    def test_a_stream_that_stalls_is_finished_by_another(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.STALL, pieces=8)) as it:
                one, connection, got = await begun(it)
                it.checks_fail()
                body = got + await rest(connection)
                await one.__aexit__(None, None, None)
                assert text_of(body) == SAID
                assert body.endswith(b"data: [DONE]\n\n")
                (rescued,) = it.of(Rescued)
                assert (rescued.node, rescued.to_node) == ("bad", "good")
                assert it.bad.abandoned == 1

        run(main(), LIMIT_S)

    def test_a_stream_that_still_flows_is_left_alone_and_its_node_gets_nothing_new(self) -> None:
        async def main() -> None:
            async with two(Reply(pieces=40, pause_s=0.07)) as it:
                one, connection, got = await begun(it)
                it.checks_fail()
                await until(lambda: it.verdict() is Verdict.DOWN)
                assert (await it.ask()).headers["x-fairlead-node"] == "good"
                body = got + await rest(connection)
                await one.__aexit__(None, None, None)
                assert text_of(body) == SAID
                assert (it.bad.attempts, it.bad.abandoned, it.good.attempts) == (1, 0, 1)
                assert not it.of(FailedOver, Rescued)
                (done,) = it.of(Recovered)
                assert "tasks let finish: 1, sent elsewhere: 0" in done.why

        run(main(), LIMIT_S)

    def test_with_nobody_else_to_ask_it_is_waited_for(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.HOLD)) as it:
                it.running.orchestrator.change_node("good", "drain")
                asked = it.ask(stream=False)
                await until(lambda: it.bad.answering == 1)
                plan = it.running.orchestrator.recovery.trigger_failover(
                    Incident(node="bad", verdict=Verdict.DOWN, at_s=0.0, why="the rack lost its power")
                )
                assert (len(plan.finishing), plan.moving, plan.stranded) == (1, (), ("m",))
                it.bad.release()
                assert (await asked).headers["x-fairlead-node"] == "bad"

        run(main(), LIMIT_S)

    def test_it_is_left_once_however_often_it_is_said_and_taken_back_when_it_is_well(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.SILENT)) as it:
                asked = it.ask(stream=False)
                await until(lambda: it.bad.answering == 1)
                recovery = it.running.orchestrator.recovery
                incident = Incident(node="bad", verdict=Verdict.DOWN, at_s=0.0, why="the rack lost its power")
                plan = recovery.trigger_failover(incident)
                assert (plan.targets, len(plan.moving)) == ({"m": ("good",)}, 1)
                assert recovery.trigger_failover(incident) is plan
                assert (await asked).headers["x-fairlead-node"] == "good"
                await until(lambda: it.verdict() is Verdict.DRAINED)
                assert recovery.trigger_failover(incident) is plan
                assert [one.remedy for one in it.of(Recovered)] == ["fail_over"]

                it.bad.default = Reply()
                it.running.orchestrator.change_node("bad", "undrain")
                await until(lambda: len(it.of(Recovered)) > 1)
                assert [(one.remedy, one.subject) for one in it.of(Recovered)[1:]] == [("restore", "bad")]
                assert (await it.ask()).headers["x-fairlead-node"] == "bad"
                assert (it.bad.attempts, it.good.attempts) == (2, 1)

        run(main(), LIMIT_S)

    def test_a_failed_attempt_is_billed_to_nobody(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.SILENT)) as it:
                asked = it.ask(stream=True)
                await until(lambda: it.bad.answering == 1)
                it.checks_fail()
                answer = await asked
                name = answer.headers["x-fairlead-decision"]
                await until(lambda: is_at_rest(it.running))
                record = (await ask(it.running, f"/v1/decisions/{name}")).json
                assert [(one["node"], one["fault"]) for one in record["failures"]] == [("bad", "transport")]
                assert (record["outcome"], record["decision"]["chosen"]["node"]) == ("success", "good")
                metrics = (await ask(it.running, "/metrics")).body.decode()
                billed = [line for line in metrics.splitlines() if line.startswith("fairlead_tokens_total{")]
                assert billed
                assert all('node="good"' in line for line in billed)

        run(main(), LIMIT_S)


class TestACircuitThatOpens:
    """Checks find nothing wrong with the node."""

    def test_after_silence_what_was_sent_since_is_not_waited_for(self) -> None:
        async def main() -> None:
            breaker = CircuitBreakerConfig(failure_threshold=1, timeout_s=60.0)
            async with two(Reply(fate=Fate.SILENT), limits=times(first_token_s=0.4), circuit_breaker=breaker) as it:
                first = it.ask()
                await until(lambda: it.bad.answering == 1)
                others = [it.ask(stream=False) for _ in range(2)]
                answers = await asyncio.gather(first, *others)
                assert {answer.headers["x-fairlead-node"] for answer in answers} == {"good"}
                assert [one.fault for one in it.of(FailedOver)] == ["timeout", "transport", "transport"]
                assert (it.bad.attempts, it.good.attempts) == (3, 3)

        run(main(), LIMIT_S)

    def test_after_refusals_what_was_taken_before_is_let_finish(self) -> None:
        async def main() -> None:
            async with two(Reply(fate=Fate.HOLD)) as it:
                held = it.ask(stream=False)
                await until(lambda: it.bad.answering == 1)
                it.bad.default = Reply(status=500)
                assert {(await it.ask()).headers["x-fairlead-node"] for _ in range(6)} == {"good"}
                await until(lambda: bool(it.of(Recovered)))
                assert "tasks let finish: 1, sent elsewhere: 0" in it.of(Recovered)[0].why
                it.bad.release()
                assert (await held).headers["x-fairlead-node"] == "bad"

        run(main(), LIMIT_S)


def test_a_drained_node_finishes_what_it_has_and_gets_nothing_new() -> None:
    async def main() -> None:
        async with two(Reply(fate=Fate.STALL, pieces=8)) as it:
            one, connection, got = await begun(it)
            it.bad.default = Reply(fate=Fate.HOLD)
            held = it.ask(stream=False)
            await until(lambda: it.bad.answering == 2)
            it.running.orchestrator.change_node("bad", "drain")
            await until(lambda: bool(it.of(Recovered)))
            assert [(event.remedy, event.subject) for event in it.of(Recovered)] == [("fail_over", "bad")]
            assert "tasks let finish: 2, sent elsewhere: 0" in it.of(Recovered)[0].why
            assert (await it.ask()).headers["x-fairlead-node"] == "good"
            it.bad.release()
            assert text_of(got + await rest(connection)) == SAID
            await one.__aexit__(None, None, None)
            assert (await held).headers["x-fairlead-node"] == "bad"
            assert (it.bad.attempts, it.bad.abandoned) == (2, 0)
            assert not it.of(FailedOver, Rescued)

    run(main(), LIMIT_S)


def test_when_all_is_leased_and_somebody_waits_long_batch_work_is_refused_until_there_is_room() -> None:
    async def main() -> None:
        queue = QueueConfig(max_wait_s=WaitLimits(interactive=4.0, normal=4.0))
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            gateway(node(provider, "only", slots=1), queue=queue, health=UNCHECKED) as running,
        ):
            told: list[Recovered] = []
            running.orchestrator.bus.subscribe(Recovered, told.append)
            first = asyncio.ensure_future(ask(running, CHAT, chat()))
            await until(lambda: provider.answering == 1)
            second = asyncio.ensure_future(ask(running, CHAT, chat()))
            recovery = running.orchestrator.recovery
            await until(lambda: recovery.wants_more_nodes)
            batch = await ask(running, CHAT, chat(), headers={"x-fairlead-priority": "batch"})
            assert (batch.status, batch.json["error"]["code"]) == (429, "load_shed")
            provider.default = Reply()
            provider.release()
            assert {(await one).status for one in (first, second)} == {200}
            await until(lambda: not recovery.wants_more_nodes)
            await until(lambda: len([one for one in told if one.subject == "the fleet"]) == 2)
            about_all = [(one.remedy, one.why) for one in told if one.subject == "the fleet"]
            assert about_all[0] == ("degrade", "batch work is refused; more nodes are wished for")
            assert about_all[1][0] == "restore"
            batch = await ask(running, CHAT, chat(), headers={"x-fairlead-priority": "batch"})
            assert batch.status == 200

    run(main(), LIMIT_S)
