"""The answer of a second node, relayed so that the caller reads one unbroken answer: the first node's, finished.

Only these ways are honest: to go on from the text that the caller has (`CONTINUE`), to let another node answer anew
and join the two where its text is the same to the letter (`SPLICE`), or to tell the caller that the answer begins
again (`RESTART`). Whatever cannot be joined raises DivergedError or MalformedAnswerError; nothing is guessed.
"""

from collections.abc import Mapping
from enum import StrEnum

from fairlead.dialects.continuing import handed_over
from fairlead.dialects.contract import Call, ErrorInfo, Operation, Relay, Usage
from fairlead.dialects.kept import KeptAnswer
from fairlead.dialects.reissue import NOTE, Event, Reissue
from fairlead.dialects.said import END_MARK, NO_DATA, read_said, split_events
from fairlead.dialects.seam import DivergedError, Seam
from fairlead.errors import MalformedAnswerError

__all__ = ["ContinuedRelay", "DivergedError", "RescueMode"]


class RescueMode(StrEnum):
    """How a second node finishes an answer; the value is what the caller reads in the last event."""

    CONTINUE = "continued"
    """It was given the text so far (see `continued`) and goes on from there."""
    SPLICE = "spliced"
    """It answers anew; what the caller has must be the beginning of that, to the letter."""
    RESTART = "restarted"
    """It answers anew, and the caller is told to forget what it has."""


class ContinuedRelay:
    """Wraps the relay of the second node, which must be made for the caller's own call.

    `kept` is read once, when this is built. `note` goes into the last event (the one with the finish reason, or the
    `done` line) under `fairlead`, beside `rescued: true` and `how`. `said_tokens` is how many tokens the kept text is
    taken for: in `CONTINUE` they are part of what is counted for the caller.
    """

    def __init__(
        self,
        inner: Relay,
        kept: KeptAnswer,
        mode: RescueMode,
        note: Mapping[str, object],
        *,
        said_tokens: int = 0,
    ) -> None:
        self._inner = inner
        self._call: Call = kept.call
        self._mode = mode
        self._note = {"rescued": True, "how": mode.value, **note}
        self._said_tokens = said_tokens
        self._seam = _seam(kept, mode)
        self._reissue = Reissue(kept.call, kept.identity, drop_role=kept.has_role)
        self._is_marked = mode is not RescueMode.RESTART
        """Whether the caller knows all that it has to know before the text."""
        self._is_noted = False
        self.media_type = inner.media_type

    @property
    def finished(self) -> bool:
        """The node has said that its answer is complete."""
        return self._inner.finished

    @finished.setter
    def finished(self, value: bool) -> None:
        self._inner.finished = value

    @property
    def chunks(self) -> int:
        """Pieces of content that the second node sent, also those that the caller had already."""
        return self._inner.chunks

    @chunks.setter
    def chunks(self, value: int) -> None:
        self._inner.chunks = value

    @property
    def elapsed_s(self) -> float:
        """Since the request was sent."""
        return self._inner.elapsed_s

    @elapsed_s.setter
    def elapsed_s(self, value: float) -> None:
        self._inner.elapsed_s = value

    @property
    def usage(self) -> Usage | None:
        """The tokens of the whole answer: where it was continued, an estimate of what one node would have reported."""
        found = self._inner.usage
        if self._mode is not RescueMode.CONTINUE or not (found or self._inner.finished):
            return found
        said = self._said_tokens
        if found is None:
            return Usage(len(self._call.body) // 4, said + self._inner.chunks, estimated=True)
        return Usage(max(found.input_tokens - said, 0), found.output_tokens + said, estimated=True)

    @usage.setter
    def usage(self, value: Usage | None) -> None:
        self._inner.usage = value

    def whole(self, body: bytes) -> bytes:
        """Refuse: only a streamed answer can break in the middle. Raises MalformedAnswerError."""
        raise MalformedAnswerError(f"The node sent {len(body)} bytes at once to finish a streamed answer.")

    def feed(self, data: bytes) -> bytes:
        """Return what can go to the caller now. Raises DivergedError, MalformedAnswerError, ProviderError."""
        return self._passed(self._inner.feed(data))

    def close(self) -> bytes:
        """Return what completes the caller's stream. Raises DivergedError, MalformedAnswerError, ProviderError."""
        return self._passed(self._inner.close())

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the event that tells the caller that the answer broke."""
        return self._inner.fail(error)

    # -- inside

    def _passed(self, data: bytes) -> bytes:
        if not data:
            return data
        return b"".join([self._event(event) for event in split_events(self._call.dialect, data)])

    def _event(self, event: bytes) -> bytes:
        said = read_said(self._call.dialect, event)
        if said is END_MARK:
            return self._end_mark(event)
        if said is NO_DATA:
            return event + b"\n\n"
        if said.other is not None:
            self._refuse(said.other)
        found = self._reissue.read(event)
        out = self._marker(found)
        if not self._seam.is_closed:
            text = self._seam.take(said.text) + (self._seam.end() if said.is_last else "")
            if not (text or said.is_last):
                return out
            if text != said.text:
                self._reissue.say(found, text)
        if said.is_last:
            found[NOTE] = self._note
            self._is_noted = True
        if self._mode is RescueMode.CONTINUE and (usage := self.usage) is not None:
            self._reissue.count(found, usage)
        return out + self._reissue.write(found)

    def _end_mark(self, event: bytes) -> bytes:
        """Return the end mark; before it what a node left unsaid that ends without a finish reason."""
        if self._is_noted:
            return event + b"\n\n"
        marker = self._marker({})
        return marker + self._reissue.write(self._reissue.beside({}, self._seam.end(), self._note)) + event + b"\n\n"

    def _marker(self, like: Event) -> bytes:
        if self._is_marked:
            return b""
        self._is_marked = True
        return self._reissue.restart(like)

    def _refuse(self, other: str) -> None:
        """Stop where the node says more than text before the two answers are one, or in going on from a text."""
        if self._mode is RescueMode.CONTINUE:
            raise MalformedAnswerError(f"The node that was to go on with an answer sent {other}.")
        if not self._seam.is_closed:
            raise DivergedError(f"Another node's answer holds {other} where the first one's was plain text.")


def _seam(kept: KeptAnswer, mode: RescueMode) -> Seam:
    if mode is RescueMode.RESTART:
        return Seam("")
    if mode is RescueMode.SPLICE:
        return Seam(kept.text)
    text = kept.text
    given = handed_over(kept.call, text)
    may_repeat = given and kept.call.operation is not Operation.COMPLETION
    return Seam(text[len(given) :], text if may_repeat else "")
