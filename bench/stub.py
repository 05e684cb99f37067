"""A stub model server that costs next to nothing: the same canned answer to every chat request, whole or as a stream.

It stands behind every proxy that is measured, and listens on several ports to be several nodes. Requests with
`"stream":true` get `--events` events, `--interval-ms` apart, each in a write of its own and stamped with the time at
which it was sent, so that the client can tell how long a proxy kept it.

    python bench/stub.py --ports 9101,9102 --events 50 --interval-ms 5
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any, cast

MODEL = "stub-model"
MARK = b"end-of-answer"
"""Stands at the end of every answer's text: an answer without it was cut."""

_TEXT = (
    "The parser fails because the buffer is read past its end when a chunk arrives in two pieces. Keep what is "
    "left over between two reads, and look for the delimiter in the joined bytes. A test that feeds one byte at a "
    "time shows the fault at once and guards against its return. "
)
_USAGE = {"prompt_tokens": 212, "completion_tokens": 74, "total_tokens": 286}
_IDENTITY = {"id": "chatcmpl-stub", "created": 1_760_000_000, "model": MODEL}


def _response(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    return head + body


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _answer() -> bytes:
    message = {"role": "assistant", "content": _TEXT + MARK.decode()}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _response(_compact(_IDENTITY | {"object": "chat.completion", "choices": [choice], "usage": _USAGE}))


def _event(choices: list[dict[str, object]], **more: object) -> bytes:
    body = _compact(_IDENTITY | {"object": "chat.completion.chunk", "choices": choices} | more)
    return _chunk(b"data: " + body + b"\n\n")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_STAMP = "@" + "0" * 16 + "@"
ANSWER = _answer()
GET_ANSWER = _response(
    _compact(
        {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "stub"}], "status": "ok"}
        | {"model_path": MODEL, "served_model_name": MODEL, "is_generation": True}
    )
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
BEFORE_STAMP, AFTER_STAMP = _event(
    [{"index": 0, "delta": {"content": f"{_STAMP} token"}, "logprobs": None, "finish_reason": None}]
).split(_STAMP.encode())
ENDING = (
    _event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]),
    _event([], usage=_USAGE),
    _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
)


class Wheel:
    """Gives every stream its next event once per interval; streams are spread over the milliseconds of it."""

    def __init__(self, interval_ms: int, loop: asyncio.AbstractEventLoop) -> None:
        self._slots: list[dict[Connection, None]] = [{} for _ in range(interval_ms)]
        self._loop = loop
        self._joined = self._turn = 0
        self._due_s = loop.time()
        self._tick()

    def join(self, connection: "Connection") -> dict["Connection", None]:
        """Add a stream; returns the slot it has to be taken out of at its end."""
        self._joined = (self._joined + 1) % len(self._slots)
        slot = self._slots[self._joined]
        slot[connection] = None
        return slot

    def _tick(self) -> None:
        for connection in tuple(self._slots[self._turn]):
            connection.next_event()
        self._turn = (self._turn + 1) % len(self._slots)
        # A late tick delays those after it: catching up would put two events of one stream into one read.
        self._due_s = max(self._due_s + 0.001, self._loop.time())
        self._loop.call_at(self._due_s, self._tick)


class Connection(asyncio.Protocol):
    """One connection: keep-alive, bodies in several reads, pipelined requests one after the other."""

    _write: Callable[[bytes], None]
    _transport: asyncio.Transport

    def __init__(self, wheel: Wheel, events: int) -> None:
        self._wheel = wheel
        self._events = events
        self._rest = b""
        self._sent = 0
        self._slot: dict[Connection, None] | None = None
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._slot is not None:
            self._slot.pop(self, None)

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        while data:
            if self._slot is not None or (size := _request_size(data)) == 0:
                self._rest = data
                return
            if size == len(data):
                self._serve(data)
                return
            self._serve(data[:size])
            data = data[size:]

    def _serve(self, request: bytes) -> None:
        if not request.startswith(b"POST"):
            self._write(GET_ANSWER)
        elif b'"stream":true' in request or b'"stream": true' in request:
            self._sent = 0
            self._slot = self._wheel.join(self)
        else:
            self._write(ANSWER)

    def next_event(self) -> None:
        """Send the stream's next event, or its end."""
        if self._is_paused:
            return
        sent = self._sent
        self._sent = sent + 1
        if sent >= self._events:
            self._write(ENDING[sent - self._events])
            if sent == self._events + len(ENDING) - 1:
                self._finish()
            return
        event = b"%b@%016x@%b" % (BEFORE_STAMP, time.monotonic_ns(), AFTER_STAMP)
        self._write(event if sent else STREAM_HEAD + event)

    def _finish(self) -> None:
        assert self._slot is not None
        del self._slot[self]
        self._slot = None
        if self._rest:
            self.data_received(b"")


def _request_size(data: bytes) -> int:
    """Return the length of the first request in `data`, 0 when it is not complete yet."""
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return 0
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        size = end + int(head[at + 17 : head.find(b"\r", at + 17)])
        return size if len(data) >= size else 0
    if b"\r\ntransfer-encoding: chunked" in head:
        # The bodies are JSON, so a line with a lone 0 can only be the last chunk.
        last = data.find(b"\r\n0\r\n\r\n", end)
        return last + 7 if last >= 0 else 0
    return end


async def serve(ports: list[int], events: int, interval_ms: int) -> None:
    """Listen on loopback until the process is ended."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(interval_ms, loop)
    servers = [
        await loop.create_server(lambda: Connection(wheel, events), "127.0.0.1", port, backlog=1024) for port in ports
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop where it is installed, which halves what stub and generator cost."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A stub OpenAI server on loopback, for the benchmark.")
    parser.add_argument("--ports", required=True, help="ports to listen on, with commas between them")
    parser.add_argument("--events", type=int, default=50, help="content events of a stream")
    parser.add_argument("--interval-ms", type=int, default=5, help="time between two events of a stream")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        run(serve([int(port) for port in args.ports.split(",")], args.events, max(1, args.interval_ms)))
