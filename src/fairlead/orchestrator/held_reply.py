"""Replies between an exchange and its caller, for cascades: one that holds an answer back, one that listens to its end.

An answer is held as it would have gone out, byte for byte, and then either leaves in one piece or is dropped.
"""

from collections.abc import Callable
from typing import Protocol

from fairlead.dialects.answer_text import AnswerReader, AnswerText
from fairlead.dialects.contract import ErrorInfo
from fairlead.errors import FairleadError
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.reply import Reply

MAX_ANSWER_BYTES = 2 * 2**20
"""Of one answer as it goes over the wire: some 8,000 streamed tokens, since each comes wrapped in about 250 bytes."""
MAX_TOTAL_BYTES = 64 * 2**20
"""Of all answers held at the same time."""


class Judge(Protocol):
    """Decides what becomes of a step."""

    def on_answer(self, exchange: Exchange, answer: AnswerText | None) -> None:
        """A whole answer is held: release it or drop it. None where it cannot be read."""
        ...

    def on_failure(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """No answer came, or only a part that is held: drop it, or pass the error on."""
        ...

    def on_sent(self, exchange: Exchange, reason: str | None) -> None:
        """The caller has got all there is; `reason` says what was wrong with it, if anything."""
        ...


class Store:
    """Counts what is held for all callers together."""

    def __init__(self, limit_bytes: int = MAX_TOTAL_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self.used_bytes = 0

    def take(self, size: int) -> bool:
        """Take room for so many bytes; False where there is none."""
        if self.used_bytes + size > self._limit_bytes:
            return False
        self.used_bytes += size
        return True


class HeldReply:
    """Holds an answer until the judge has spoken. One too long to hold goes out unjudged, the rest of it live."""

    def __init__(
        self,
        reply: Reply,
        judge: Judge,
        store: Store,
        reader: AnswerReader,
        clean: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`clean` takes out of whole events what the caller did not ask for, after the reader has seen it."""
        self._reply = reply
        self._judge = judge
        self._store = store
        self._reader: AnswerReader | None = reader
        self._clean = clean
        self._held = bytearray()
        self._is_live = False
        self._is_whole = False
        self._exchange: Exchange | None = None

    # -- what the exchange says

    def whole(self, exchange: Exchange, body: bytes) -> None:
        """Hold a complete answer."""
        self._exchange = exchange
        self._is_whole = True
        data = self._read(body)
        if self._hold(data):
            self._judge.on_answer(exchange, self._answer())
        else:
            self._reply.whole(exchange, data)
            self._judge.on_sent(exchange, None)

    def begin(self, exchange: Exchange, first: bytes) -> None:
        """Hold the first piece of a streamed answer."""
        self._exchange = exchange
        self.write(first)

    def write(self, data: bytes) -> None:
        """Hold a further piece, or send it where the answer has become too long to hold."""
        data = self._read(data)
        if self._is_live:
            self._reply.write(data)
        elif not self._hold(data) and self._exchange is not None:
            first = bytes(self._held) + data
            self.drop()
            self._is_live = True
            self._reader = None
            self._reply.begin(self._exchange, first)

    def end(self) -> None:
        """A streamed answer is complete."""
        if self._exchange is None:
            return
        if self._is_live:
            self._reply.end()
            self._judge.on_sent(self._exchange, None)
        else:
            self._judge.on_answer(self._exchange, self._answer())

    def break_off(self) -> None:
        """A streamed answer broke: nobody has seen any of it, unless it was too long to hold."""
        if self._exchange is None:
            return
        if self._is_live:
            self._reply.break_off()
            self._judge.on_sent(self._exchange, BROKE_OFF.message)
        else:
            self._judge.on_failure(self._exchange, BROKE_OFF, None)

    def refuse(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """Nobody could answer."""
        self._judge.on_failure(exchange, error, retry_after_s)

    # -- what the judge says

    def release(self) -> None:
        """Send the answer on, in the form in which it came."""
        exchange, data = self._exchange, bytes(self._held)
        self.drop()
        if exchange is None:
            return
        if self._is_whole:
            self._reply.whole(exchange, data)
        else:
            self._reply.begin(exchange, data)
            self._reply.end()

    def drop(self) -> None:
        """Forget what is held."""
        self._store.used_bytes -= len(self._held)
        self._held = bytearray()

    # -- inside

    def _hold(self, data: bytes) -> bool:
        if len(self._held) + len(data) > MAX_ANSWER_BYTES or not self._store.take(len(data)):
            return False
        self._held += data
        return True

    def _read(self, data: bytes) -> bytes:
        """Read a piece as it comes, so that a long answer is no burst of work at its end; returns it cleaned."""
        if self._reader is not None:
            try:
                self._reader.feed(data)
            except FairleadError:
                self._reader = None
        return data if self._clean is None else self._clean(data)

    def _answer(self) -> AnswerText | None:
        return None if self._reader is None else self._reader.answer()


class LastReply:
    """Passes everything on at once, and tells the judge of the end."""

    def __init__(self, reply: Reply, judge: Judge) -> None:
        self._reply = reply
        self._judge = judge
        self._exchange: Exchange | None = None
        self.write = reply.write
        """Send a further piece at once: the reply's own method, since this is done for every token."""

    def whole(self, exchange: Exchange, body: bytes) -> None:
        """Send a complete answer."""
        self._reply.whole(exchange, body)
        self._judge.on_sent(exchange, None)

    def begin(self, exchange: Exchange, first: bytes) -> None:
        """Send the head of a streamed answer together with its first piece."""
        self._exchange = exchange
        self._reply.begin(exchange, first)

    def end(self) -> None:
        """End a streamed answer well."""
        self._reply.end()
        if self._exchange is not None:
            self._judge.on_sent(self._exchange, None)

    def break_off(self) -> None:
        """End a streamed answer that broke."""
        self._reply.break_off()
        if self._exchange is not None:
            self._judge.on_sent(self._exchange, BROKE_OFF.message)

    def refuse(self, exchange: Exchange, error: ErrorInfo, retry_after_s: float | None) -> None:
        """Send an error instead of an answer."""
        self._reply.refuse(exchange, error, retry_after_s)
        self._judge.on_sent(exchange, error.message)


BROKE_OFF = ErrorInfo(502, "the answer broke off")
