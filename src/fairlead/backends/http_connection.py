"""One HTTP/1.1 connection to a node: parses answers with httptools and hands them to a sink."""

import asyncio
from typing import TYPE_CHECKING

import httptools

from fairlead.backends.contract import Headers, Sink
from fairlead.clock import monotonic_s
from fairlead.errors import Fault

if TYPE_CHECKING:
    from fairlead.backends.http_pool import HttpPool

MAX_HEAD_BYTES = 64 * 1024
STALE_S = 0.5
"""A kept connection that ends within this time of a request was stale before it."""


class Job:
    """A request on its way to a node; the handle that the sender keeps."""

    __slots__ = ("connection", "is_over", "is_replay", "payload", "sink")

    def __init__(self, payload: bytes, sink: Sink) -> None:
        self.payload = payload
        self.sink = sink
        self.connection: HttpConnection | None = None
        self.is_replay = False
        self.is_over = False

    def cancel(self) -> None:
        """Close the connection at once, so that the node stops working."""
        self.is_over = True
        if self.connection is not None:
            self.connection.abort()

    def pause(self) -> None:
        """Stop reading from the node."""
        connection = self.connection
        if connection is not None and not connection.transport.is_closing():
            connection.transport.pause_reading()

    def resume(self) -> None:
        """Read from the node again."""
        connection = self.connection
        if connection is not None and not connection.transport.is_closing():
            connection.transport.resume_reading()

    def fail(self, fault: Fault, message: str) -> None:
        """Tell the sink that the attempt broke, unless it is over."""
        if not self.is_over:
            self.is_over = True
            self.sink.on_error(fault, message)


class HttpConnection(asyncio.Protocol):
    """Carries one job at a time; goes back to its pool when the answer is whole and the node keeps it open."""

    transport: asyncio.Transport

    def __init__(self, pool: "HttpPool") -> None:
        self._pool = pool
        self._job: Job | None = None
        self._is_fresh = True
        self._headers: Headers = []
        self._head_bytes = 0
        self._status = 0
        self._is_whole = False
        self._is_delimited = False
        self._keeps_alive = False
        self._started_s = 0.0

    # -- for the pool

    def start(self, job: Job) -> None:
        """Send a job's request."""
        self._job = job
        job.connection = self
        self._headers = []
        self._head_bytes = self._status = 0
        self._is_whole = self._is_delimited = False
        self._started_s = monotonic_s()
        self.transport.write(job.payload)

    def abort(self) -> None:
        """Drop the connection without ceremony."""
        self._job = None
        self._pool.forget(self)
        self.transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        self.transport.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._parser = httptools.HttpResponseParser(self)
        self.transport = transport  # type: ignore[assignment]  # TCP and TLS transports are full transports

    def data_received(self, data: bytes) -> None:
        """Parse what came; give the sink heads and pieces of bodies on the way."""
        job = self._job
        if job is None:  # bytes that nobody asked for
            self._pool.forget(self)
            self.transport.abort()
            return
        if not self._status:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if self._job is job:  # what its sink raised says nothing about the node
                self._break(Fault.CANCELLED, "the answer could not be taken")
            asyncio.get_running_loop().call_exception_handler(
                {"message": "an answer could not be taken", "exception": error.__context__ or error}
            )
            return
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._job is job:
                self._break(Fault.MALFORMED, f"the node's answer is not HTTP: {error}")
            return
        if self._job is not job:  # cancelled by its own sink
            return
        if self._is_whole:
            self._finish(job)
        elif not self._status and self._head_bytes > MAX_HEAD_BYTES:
            self._break(Fault.MALFORMED, f"the node's headers exceed {MAX_HEAD_BYTES} bytes")

    def eof_received(self) -> bool:
        """The node closed its side: fine between answers, and the end of a body without a length."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Find out what the end of the connection means for the job."""
        self._pool.forget(self)
        job, self._job = self._job, None
        if job is None or job.is_over:
            return
        if not self._is_fresh and not self._head_bytes and not job.is_replay and self._closed_at_once():
            job.is_replay = True  # it was closed while idle, as the request was on its way
            self._pool.connect(job)
        elif self._status and not self._is_delimited and exc is None:
            job.is_over = True
            job.sink.on_end()
        else:
            how = "in the middle of its answer" if self._status else "without an answer"
            job.fail(Fault.TRANSPORT, f"the node closed the connection {how}")

    # -- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers after a body are nobody's concern."""
        if not self._status:
            self._headers.append((name.lower(), value))

    def on_message_begin(self) -> None:
        """Notice a second answer behind the first, which nobody asked for: the connection is of no more use."""
        if self._is_whole:
            self._keeps_alive = False

    def on_headers_complete(self) -> None:
        """Hand over the head, unless it is an interim one."""
        if self._is_whole:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._headers = []
            return
        self._status = status
        for name, value in self._headers:
            if name == b"content-length" or (name == b"transfer-encoding" and b"chunked" in value.lower()):
                self._is_delimited = True
        if self._job is not None:
            self._job.sink.on_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Hand over a piece of the body."""
        if self._job is not None and not self._is_whole:
            self._job.sink.on_data(data)

    def on_message_complete(self) -> None:
        """The answer is whole, once its status is final."""
        if self._is_whole:
            return
        self._is_whole = self._status != 0
        self._keeps_alive = self._parser.should_keep_alive()  # it no longer knows once the message is over

    # -- inside

    def _closed_at_once(self) -> bool:
        """Tell whether the node can hardly have begun: a later end is the node's own, and repeating it would cost."""
        return monotonic_s() - self._started_s < STALE_S

    def _finish(self, job: Job) -> None:
        self._job = job.connection = None
        job.is_over = True
        self._is_fresh = False
        if self._keeps_alive and not self.transport.is_closing():
            if not self.transport.is_reading():  # paused for this job's caller; the next job has another
                self.transport.resume_reading()
            self._pool.take_back(self)
        else:
            self._pool.forget(self)
            self.transport.close()
        job.sink.on_end()

    def _break(self, fault: Fault, message: str) -> None:
        job = self._job
        self.abort()
        if job is not None:
            job.fail(fault, message)
