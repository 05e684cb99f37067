"""The gateway's own HTTP/1.1 server: asyncio.Protocol and httptools, hardened, callbacks instead of tasks.

Limits on everything a caller may send: header bytes, body bytes, time for a head and for a body, pipelined requests,
connections. Ambiguous framing (both a length and a coding, bad chunk sizes, folded headers) is refused by the parser,
llhttp in its strict mode; a repeated `Host` or `Content-Length` is refused here.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from urllib.parse import unquote

import httptools
import msgspec

from fairlead.clock import wall_s
from fairlead.dialects import error_body
from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.gateway.http import REASONS, Handler, Request

_STATUS_LINES = {status: f"HTTP/1.1 {status} {reason}\r\n".encode() for status, reason in REASONS.items()}
_UPGRADE_HEADERS = (b"upgrade", b"connection", b"http2-settings")
_END_OF_STREAM = b"0\r\n\r\n"
MAX_PIPELINED = 16
MAX_TARGETS = 256
_TARGETS: dict[bytes, tuple[str, str]] = {}
"""Targets seen before, taken apart; callers use few."""
SWEEP_S = 1.0
"""Time is read once a sweep, not for every request; limits are kept to that precision, and never early."""
LINGER_S = 2.0
"""How long a caller may go on sending what was refused: closing at once would take the answer away from it."""
FLUSH_S = 60.0
"""How long a caller may take to read the rest of an answer once its connection is closing."""
logger = logging.getLogger("fairlead")


class ServerLimits(msgspec.Struct, frozen=True):
    """What a caller may send, and how long it may take."""

    max_body_bytes: int = 32 * 1024 * 1024
    max_header_bytes: int = 64 * 1024
    header_timeout_s: float = 10.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 75.0
    max_connections: int = 4096


class Server:
    """Listens, and keeps count of its connections."""

    def __init__(self, handler: Handler, limits: ServerLimits, *, is_local_admin: bool = False) -> None:
        self.handler = handler
        self.limits = limits
        self.is_local_admin = is_local_admin
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.now_s = asyncio.get_running_loop().time()
        self._date = (0, b"")
        self._emptied = asyncio.Event()

    def head(self, status: int) -> bytes:
        """Return the status line with the headers that every answer has."""
        now_s = int(wall_s())
        if self._date[0] != now_s:
            self._date = (now_s, _http_date(now_s))
        return (_STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status) + self._date[1]

    def protocol(self) -> "Connection":
        """Make the protocol of a new connection."""
        return Connection(self)

    def drain(self) -> None:
        """Close idle connections now and each other one after its answer."""
        self.is_draining = True
        for connection in tuple(self.connections):
            connection.close_if_idle()

    async def closed(self, limit_s: float) -> None:
        """Wait until every connection has its answer and is gone, for so long at most; then drop what is left."""
        if self.connections:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await self._emptied.wait()
        for connection in tuple(self.connections):
            connection.abort()

    def left(self, connection: "Connection") -> None:
        """Forget a connection that is gone."""
        self.connections.discard(connection)
        if self.is_draining and not self.connections:
            self._emptied.set()

    def sweep(self) -> None:
        """Close connections that have waited too long for their caller; called about every second."""
        self.now_s = now_s = asyncio.get_running_loop().time()
        for connection in tuple(self.connections):
            connection.close_if_late(now_s)


class Connection(asyncio.Protocol):
    """One caller's connection, and the responder of its current request; requests are answered one by one, in order."""

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, bool, bool]] = deque()
        self._headers: dict[bytes, bytes] = {}
        self._url = b""
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._fed_bytes = 0
        self._is_in_message = False
        self._is_in_body = False
        self._is_head = False
        self._has_begun = False
        self._is_answering = False
        self._is_chunked = False
        self._keeps_alive = True
        self._is_closed = False
        self._is_paused = False
        self._is_write_paused = False
        self._has_answered = False
        """In this read; further requests of it take their turn with other callers'."""
        self._unread = b""
        """What stood behind an offer to upgrade; some event loops hand over more before its turn comes."""
        self._late_s = 0.0
        self.on_gone: Callable[[], None] | None = None
        self.on_pressure: Callable[[bool], None] | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection, or turn it away when there are too many."""
        self._transport = transport  # type: ignore[assignment]  # TCP and Unix transports are full transports
        server = self._server
        if len(server.connections) >= self._limits.max_connections:
            self._refuse(503, "too many connections")
            transport.close()
            return
        server.connections.add(self)
        self._late_s = server.now_s + SWEEP_S + self._limits.header_timeout_s

    def data_received(self, data: bytes) -> None:
        """Parse what came; whole requests are handled on the way."""
        if self._is_closed:
            return
        if self._unread:
            self._unread += data
            return
        self._has_answered = False
        if self._is_in_body:
            self._fed_bytes += len(data)
        else:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(data[offer.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, _RefusedError):
                raise
            self._refuse(cause.status, str(cause))
            return
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not proper HTTP/1.1: {error}")
            return
        if self._is_in_message:
            # Of a body's bytes, one in eight must be content: chunk sizes and trailers without end are refused too.
            taken = self._fed_bytes - 8 * self._body_bytes if self._is_in_body else self._head_bytes
            if taken > self._limits.max_header_bytes:
                self._refuse(431, f"the headers exceed {self._limits.max_header_bytes} bytes")

    def eof_received(self) -> bool:
        """The caller closed its side: it no longer waits for an answer."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Release whatever works for this caller."""
        del exc
        self._is_closed = True
        self._server.left(self)
        self._queue.clear()
        gone, self.on_gone, self.on_pressure = self.on_gone, None, None
        if gone is not None:
            gone()

    def pause_writing(self) -> None:
        """The caller reads too slowly: its answer waits, and its next requests are not answered yet."""
        self._is_write_paused = True
        if self.on_pressure is not None:
            self.on_pressure(True)

    def resume_writing(self) -> None:
        """The caller has caught up."""
        self._is_write_paused = False
        if self.on_pressure is not None:
            self.on_pressure(False)
        elif self._queue:
            asyncio.get_running_loop().call_soon(self._next)

    # -- httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_in_message = True
        self._headers = {}
        self._url = b""
        if not self._is_answering:
            self._late_s = self._server.now_s + SWEEP_S + self._limits.header_timeout_s

    def on_url(self, url: bytes) -> None:
        """Keep the target; it may come in pieces."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; what follows a body is nobody's concern."""
        if self._is_in_body:
            return
        name = name.lower()
        headers = self._headers
        if name in headers:
            if name in (b"host", b"content-length", b"authorization", b"x-api-key"):
                raise _RefusedError(400, f"the header {name.decode('latin-1')!r} is given twice")
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        """Judge the head before any body is taken."""
        if self._head_bytes > self._limits.max_header_bytes:
            size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers.items())
            if size > self._limits.max_header_bytes:
                raise _RefusedError(431, f"the headers exceed {self._limits.max_header_bytes} bytes")
        length = self._headers.get(b"content-length")
        if length is not None and int(length) > self._limits.max_body_bytes:
            raise _RefusedError(413, f"the body exceeds {self._limits.max_body_bytes} bytes")
        self._is_in_body = True
        self._body = []
        self._body_bytes = self._fed_bytes = 0
        if length is None and b"transfer-encoding" not in self._headers:
            return
        if not self._is_answering:
            self._late_s = self._server.now_s + SWEEP_S + self._limits.body_timeout_s
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and not self._is_answering:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body."""
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.max_body_bytes:
            raise _RefusedError(413, f"the body exceeds {self._limits.max_body_bytes} bytes")
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Handle a whole request, or let it wait for the one before."""
        self._is_in_message = self._is_in_body = False
        self._head_bytes = 0
        if self._is_closed:  # by what came before it in the same read
            return
        if self._offers_upgrade():
            return
        parser = self._parser
        path, query = _TARGETS.get(self._url) or _target(self._url)
        method = parser.get_method()
        body = self._body
        request = Request(
            "POST" if method == b"POST" else method.decode("latin-1"),
            path,
            query,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
        )
        request.is_local_admin = self._server.is_local_admin
        self._body = []
        keeps_alive = parser.should_keep_alive()
        is_chunked = parser.get_http_version() != "1.0"
        if not (self._is_answering or self._queue or self._is_write_paused or self._has_answered):
            self._has_answered = True
            self._answer(request, keeps_alive, is_chunked)
            return
        if not (self._is_answering or self._queue):
            asyncio.get_running_loop().call_soon(self._next)
        self._queue.append((request, keeps_alive, is_chunked))
        if len(self._queue) >= MAX_PIPELINED and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    # -- Responder

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer in one write."""
        if not self._is_closed:
            close = b"" if self._will_keep_alive() else b"connection: close\r\n"
            head = self._server.head(status)
            rest = b"" if self._is_head else body
            self._transport.write(b"%b%b%bcontent-length: %d\r\n\r\n%b" % (head, headers, close, len(body), rest))
            self._done()

    def begin(self, status: int, headers: bytes, first: bytes) -> None:
        """Send the head of a streamed answer with its first piece."""
        if self._is_closed:
            return
        self._has_begun = True
        close = b"" if self._will_keep_alive() else b"connection: close\r\n"
        head = self._server.head(status)
        if self._is_chunked:
            coding = b"transfer-encoding: chunked\r\n"
            self._transport.write(b"%b%b%b%b\r\n%x\r\n%b\r\n" % (head, headers, close, coding, len(first), first))
        else:  # HTTP/1.0: the end of the connection is the end of the answer
            self._keeps_alive = False
            self._transport.write(b"%b%bconnection: close\r\n\r\n%b" % (head, headers, first))

    def write(self, data: bytes) -> None:
        """Send a further piece."""
        if self._is_closed or not data:
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self, trailers: bytes = b"") -> None:
        """End a streamed answer."""
        if not self._is_closed:
            if self._is_chunked:
                self._transport.write(b"0\r\n%b\r\n" % trailers if trailers else _END_OF_STREAM)
            self._done()

    def break_off(self) -> None:
        """Close without the mark of a complete answer; what was written before still arrives."""
        if not self._is_closed:
            self.on_gone = self.on_pressure = None
            self._close()

    # -- for the server

    def close_if_idle(self) -> None:
        """Close a connection that nobody waits on."""
        if not self._is_answering and not self._is_in_message:
            self._close()

    def abort(self) -> None:
        """Drop the connection as it is."""
        self._transport.abort()

    def close_if_late(self, now_s: float) -> None:
        """Close a connection whose caller takes too long: to send its request, to send any, to read the last answer."""
        if self._is_closed:
            if now_s >= self._late_s:
                self._transport.abort()
        elif self._is_answering or now_s < self._late_s:
            return
        elif self._is_in_message:
            self._refuse(408, "the request took too long to arrive")
        else:
            self._close()

    # -- inside

    def _offers_upgrade(self) -> bool:
        """Tell whether the parser takes a request for complete though its body is still to come."""
        headers = self._headers
        has_body = b"content-length" in headers or b"transfer-encoding" in headers
        return b"upgrade" in headers and has_body and self._parser.should_upgrade()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Go on in HTTP/1.1, as a server may that is offered another protocol.

        Java's client makes such an offer with its first request. A parser that has seen one stops after the head, so
        where a body follows, the head is read once more without the offer.
        """
        if self._offers_upgrade():
            lines = [b"%b: %b\r\n" % line for line in self._headers.items() if line[0] not in _UPGRADE_HEADERS]
            method = self._parser.get_method()
            rest = b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, self._url, b"".join(lines), rest)
        self._parser = httptools.HttpRequestParser(self)
        if rest:
            self._unread = rest
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        rest, self._unread = self._unread, b""
        self.data_received(rest)

    def _answer(self, request: Request, keeps_alive: bool, is_chunked: bool) -> None:
        self._is_answering = True
        self._keeps_alive = keeps_alive
        self._is_chunked = is_chunked
        self._is_head = request.method == "HEAD"
        self._has_begun = False
        try:
            self._server.handler(request, self)
        except Exception:  # whatever it is: this caller is told, and the others go on
            logger.exception("a request for %.100r could not be handled", request.path)
            self._is_answering = self._has_begun
            self._refuse(500, "the request could not be handled; the log says why")

    def _will_keep_alive(self) -> bool:
        return self._keeps_alive and not self._server.is_draining

    def _done(self) -> None:
        """The answer is out: close, or go on with the next request."""
        self.on_gone = self.on_pressure = None
        self._is_answering = False
        if not self._will_keep_alive():
            self._close()
            return
        if self._queue:
            asyncio.get_running_loop().call_soon(self._next)
        self._late_s = self._server.now_s + SWEEP_S + self._limits.idle_timeout_s

    def _next(self) -> None:
        if self._is_closed or self._is_answering or self._is_write_paused or not self._queue:
            return
        request, keeps_alive, is_chunked = self._queue.popleft()
        if self._is_paused and not self._queue:
            self._is_paused = False
            self._transport.resume_reading()
        self._answer(request, keeps_alive, is_chunked)

    def _refuse(self, status: int, message: str) -> None:
        """Answer a request that cannot be read, and close."""
        if self._is_closed:
            return
        if self._is_answering or self._queue:  # it would be taken for the answer to a request before it
            self._close()
            return
        dialect = Dialect.OLLAMA if self._url.startswith(b"/api/") else Dialect.OPENAI
        body = error_body(dialect, ErrorInfo(status, message, "invalid_request_error"))
        head = self._server.head(status)
        lines = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self._transport.write(head + lines + body)
        self._is_closed = True
        self._late_s = asyncio.get_running_loop().time() + LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _close(self) -> None:
        self._is_closed = True
        self._late_s = asyncio.get_running_loop().time() + FLUSH_S
        self._transport.close()


def _target(url: bytes) -> tuple[str, str]:
    """Return the decoded path and the query of a request's target."""
    path, _, query = url.partition(b"?")
    target = unquote(path.decode("latin-1")), query.decode("latin-1")
    if len(_TARGETS) < MAX_TARGETS and len(url) < 100:
        _TARGETS[url] = target
    return target


class _RefusedError(Exception):
    """Leaves a parser callback with the answer that the caller gets."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _http_date(now_s: int) -> bytes:
    from email.utils import formatdate

    return f"server: fairlead\r\ndate: {formatdate(now_s, usegmt=True)}\r\n".encode()
