"""Another configuration while requests are under way: nodes come, go and change, and nothing of a request is lost."""

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gateway_reload_shared import entry, events, names, serving_file, write
from gateway_shared import CHAT, ask, caller, chat, run, until

from fairlead.config import Capacity, load
from fairlead.config.diff import Difference
from fairlead.domain.report import NodeReport
from fairlead.errors import ConfigError
from fairlead.gateway import RunningGateway, serving
from fairlead.health import Circuit
from fairlead.testing.provider import FakeProvider, Fate, Reply


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fleet.yaml"


# -- nodes


def test_a_node_that_is_added_gets_tasks_and_one_that_is_removed_gets_none(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader):
                told = events(running)
                write(path, entry(second, "b"))
                assert (await reloader.reload()).lines() == ("- node a", "+ node b")
                for _ in range(3):
                    assert (await ask(running, CHAT, chat())).status == 200
                assert (first.attempts, second.attempts) == (0, 3)
                await until(lambda: names(running) == {"b"})
                assert [one.changes for one in told] == [("- node a", "+ node b")]

    run(main())


def test_a_stream_on_a_node_that_is_removed_is_finished_there(path: Path) -> None:
    async def main() -> None:
        stalling = Reply(fate=Fate.STALL, pieces=8)
        async with FakeProvider(default=stalling) as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader), caller(running) as one:
                one.send("POST", CHAT, chat("one two three", stream=True))
                assert (await one.head()).status == 200
                write(path, entry(second, "b"))
                await reloader.reload()
                assert (await ask(running, CHAT, chat())).headers["x-fairlead-node"] == "b"
                assert names(running) == {"a", "b"}  # still at work
                first.release()
                chunks = []
                while chunk := await one.chunk():
                    chunks.append(chunk)
                assert b"".join(chunks).endswith(b"data: [DONE]\n\n")
                await until(lambda: names(running) == {"b"} and not first.connections)
                assert first.abandoned == 0

    run(main())


def test_a_node_that_comes_back_before_it_has_left_is_as_it_was(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader):
                state = running.orchestrator.fleet.nodes["a"]
                waiting = asyncio.create_task(ask(running, CHAT, chat()))
                await until(lambda: first.answering == 1)
                write(path, entry(second, "b"))
                await reloader.reload()
                assert state.is_draining
                write(path, entry(first, "a", weight=3))
                await reloader.reload()
                first.release()
                assert (await waiting).status == 200
                await until(lambda: names(running) == {"a"})
                assert running.orchestrator.fleet.nodes["a"] is state
                assert not running.orchestrator.fleet.nodes["a"].is_draining
                assert state.node.weight == 3
                assert (await ask(running, CHAT, chat())).headers["x-fairlead-node"] == "a"

    run(main())


def test_a_removed_node_that_never_ends_is_left_after_the_time_that_an_answer_may_take(path: Path) -> None:
    async def main() -> None:
        limits = {"connect_s": 5, "first_token_s": 20, "idle_s": 20, "total_s": 0.4}
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as first, FakeProvider() as second:
            write(path, entry(first, "a"), timeouts=limits)
            async with serving_file(path) as (running, reloader):
                waiting = asyncio.create_task(ask(running, CHAT, chat()))
                await until(lambda: first.answering == 1)
                write(path, entry(second, "b"), timeouts=limits)
                await reloader.reload()
                await until(lambda: names(running) == {"b"})
                await waiting

    run(main())


def test_what_is_under_way_ends_where_it_began_when_the_address_changes(path: Path) -> None:
    async def main() -> None:
        stalling = Reply(fate=Fate.STALL, pieces=8)
        async with FakeProvider(default=stalling) as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader), caller(running) as one:
                evidence = running.orchestrator.fleet.models["m"]["a"]
                one.send("POST", CHAT, chat("one two three", stream=True))
                assert (await one.head()).status == 200
                write(path, entry(second, "a"))
                await reloader.reload()
                assert (await ask(running, CHAT, chat())).status == 200
                assert second.attempts == 1
                assert first.connections == 1
                first.release()
                while await one.chunk():
                    pass
                await until(lambda: not first.connections)
                assert running.orchestrator.fleet.models["m"]["a"] is evidence
                assert first.abandoned == 0

    run(main())


def test_what_is_said_of_a_node_changes_in_place(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(models=("m", "n")) as first, FakeProvider() as second:
            write(path, entry(first, "a"), entry(second, "b"))
            async with serving_file(path) as (running, reloader):
                fleet = running.orchestrator.fleet
                for _ in range(4):
                    await ask(running, CHAT, chat())
                state, other, candidate = fleet.nodes["a"], fleet.nodes["b"], fleet.models["m"]["a"]
                outcomes, target = candidate.totals.succeeded, running.orchestrator.targets["b"]
                state.breaker.failed(running.orchestrator.clock())
                write(
                    path,
                    entry(
                        first, "a", models=["m", {"name": "x", "as": "o"}], weight=2, region="eu",
                        failure_domain="rack", capacity={"slots": 3}, timeouts={"total_s": 11},
                    ),
                    entry(second, "b"),
                    models=[{"name": "m", "context_tokens": 4000, "price": {"input_usd_per_mtok": 2}}],
                )  # fmt: skip
                await reloader.reload()
                assert fleet.nodes["a"] is state
                assert fleet.models["m"]["a"] is candidate
                assert candidate.totals.succeeded == outcomes
                assert state.breaker.failures_in_a_row == 1
                assert candidate.node == state.node
                assert (state.node.weight, state.node.region, state.node.failure_domain) == (2, "eu", "rack")
                assert state.account.slots == 3
                assert (candidate.model.context_tokens, candidate.model.price.input_usd_per_mtok) == (4000, 2)  # type: ignore[union-attr]
                assert set(state.candidates) == {"m", "o"}
                assert running.orchestrator.targets["a"].timeouts.total_s == 11
                assert running.orchestrator.targets["b"] is target
                assert fleet.nodes["b"] is other
                seen = first.accepted, second.accepted
                for _ in range(4):
                    assert (await ask(running, CHAT, chat())).status == 200
                assert (first.accepted, second.accepted) == seen  # the connections are those from before
                assert (await ask(running, CHAT, chat(model="o"))).status == 200
                assert json.loads(first.requests[-1].body)["model"] == "x"
                assert (await ask(running, CHAT, chat(model="n"))).status == 404

    run(main())


def test_the_capacity_that_a_node_told_of_outlives_a_change_of_its_weight(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            write(path, entry(provider, "a"))
            async with serving_file(path) as (running, reloader):
                orchestrator = running.orchestrator
                account = orchestrator.fleet.nodes["a"].account
                report = NodeReport(node="a", sampled_at_s=orchestrator.clock(), slots=4)
                orchestrator.hear(report, Capacity(slots=4))
                write(path, entry(provider, "a", weight=2))
                await reloader.reload()
                assert account.slots == 4
                write(path, entry(provider, "a", weight=2, capacity={"slots": 2}))
                await reloader.reload()
                assert account.slots == 2

    run(main())


def test_what_a_node_holds_of_prompts_is_forgotten_when_it_moves_and_not_otherwise(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"), entry(second, "b"))
            async with serving_file(path) as (running, reloader):
                prefixes = running.orchestrator.prefixes
                assert prefixes is not None
                for node in ("a", "b"):
                    prefixes.index.add((1, 2, 3), ("m", node))
                write(path, entry(first, "a", weight=2), entry(second, "b", api_key="k"))
                await reloader.reload()
                assert set(prefixes.index.held((1, 2, 3))) == {("m", "a"), ("m", "b")}
                write(path, entry(second, "a"), entry(second, "b"))
                await reloader.reload()
                assert set(prefixes.index.held((1, 2, 3))) == {("m", "b")}

    run(main())


def test_a_mended_key_counts_at_once(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            good = "right-key"
            provider.choose = lambda got: (
                None if got.headers.get("authorization") == f"Bearer {good}" else Reply(status=401)
            )
            write(path, entry(provider, "a", api_key="wrong-key"))
            async with serving_file(path) as (running, reloader):
                for _ in range(3):
                    assert (await ask(running, CHAT, chat())).status != 200
                write(path, entry(provider, "a", api_key=good))
                assert (await reloader.reload()).lines() == ("~ node a: api_key changed",)
                assert (await ask(running, CHAT, chat())).status == 200

    run(main())


def test_a_new_address_closes_the_circuit_that_the_old_one_opened(path: Path, closed_port: int) -> None:
    async def main() -> None:
        async with FakeProvider() as provider:
            broken = entry(provider, "a", url=f"http://127.0.0.1:{closed_port}/v1")
            write(path, broken, circuit_breaker={"failure_threshold": 1})
            async with serving_file(path) as (running, reloader):
                assert (await ask(running, CHAT, chat())).status >= 500
                assert running.orchestrator.fleet.nodes["a"].breaker.state is Circuit.OPEN
                write(path, entry(provider, "a"), circuit_breaker={"failure_threshold": 1})
                await reloader.reload()
                assert (await ask(running, CHAT, chat())).status == 200

    run(main())


def test_nodes_that_were_asked_for_their_models_keep_what_they_said(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(models=("m", "n")) as first, FakeProvider(models=("o",)) as second:
            asked, other = entry(first, "a", models=None), entry(second, "b", models=None)
            write(path, asked)
            async with serving_file(path) as (running, reloader):
                looks = len(first.looks)
                write(path, asked | {"weight": 2}, other)
                await reloader.reload()
                assert set(running.orchestrator.fleet.models) == {"m", "n", "o"}
                assert running.orchestrator.fleet.nodes["a"].node.weight == 2
                assert len(first.looks) == looks  # it need not be asked again

    run(main())


def test_a_new_node_that_does_not_answer_yet_joins_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ASK_AGAIN_S", 0.05)

    async def main() -> None:
        async with FakeProvider() as first, FakeProvider(models=()) as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader):
                write(path, entry(first, "a"), entry(second, "b", models=None))
                await reloader.reload()
                assert names(running) == {"a"}
                second.models = ("late",)
                await until(lambda: names(running) == {"a", "b"})
                assert (await ask(running, CHAT, chat(model="late"))).status == 200
                assert not reloader.silent

    run(main())


def test_a_node_that_is_asked_from_now_on_goes_on_until_it_answers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "ASK_AGAIN_S", 0.05)

    async def main() -> None:
        async with FakeProvider(models=()) as provider:
            write(path, entry(provider, "a", models=["m"]))
            async with serving_file(path) as (running, reloader):
                write(path, entry(provider, "a", models=None))
                await reloader.reload()
                assert (await ask(running, CHAT, chat())).status == 200
                provider.models = ("n",)
                await until(lambda: set(running.orchestrator.fleet.models) == {"n"})

    run(main())


def test_nodes_that_scaling_added_are_left_alone(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider() as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            async with serving_file(path) as (running, reloader):
                orchestrator = running.orchestrator
                candidate = orchestrator.fleet.models["m"]["a"]
                node = msgspec.structs.replace(candidate.node, name="auto-1")
                target = msgspec.structs.replace(orchestrator.targets["a"])
                orchestrator.add(candidate.model, node, target)
                write(path, entry(second, "b"), strategy="random")
                await reloader.reload()
                await until(lambda: names(running) == {"auto-1", "b"})
                assert orchestrator.targets["auto-1"] is target
                write(path, entry(second, "auto-1"))
                with pytest.raises(ConfigError, match="'auto-1' was started by scaling"):
                    await reloader.reload()
                assert orchestrator.targets["auto-1"] is target

    run(main())


# -- under load


def test_not_one_request_fails_while_nodes_come_go_and_change(path: Path) -> None:
    async def main() -> None:
        streamed = Reply(pieces=4, pause_s=0.002)
        async with FakeProvider(default=streamed) as a, FakeProvider(default=streamed) as b, FakeProvider() as c:
            files: list[list[dict[str, object]]] = [
                [entry(a, "a"), entry(b, "b")],
                [entry(a, "a", weight=2), entry(c, "c")],
                [entry(b, "a", capacity={"slots": 8}), entry(c, "c", api_key="k")],
                [entry(b, "b")],
            ]
            write(path, *files[0])
            async with serving_file(path) as (running, reloader):
                answers: list[Any] = []
                is_over = False

                async def ask_on(number: int) -> None:
                    async with caller(running) as one:
                        while not is_over:
                            one.send("POST", CHAT, chat(f"say {number}", stream=bool(number % 2)))
                            answers.append(await one.answer())

                asking = [asyncio.create_task(ask_on(number)) for number in range(8)]
                for turn in range(1, 13):
                    write(path, *files[turn % 4], strategy=("hybrid", "random")[turn % 2])
                    told: Difference = await reloader.reload()
                    assert told
                    before = len(answers)
                    await until(lambda: len(answers) >= before + 8, 10.0)  # noqa: B023
                is_over = True
                await asyncio.gather(*asking)
                assert len(answers) > 90
                wrong = [one for one in answers if one.status != 200 or not one.is_whole or "echo: say" not in one.text]
                assert not wrong
                assert a.abandoned == b.abandoned == c.abandoned == 0
                await until(lambda: names(running) == {"a", "b"})

    run(main())


def test_the_end_does_not_wait_for_nodes_that_are_leaving(path: Path) -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.HOLD)) as first, FakeProvider() as second:
            write(path, entry(first, "a"))
            running = RunningGateway(load(path), path)
            await running.start()
            reloader = running._reloader
            assert reloader is not None
            first.script(Reply(fate=Fate.HOLD), Reply())
            waiting = asyncio.create_task(ask(running, CHAT, chat()))
            await until(lambda: first.answering == 1)
            assert (await ask(running, CHAT, chat())).status == 200
            assert first.connections == 2  # one of them is kept for what comes next
            for node in (entry(second, "a"), entry(second, "b")):
                write(path, node)
                await reloader.reload()
            await asyncio.wait_for(running.stop(0.0), 5.0)
            with pytest.raises(ConfigError, match="stopping"):
                await reloader.reload()
            reloader.reload_soon("it is asked too late")
            await until(lambda: not first.connections and not second.connections)
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await waiting

    run(main())
