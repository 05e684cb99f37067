"""A model server that misbehaves on demand, over real sockets: OpenAI's, Ollama's and Anthropic's wire formats.

    async with FakeProvider(models=("m",)) as node:
        node.script(Reply(status=503), Reply(fate=Fate.CUT))   # the next two requests; then `node.default` again
        ... talk to node.url ...
        assert node.attempts == 2

How a request goes is a plain value, a `Reply`. The provider counts what reaches it, and notices when the other side
hangs up before its answer is complete (`abandoned`), so a test can assert that work was stopped.

What it tells of itself is a `Reply` too, by path; a page such as `/metrics` that is not among its `pages` is not there:

    node.pages["/metrics"] = Reply(body=b"vllm:num_requests_running 3")
"""

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from types import TracebackType
from typing import Self

import msgspec

from fairlead.testing.answers import Asked, FakeDialect, model_list, pieces_of, stream_events, whole_answer

_LINGER_NOT = struct.pack("ii", 1, 0)
_END = b"0\r\n\r\n"
_TELLING = ("/metrics", "/props", "/slots", "/get_server_info", "/server_info", "/api/ps")
"""Pages on which servers tell of themselves; each server has but some of them."""


class Fate(StrEnum):
    """What becomes of an answer."""

    OK = "ok"
    RESET = "reset"  # the connection is reset before any byte of the answer
    HANG_UP = "hang_up"  # it is closed in good order before any byte
    SILENT = "silent"  # nothing is ever answered
    HEAD_ONLY = "head_only"  # the head, and then nothing
    HOLD = "hold"  # nothing until `release`
    CUT = "cut"  # closed in the middle of the body
    CUT_RESET = "cut_reset"  # reset in the middle of the body
    STALL = "stall"  # stops in the middle of the body until `release`
    NO_DONE = "no_done"  # the stream lacks its end mark
    NO_USAGE = "no_usage"  # tokens are never reported
    UNFINISHED = "unfinished"  # the stream ends in good order, but without a finish reason
    MALFORMED = "malformed"  # an event in the middle is rubbish
    ERROR_EVENT = "error_event"  # an event in the middle tells of an error
    HEADER_FLOOD = "header_flood"  # headers without end
    NOT_HTTP = "not_http"  # another protocol


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is answered."""

    fate: Fate = Fate.OK
    status: int = 200
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    """Sent as it is; None: a proper answer in the dialect, or a proper error."""
    text: str | None = None
    """What the model says; None: `echo: ` and the prompt."""
    pieces: int = 4
    """Of the text, each in its own event and its own write."""
    pause_s: float = 0.0
    """Between two writes of a stream."""
    in_one_write: bool = False
    """The whole stream leaves at once."""


class Received(msgspec.Struct):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def asked(self) -> Asked:
        """The request as a model server understands it."""
        return Asked(self.path, msgspec.json.decode(self.body, type=dict) if self.body[:1] == b"{" else {})


class FakeProvider:
    """A model server on loopback. Use it as an async context manager, or `start` and `stop` it."""

    def __init__(
        self,
        dialect: FakeDialect = "openai",
        models: tuple[str, ...] = ("m",),
        default: Reply | None = None,
        *,
        hangs_up_after_streams: bool = False,
        remembers: bool = True,
    ) -> None:
        self.dialect: FakeDialect = dialect
        self.models = models
        self.default = default or Reply()
        self.choose: Callable[[Received], Reply | None] | None = None
        """Picks the reply by the request, where it returns one; goes before the script."""
        self.pages: dict[str, Reply] = {}
        """How looks at the server itself (GET) are answered, by path; a `body` is needed."""
        if dialect == "ollama":
            self.pages["/api/ps"] = Reply(body=b'{"models":[]}')
        self.looks: list[str] = []
        """Paths of all looks so far (none where `remembers` is False)."""
        self.hangs_up_after_streams = hangs_up_after_streams
        """Closes after every streamed answer though it promised to keep the connection: llama.cpp's habit."""
        self.remembers = remembers
        self.requests: list[Received] = []
        """All requests for answers so far (none where `remembers` is False)."""
        self.attempts = 0
        """Requests for answers that came in whole."""
        self.connections = 0
        """Open now."""
        self.peak_connections = 0
        self.accepted = 0
        self.answering = 0
        """Requests that are being answered now."""
        self.peak_answering = 0
        self.abandoned = 0
        """Answers that the other side did not wait for."""
        self.sent_bytes = 0
        self.released = asyncio.Event()
        self.port = 0
        self._script: deque[Reply] = deque()
        self._server: asyncio.Server | None = None
        self._closed_door: list[socket.socket] = []
        self.wires: set[_Wire] = set()
        """The connections themselves."""

    @property
    def url(self) -> str:
        """The node's address, as a configuration has it."""
        return f"http://127.0.0.1:{self.port}" + ("" if self.dialect == "ollama" else "/v1")

    def script(self, *replies: Reply) -> None:
        """Say how the next requests are answered, one after the other."""
        self._script.extend(replies)

    def release(self) -> None:
        """Let the answers that are held back or stalled go on."""
        self.released.set()

    async def start(self) -> None:
        """Listen on a free port; the same one again after `stop`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Wire(self), "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Keep a port on which every connection is refused."""
        door = socket.socket()
        door.bind(("127.0.0.1", 0))
        self.port = door.getsockname()[1]
        self._closed_door.append(door)

    async def be_unreachable(self) -> None:
        """Keep a port on which no attempt to connect gets any answer: its line of waiting connections is full."""
        await self.refuse()
        self._closed_door[0].listen(0)
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._closed_door.append(filler)

    def close_idle(self) -> None:
        """Close every connection that waits for a request, as servers do after some seconds."""
        for wire in tuple(self.wires):
            wire.close_if_idle()

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for wire in tuple(self.wires):
            wire.drop()
        for door in self._closed_door:
            door.close()
        self._closed_door.clear()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def page_for(self, request: Received) -> Reply:
        """Take note of a look at the server itself, and return how it is answered."""
        path = request.path.partition("?")[0]
        if self.remembers:
            self.looks.append(path)
        page = self.pages.get(path)
        if page is not None:
            return page
        if path in _TELLING:
            return Reply(status=404)
        return Reply(body=b'{"version":"0.0.0"}' if path == "/api/version" else model_list(self.dialect, self.models))

    def reply_for(self, request: Received) -> Reply:
        """Take note of a request, and return how it is answered."""
        self.attempts += 1
        if self.remembers:
            self.requests.append(request)
        chosen = None if self.choose is None else self.choose(request)
        if chosen is not None:
            return chosen
        return self._script.popleft() if self._script else self.default


class _Wire(asyncio.Protocol):
    """One connection: reads requests, answers each in a task of its own."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._is_look = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # TCP transports are full transports
        provider = self._provider
        provider.wires.add(self)
        provider.accepted += 1
        provider.connections += 1
        provider.peak_connections = max(provider.peak_connections, provider.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._provider.wires.discard(self)
        self._provider.connections -= 1
        self._writable.set()
        if self._task is not None and not self._task.done():
            self._provider.abandoned += not self._is_look
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._read_request()

    def close_if_idle(self) -> None:
        if self._task is None and not self._buffer:
            self._transport.close()

    def drop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._transport.abort()

    # -- inside

    def _read_request(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self._task is not None:
            return
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = end + 4 + int(headers.get("content-length", "0"))
        if len(self._buffer) < size:
            return
        body = bytes(self._buffer[end + 4 : size])
        del self._buffer[:size]
        method, path, _ = first.split(" ")
        request = Received(method, path, headers, body)
        provider = self._provider
        self._is_look = method == "GET"
        if self._is_look:
            answer = self._show(request, provider.page_for(request))
        else:
            answer = self._answer(request, provider.reply_for(request))
        self._task = asyncio.get_running_loop().create_task(answer)

    async def _show(self, request: Received, page: Reply) -> None:
        await self._play(request, page)
        self._task = None
        self._read_request()

    async def _answer(self, request: Received, reply: Reply) -> None:
        provider = self._provider
        provider.answering += 1
        provider.peak_answering = max(provider.peak_answering, provider.answering)
        try:
            await self._play(request, reply)
        finally:
            provider.answering -= 1
        self._task = None
        if provider.hangs_up_after_streams and request.asked.stream:
            self._transport.close()
        else:
            self._read_request()

    async def _play(self, request: Received, reply: Reply) -> None:
        fate = reply.fate
        if fate in (Fate.RESET, Fate.HANG_UP):
            self._end_badly(is_reset=fate is Fate.RESET)
        elif fate is Fate.SILENT:
            await asyncio.Event().wait()
        elif fate is Fate.HEADER_FLOOD:
            await self._flood()
        elif fate is Fate.NOT_HTTP:
            self._write(b"SSH-2.0-OpenSSH_9.9\r\n")
        else:
            if fate is Fate.HOLD:
                await self._provider.released.wait()
            await self._speak(request.asked, reply)

    async def _speak(self, asked: Asked, reply: Reply) -> None:
        if reply.status != 200:
            body = b'{"error":{"message":"told to","type":"fake","code":null}}' if reply.body is None else reply.body
            self._send_whole(reply.status, reply.headers, body)
        elif asked.stream and reply.body is None:
            await self._stream(asked, reply)
        else:
            text = f"echo: {asked.prompt}" if reply.text is None else reply.text
            proper = whole_answer(asked, text, with_usage=reply.fate is not Fate.NO_USAGE)
            await self._send_body(reply, proper if reply.body is None else reply.body)

    async def _send_body(self, reply: Reply, body: bytes) -> None:
        if reply.fate is Fate.MALFORMED:
            body = body[: len(body) // 2]
        head = _head(200, {"content-type": "application/json", "content-length": str(len(body)), **reply.headers})
        half = len(body) // 2
        if await self._is_broken_off(reply.fate, head, body[:half]):
            return
        if reply.fate is Fate.STALL:
            half = 0 if self._transport.is_closing() else half
            self._write(body[half:])
        else:
            self._write(head + body)
        await self._writable.wait()

    async def _stream(self, asked: Asked, reply: Reply) -> None:
        kind = "application/x-ndjson" if asked.path.startswith("/api/") else "text/event-stream"
        head = _head(200, {"content-type": kind, "transfer-encoding": "chunked", **reply.headers})
        events = [b"%x\r\n%b\r\n" % (len(event), event) for event in _events(asked, reply)]
        if reply.in_one_write:
            self._write(head + b"".join(events) + _END)
            return
        middle = len(events) // 2
        if await self._is_broken_off(reply.fate, head, b"".join(events[:middle])):
            return
        start = middle if reply.fate is Fate.STALL else 0
        if not start:
            self._write(head)
        for event in events[start:]:
            self._write(event)
            await self._writable.wait()
            await asyncio.sleep(reply.pause_s)
        self._write(_END)

    async def _is_broken_off(self, fate: Fate, head: bytes, part: bytes) -> bool:
        """Do what a fate says that ends or stops an answer in its middle; False where the answer goes on after it."""
        if fate is Fate.HEAD_ONLY:
            self._write(head)
            await asyncio.Event().wait()
        if fate in (Fate.CUT, Fate.CUT_RESET, Fate.STALL):
            self._write(head + part)
            await asyncio.sleep(0.01)  # so that the part arrives before the end does
        if fate is Fate.STALL:
            await self._provider.released.wait()
            return False
        if fate in (Fate.CUT, Fate.CUT_RESET):
            self._end_badly(is_reset=fate is Fate.CUT_RESET)
            return True
        return False

    async def _flood(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n")
        while not self._transport.is_closing():
            self._write(b"x-flood: " + b"f" * 8000 + b"\r\n")
            await self._writable.wait()
            await asyncio.sleep(0)

    def _send_whole(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        own = {"content-type": "application/json", "content-length": str(len(body))}
        self._write(_head(status, own | dict(headers)) + body)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._provider.sent_bytes += len(data)
            self._transport.write(data)

    def _end_badly(self, *, is_reset: bool) -> None:
        if is_reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()
        else:
            self._transport.close()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Fake\r\n{lines}\r\n".encode("latin-1")


def _events(asked: Asked, reply: Reply) -> Iterator[bytes]:
    """Yield the events of a stream, spoilt where its fate says so."""
    fate = reply.fate
    text = f"echo: {asked.prompt}" if reply.text is None else reply.text
    is_ollama = asked.path.startswith("/api/")
    with_usage, with_done = fate is not Fate.NO_USAGE, fate is not Fate.NO_DONE
    events = list(
        stream_events(asked, pieces_of(text, reply.pieces), with_usage=with_usage, with_done=with_done),
    )
    middle = len(events) // 2
    if fate is Fate.UNFINISHED:
        events = events[:middle]
    elif fate is Fate.MALFORMED:
        events[middle:] = [b'{"message":{"con\n' if is_ollama else b'data: {"choices":[{"delta"\n\n']
    elif fate is Fate.ERROR_EVENT:
        error = b'{"error":"the model broke"}\n'
        events[middle:] = [error if is_ollama else b'data: {"error":{"message":"the model broke","code":500}}\n\n']
    yield from events
