"""What all streamed relays share: bytes are cut into whole events, an error waits until what came before is out."""

import re
from abc import ABC, abstractmethod

from fairlead.dialects.contract import ErrorInfo, Usage
from fairlead.errors import FairleadError, MalformedAnswerError

MAX_EVENT_BYTES = 8 * 1024 * 1024
SSE_END = b"\n\n"
TAIL_BYTES = 5
"""Of an event, by which one that is cut off is told from one that is whole."""
NO_TAIL = b"\0"
"""With which no event ends: the first one is read whole."""
LINE_END = b"\n"
SSE_TYPE = "text/event-stream"
NDJSON_TYPE = "application/x-ndjson"
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")


class StreamRelay(ABC):
    """Splits a node's stream into events and hands each to `_event`; subclasses say what an event becomes."""

    # Class-wide until changed: a relay is built for every request, and most never need more than two of these.
    finished = False
    chunks = 0
    usage: Usage | None = None
    media_type = SSE_TYPE
    elapsed_s = 0.0
    _end = SSE_END
    _pending: bytearray | None = None
    _held: FairleadError | None = None
    _done = False

    @abstractmethod
    def whole(self, body: bytes) -> bytes:
        """Turn a complete, unstreamed answer into the caller's dialect."""

    @abstractmethod
    def fail(self, error: ErrorInfo) -> bytes:
        """Return the event that tells the caller that the answer broke."""

    @abstractmethod
    def _event(self, event: bytes) -> bytes:
        """Return what one whole event becomes."""

    @abstractmethod
    def _ending(self) -> bytes:
        """Return what the caller's stream still lacks after a finished answer."""

    def feed(self, data: bytes) -> bytes:
        """Return what can go to the caller now. Raises MalformedAnswerError, ProviderError."""
        return self._feed_events(data)

    def close(self) -> bytes:
        """Return what completes the caller's stream. Raises MalformedAnswerError, ProviderError."""
        out = b""
        if self._held is not None:
            raise self._held
        if self._pending and not self._done:
            out = self._last_event(bytes(self._pending))
            self._pending = None
        if self._done:
            return out
        if not self.finished:
            raise MalformedAnswerError("The node ended its stream before its answer was finished.")
        self._done = True
        return out + self._ending()

    def _last_event(self, event: bytes) -> bytes:
        """Take an event whose end mark is missing: some servers leave out the last one."""
        if not event.strip():
            return b""
        try:
            return self._event(event.rstrip() + self._end)
        except MalformedAnswerError:
            if self.finished:  # half an event after the answer is complete hurts nobody
                return b""
            raise

    def _feed_events(self, data: bytes) -> bytes:
        if self._held is not None:
            raise self._held
        out: list[bytes] = []
        for event in self._split(data):
            if self._done:
                break
            try:
                out.append(self._event(event))
            except FairleadError as error:
                if not any(out):
                    raise
                self._held = error  # raised by the next call: what came before it is the caller's
                break
        return out[0] if len(out) == 1 else b"".join(out)

    def _split(self, data: bytes) -> list[bytes]:
        """Return the events that are complete now, each with its end mark; keep the rest."""
        if self._done:
            return []
        pending = self._pending
        search_from = 0
        if pending:
            search_from = max(0, len(pending) - 3)
            pending += data
            if b"\n" not in data:  # a long event in small pieces is not copied for each of them
                self._check_size(pending)
                return []
            data = bytes(pending)
            self._pending = None
        events = []
        start = 0
        for end in self._ends(data, search_from):
            events.append(data[start:end])
            start = end
        if start < len(data):
            self._pending = bytearray(data[start:])
            self._check_size(self._pending)
        return events

    @staticmethod
    def _check_size(pending: bytearray) -> None:
        if len(pending) > MAX_EVENT_BYTES:
            raise MalformedAnswerError(f"The node sent an event of more than {MAX_EVENT_BYTES} bytes.")

    def _ends(self, data: bytes, search_from: int) -> list[int]:
        """Return where events end; a search for fixed bytes is ten times faster than one for every kind of line end."""
        mark = self._end
        if mark == SSE_END and b"\r" in data:
            return [found.end() for found in _BLANK_LINE.finditer(data, search_from)]
        ends = []
        at = data.find(mark, search_from)
        while at >= 0:
            at += len(mark)
            ends.append(at)
            at = data.find(mark, at)
        return ends
