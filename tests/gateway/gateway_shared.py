"""A gateway in the test's own event loop, nodes before it, and a caller that speaks HTTP byte by byte."""

import asyncio
import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from fairlead.config import Capacity, Config, NodeConfig, NodeKind, NodeTimeouts, Retries, ServedModel, Timeouts
from fairlead.domain import LoadStrategy, PriorityClass
from fairlead.gateway import RunningGateway
from fairlead.gateway.serving import _loop_factory
from fairlead.testing.provider import FakeProvider

STRATEGIES = ("round_robin", "least_loaded", "random", "performance", "affinity", "hybrid")
CHAT, COMPLETION, EMBEDDING = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
O_CHAT, O_GENERATE, O_EMBED = "/api/chat", "/api/generate", "/api/embed"
SHORT = Timeouts(connect_s=0.5, first_token_s=1.0, idle_s=1.0, total_s=10.0)
"""For tests of the limits themselves."""
ROOMY = Timeouts(connect_s=10.0, first_token_s=20.0, idle_s=20.0, total_s=25.0)
"""For all others: a busy machine must not look like a broken node."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return the kind of event loop that is served with; FAIRLEAD_TEST_LOOP=asyncio asks for the standard one."""
    factory = _loop_factory()
    if factory is None or os.environ.get("FAIRLEAD_TEST_LOOP") == "asyncio":
        return asyncio.new_event_loop()
    return factory()


def run(main: Coroutine[Any, Any, None], limit_s: float = 30.0) -> None:
    """Run a test's coroutine on the event loop that is served with; nothing may take longer than the limit."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(asyncio.wait_for(main, limit_s))


async def until(condition: Callable[[], bool], limit_s: float = 3.0) -> None:
    """Wait for a condition, not for a time."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true in time"
        await asyncio.sleep(0.002)


def node(provider: FakeProvider, name: str = "a", **more: Any) -> NodeConfig:
    """Return the configuration of a node before a provider; `slots` is short for its capacity."""
    slots = more.pop("slots", None)
    models = more.pop("models", provider.models)
    return NodeConfig(
        name=name,
        url=more.pop("url", provider.url),
        kind=NodeKind.OLLAMA if provider.dialect == "ollama" else NodeKind.OPENAI,
        models=tuple(ServedModel(name=model) if isinstance(model, str) else model for model in models),
        capacity=Capacity(slots=slots),
        poll=more.pop("poll", False),  # many tests count connections
        **more,
    )


def config(*nodes: NodeConfig, **more: Any) -> Config:
    """Return a configuration on a free port, with limits that nothing should reach."""
    settings: dict[str, Any] = {"listen": "127.0.0.1:0", "nodes": nodes, "timeouts": ROOMY, "drain_s": 2.0}
    return Config(**(settings | more))


@asynccontextmanager
async def gateway(*nodes: NodeConfig, **more: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway; at the end nothing may be left of any request."""
    running = RunningGateway(config(*nodes, **more))
    await running.start()
    try:
        yield running
        await until(lambda: is_at_rest(running))
    finally:
        await running.stop(0.0)
    assert is_at_rest(running)


def is_at_rest(running: RunningGateway) -> bool:
    """Tell whether no load is counted anywhere."""
    orchestrator = running.orchestrator
    accounts = [state.account for state in orchestrator.fleet.nodes.values()]
    counts = [count for one in accounts for count in (one.in_flight, one.probes)]
    assert all(count >= 0 for count in counts), counts
    return not any(counts) and not len(orchestrator.fleet.ledger) and not orchestrator.in_flight


class Answer(msgspec.Struct):
    """What came back. `is_whole` is False where the connection ended before the answer did."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes] = []
    is_whole: bool = True

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The events of an OpenAI stream, `[DONE]` left as it is."""
        data = [event.removeprefix(b"data: ") for event in self.body.split(b"\n\n") if event]
        return [one.decode() if one == b"[DONE]" else json.loads(one) for one in data]

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]

    @property
    def text(self) -> str:
        """What the model said, in whichever shape it came."""
        kind = self.headers.get("content-type", "")
        parts = self.events if "event-stream" in kind else self.lines if "ndjson" in kind else [self.json]
        return "".join(_said(part) for part in parts)


def _said(part: Any) -> str:
    if not isinstance(part, dict) or part.get("error"):
        return ""
    if "choices" not in part:
        return str(part.get("response") or (part.get("message") or {}).get("content") or "")
    message = [choice.get("delta") or choice.get("message") or choice for choice in part["choices"]]
    return "".join(one.get("content") or one.get("text") or "" for one in message)


class Caller:
    """One connection to a gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> None:
        """Write a request; a body that is not bytes is sent as JSON."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"host": self.host} | dict(headers or {})
        if body is not None:
            lines["content-length"] = str(len(data))
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.writer.write(head.encode("latin-1") + b"\r\n" + data)

    async def head(self) -> Answer:
        """Read the head of an answer."""
        block = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = block.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers, b"")

    async def answer(self, *, is_head: bool = False) -> Answer:
        """Read a whole answer, or what there is of it."""
        answer = await self.head()
        if is_head or answer.status in (100, 204):
            return answer
        length = answer.headers.get("content-length")
        try:
            if length is not None:
                answer.body = await self.reader.readexactly(int(length))
            elif "chunked" in answer.headers.get("transfer-encoding", ""):
                while chunk := await self.chunk():
                    answer.chunks.append(chunk)
            else:
                answer.body = await self.reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            answer.is_whole = False
        if answer.chunks:
            answer.body = b"".join(answer.chunks)
        return answer

    async def chunk(self) -> bytes:
        """Read one chunk of a streamed answer; empty at its end."""
        size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def rest(self) -> bytes:
        """Read what comes until the connection ends, well or not."""
        got = b""
        try:
            while data := await self.reader.read(2**16):
                got += data
        except ConnectionError:
            pass
        return got

    async def is_ended(self) -> bool:
        """Wait for the end of the connection, and tell whether nothing came before it."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 3.0) == b""
        except ConnectionError:
            return True

    def hang_up(self, *, is_reset: bool = False) -> None:
        """Go away without waiting for anything."""
        if is_reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def caller(running: RunningGateway, *, unix: str | None = None) -> AsyncIterator[Caller]:
    """Open a connection to a gateway."""
    if unix is None:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=2**22)
    else:
        reader, writer = await asyncio.open_unix_connection(unix, limit=2**22)
    one = Caller(reader, writer, f"127.0.0.1:{running.port}")
    try:
        yield one
    finally:
        one.hang_up()


async def ask(
    running: RunningGateway,
    path: str,
    body: object = None,
    *,
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    unix: str | None = None,
) -> Answer:
    """Ask once, over a connection of its own."""
    async with caller(running, unix=unix) as one:
        verb = method or ("GET" if body is None else "POST")
        one.send(verb, path, body, headers)
        return await one.answer(is_head=verb == "HEAD")


async def raw(running: RunningGateway, data: bytes, *, with_eof: bool = False) -> bytes:
    """Send bytes as they are and return everything that comes until the gateway closes."""
    async with caller(running) as one:
        one.writer.write(data)
        if with_eof:
            one.writer.write_eof()
        try:
            return await asyncio.wait_for(one.reader.read(), 5.0)
        except ConnectionError:
            return b""


def chat(prompt: str = "hello there", model: str = "m", **more: Any) -> dict[str, Any]:
    """Return the body of a chat, as OpenAI and Ollama both read it."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def retries(**more: Any) -> Retries:
    return Retries(**more)


def times(**more: Any) -> NodeTimeouts:
    return NodeTimeouts(**more)


class Alarm:
    """A balancer that sees a spike as long as it is told to."""

    def __init__(self) -> None:
        self.is_on = True

    def handle_spikes(self, incoming: int, now_s: float, *, utilization: float) -> LoadStrategy:
        del incoming, now_s, utilization
        if not self.is_on:
            return LoadStrategy()
        shed = frozenset((PriorityClass.BATCH,))
        return LoadStrategy(shed, 0.5, 0.25, wants_more_nodes=True, stage="spike", why="too many")
