"""The bytes of a fake model server's answers, and how far they are sent before something happens."""

import gzip
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from fairlead.testing.answers import Asked, pieces_of, stream_events
from fairlead.testing.fates import Fate, Reply

_HUGE_BYTES = 9 * 2**20
"""More than a gateway should hold of one event."""
_BOMB_BYTES = 8 * 2**20


class Parcel(msgspec.Struct):
    """An answer, ready to be sent."""

    head: bytes
    parts: Sequence[bytes]
    """The body, framed."""
    middle: int
    """How many of the parts come before the middle."""
    is_chunked: bool
    is_ollama: bool

    @property
    def begin(self) -> bytes:
        """The head, and what comes before the middle."""
        return self.head + b"".join(self.parts[: self.middle])

    def framed(self, data: bytes) -> bytes:
        """Return more of the body, as it is sent."""
        return b"%x\r\n%b\r\n" % (len(data), data) if self.is_chunked else data


def streamed(asked: Asked, reply: Reply, text: str) -> Parcel:
    """Return a streamed answer that says a text, spoilt where its fate says so."""
    kind = "application/x-ndjson" if asked.path.startswith("/api/") else "text/event-stream"
    headers = {"content-type": kind}
    events, middle = _events(asked, reply, text)
    if reply.fate is Fate.GZIP_BOMB:
        headers["content-encoding"] = "gzip"
        events, middle = [_bomb()], 0
    is_chunked = reply.fate is not Fate.WRONG_LENGTH
    if is_chunked:
        headers["transfer-encoding"] = "chunked"
    else:
        headers["content-length"] = str(sum(map(len, events)) // 2)
    parcel = Parcel(head_of(200, headers | dict(reply.headers)), (), middle, is_chunked, asked.path.startswith("/api/"))
    parcel.parts = [*map(parcel.framed, events), b"0\r\n\r\n"] if is_chunked else events
    return _twice(parcel) if reply.fate is Fate.TWICE else parcel


def whole(asked: Asked, reply: Reply, body: bytes) -> Parcel:
    """Return an answer in one piece, spoilt where its fate says so."""
    headers = {"content-type": "application/json"}
    is_chunked = reply.fate is Fate.BAD_FRAMING
    if reply.fate is Fate.MALFORMED:
        body = body[: len(body) // 2]
    elif reply.fate is Fate.GZIP_BOMB:
        headers["content-encoding"] = "gzip"
        body = _bomb()
    size = len(body) // 2 if reply.fate is Fate.WRONG_LENGTH else len(body)
    if reply.fate in (Fate.ENDLESS, Fate.DRIP):
        size = 2**40
    headers |= {"transfer-encoding": "chunked"} if is_chunked else {"content-length": str(size)}
    parcel = Parcel(head_of(200, headers | dict(reply.headers)), (), 1, is_chunked, asked.path.startswith("/api/"))
    cut = int(len(body) * reply.share)
    parcel.parts = [parcel.framed(body[:cut]), body[cut:]]
    return _twice(parcel) if reply.fate is Fate.TWICE else parcel


def _twice(parcel: Parcel) -> Parcel:
    everything = parcel.head + b"".join(parcel.parts)
    return msgspec.structs.replace(parcel, head=b"", parts=[everything + everything])


def head_of(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the status line and the headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} Fake\r\n{lines}\r\n".encode("latin-1")


def _events(asked: Asked, reply: Reply, text: str) -> tuple[list[bytes], int]:
    """Return the events of a stream, spoilt where its fate says so, and how many come before the middle."""
    fate = reply.fate
    options: dict[str, Any] = {"with_usage": fate is not Fate.NO_USAGE, "with_done": fate is not Fate.NO_DONE}
    pieces = pieces_of(text, reply.pieces)
    events = list(stream_events(asked, pieces, finish_reason=reply.finish_reason, **options))
    middle = int(len(events) * reply.share)
    is_ollama = asked.path.startswith("/api/")
    if fate is Fate.UNFINISHED:
        events = events[:middle]
    elif fate is Fate.MALFORMED:
        events[middle:] = [b'{"message":{"con\n' if is_ollama else b'data: {"choices":[{"delta"\n\n']
    elif fate is Fate.ERROR_EVENT:
        error = b'{"error":"the model broke"}\n'
        events[middle:] = [error if is_ollama else b'data: {"error":{"message":"the model broke","code":500}}\n\n']
    elif fate is Fate.HUGE_CHUNK:
        events[middle:middle] = [next(iter(stream_events(asked, ["x" * _HUGE_BYTES]))) if is_ollama else _huge()]
    return events, middle


@cache
def _huge() -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * _HUGE_BYTES + b'"},"finish_reason":null}]}\n\n'


@cache
def _bomb() -> bytes:
    return gzip.compress(bytes(_BOMB_BYTES), mtime=0)
