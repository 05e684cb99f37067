"""What the routes know of HTTP: a request, and a responder that any server can provide."""

from collections.abc import Callable
from typing import Protocol

REASONS = {
    200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large",
    414: "URI Too Long", 421: "Misdirected Request", 422: "Unprocessable Content", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 499: "Client Closed Request", 500: "Internal Server Error",
    501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
    508: "Loop Detected",
}  # fmt: skip


class Request:
    """A complete request; header names are in lower case."""

    __slots__ = ("body", "headers", "is_local_admin", "method", "path", "query")

    def __init__(self, method: str, path: str, query: str, headers: dict[bytes, bytes], body: bytes) -> None:
        self.method = method
        self.path = path
        """Decoded, without the query."""
        self.query = query
        self.headers = headers
        self.body = body
        self.is_local_admin = False
        """True where it came over the local Unix socket."""


class Responder(Protocol):
    """The way back to one caller. `headers` is a block of lines, each ended by CRLF."""

    on_gone: Callable[[], None] | None
    """Called when the caller goes away before its answer is complete."""
    on_pressure: Callable[[bool], None] | None
    """Called with True when the caller reads too slowly, and with False when it has caught up."""

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer."""
        ...

    def begin(self, status: int, headers: bytes, first: bytes) -> None:
        """Send the head of a streamed answer with its first piece."""
        ...

    def write(self, data: bytes) -> None:
        """Send a further piece, at once."""
        ...

    def end(self, trailers: bytes = b"") -> None:
        """End a streamed answer; `trailers` is a block of lines like headers, left out where the way has no room."""
        ...

    def break_off(self) -> None:
        """End a streamed answer so that it cannot be taken for complete."""
        ...


Handler = Callable[[Request, Responder], None]
