"""One connection of a fake model server: reads requests, and does to each answer, byte by byte, what its fate says."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import msgspec

from fairlead.testing.answers import Asked, continued, whole_answer
from fairlead.testing.fates import Fate, Received, Reply
from fairlead.testing.parcels import Parcel, head_of, streamed, whole

if TYPE_CHECKING:
    from fairlead.testing.provider import FakeProvider

_LINGER_NOT = struct.pack("ii", 1, 0)
_DRIP_S = 0.01
_ENDLESS_S = 0.005
_ARRIVES_S = 0.01
"""So that what came before arrives before what follows."""
_NO_JSON = b'{"error":{"message":"the body is no JSON","type":"invalid_request_error","code":null}}'
_NO_PREFIX = (
    b'{"error":{"message":"the last message must be from the user","type":"invalid_request_error","code":null}}'
)


class Wire(asyncio.Protocol):
    """Reads requests, answers each in a task of its own."""

    def __init__(self, provider: "FakeProvider") -> None:
        self._provider = provider
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._is_look = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count it."""
        self._transport = transport  # type: ignore[assignment]  # TCP transports are full transports
        provider = self._provider
        provider.wires.add(self)
        provider.accepted += 1
        provider.connections += 1
        provider.peak_connections = max(provider.peak_connections, provider.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notice whether an answer was not waited for."""
        del exc
        self._provider.wires.discard(self)
        self._provider.connections -= 1
        self._writable.set()
        if self._task is not None and not self._task.done():
            self._provider.abandoned += not self._is_look
            self._task.cancel()

    def pause_writing(self) -> None:
        """The other side reads slowly."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Keep what came until a request is whole."""
        self._buffer += data
        self._read_request()

    def close_if_idle(self) -> None:
        """Close the connection where it waits for a request."""
        if self._task is None and not self._buffer:
            self._transport.close()

    def drop(self) -> None:
        """Stop whatever goes on, and reset the connection."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._transport.abort()

    # -- requests

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

    # -- answers

    async def _play(self, request: Received, reply: Reply) -> None:
        fate = reply.fate
        if fate in (Fate.RESET, Fate.HANG_UP):
            self._end(is_reset=fate is Fate.RESET)
        elif fate is Fate.SILENT:
            await _for_ever()
        elif fate is Fate.HEADER_FLOOD:
            await self._flood()
        elif fate is Fate.NOT_HTTP:
            self._write(b"SSH-2.0-OpenSSH_9.9\r\n")
        else:
            if fate is Fate.HOLD:
                await self._provider.released.wait()
            try:
                asked = request.asked
            except msgspec.DecodeError:
                self._refuse(400, {}, _NO_JSON)
            else:
                await self._speak(asked, reply)

    async def _speak(self, asked: Asked, reply: Reply) -> None:
        if reply.status != 200:
            body = b'{"error":{"message":"told to","type":"fake","code":null}}' if reply.body is None else reply.body
            self._refuse(reply.status, reply.headers, body)
            return
        said = self._provider.says(asked.prompt) if reply.text is None else reply.text
        text = continued(asked, said, self._provider.continues)
        if text is None:
            self._refuse(400, {}, _NO_PREFIX)
        elif asked.stream and reply.body is None:
            await self._deliver(streamed(asked, reply, text), reply)
        else:
            with_usage = reply.fate is not Fate.NO_USAGE
            body = whole_answer(asked, text, with_usage=with_usage, finish_reason=reply.finish_reason)
            await self._deliver(whole(asked, reply, body if reply.body is None else reply.body), reply)

    async def _deliver(self, parcel: Parcel, reply: Reply) -> None:
        """Send an answer as far, and in such a way, as its fate says."""
        if reply.late_s:
            self._write(parcel.head)
            parcel.head = b""
            await asyncio.sleep(reply.late_s)
        if reply.fate is Fate.HEAD_ONLY:
            self._write(parcel.head)
            await _for_ever()
        breaks = self._BREAKS.get(reply.fate)
        if breaks is not None:
            self._write(parcel.begin)
            await asyncio.sleep(_ARRIVES_S)
            await breaks(self, parcel, reply)
            return
        if reply.in_one_write or not parcel.is_chunked:
            self._write(parcel.head + b"".join(parcel.parts))
            await self._writable.wait()
            return
        self._write(parcel.head)
        await self._send(parcel.parts, reply.pause_s)

    async def _send(self, parts: Sequence[bytes], pause_s: float) -> None:
        for part in parts:
            self._write(part)
            await self._writable.wait()
            await asyncio.sleep(pause_s)

    async def _cut(self, _: Parcel, reply: Reply) -> None:
        self._end(is_reset=reply.fate is Fate.CUT_RESET)

    async def _half_close(self, *_: object) -> None:
        self._transport.write_eof()
        await _for_ever()

    async def _stall(self, parcel: Parcel, reply: Reply) -> None:
        await self._provider.released.wait()
        await self._send(parcel.parts[parcel.middle :], reply.pause_s)

    async def _drip(self, parcel: Parcel, _: Reply) -> None:
        for byte in b'{"message":{"content":"' if parcel.is_ollama else b'data: {"choices":[{"delta":{"content":"':
            self._write(parcel.framed(bytes((byte,))))
        await self._repeat(parcel.framed(b"a"), _DRIP_S)

    async def _comment(self, parcel: Parcel, _: Reply) -> None:
        await self._repeat(parcel.framed(b"\n" if parcel.is_ollama else b": still here\n\n"), _DRIP_S)

    async def _go_on(self, parcel: Parcel, _: Reply) -> None:
        if parcel.is_chunked:
            await self._repeat(parcel.parts[max(parcel.middle - 1, 0)], _ENDLESS_S)
        await self._repeat(b" " * 2**16, _ENDLESS_S)

    async def _unend(self, parcel: Parcel, _: Reply) -> None:
        await self._send(parcel.parts[parcel.middle : -1], 0.0)
        await _for_ever()

    async def _break_frames(self, *_: object) -> None:
        self._write(b"no number\r\nrubbish\r\n")
        await _for_ever()

    async def _repeat(self, data: bytes, pause_s: float) -> None:
        while not self._transport.is_closing():
            await self._send((data,), pause_s)
        await _for_ever()  # until the connection is known to be lost: somebody hung up on this

    async def _flood(self) -> None:
        self._write(b"HTTP/1.1 200 OK\r\n")
        await self._repeat(b"x-flood: " + b"f" * 8000 + b"\r\n", 0.0)

    def _refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        own = {"content-type": "application/json", "content-length": str(len(body))}
        self._write(head_of(status, own | dict(headers)) + body)

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._provider.sent_bytes += len(data)
            self._transport.write(data)

    def _end(self, *, is_reset: bool) -> None:
        if is_reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()
        else:
            self._transport.close()

    _BREAKS: ClassVar[dict[Fate, Callable[["Wire", Parcel, Reply], Awaitable[None]]]] = {
        Fate.CUT: _cut,
        Fate.CUT_RESET: _cut,
        Fate.HALF_CLOSED: _half_close,
        Fate.STALL: _stall,
        Fate.DRIP: _drip,
        Fate.COMMENTS: _comment,
        Fate.ENDLESS: _go_on,
        Fate.UNENDED: _unend,
        Fate.BAD_FRAMING: _break_frames,
    }
    """What happens in the middle, for fates whose answers never get further."""


async def _for_ever() -> None:
    await asyncio.Event().wait()
