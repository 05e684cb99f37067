"""How it ends for those who wait, give way, hang up or are refused, over real sockets."""

import asyncio
import json
import logging
from typing import Any

import msgspec
import pytest
from gateway_shared import (
    CHAT,
    EMBEDDING,
    O_CHAT,
    Answer,
    ask,
    caller,
    chat,
    gateway,
    node,
    run,
    until,
)

from fairlead.config import Capacity, KeyConfig, QueueConfig, Secret, Timeouts, WaitLimits
from fairlead.config.schema import CascadeConfig, CheckConfig
from fairlead.domain.report import NodeReport
from fairlead.engine.dispatch import Send
from fairlead.gateway import RunningGateway
from fairlead.orchestrator.build import shares_of
from fairlead.testing.provider import FakeProvider, Fate, Reply

HOLD = Reply(fate=Fate.HOLD)
BOTH = ((CHAT, False), (CHAT, True), (O_CHAT, False), (O_CHAT, True))


def waiting(running: RunningGateway) -> int:
    return len(running.orchestrator.lobby.queue)


async def later(
    running: RunningGateway, text: str, priority: str = "normal", path: str = CHAT, **more: Any
) -> asyncio.Task[Answer]:
    """Ask, and return once the request has arrived."""
    before = running.orchestrator.arrived
    body = chat(text, **({"stream": False} | more))
    asking = asyncio.create_task(ask(running, path, body, headers={"x-fairlead-priority": priority}))
    await until(lambda: running.orchestrator.arrived > before)
    return asking


def with_capacity(provider: FakeProvider, name: str = "a", **capacity: int) -> Any:
    return msgspec.structs.replace(node(provider, name), capacity=Capacity(**capacity))


def check_refusal(answer: Answer, path: str, status: int, code: str) -> None:
    """A refusal is in the caller's own dialect and says when to come again."""
    assert answer.status == status
    assert int(answer.headers["retry-after"]) >= 1
    assert "x-should-retry" not in answer.headers
    error = answer.json["error"]
    if path == CHAT:
        assert error["code"] == code
    else:
        assert isinstance(error, str)


class TestRefusals:
    """429 in the caller's dialect, with a time to come again, however its wait came to nothing."""

    @pytest.mark.parametrize(("path", "stream"), BOTH)
    def test_one_whose_place_is_needed_is_told(self, path: str, stream: bool) -> None:
        async def main() -> None:
            async with (
                FakeProvider(default=HOLD) as provider,
                gateway(node(provider, slots=1), queue=QueueConfig(max_waiting=1)) as running,
            ):
                first = await later(running, "first", stream=True)
                evicted = await later(running, "batch", "batch", path, stream=stream)
                urgent = await later(running, "urgent", "interactive")
                check_refusal(await evicted, path, 429, "fleet_full")
                provider.release()
                assert {(await first).status, (await urgent).status} == {200}

        run(main())

    @pytest.mark.parametrize(("path", "stream"), BOTH)
    def test_one_whose_wait_was_too_long_is_told_though_it_was_at_a_node_before(self, path: str, stream: bool) -> None:
        async def main() -> None:
            limits = WaitLimits(batch=0.3)
            async with (
                FakeProvider(default=HOLD) as provider,
                gateway(node(provider, slots=1), queue=QueueConfig(max_wait_s=limits)) as running,
            ):
                batch = await later(running, "batch", "batch", path, stream=stream)
                await until(lambda: provider.attempts == 1)
                urgent = await later(running, "urgent", "interactive")
                check_refusal(await batch, path, 429, "wait_too_long")
                provider.release()
                assert (await urgent).status == 200

        run(main())

    def test_a_wait_that_ends_with_the_time_of_a_call_says_when_to_come_again(self) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(node(provider, slots=1)) as running:
                running.orchestrator.lobby.queue.retry_after_s = lambda *_: 7.0  # type: ignore[method-assign]
                provider.script(HOLD)
                first = await later(running, "first")
                answer = await ask(running, CHAT, chat(), headers={"x-fairlead-deadline-ms": "60"})
                assert (answer.status, answer.headers["retry-after"]) == (504, "7")
                provider.release()
                await first

        run(main())

    def test_one_that_gave_way_and_cannot_be_done_any_more_is_told_why(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
                batch = await later(running, "batch", "batch")
                await until(lambda: provider.attempts == 1)
                urgent = await later(running, "urgent", "interactive")
                await until(lambda: provider.abandoned == 1)
                running.orchestrator.change_node("a", "drain")
                answer = await batch
                assert answer.status == 503
                assert "draining" in answer.json["error"]["message"]
                provider.release()
                assert (await urgent).status == 200

        run(main())


class TestStopping:
    """When the time to drain is over, nobody is cut off without a word."""

    @pytest.mark.parametrize("path", [CHAT, O_CHAT])
    def test_those_who_wait_are_told(self, path: str) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
                asking = [await later(running, f"{n}", path=path) for n in range(4)]
                await until(lambda: waiting(running) == 3)
                await running.stop(0.05)
                first, *others = await asyncio.gather(*asking)
                assert first.status == 503
                for answer in others:
                    check_refusal(answer, path, 503, "stopping")

        run(main())

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_cascade_does_not_go_on(self, stream: bool) -> None:
        async def main() -> None:
            cascade = CascadeConfig(name="both", models=("cheap", "dear"), check=CheckConfig())
            async with (
                FakeProvider(models=("cheap", "dear"), default=Reply(fate=Fate.STALL)) as provider,
                gateway(node(provider), cascades=(cascade,)) as running,
            ):
                asking = await later(running, "first", model="both", stream=stream)
                await until(lambda: provider.answering == 1)
                await running.stop(0.05)
                answer = await asking
                assert (answer.status, answer.json["error"]["code"]) == (503, "stopping")
                assert provider.attempts == 1

        run(main())

    def test_an_answer_that_has_begun_is_ended_with_an_error(self) -> None:
        async def main() -> None:
            async with (
                FakeProvider(default=Reply(fate=Fate.STALL)) as provider,
                gateway(node(provider, slots=1)) as running,
            ):
                asking = await later(running, "first", stream=True)
                await until(lambda: any(one.has_begun for one in running.orchestrator.in_flight))
                await running.stop(0.05)
                answer = await asking
                assert answer.status == 200
                assert b"stopping" in answer.body
                assert not answer.is_whole

        run(main())


class TestOneForAnother:
    """What befalls one exchange does no harm to others."""

    def test_what_was_said_to_one_that_had_to_give_way_since_is_not_done(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
                batch = await later(running, "batch", "batch")
                await until(lambda: provider.attempts == 1)
                (exchange,) = running.orchestrator.in_flight
                stale = Send(exchange.decisions[-1])
                urgent = await later(running, "urgent", "interactive")
                exchange.act(stale)
                await until(lambda: provider.abandoned == 1 and provider.attempts == 2)
                assert len(exchange.decisions) == 1
                provider.release()
                assert {(await batch).status, (await urgent).status} == {200}
                assert provider.attempts == 3

        run(main())

    def test_one_that_cannot_be_sent_does_not_keep_those_who_were_let_in_with_it(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
                first = await later(running, "first", stream=True)
                others = [await later(running, f"{n}") for n in range(3)]
                await until(lambda: waiting(running) == 3)
                backend, said = running.orchestrator.targets["a"].backend, []
                send = backend.send

                def fail_once(*asked: Any) -> Any:
                    backend.send = send  # type: ignore[method-assign]
                    raise RuntimeError("cannot be sent")

                backend.send = fail_once  # type: ignore[assignment,method-assign]
                asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
                running.orchestrator.hear(NodeReport(node="a", sampled_at_s=0.0), Capacity(slots=4))
                await until(lambda: provider.attempts == 3)
                provider.release()
                answers = await asyncio.gather(first, *others)
                assert sorted(answer.status for answer in answers) == [200, 200, 200, 500]
                assert [str(one["exception"]) for one in said] == ["cannot be sent"]

        run(main())


class TestNodesThatChange:
    """Nodes that leave, shrink or come back while tasks are there or wait."""

    @pytest.mark.parametrize("stream", [False, True])
    def test_a_node_that_is_removed_leaves_its_tasks_to_others(self, stream: bool) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as one, FakeProvider() as two:
                nodes = node(one, "one", slots=1), node(two, "two", slots=1)
                async with gateway(*nodes, strategy="round_robin") as running:
                    asking = [await later(running, f"{n}", stream=stream) for n in range(3)]
                    await until(lambda: one.attempts == 1)
                    await running.orchestrator.remove_node("one")
                    assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
                    assert "one" not in running.orchestrator.targets

        run(main())

    def test_those_who_wait_for_a_node_that_leaves_are_told(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=1)) as running:
                first, second = await later(running, "first"), await later(running, "second")
                await running.orchestrator.remove_node("a")
                assert (await first).status >= 500
                assert (await second).status == 404

        run(main())

    def test_a_report_of_a_node_that_has_left_is_passed_over(self) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(node(provider)) as running:
                watching = running._watching
                assert watching is not None
                watching.stop("a")
                await running.orchestrator.remove_node("a")
                watching._hear(NodeReport(node="a", sampled_at_s=1.0, running=3))
                assert not running.orchestrator.fleet.nodes

        run(main())

    def test_a_node_that_shrinks_below_what_is_leased_takes_nobody_until_it_has_room(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as provider, gateway(node(provider, slots=3)) as running:
                asking = [await later(running, f"{n}", "batch" if n else "normal") for n in range(3)]
                await until(lambda: provider.attempts == 2)  # batch work leaves a part free
                report = NodeReport(node="a", sampled_at_s=running.orchestrator.clock())
                running.orchestrator.hear(report, Capacity(slots=1))
                asking.append(await later(running, "n"))
                await until(lambda: waiting(running) == 2)
                assert provider.abandoned == 0, "that a task gives way makes no room yet"
                (told,) = (await ask(running, "/admin/nodes")).json["nodes"]
                assert told["utilization"] == 2.0
                provider.release()
                assert {answer.status for answer in await asyncio.gather(*asking)} == {200}

        run(main())

    def test_those_who_wait_hear_of_a_node_that_may_be_asked_again(self) -> None:
        async def main() -> None:
            async with FakeProvider(default=HOLD) as one, FakeProvider() as two, FakeProvider() as three:
                nodes = node(one, "one", slots=1), node(two, "two", slots=1), node(three, "three", slots=1)
                async with gateway(*nodes) as running:
                    orchestrator = running.orchestrator
                    fleet, now_s = orchestrator.fleet, orchestrator.clock()
                    by_node = {candidate.node.name: candidate for candidate in fleet.candidates()}
                    fleet.cool(by_node["two"], now_s + 0.4, now_s)
                    fleet.cool(by_node["three"], now_s + 60.0, now_s)
                    first, second = await later(running, "first"), await later(running, "second")
                    await until(lambda: waiting(running) == 1)
                    answer = await second
                    assert (answer.status, answer.headers["x-fairlead-node"]) == (200, "two")
                    one.release()
                    await first

        run(main())

    def test_a_limit_per_minute_lets_the_next_in_when_its_minute_is_over(self) -> None:
        async def main() -> None:
            queue = QueueConfig(max_wait_s=WaitLimits(normal=100.0))
            patient = Timeouts(first_token_s=200.0, idle_s=200.0, total_s=400.0)
            async with (
                FakeProvider() as provider,
                gateway(with_capacity(provider, requests_per_minute=1), queue=queue, timeouts=patient) as running,
            ):
                assert (await ask(running, CHAT, chat())).status == 200
                second = await later(running, "second")
                await until(lambda: waiting(running) == 1)
                clock = running.orchestrator.clock
                assert not running.orchestrator.lobby.admit(clock() + 55.0)
                running.orchestrator.clock = lambda: clock() + 62.0
                assert (await second).status == 200

        run(main())


class TestShortAnswers:
    """Only what has an answer of tokens can be cut short."""

    def test_an_embedding_is_sent_as_it_is(self) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(with_capacity(provider, tokens=300)) as running:
                provider.script(HOLD)
                first = await later(running, "first", max_tokens=150)
                await until(lambda: provider.attempts == 1)
                body = {"model": "m", "input": "hello"}
                answer = await ask(running, EMBEDDING, body, headers={"x-fairlead-min-output-tokens": "5"})
                assert answer.status == 200
                assert "max_tokens" not in json.loads(provider.requests[-1].body)
                provider.release()
                assert (await first).status == 200

        run(main())

    def test_what_is_passed_on_is_not_touched(self) -> None:
        async def main() -> None:
            async with (
                FakeProvider(default=Reply(body=b"{}")) as provider,
                gateway(with_capacity(provider, tokens=300)) as running,
            ):
                provider.script(HOLD)
                first = await later(running, "first", max_tokens=150)
                await until(lambda: provider.attempts == 1)
                body = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n'
                headers = {"x-fairlead-min-output-tokens": "5", "content-type": "multipart/form-data; boundary=x"}
                asking = asyncio.create_task(ask(running, "/v1/audio/transcriptions", body, headers=headers))
                await until(lambda: waiting(running) == 1)
                provider.release()
                assert (await asking).status == 200
                assert provider.requests[-1].body == body
                await first

        run(main())

    def test_a_limit_that_is_said_twice_is_cut_once(self) -> None:
        async def main() -> None:
            async with FakeProvider() as provider, gateway(with_capacity(provider, tokens=300)) as running:
                text = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":900,"max_tokens":400}'
                answer = await ask(running, CHAT, text, headers={"x-fairlead-min-output-tokens": "5"})
                assert answer.status == 200
                assert provider.requests[-1].body.count(b"max_tokens") == 1
                assert json.loads(provider.requests[-1].body)["max_tokens"] < 300

        run(main())


def keys(**more: Any) -> tuple[KeyConfig, ...]:
    return (KeyConfig(name="alice", key=Secret("alice-key"), **more),)


ALICE = {"authorization": "Bearer alice-key"}


class TestKeys:
    """What a key is charged is what its caller had."""

    def test_a_cascade_is_one_request_and_its_later_steps_are_not_refused(self) -> None:
        async def main() -> None:
            default = Reply(text="I'm sorry, but I can't help with that request.")
            cascade = CascadeConfig(name="both", models=("cheap", "dear"), check=CheckConfig())
            async with FakeProvider(models=("cheap", "dear"), default=default) as provider:
                limits = keys(requests_per_minute=1)
                async with gateway(node(provider), cascades=(cascade,), keys=limits) as running:
                    answer = await ask(running, CHAT, chat(model="both"), headers=ALICE)
                    assert (answer.status, answer.headers["x-fairlead-cascade"]) == (200, "both 2/2")
                    assert provider.attempts == 2
                    refused = await ask(running, CHAT, chat(model="both"), headers=ALICE)
                    assert (refused.status, refused.json["error"]["code"]) == (429, "rate_limit_exceeded")
                    assert provider.attempts == 2

        run(main())

    def test_who_hangs_up_in_the_middle_pays_for_what_came(self) -> None:
        async def main() -> None:
            reply = Reply(fate=Fate.STALL, text="a " * 40, pieces=20)
            async with (
                FakeProvider(default=reply) as provider,
                gateway(node(provider), keys=keys(tokens_per_minute=1000)) as running,
            ):
                async with caller(running) as one:
                    one.send("POST", CHAT, chat("x" * 2000, stream=True, max_tokens=100), ALICE)
                    await one.head()
                await until(lambda: not running.orchestrator.in_flight)
                answer = await ask(running, CHAT, chat("x" * 2000, max_tokens=400), headers=ALICE)
                assert answer.status == 429
                provider.release()

        run(main())

    def test_who_was_refused_for_lack_of_room_pays_no_tokens(self) -> None:
        async def main() -> None:
            queue, limits = QueueConfig(max_wait_s=WaitLimits(normal=0.1)), keys(tokens_per_minute=1000)
            async with (
                FakeProvider(default=HOLD) as provider,
                gateway(node(provider, slots=1), keys=limits, queue=queue) as running,
            ):
                first = asyncio.create_task(ask(running, CHAT, chat(max_tokens=100), headers=ALICE))
                await until(lambda: provider.attempts == 1)
                for _ in range(3):
                    answer = await ask(running, CHAT, chat(max_tokens=700), headers=ALICE)
                    assert answer.json["error"]["code"] == "wait_too_long"
                provider.release()
                await first

        run(main())

    def test_the_share_of_a_tenant_is_the_largest_that_one_of_its_keys_says(self) -> None:
        def key(name: str, **more: Any) -> KeyConfig:
            return KeyConfig(name=name, key=Secret(name), **more)

        several = (key("a", tenant="t", share=3.0), key("b", tenant="t"), key("c", share=0.5), key("d"))
        assert shares_of(several) == {"t": 3.0, "c": 0.5}


def test_nothing_of_a_prompt_is_shown_to_operators_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=HOLD) as one,
            FakeProvider(default=HOLD) as two,
            gateway(node(one, "one", slots=1), node(two, "two", slots=1)) as running,
        ):
            asking = [await later(running, "sesame-7351 " * 400) for _ in range(3)]
            task = next(iter(running.orchestrator.in_flight)).task
            pages = ["/admin/nodes", "/admin/queue", "/admin/leases", "/admin/fleet", "/metrics"]
            shown = b"".join([(await ask(running, page)).body for page in pages])
            one.release()
            two.release()
            await asyncio.gather(*asking)
            shown += (await ask(running, f"/v1/decisions/{task.id}")).body + caplog.text.encode()
            assert task.prefix
            assert b"sesame" not in shown
            assert not any(str(block).encode() in shown for block in task.prefix)

    with caplog.at_level(logging.DEBUG, logger="fairlead"):
        run(main())
