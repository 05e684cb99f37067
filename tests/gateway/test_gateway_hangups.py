"""Callers that go away or read slowly: the node's work stops, and no load is left behind."""

import asyncio
import json
import random
import socket
import time

import pytest
from gateway_shared import (
    CHAT,
    O_CHAT,
    SHORT,
    Caller,
    ask,
    caller,
    chat,
    config,
    gateway,
    is_at_rest,
    node,
    raw,
    run,
    until,
)

from fairlead.config import Timeouts
from fairlead.gateway import RunningGateway, server
from fairlead.health import Circuit
from fairlead.testing.answers import FakeDialect
from fairlead.testing.provider import FakeProvider, Fate, Reply

STEADY = Timeouts(connect_s=2.0, first_token_s=20.0, idle_s=20.0, total_s=60.0)
MIB = 2**20


async def come_and_go(running: RunningGateway, draw: random.Random, count: int) -> None:
    """Ask `count` times over as few connections as possible, hanging up at random."""
    done = 0
    while done < count:
        async with caller(running) as one:
            while done < count:
                done += 1
                one.send("POST", draw.choice((CHAT, O_CHAT)), chat(f"{done}", stream=True))
                if not await stays_to_the_end(one, draw):
                    one.hang_up(is_reset=draw.random() < 0.3)
                    break


async def stays_to_the_end(one: Caller, draw: random.Random) -> bool:
    patience = draw.random()
    if patience < 0.1:  # before anything was sent to the node, or just after
        return False
    if patience < 0.2:
        await asyncio.sleep(0)
        return False
    head = await one.head()
    assert head.status == 200
    if patience < 0.3:
        return False
    while chunk := await one.chunk():
        if draw.random() < 0.08:
            return False
        assert chunk
    return True


async def check_random_hangups(count: int) -> None:
    workers = 200
    async with (
        FakeProvider(remembers=False, default=Reply(pieces=3)) as one,
        FakeProvider("ollama", remembers=False, default=Reply(pieces=3)) as two,
        gateway(node(one, "one", slots=60), node(two, "two", slots=60), timeouts=STEADY) as running,
    ):
        await asyncio.gather(*(come_and_go(running, random.Random(seed), count // workers) for seed in range(workers)))
        await until(lambda: is_at_rest(running))
        await until(lambda: one.answering == two.answering == 0)
        assert one.attempts + two.attempts > count * 0.8
        assert one.abandoned + two.abandoned > 0
        assert one.peak_answering <= 60 + workers  # those that hung up may not have been noticed yet
        nodes = running.orchestrator.fleet.nodes.values()
        assert {state.breaker.state for state in nodes} == {Circuit.CLOSED}
        assert not running.gateway._metrics.failed_attempts
        assert sum(running.gateway._metrics.requests.values()) <= count
        assert (await ask(running, CHAT, chat())).status == 200
        await until(lambda: len(running._server.connections) == 0)


def test_a_thousand_callers_hang_up_at_random() -> None:
    run(check_random_hangups(1_000))


@pytest.mark.soak
def test_ten_thousand_callers_hang_up_at_random() -> None:
    run(check_random_hangups(10_000), 60.0)


@pytest.mark.parametrize("kind", ["openai", "ollama"])
@pytest.mark.parametrize("fate", [Fate.STALL, Fate.SILENT, Fate.HEAD_ONLY])
@pytest.mark.parametrize("is_reset", [False, True])
def test_the_nodes_work_stops_when_its_caller_goes_away(fate: Fate, kind: FakeDialect, is_reset: bool) -> None:
    async def main() -> None:
        async with (
            FakeProvider(kind, default=Reply(fate=fate)) as provider,
            gateway(node(provider), timeouts=STEADY) as running,
        ):
            for stream in (True, False):
                async with caller(running) as one:
                    one.send("POST", CHAT, chat(stream=stream))
                    await until(lambda: provider.answering == 1)
                    if fate is Fate.STALL and stream:
                        await one.head()
                    one.hang_up(is_reset=is_reset)
                    left_s = time.monotonic()
                    await until(lambda: provider.connections == 0)
                    assert time.monotonic() - left_s < 0.3
            assert provider.abandoned == 2
            await until(lambda: is_at_rest(running))
            assert running.orchestrator.fleet.nodes["a"].breaker.state is Circuit.CLOSED
            outcomes = {outcome for *_, outcome in running.gateway._metrics.requests}
            assert outcomes == {"cancelled"}

    run(main())


def test_who_hangs_up_while_waiting_for_a_slot_never_reaches_the_node() -> None:
    async def main() -> None:
        async with (
            FakeProvider(default=Reply(fate=Fate.HOLD)) as provider,
            gateway(node(provider, slots=1), timeouts=STEADY) as running,
        ):
            first = asyncio.create_task(ask(running, CHAT, chat("first")))
            await until(lambda: provider.attempts == 1)
            async with caller(running) as one:
                one.send("POST", CHAT, chat("gone"))
                await until(lambda: len(running.orchestrator.in_flight) == 2)
            await until(lambda: len(running.orchestrator.in_flight) == 1)
            last = asyncio.create_task(ask(running, CHAT, chat("last")))
            await until(lambda: len(running.orchestrator.in_flight) == 2)
            provider.release()
            assert {answer.status for answer in await asyncio.gather(first, last)} == {200}
            assert [one.asked.prompt for one in provider.requests] == ["first", "last"]

    run(main())


def test_a_slow_reader_makes_the_node_wait_and_misses_nothing() -> None:
    text = "x" * (40 * MIB)

    async def main() -> None:
        async with (
            FakeProvider(default=Reply(text=text, pieces=400)) as provider,
            gateway(node(provider), timeouts=SHORT) as running,
        ):
            async with caller(running) as one:
                one.send("POST", CHAT, chat(stream=True))
                answer = await one.head()
                first_chunk = await one.chunk()
                one.reader._transport.pause_reading()  # type: ignore[attr-defined]  # the stream itself would go on
                await until(lambda: is_still(provider))
                assert provider.sent_bytes < 24 * MIB, "what nobody reads is not taken from the node"
                held = sum(one._transport.get_write_buffer_size() for one in running._server.connections)
                assert held < 2 * MIB
                await asyncio.sleep(2 * SHORT.idle_s)  # longer than a node may be silent
                one.reader._transport.resume_reading()  # type: ignore[attr-defined]
                answer.chunks = [first_chunk]
                while chunk := await one.chunk():
                    answer.chunks.append(chunk)
            answer.body = b"".join(answer.chunks)
            assert answer.text == text
            assert not running.gateway._metrics.failed_attempts

    seen: list[int] = []

    def is_still(provider: FakeProvider) -> bool:
        seen.append(provider.sent_bytes)
        return len(seen) > 50 and seen[-50] == seen[-1] > MIB

    run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_that_was_paused_for_one_caller_serves_the_next(stream: bool) -> None:
    text = "y" * 150_000

    async def main() -> None:
        whole = Reply(text=text, pieces=1, in_one_write=True)
        async with FakeProvider(default=whole) as provider, gateway(node(provider)) as running:
            for _ in range(10):
                async with caller(running) as one:
                    await until(lambda: len(running._server.connections) == 1)
                    for connection in running._server.connections:  # so that the last piece already is too much
                        sock = connection._transport.get_extra_info("socket")
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
                    one.send("POST", CHAT, chat(stream=stream))
                    answer = await asyncio.wait_for(one.answer(), 2.0)
                    assert answer.text == text
                await until(lambda: not running._server.connections)
            assert provider.accepted == 1

    run(main())


def test_who_never_reads_is_given_up_at_the_limit_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "FLUSH_S", 0.1)

    async def main() -> None:
        limits = Timeouts(connect_s=1.0, first_token_s=1.0, idle_s=0.2, total_s=0.6)
        async with (
            FakeProvider(default=Reply(text="x" * (40 * MIB), pieces=40)) as provider,
            gateway(node(provider), timeouts=limits) as running,
            caller(running) as one,
        ):
            one.send("POST", CHAT, chat(stream=True))
            await one.head()
            one.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await until(lambda: provider.abandoned == 1)
            await until(lambda: is_at_rest(running))
            assert running.orchestrator.fleet.nodes["a"].breaker.state is Circuit.CLOSED
            assert {outcome for *_, outcome in running.gateway._metrics.requests} == {"cancelled"}

    run(main())


def test_big_bodies_arrive_intact_both_ways() -> None:
    prompt = "".join(chr(0x61 + n % 26) for n in range(1000)) * 8_000

    async def main() -> None:
        async with FakeProvider() as one, FakeProvider("ollama") as two:
            for provider in (one, two):
                async with gateway(node(provider), timeouts=STEADY) as running:
                    for path in (CHAT, O_CHAT):
                        answer = await ask(running, path, chat(prompt, stream=False))
                        assert answer.text == f"echo: {prompt}"
                        body = json.dumps(chat(prompt, stream=True)).encode()
                        chunks = b"".join(
                            b"%x\r\n%b\r\n" % (len(part), part)
                            for part in (body[at : at + 65_521] for at in range(0, len(body), 65_521))
                        )
                        head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
                        async with caller(running) as one_caller:
                            one_caller.writer.write(head.encode() + chunks + b"0\r\n\r\n")
                            assert (await one_caller.answer()).text == f"echo: {prompt}"

    run(main())


def test_slow_drips_and_huge_chunks_pass() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider)) as running:
            provider.script(Reply(pieces=17, pause_s=0.005), Reply(text="z" * (6 * MIB), pieces=1))
            assert (await ask(running, CHAT, chat(stream=True))).text == "echo: hello there"
            assert len((await ask(running, CHAT, chat(stream=True))).text) == 6 * MIB

    run(main())


def test_an_event_beyond_all_bounds_is_refused() -> None:
    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), timeouts=STEADY) as running:
            provider.default = Reply(text="z" * (9 * MIB), pieces=1)
            answer = await ask(running, CHAT, chat(stream=True))
            assert answer.status == 502, "nothing of it has gone out"
            assert "event of more than" in answer.json["error"]["message"]

    run(main())


def test_stopping_breaks_off_what_does_not_end_in_time() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.STALL)) as provider:
            running = RunningGateway(config(node(provider), timeouts=STEADY))
            await running.start()
            async with caller(running) as one:
                one.send("POST", CHAT, chat(stream=True))
                await one.head()
                stopping = asyncio.create_task(running.stop(0.1))
                rest = await asyncio.wait_for(one.rest(), 2.0)
                await stopping
            assert b"[DONE]" not in rest
            assert not rest.endswith(b"0\r\n\r\n")
            assert is_at_rest(running)
            await until(lambda: provider.connections == 0)

    run(main())


def test_draining_lets_what_is_under_way_finish_and_takes_nothing_new() -> None:
    async def main() -> None:
        async with FakeProvider(default=Reply(fate=Fate.STALL)) as provider:
            running = RunningGateway(config(node(provider), timeouts=STEADY))
            await running.start()
            async with caller(running) as idle, caller(running) as one:
                one.send("POST", CHAT, chat(stream=True))
                await one.head()
                stopping = asyncio.create_task(running.stop())
                assert await idle.is_ended()
                with pytest.raises(ConnectionError):
                    await raw(running, b"GET /health HTTP/1.1\r\n\r\n")
                provider.release()
                chunks = []
                while chunk := await one.chunk():
                    chunks.append(chunk)
                assert chunks[-1].endswith(b"data: [DONE]\n\n")
                assert await one.is_ended()
                await stopping

    run(main())
