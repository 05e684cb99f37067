"""How a fake model server treats one request: plain values."""

from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from fairlead.testing.answers import Asked


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
    HALF_CLOSED = "half_closed"  # nothing more comes after the middle, though the server still listens
    STALL = "stall"  # stops in the middle of the body until `release`
    DRIP = "drip"  # from the middle on a byte at a time, and never a whole event
    COMMENTS = "comments"  # from the middle on nothing but signs of life
    ENDLESS = "endless"  # from the middle on more and more of the same
    HUGE_CHUNK = "huge_chunk"  # an event in the middle has nine megabytes
    NO_DONE = "no_done"  # the stream lacks its end mark
    NO_USAGE = "no_usage"  # tokens are never reported
    UNENDED = "unended"  # the stream has its end mark, but the connection is kept open and the body never ends
    UNFINISHED = "unfinished"  # the stream ends in good order, but without a finish reason
    MALFORMED = "malformed"  # an event in the middle is rubbish
    BAD_FRAMING = "bad_framing"  # a chunk in the middle has a length that is no number
    ERROR_EVENT = "error_event"  # an event in the middle tells of an error
    WRONG_LENGTH = "wrong_length"  # twice as much comes as the head promised
    TWICE = "twice"  # the whole answer comes a second time, which nobody asked for
    GZIP_BOMB = "gzip_bomb"  # the body is compressed, though nobody accepts that, and large when it is unpacked
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
    """What the model says; None: what the provider `says`, `echo: ` and the prompt where nothing else is told."""
    pieces: int = 4
    """Of the text, each in its own event and its own write."""
    pause_s: float = 0.0
    """Between two writes of a stream."""
    in_one_write: bool = False
    """The whole stream leaves at once."""
    share: float = 0.5
    """Of the events (of the bytes, where nothing is streamed) that come before the middle."""
    late_s: float = 0.0
    """How long the rest comes after the head."""
    finish_reason: str = "stop"
    """Why the model says that it stopped."""


class Received(msgspec.Struct):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def asked(self) -> Asked:
        """The request as a model server understands it; raises msgspec.DecodeError for what is no JSON object."""
        is_json = self.body[:1] in (b"{", b"[")
        return Asked(self.path, msgspec.json.decode(self.body, type=dict) if is_json else {})


Chooser = Callable[[Received], Reply | None]
"""Picks the reply by the request; None leaves it to the script."""


def flapping(bad: Reply, *, good: int, bad_ones: int) -> Chooser:
    """Return a chooser that lets so many requests go well, then so many badly, and begins again."""
    count = 0

    def choose(_: Received) -> Reply | None:
        nonlocal count
        is_good = count % (good + bad_ones) < good
        count += 1
        return None if is_good else bad

    return choose


def flapping_by_time(bad: Reply, clock: Callable[[], float], *, good_s: float, bad_s: float) -> Chooser:
    """Return a chooser that goes well for so many seconds of a clock, then badly, and begins again."""
    began_s = clock()
    return lambda _: None if (clock() - began_s) % (good_s + bad_s) < good_s else bad
