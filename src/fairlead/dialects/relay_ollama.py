"""Ollama node, Ollama caller: lines pass as they are."""

from fairlead.dialects.common import is_utf8
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation
from fairlead.dialects.embeddings import check_ollama
from fairlead.dialects.errors import fail_event
from fairlead.dialects.ndjson import read_line
from fairlead.dialects.stream import LINE_END, NDJSON_TYPE, NO_TAIL, TAIL_BYTES, StreamRelay
from fairlead.errors import MalformedAnswerError

_UNFINISHED = b'"done":false'


class OllamaRelay(StreamRelay):
    """Passes lines on unread while they say that the answer goes on; parses the others."""

    media_type = NDJSON_TYPE
    _end = LINE_END
    _tail = NO_TAIL
    """How the last line ended that was read whole: one that is cut off does not."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._clear = True

    def feed(self, data: bytes) -> bytes:
        """Return what can go to the caller now: the same bytes."""
        if (
            self._clear
            and data.endswith(self._tail)
            and _UNFINISHED in data
            and data.startswith(b"{")
            and data.count(b"\n") == 1
            and (data.isascii() or is_utf8(data))
        ):
            self.chunks += 1
            return data
        out = self._feed_events(data)
        self._clear = not (self._pending or self._done or self._held)
        return out

    def whole(self, body: bytes) -> bytes:
        """Check the answer, note its tokens, and return it as it is."""
        if self._call.operation is Operation.EMBEDDING:
            self.usage = check_ollama(body)
        else:
            answer = read_line(body)
            if not answer.done:
                raise MalformedAnswerError("The node's answer is not complete: `done` is not true.")
            self.usage = answer.usage
        self.finished = True
        return body

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the error as a line."""
        return fail_event(Dialect.OLLAMA, error)

    def _event(self, event: bytes) -> bytes:
        is_plain = event.startswith(b"{") and event.endswith(self._tail) and _UNFINISHED in event
        if is_plain and (event.isascii() or is_utf8(event)):
            self.chunks += 1
            return event
        if not event.strip():  # a blank line keeps a connection open, and is read by no client
            return b""
        if not (event.isascii() or is_utf8(event)):  # what is not read is not checked by the decoder
            raise MalformedAnswerError("The node sent a line that is no text.")
        line = read_line(event)
        self._tail = event[-TAIL_BYTES:]
        if line.text or line.thought or line.tool_calls:
            self.chunks += 1
        if line.done:
            self.usage = line.usage
            self.finished = self._done = True
        return event

    def _ending(self) -> bytes:
        return b""
