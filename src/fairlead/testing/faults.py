"""What providers do wrong, and what is right then: one table, for tests of a gateway and for `fairlead drill`.

A row says what a node does, and what its caller should see where a second node is well (`helped`) and where all nodes
do the same (`alone`), for answers that are streamed and for those that come in one piece; None: it cannot happen there.

| right | meaning |
| --- | --- |
| `rescued` | one complete answer, as if nothing had happened |
| `clean` | an explicit error in the caller's dialect, with the status that the row names |
| `same` | the provider's own reason and status, unchanged, and no other node is asked |

A stream that breaks after it began has its status out already: there `clean` is an event that tells of the error, and
no mark of a complete answer after it.
"""

import json
from enum import StrEnum

import msgspec

from fairlead.testing.answers import Continues, FakeDialect
from fairlead.testing.fates import Chooser, Fate, Received, Reply, flapping

_BOTH: tuple[FakeDialect, ...] = ("openai", "ollama")
_OPENAI: tuple[FakeDialect, ...] = ("openai",)
_OLLAMA: tuple[FakeDialect, ...] = ("ollama",)
_PAST = "Wed, 21 Oct 2015 07:28:00 GMT"
LATE_S = 60.0
"""A first token this late comes for no limit that a test or a drill sets."""
SOON_S = "0.2"
"""A time to come back that a caller will wait for."""


class Right(StrEnum):
    """What a caller should see."""

    RESCUED = "rescued"
    CLEAN = "clean"
    SAME = "same"


class Way(msgspec.Struct, frozen=True):
    """What is right for one way of asking."""

    helped: Right = Right.RESCUED
    alone: Right = Right.CLEAN
    status: int | None = None
    """Of the error that the caller sees `alone`; None where an answer comes, or has begun."""


class ProviderFault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a provider does wrong."""

    name: str
    does: str
    """In a few words."""
    reply: Reply = Reply()
    """How it treats a request."""
    times: int | None = None
    """Requests that it treats so before it is well; None: all."""
    pattern: tuple[int, int] | None = None
    """So many requests go well, then so many badly, and so on; None: no such pattern."""
    streamed: Way | None = None
    whole: Way | None = None
    dialects: tuple[FakeDialect, ...] = _BOTH
    """What a node speaks that can do this."""
    is_gone: bool = False
    """Nobody listens at its address."""
    reason: str = ""
    """What of the provider's words must reach the caller, where `same` is right."""
    rescuer: Continues = Continues.IGNORES
    """What the node that is well makes of the beginning of an answer."""
    is_rescue: bool = False
    """The answer has begun when it breaks, so that only a rescue helps."""

    @property
    def calls(self) -> int:
        """How many calls it takes to meet it."""
        return 1 if self.pattern is None else sum(self.pattern) * 2

    def chooser(self) -> Chooser:
        """Return what lets a provider do it, to the requests that are its turn."""
        if self.pattern is not None:
            good, bad = self.pattern
            return flapping(self.reply, good=good, bad_ones=bad)
        left = self.times

        def choose(_: Received) -> Reply | None:
            nonlocal left
            if left is not None:
                if not left:
                    return None
                left -= 1
            return self.reply

        return choose


def _error(message: str, kind: str | None = None, code: object = None) -> bytes:
    if kind is None:  # Ollama
        return json.dumps({"error": message}).encode()
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


_ANSWERED = Way(alone=Right.RESCUED)
_BROKEN = Way(status=502)
_LATE = Way(status=504)
_BEGUN = Way()
_OVERLOADED = Way(alone=Right.SAME, status=503)
_LIMITED = Way(alone=Right.SAME, status=429)
_CALLERS = Way(Right.SAME, Right.SAME, 400)
_TOLD = Way(Right.SAME, Right.SAME)


def _limited(name: str, does: str, retry_after: str | None, *, times: int | None = 1) -> ProviderFault:
    way = _ANSWERED if times else _LIMITED
    headers = {} if retry_after is None else {"retry-after": retry_after}
    reply = Reply(status=429, headers=headers, body=_error("too many requests", "rate_limit_error"))
    return ProviderFault(
        name=name, does=does, reply=reply, times=times, streamed=way, whole=way, reason="too many requests"
    )


def _context(server: str, body: bytes, reason: str, dialects: tuple[FakeDialect, ...] = _OPENAI) -> ProviderFault:
    return ProviderFault(
        name=f"context_{server}",
        does=f"context too long, {server}",
        reply=Reply(status=400, body=body),
        streamed=_CALLERS,
        whole=_CALLERS,
        dialects=dialects,
        reason=reason,
    )


def _before(name: str, does: str, fate: Fate, way: Way, *, times: int | None = None) -> ProviderFault:
    """Return a fault that shows before anything of an answer has come."""
    return ProviderFault(name=name, does=does, reply=Reply(fate=fate, share=0.0), times=times, streamed=way, whole=way)


def _within(
    name: str, does: str, fate: Fate, whole: Way | None = _BROKEN, *, rescuer: Continues = Continues.IGNORES
) -> ProviderFault:
    """Return a fault in the middle of an answer."""
    reply = Reply(fate=fate, pieces=8)
    return ProviderFault(
        name=name, does=does, reply=reply, streamed=_BEGUN, whole=whole, rescuer=rescuer, is_rescue=True
    )


_LISTED: tuple[ProviderFault, ...] = (
    _limited("rate_limited", "429 once, Retry-After 0.2 s", SOON_S),
    _limited("rate_limited_date", "429 once, Retry-After date", _PAST),
    _limited("rate_limited_garbage", "429 once, bad Retry-After", "soon"),
    _limited("rate_limited_huge", "429, Retry-After of a day", "86400", times=None),
    _limited("rate_limited_forever", "429 for ever", None, times=None),
    ProviderFault(
        name="unavailable_forever",
        does="503 for ever",
        reply=Reply(status=503, body=_error("the server is busy", "overloaded_error")),
        streamed=_OVERLOADED,
        whole=_OVERLOADED,
        reason="the server is busy",
    ),
    ProviderFault(
        name="error_once", does="500 once", reply=Reply(status=500), times=1, streamed=_ANSWERED, whole=_ANSWERED
    ),
    ProviderFault(
        name="flapping",
        does="fails every other request",
        reply=Reply(status=503),
        pattern=(1, 1),
        streamed=_ANSWERED,
        whole=_ANSWERED,
    ),
    ProviderFault(name="gone", does="refuses connections", is_gone=True, streamed=_BROKEN, whole=_BROKEN),
    _before("reset_once", "resets before headers, once", Fate.RESET, _ANSWERED, times=1),
    _before("reset", "resets before the headers", Fate.RESET, _BROKEN),
    _before("hang_up", "closes before the headers", Fate.HANG_UP, _BROKEN),
    _before("not_http", "speaks another protocol", Fate.NOT_HTTP, _BROKEN),
    _before("silent", "accepts, never answers", Fate.SILENT, _LATE),
    _before("head_only", "headers, then nothing", Fate.HEAD_ONLY, _LATE),
    ProviderFault(name="late", does="first token late", reply=Reply(late_s=LATE_S), streamed=_LATE),
    _before("header_flood", "headers without end", Fate.HEADER_FLOOD, _BROKEN),
    _within("cut", "closes in mid-answer", Fate.CUT),
    _within("cut_reset", "resets in mid-answer", Fate.CUT_RESET),
    _within("half_closed", "half-closes in mid-answer", Fate.HALF_CLOSED),
    _within("stall", "stalls in mid-answer", Fate.STALL, _LATE),
    _within("unfinished", "ends without finish reason", Fate.UNFINISHED, None),
    _within("malformed", "rubbish in mid-answer", Fate.MALFORMED),
    _within("bad_framing", "broken chunk length", Fate.BAD_FRAMING),
    _within("wrong_length", "wrong content-length", Fate.WRONG_LENGTH),
    _within("huge_chunk", "one event of 9 MB", Fate.HUGE_CHUNK, None),
    ProviderFault(
        name="error_event",
        does="error event in mid-answer",
        reply=Reply(fate=Fate.ERROR_EVENT, pieces=8),
        streamed=Way(alone=Right.SAME),
        reason="the model broke",
        is_rescue=True,
    ),
    _within("cut_continued", "cut; next one goes on", Fate.CUT, None, rescuer=Continues.TRAILING),
    _within("cut_restated", "cut; next one restates", Fate.CUT, None, rescuer=Continues.RESTATES),
    _within("cut_rejected", "cut; next rejects prefixes", Fate.CUT, None, rescuer=Continues.REJECTS),
    _before("drip_first", "drips, never a whole event", Fate.DRIP, _LATE),
    _within("drip", "drips in mid-answer", Fate.DRIP, None),
    msgspec.structs.replace(_before("comments_first", "signs of life, no token", Fate.COMMENTS, _LATE), whole=None),
    _within("comments", "signs of life in mid-answer", Fate.COMMENTS, None),
    ProviderFault(
        name="endless",
        does="never stops",
        reply=Reply(fate=Fate.ENDLESS),
        streamed=Way(helped=Right.CLEAN),
        whole=_LATE,
    ),
    _before("gzip_bomb", "compressed, though unasked", Fate.GZIP_BOMB, _BROKEN),
    ProviderFault(
        name="no_done",
        does="no [DONE]",
        reply=Reply(fate=Fate.NO_DONE),
        streamed=_ANSWERED,
        dialects=_OPENAI,
    ),
    _before("no_usage", "no usage block", Fate.NO_USAGE, _ANSWERED),
    ProviderFault(
        name="unended", does="complete, but never closes", reply=Reply(fate=Fate.UNENDED), streamed=_ANSWERED
    ),
    _before("twice", "the answer comes twice", Fate.TWICE, _ANSWERED),
    _context(
        "llama.cpp",
        _error("the request exceeds the available context size", "exceed_context_size_error", 400),
        "available context size",
    ),
    _context(
        "vllm",
        _error("This model's maximum context length is 4096 tokens, you asked for 5000", "BadRequestError", 400),
        "maximum context length",
    ),
    _context(
        "openai",
        _error("the messages are too long", "invalid_request_error", "context_length_exceeded"),
        "the messages are too long",
    ),
    _context("ollama", _error("the input length exceeds the context length"), "exceeds the context length", _OLLAMA),
    ProviderFault(
        name="content_filter",
        does="content filter refuses",
        reply=Reply(status=400, body=_error("filtered by policy", "invalid_request_error", "content_filter")),
        streamed=_CALLERS,
        whole=_CALLERS,
        dialects=_OPENAI,
        reason="filtered by policy",
    ),
    ProviderFault(
        name="filtered_answer",
        does="content filter ends answer",
        reply=Reply(finish_reason="content_filter"),
        streamed=_TOLD,
        whole=_TOLD,
        dialects=_OPENAI,
        reason="content_filter",
    ),
    ProviderFault(
        name="wrong_key",
        does="401",
        reply=Reply(status=401, body=_error("that key is not known", "authentication_error")),
        streamed=Way(alone=Right.SAME, status=401),
        whole=Way(alone=Right.SAME, status=401),
        reason="that key is not known",
    ),
)

FAULTS: dict[str, ProviderFault] = {fault.name: fault for fault in _LISTED}
"""All of them, by name, in the order of the table."""
