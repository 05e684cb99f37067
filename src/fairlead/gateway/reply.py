"""The caller's side of an exchange, over HTTP: which headers tell what happened, and how errors look."""

from collections.abc import Callable

from fairlead.dialects import error_body
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation
from fairlead.errors import OverloadedError
from fairlead.gateway.http import Responder
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.orchestrator import STOPPING
from fairlead.routing import Candidate

_KEPT_BACK = frozenset(
    (
        b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"content-type", b"content-encoding",
        b"server", b"date", b"set-cookie", b"upgrade", b"trailer", b"te", b"via", b"alt-svc", b"retry-after",
        b"strict-transport-security", b"proxy-authenticate", b"www-authenticate", b"vary",
        b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-allow-headers",
        b"access-control-allow-methods", b"access-control-expose-headers", b"access-control-max-age",
    )
)  # fmt: skip
"""Headers of a node that concern its own connection, or that this gateway speaks for itself."""
_TRAILER_LINE = b"trailer: x-fairlead-rescued, x-fairlead-model, x-fairlead-node\r\n"
_PLACES: dict[Candidate, bytes] = {}


class HttpReply:
    """Answers one request through its responder."""

    __slots__ = ("_call", "_exchange", "_extra", "_is_trailed", "_responder", "write")

    def __init__(self, call: Call, responder: Responder, extra: bytes = b"", *, is_trailed: bool = False) -> None:
        """`is_trailed` says that the caller reads trailers: they tell of what happened after the headers."""
        self._call = call
        self._responder = responder
        self._extra = extra
        self._is_trailed = is_trailed
        self._exchange: Exchange | None = None
        self.write = responder.write
        """Send a further piece at once: the responder's own method, since this is done for every token."""

    def whole(self, exchange: Exchange, body: bytes) -> None:
        """Send a complete answer."""
        media_type = b"application/json"
        if self._call.operation is Operation.PASSING:
            media_type = _header(exchange, b"content-type") or media_type
        self._responder.send(exchange.status, self._headers(exchange, media_type), body)

    def begin(self, exchange: Exchange, first: bytes) -> None:
        """Send the head of a streamed answer together with its first piece."""
        relay = exchange.relay
        media_type = b"text/event-stream" if relay is None else relay.media_type.encode()
        headers = self._headers(exchange, media_type) + b"cache-control: no-cache\r\n"
        if self._is_trailed:
            self._exchange = exchange
            headers += _TRAILER_LINE
        self._responder.begin(200, headers, first)

    def end(self) -> None:
        """End a streamed answer well."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or not exchange.rescues:
            self._responder.end()
        else:
            place = _place(exchange.decisions[-1].candidate)
            self._responder.end(b"x-fairlead-rescued: %b\r\n%b" % (exchange.rescues[-1].how.encode(), place))

    def break_off(self) -> None:
        """End a streamed answer that broke."""
        self._exchange = None
        self._responder.break_off()

    def refuse(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """Send an error: the node's own status and reason where there are any, in the caller's dialect."""
        extra = b"x-fairlead-decision: %b\r\n" % exchange.task.id.encode()
        extra += b"x-fairlead-category: %b\r\n" % exchange.task.category.encode()
        extra += b"x-fairlead-attempts: %d\r\n" % exchange.dispatch.attempts
        if exchange.decisions:
            candidate = exchange.decisions[-1].candidate
            extra += _PLACES.get(candidate) or _place(candidate)
        if exchange.step is not None:
            extra += b"x-fairlead-cascade: %b\r\n" % _plain(str(exchange.step))
        is_stopping = error.code == STOPPING.code  # another gateway, or this one soon, may well do it
        if exchange.dispatch.attempts and not isinstance(exchange.error, OverloadedError) and not is_stopping:
            extra += b"x-should-retry: false\r\n"  # the nodes were asked already: a retry would only multiply
        if retry_after_s is not None:
            extra += b"retry-after: %d\r\n" % max(1, round(retry_after_s))
        send_error(self._responder, self._call.dialect, error, self._extra + extra)

    def _headers(self, exchange: Exchange, media_type: bytes) -> bytes:
        candidate = exchange.decisions[-1].candidate
        lines = (
            b"content-type: %b\r\nx-fairlead-decision: %b\r\n%bx-fairlead-category: %b\r\nx-fairlead-attempts: %d\r\n"
            % (
                media_type,
                exchange.task.id.encode(),
                _PLACES.get(candidate) or _place(candidate),
                exchange.task.category.encode(),
                len(exchange.decisions),
            )
        )
        if exchange.dispatch.queued_s:
            lines += b"x-fairlead-queued-ms: %d\r\n" % round(exchange.dispatch.queued_s * 1000)
        if exchange.degraded:
            lines += b"x-fairlead-degraded: %b\r\n" % exchange.degraded.encode()
        if exchange.step is not None:
            lines += b"x-fairlead-cascade: %b\r\n" % _plain(str(exchange.step))
        for name, value in exchange.answer_headers:
            if name not in _KEPT_BACK and not name.startswith(b"x-fairlead"):
                lines += b"%b: %b\r\n" % (name, value)
        return lines + self._extra


class WithHeaders:
    """A responder that adds header lines to whole answers; streamed ones bring their own."""

    def __init__(self, responder: Responder, lines: bytes) -> None:
        self._lines = lines
        self._responder = responder
        self.on_gone: Callable[[], None] | None = None
        self.on_pressure: Callable[[bool], None] | None = None
        self.begin = responder.begin
        self.write = responder.write
        self.end = responder.end
        self.break_off = responder.break_off

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer."""
        self._responder.send(status, headers + self._lines, body)


def send_error(responder: Responder, dialect: Dialect, error: ErrorInfo, extra: bytes = b"") -> None:
    """Answer with an error in a dialect's own shape."""
    responder.send(error.status, b"content-type: application/json\r\n" + extra, error_body(dialect, error))


def _place(candidate: Candidate) -> bytes:
    if len(_PLACES) > 10_000:
        _PLACES.clear()
    model, node = _plain(candidate.model.name), _plain(candidate.node.name)
    place = _PLACES[candidate] = b"x-fairlead-model: %b\r\nx-fairlead-node: %b\r\n" % (model, node)
    return place


def _plain(text: str) -> bytes:
    """Make a name safe in a header: printable ASCII, the rest escaped."""
    return "".join(letter if letter.isprintable() else " " for letter in text).encode("ascii", "backslashreplace")


def _header(exchange: Exchange, wanted: bytes) -> bytes | None:
    return next((value for name, value in exchange.answer_headers if name == wanted), None)
