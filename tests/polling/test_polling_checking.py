"""Over real sockets: which nodes are asked whether they are there, at which pages, and what is made of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from polling_shared import ReadClock, node_of

from fairlead.config import NodeConfig, NodeKind
from fairlead.config.secret import Secret
from fairlead.health.config import CheckingConfig
from fairlead.polling.checking import NodeChecker
from fairlead.testing import FakeProvider, Fate, Reply
from fairlead.testing.provider import Received

INTERVAL_S = 0.05
run = asyncio.run
OK = Reply(body=b"{}")


class Checks:
    """A checker whose clock is moved by hand, with what it told."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ReadClock(100.0)
        self.told: list[tuple[str, bool, str]] = []
        self._heard = asyncio.Event()
        config = CheckingConfig(interval_s=INTERVAL_S, **{"timeout_s": 5.0, **settings})
        self.checker = NodeChecker(self._note, config, clock=self.clock)

    def _note(self, name: str, is_well: bool, why: str) -> None:
        self.told.append((name, is_well, why))
        self._heard.set()

    async def result(self) -> tuple[str, bool, str]:
        """Let an interval go by, and return the next result."""
        self._heard.clear()
        self.clock.advance(2 * INTERVAL_S)
        await asyncio.wait_for(self._heard.wait(), 10)
        return self.told[-1]

    async def looked(self) -> None:
        """Wait until the checker has looked twice at who is due."""
        reads = self.clock.reads
        await until(lambda: self.clock.reads >= reads + 4)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


@asynccontextmanager
async def checking(
    pages: dict[str, Reply] | None = None, dialect: Any = "openai", **settings: Any
) -> AsyncIterator[tuple[Checks, FakeProvider]]:
    """A checker that has just begun to ask a node with these pages; no answer of a model may ever be asked for."""
    async with FakeProvider(dialect) as provider:
        provider.pages |= pages or {}
        checks = Checks(**settings)
        checks.checker.start(node_of(provider))
        yield checks, provider
        await checks.checker.close()
        assert provider.attempts == 0


# --- who is well


@pytest.mark.parametrize(("dialect", "page"), [("openai", "/health"), ("ollama", "/api/version")])
def test_a_node_that_answers_is_well(dialect: str, page: str) -> None:
    async def scenario() -> None:
        async with checking(dialect=dialect) as (checks, provider):
            assert await checks.result() == ("gpu", True, "")
            assert await checks.result() == ("gpu", True, "")
            assert provider.looks == [page, page]

    run(scenario())


@pytest.mark.parametrize("status", [204, 408, 425, 429])
def test_a_page_that_is_there_is_asked_for_again(status: int) -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(status=status, body=b"")}) as (checks, provider):
            assert await checks.result() == ("gpu", True, "")
            await checks.result()
            assert set(provider.looks) == {"/health"}

    run(scenario())


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 405, 501])
def test_where_there_is_no_health_page_the_models_are_asked_for(status: int) -> None:
    async def scenario() -> None:
        elsewhere = {"location": "http://127.0.0.1:1/trap"}
        async with checking({"/health": Reply(status=status, headers=elsewhere)}) as (checks, provider):
            assert await checks.result() == ("gpu", True, "")
            await checks.result()
            assert provider.looks == ["/health", "/v1/models", "/v1/models"]

    run(scenario())


@pytest.mark.parametrize("status", [302, 401, 404, 429])
def test_an_answer_below_500_is_an_answer(status: int) -> None:
    async def scenario() -> None:
        nothing = Reply(status=404)
        async with checking({"/health": nothing, "/v1/models": Reply(status=status)}) as (checks, _):
            assert await checks.result() == ("gpu", True, "")

    run(scenario())


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_node_that_fails_or_loads_is_not_well(status: int) -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(status=status)}) as (checks, provider):
            assert await checks.result() == ("gpu", False, f"/health answers with status {status}")
            assert provider.looks == ["/health"]

    run(scenario())


@pytest.mark.parametrize(
    ("fate", "why"),
    [
        (Fate.SILENT, "it did not answer within 0.2 s"),
        (Fate.HANG_UP, "it closed the connection before it answered"),
        (Fate.RESET, "the connection failed (Connection reset by peer)"),
        (Fate.NOT_HTTP, "its answer is not HTTP"),
    ],
)
def test_a_node_that_says_nothing_that_is_http_is_not_well(fate: Fate, why: str) -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(fate=fate, body=b"")}, timeout_s=0.2) as (checks, _):
            assert await checks.result() == ("gpu", False, why)

    run(scenario())


def test_a_node_that_is_gone_is_not_well_until_it_is_back() -> None:
    async def scenario() -> None:
        async with checking() as (checks, provider):
            await checks.result()
            await provider.stop()
            assert await checks.result() == ("gpu", False, "nothing listens there")
            await provider.start()
            while not (await checks.result())[1]:
                pass

    run(scenario())


def test_a_node_that_cannot_be_reached_takes_no_longer_than_it_may() -> None:
    async def scenario() -> None:
        provider = FakeProvider()
        await provider.be_unreachable()
        checks = Checks(timeout_s=0.1)
        checks.checker.start(node_of(provider))
        assert await checks.result() == ("gpu", False, "it did not answer within 0.1 s")
        await checks.checker.close()
        await provider.stop()

    run(scenario())


@pytest.mark.parametrize("url", ["http://a..b/v1", "http://" + "a" * 70 + ".invalid/v1"])
def test_a_name_that_is_none_is_not_well(url: str) -> None:
    async def scenario() -> None:
        checks = Checks()
        checks.checker.start(NodeConfig(name="gpu", url=url))
        name, is_well, why = await checks.result()
        assert (name, is_well) == ("gpu", False)
        assert why.startswith("the connection failed (")
        await checks.checker.close()

    run(scenario())


def test_another_server_in_the_place_of_one_that_failed_is_asked_from_the_beginning() -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(status=404), "/v1/models": OK}) as (checks, provider):
            await checks.result()
            provider.pages = {"/health": OK, "/v1/models": Reply(status=500)}
            assert not (await checks.result())[1]
            assert (await checks.result())[1]
            assert provider.looks == ["/health", "/v1/models", "/v1/models", "/health"]

    run(scenario())


# --- nothing that a node sends can hurt


@pytest.mark.parametrize("fate", [Fate.HEAD_ONLY, Fate.STALL, Fate.HEADER_FLOOD])
def test_an_answer_that_never_ends_is_not_waited_for(fate: Fate) -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(fate=fate, body=b"x" * 100)}) as (checks, provider):
            assert await checks.result() == ("gpu", True, "")
            await until(lambda: not provider.connections)

    run(scenario())


async def flooding(first: bytes, expected: tuple[bool, str]) -> None:
    """A node that sends without end, and counts what is taken."""
    sent = 0
    over = asyncio.Event()

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(first)
        try:
            while True:
                writer.write(b"\0" * 65536)
                await writer.drain()
                sent += 65536
        except OSError:
            writer.transport.abort()
            over.set()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    checks = Checks()
    port = server.sockets[0].getsockname()[1]
    checks.checker.start(NodeConfig(name="gpu", url=f"http://127.0.0.1:{port}/v1"))
    assert (await checks.result())[1:] == expected
    await asyncio.wait_for(over.wait(), 10)
    assert sent < 32 << 20  # what the sockets' buffers hold
    await checks.checker.close()
    server.close()


def test_a_bomb_is_not_taken() -> None:
    run(flooding(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n", (True, "")))


def test_a_line_without_end_is_not_taken() -> None:
    run(flooding(b"HTTP/1.1 200 OK" + b"k" * 65536, (False, "its answer is not HTTP")))


# --- who is asked, and when


def test_a_node_that_answers_tasks_is_not_asked() -> None:
    async def scenario() -> None:
        async with checking() as (checks, provider):
            await checks.result()
            for _ in range(8):
                checks.clock.advance(INTERVAL_S / 2)
                checks.checker.answered("gpu")
                await checks.looked()
            assert len(provider.looks) == 1
            assert await checks.result() == ("gpu", True, "")
            checks.checker.answered("nobody")

    run(scenario())


def test_a_check_that_fails_while_the_node_answers_a_task_tells_nothing() -> None:
    async def scenario() -> None:
        silent = {"/health": Reply(fate=Fate.SILENT)}
        async with checking(silent, timeout_s=0.3) as (checks, provider), FakeProvider() as other:
            checks.clock.advance(INTERVAL_S)
            await until(lambda: provider.looks == ["/health"])
            checks.checker.answered("gpu")
            checks.checker.start(node_of(other, "other"))
            checks.clock.advance(INTERVAL_S / 2)
            await until(lambda: len(checks.told) == 1)
            await until(lambda: not provider.connections)
            checks.clock.advance(INTERVAL_S / 2)
            await checks.looked()
            assert len(provider.looks) == 1  # and leaves no doubt
            checks.clock.advance(2 * INTERVAL_S)
            await until(lambda: len(provider.looks) == 2)
            assert {name for name, _, _ in checks.told} == {"other"}
            await until(lambda: ("gpu", False, "it did not answer within 0.3 s") in checks.told)

    run(scenario())


def test_a_node_in_doubt_is_asked_soon() -> None:
    async def scenario() -> None:
        async with checking() as (checks, provider):
            await checks.result()
            checks.clock.advance(INTERVAL_S / 2)
            await checks.looked()
            assert len(provider.looks) == 1
            checks.checker.doubt("gpu")
            checks.clock.advance(INTERVAL_S / 4)
            await until(lambda: len(provider.looks) == 2)
            checks.checker.doubt("nobody")

    run(scenario())


def test_a_node_is_asked_one_thing_at_a_time() -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(fate=Fate.SILENT)}) as (checks, provider):
            checks.clock.advance(INTERVAL_S)
            await until(lambda: provider.looks == ["/health"])
            checks.checker.doubt("gpu")
            checks.clock.advance(INTERVAL_S)
            await asyncio.sleep(2 * INTERVAL_S)
            assert provider.accepted == 1

    run(scenario())


def test_the_key_goes_to_the_node_and_a_redirect_is_not_followed() -> None:
    class Noting(FakeProvider):
        def page_for(self, request: Received) -> Reply:
            seen.append(request)
            return super().page_for(request)

    async def scenario() -> None:
        async with Noting() as trap, Noting() as provider:
            moved = Reply(status=302, headers={"location": trap.url})
            provider.pages = {"/health": moved, "/v1/models": moved}
            checks = Checks()
            checks.checker.start(node_of(provider, api_key=Secret("sk-1"), headers={"x-team": Secret("blue")}))
            assert (await checks.result())[1]
            await checks.checker.close()
            assert [one.path for one in seen] == ["/health", "/v1/models"]
            assert trap.accepted == 0
            for one in seen:
                assert (one.headers["authorization"], one.headers["x-team"]) == ("Bearer sk-1", "blue")
                assert one.headers["host"] == f"127.0.0.1:{provider.port}"

    seen: list[Received] = []
    run(scenario())


def test_pages_are_below_the_address_of_the_node() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            provider.pages["/own/health"] = Reply(status=404)
            checks = Checks()
            checks.checker.start(NodeConfig(name="gpu", url=f"http://127.0.0.1:{provider.port}/own/v1"))
            await checks.result()
            await checks.checker.close()
            assert provider.looks == ["/own/health", "/own/v1/models"]

    run(scenario())


def test_a_header_that_would_be_two_is_never_sent() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            checks = Checks()
            checks.checker.start(node_of(provider, headers={"x-team": Secret("blue\r\nx-evil: 1")}))
            assert (await checks.result())[2] == "the address or a header holds a character that HTTP cannot carry"
            await checks.checker.close()
            assert provider.looks == []

    run(scenario())


@pytest.mark.parametrize(
    "settings",
    [{"check": False}, {"kind": NodeKind.COMMAND, "command": ("true",)}, {"kind": NodeKind.SIMULATED}],
)
def test_a_node_that_is_not_to_be_asked_is_not(settings: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with checking() as (checks, _), FakeProvider() as other:
            checks.checker.start(NodeConfig(**{"name": "other", "url": other.url, **settings}))
            await checks.result()
            await checks.result()
            assert other.accepted == 0

    run(scenario())


def test_checks_can_be_switched_off() -> None:
    async def scenario() -> None:
        async with checking(enabled=False) as (checks, provider):
            checks.clock.advance(1000.0)
            await asyncio.sleep(2 * INTERVAL_S)
            assert provider.accepted == 0

    run(scenario())


# --- the end


async def stopped(checks: Checks) -> None:
    checks.checker.stop("gpu")
    checks.checker.stop("gpu")


async def closed(checks: Checks) -> None:
    await checks.checker.close()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("check ")] == []


@pytest.mark.parametrize("end", [stopped, closed])
def test_who_is_stopped_is_let_go_at_once_and_asked_no_more(end: Callable[[Checks], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with checking({"/health": Reply(fate=Fate.SILENT)}) as (checks, provider):
            checks.clock.advance(INTERVAL_S)
            await until(lambda: provider.looks == ["/health"])
            await end(checks)
            await until(lambda: not provider.connections)
            checks.clock.advance(1000.0)
            await asyncio.sleep(2 * INTERVAL_S)
            assert provider.accepted == 1
            assert checks.told == []

    run(scenario())


def test_a_node_of_the_same_name_takes_the_place_of_the_one_before() -> None:
    async def scenario() -> None:
        async with checking() as (checks, provider), FakeProvider() as other:
            await checks.result()
            checks.checker.start(node_of(other))
            await checks.result()
            await checks.result()
            assert (provider.accepted, other.accepted) == (1, 2)

    run(scenario())


def test_all_of_many_nodes_are_asked() -> None:
    async def scenario() -> None:
        async with FakeProvider() as provider:
            checks = Checks()
            for at in range(40):
                checks.checker.start(node_of(provider, f"n{at}"))
            checks.clock.advance(2 * INTERVAL_S)
            await until(lambda: len(checks.told) == 40)
            assert sorted(name for name, is_well, _ in checks.told if is_well) == sorted(f"n{at}" for at in range(40))
            await checks.checker.close()

    run(scenario())
