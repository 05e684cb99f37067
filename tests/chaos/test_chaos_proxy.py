"""The wire that misbehaves: each fault is what it says, and nothing else is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairlead.testing.fault_proxy import FaultProxy, WireFault, WireFaultKind

ANSWER = bytes(range(256)) * 40
LIMIT_S = 10.0


async def _answer_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while await reader.readline():
            writer.write(ANSWER)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def wired() -> AsyncIterator[FaultProxy]:
    server = await asyncio.start_server(_answer_lines, "127.0.0.1", 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as wire:
        yield wire


class Talk:
    """One connection of a client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, wire: FaultProxy) -> "Talk":
        return cls(*await asyncio.open_connection("127.0.0.1", wire.port))

    async def ask(self) -> bytes:
        self.writer.write(b"hello\n")
        return await asyncio.wait_for(self.reader.readexactly(len(ANSWER)), LIMIT_S)

    async def ask_in_vain(self) -> tuple[bytes, str]:
        """Ask, and return what came with how it ended: `end`, `reset` or `silence`."""
        self.writer.write(b"hello\n")
        got = b""
        try:
            while data := await asyncio.wait_for(self.reader.read(2**16), 0.2):
                got += data
        except ConnectionError:
            return got, "reset"
        except TimeoutError:
            return got, "silence"
        return got, "end"

    def leave(self) -> None:
        self.writer.transport.abort()


def run(main: object) -> None:
    asyncio.run(asyncio.wait_for(main, 30.0))  # type: ignore[arg-type]


def test_without_a_fault_everything_passes_both_ways_over_and_over() -> None:
    async def main() -> None:
        async with wired() as wire:
            talk = await Talk.to(wire)
            for _ in range(3):
                assert await talk.ask() == ANSWER
            assert wire.connections == 1
            assert not wire.struck
            talk.leave()

    run(main())


@pytest.mark.parametrize(
    ("kind", "end"),
    [
        (WireFaultKind.CUT, "end"),
        (WireFaultKind.RESET, "reset"),
        (WireFaultKind.HALF_CLOSE, "end"),
        (WireFaultKind.STALL, "silence"),
        (WireFaultKind.HANG, "silence"),
    ],
)
@pytest.mark.parametrize("after_bytes", [0, 1, 700])
def test_what_breaks_an_answer_breaks_it_just_there(kind: WireFaultKind, end: str, after_bytes: int) -> None:
    async def main() -> None:
        async with wired() as wire:
            talk = await Talk.to(wire)
            assert await talk.ask() == ANSWER
            wire.fault = WireFault(kind, after_bytes)
            got, how = await talk.ask_in_vain()
            assert how == end
            if end != "reset":  # a reset may overtake what was sent before it
                assert got == (b"" if kind is WireFaultKind.HANG else ANSWER[:after_bytes])
            assert ANSWER.startswith(got)
            assert wire.struck == {kind: 1}
            wire.fault = None
            other = await Talk.to(wire)
            assert await other.ask() == ANSWER
            talk.leave()
            other.leave()

    run(main())


def test_what_slows_an_answer_loses_nothing_of_it() -> None:
    async def main() -> None:
        async with wired() as wire:
            talk = await Talk.to(wire)
            loop = asyncio.get_running_loop()
            for fault, least_s in (
                (WireFault(WireFaultKind.DELAY, pause_s=0.1), 0.09),
                (WireFault(WireFaultKind.THROTTLE, bytes_per_s=100_000), 0.08),
            ):
                wire.fault = fault
                began_s = loop.time()
                assert await talk.ask() == ANSWER
                assert loop.time() - began_s >= least_s
            talk.leave()

    run(main())


def test_what_had_stopped_goes_on_once_it_is_healed() -> None:
    async def main() -> None:
        async with wired() as wire:
            talk = await Talk.to(wire)
            wire.fault = WireFault(WireFaultKind.STALL, 1000)
            got, how = await talk.ask_in_vain()
            assert (got, how) == (ANSWER[:1000], "silence")
            await wire.heal()
            assert await talk.reader.readexactly(len(ANSWER) - 1000) == ANSWER[1000:]
            assert await talk.ask() == ANSWER
            talk.leave()

    run(main())


def test_a_closed_door_refuses_newcomers_and_leaves_the_others_alone() -> None:
    async def main() -> None:
        async with wired() as wire:
            talk = await Talk.to(wire)
            for _ in range(3):
                wire.refuse()
                await asyncio.sleep(0)
                with pytest.raises(ConnectionRefusedError):
                    await Talk.to(wire)
                assert await talk.ask() == ANSWER
                await wire.allow()
                newcomer = await Talk.to(wire)
                assert await newcomer.ask() == ANSWER
                newcomer.leave()
            assert wire.refused == 3
            talk.leave()

    run(main())


@pytest.mark.parametrize(("kind", "end"), [(WireFaultKind.CUT, "end"), (WireFaultKind.RESET, "reset")])
def test_all_that_is_open_can_be_broken_at_once(kind: WireFaultKind, end: str) -> None:
    async def main() -> None:
        async with wired() as wire:
            talks = [await Talk.to(wire) for _ in range(5)]
            for talk in talks:
                assert await talk.ask() == ANSWER
            wire.strike(kind)
            assert wire.struck == {kind: 5}
            for talk in talks:
                got, how = await talk.ask_in_vain()
                assert (got, how in (end, "reset")) == (b"", True)
                talk.leave()

    run(main())


def test_a_server_that_is_gone_is_told_to_the_client() -> None:
    async def main() -> None:
        async with FaultProxy(1) as wire:  # nobody listens there
            talk = await Talk.to(wire)
            got, how = await talk.ask_in_vain()
            assert (got, how) == (b"", "reset")
            talk.leave()

    run(main())
