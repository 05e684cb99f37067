"""One node at work on a task: sends the request, relays the answer, and notices when it takes too long.

An exchange has one attempt at a time; two while the second races the first for the first token. All limits on a node
are kept here; what a failure leads to is the exchange's to say.
"""

from typing import TYPE_CHECKING

from fairlead.backends.contract import Headers, Sending
from fairlead.dialects import fault_of, read_error
from fairlead.dialects.continued_relay import DivergedError
from fairlead.dialects.contract import ErrorInfo, NodeRequest, Operation, ProviderError, Relay
from fairlead.engine.decision import Decision
from fairlead.errors import Fault, MalformedAnswerError
from fairlead.orchestrator.owner import Owner
from fairlead.orchestrator.reading import fault_in_stream, read_retry_after
from fairlead.orchestrator.target import CallTimeouts, Target

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange

MAX_WHOLE_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
DEADLINE_SLACK_S = 0.05
"""Deciding takes a moment of the total: usual durations share a timer, so they are not cut for so little."""
RENEWAL_S = 5.0
TIMER_EARLY_S = 0.002
"""A timer of uvloop may come so much too early."""
COMMENT = ord(":")
_NOT_EVERYWHERE = (Operation.EMBEDDING, Operation.PASSING)
"""Operations that a node may well lack altogether, so that its 404 says nothing about the model."""


class Attempt:
    """One request to one node, and its answer."""

    __slots__ = (
        "_early",
        "_end_s",
        "_exchange",
        "_is_impatient",
        "_is_pressed",
        "_is_streamed",
        "_kept",
        "_limit_s",
        "_limits",
        "_orchestrator",
        "_parts",
        "_repeated",
        "_sending",
        "_size",
        "answer_headers",
        "decision",
        "has_begun",
        "is_over",
        "last_s",
        "relay",
        "sent_s",
        "status",
        "target",
        "write",
    )

    def __init__(
        self,
        orchestrator: Owner,
        exchange: "Exchange",
        decision: Decision,
        target: Target,
        relay: Relay,
    ) -> None:
        self._orchestrator = orchestrator
        self._exchange = exchange
        self._is_streamed = exchange.call.stream
        self._sending: Sending | None = None
        self._early = b""
        """What came before the first token: a role, without a word."""
        self._parts: list[bytes] = []
        self._size = 0
        self._repeated = 0
        """Pieces that said again what the caller has already."""
        self._is_pressed = False
        self._is_impatient = False
        """Whether its caller says how long to wait: then being late is not the node's fault."""
        self._kept = None if exchange.rescuer is None else exchange.rescuer.kept
        """What the caller got so far, where an answer that breaks can be finished by another node."""
        self._limit_s = 0.0
        self._limits = target.by_model.get(decision.candidate.model.name) or target.timeouts
        self._end_s = 0.0
        self.decision = decision
        self.target = target
        self.relay = relay
        self.sent_s = self.last_s = orchestrator.clock()
        self.status = 0
        self.answer_headers: Headers = []
        self.has_begun = False
        self.is_over = False
        self.write = exchange.reply.write

    def send(self, request: NodeRequest, head: bytes, deadline_s: float) -> None:
        """Send the request, and mind the time: `deadline_s` is the task's own."""
        exchange = self._exchange
        limits = self._limits
        if exchange.wishes.limits_of_call is not None:
            limits = self._limits = limits.but(exchange.wishes.limits_of_call)
            self._is_impatient = True
        self._sending = self.target.backend.send(request, head, self)
        if self.is_over:
            return
        self._end_s = min(self.sent_s + limits.total_s, deadline_s)
        limit_s = min(self._first_limit_s(limits), limits.total_s) if self._is_streamed else limits.total_s
        left_s = deadline_s - self.sent_s
        if left_s < limit_s - (DEADLINE_SLACK_S if exchange.task.deadline_s is None else 0.0):
            limit_s = max(left_s, 0.0)
        self._watch(limit_s)

    def stop(self) -> None:
        """Stop the work at the node; nothing more is heard of it."""
        if not self.is_over:
            self.is_over = True
            self._unwatch()
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None

    def press(self, is_high: bool) -> None:
        """Take no more from the node while the caller reads too slowly."""
        if self._sending is not None and not self.is_over:
            self._is_pressed = is_high
            self.last_s = self._orchestrator.clock()
            if is_high:
                self._sending.pause()
            else:
                self._sending.resume()

    def finish(self) -> None:
        """Take the answer for whole, which it is but for its end mark; the node need not say more."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        try:
            rest = self.relay.close()
        except (ProviderError, MalformedAnswerError) as error:  # of what came behind the end
            self._break_in_stream(error, is_ended=True)
        else:
            self._complete(rest)

    @property
    def name(self) -> str:
        """The node, for messages."""
        return f"node {self.decision.candidate.node.name}"

    @property
    def body(self) -> bytes:
        """What came of an answer that is not streamed."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    # -- what the node sends

    def on_head(self, status: int, headers: Headers) -> None:
        """The node answers."""
        self.status = status
        self.answer_headers = headers
        if status == 200 and not self._is_streamed:
            self._exchange.on_whole_begins()  # a whole answer begins when it is nearly done

    def on_data(self, data: bytes) -> None:
        """A piece of the answer: relayed at once where it is streamed, kept until the end where not."""
        if not self._is_streamed or self.status != 200:
            self._keep(data)
            return
        try:
            out = self.relay.feed(data)
        except (ProviderError, MalformedAnswerError) as error:
            self._break_in_stream(error)
            return
        if out:
            if self.has_begun:
                if self._kept is not None:
                    self._kept.add(out)
                self.write(out)
                if out[0] > COMMENT or not _says_nothing(out):
                    self.last_s = self._orchestrator.clock()
                return
            if not _says_nothing(out):  # what only keeps the line open is no token
                if self.relay.chunks or self.relay.finished:
                    self._begin(self._early + out)
                    return
                self._early += out
        if self.relay.chunks > self._repeated:  # said again, or held back: the caller has nothing of it
            self._repeated = self.relay.chunks
            self.last_s = self._orchestrator.clock()

    def on_end(self) -> None:
        """The answer is whole."""
        if self.is_over:
            return
        if self.status >= 300:
            self._refused()
            return
        relay = self.relay
        now_s = self._orchestrator.clock()
        relay.elapsed_s = now_s - self.sent_s
        try:
            rest = relay.close() if self._is_streamed else relay.whole(self.body)
        except (ProviderError, MalformedAnswerError) as error:
            self._break_in_stream(error, is_ended=True)
        else:
            self._complete(rest)

    def on_error(self, fault: Fault, message: str) -> None:
        """The attempt broke."""
        if self.is_over:
            return
        if self.has_begun and self.relay.finished:  # all of the answer is there: only its end mark is not
            self.on_end()
        else:
            status = 504 if fault is Fault.TIMEOUT else 502
            self._break(fault, ErrorInfo(status, f"{self.name}: {message}"), is_ended=True)

    def on_due(self) -> None:
        """Something took too long: the status line, the first token, the next piece, or the whole."""
        if self.is_over:
            return
        exchange = self._exchange
        now_s = self._orchestrator.clock()
        if now_s < self._end_s - TIMER_EARLY_S:
            if self.has_begun or self.last_s > self.sent_s:  # it speaks, though perhaps nothing of it goes out yet
                if self._goes_on(now_s):
                    return
                message = f"{self.name} sent nothing for {self._limits.idle_s:g} s in the middle of its answer"
            elif self._has_time_for_first(now_s):
                return
            else:
                what = "no answer" if not self.status else "a status line and no answer"
                message = f"{self.name} gave {what} within {now_s - self.sent_s:.1f} s"
        else:
            message = f"{self.name} did not finish its answer within {now_s - self.sent_s:.1f} s"
            if not self.has_begun:
                message = f"{self.name} gave no answer within {now_s - self.sent_s:.1f} s"
        fault = Fault.LATE if self._is_impatient else Fault.TIMEOUT
        deadline_s = exchange.task.deadline_s
        if deadline_s is not None and now_s >= deadline_s - TIMER_EARLY_S:
            fault = Fault.CANCELLED  # the caller's own limits say nothing about the node
            message = f"the deadline of this request has passed: {message}"
        elif self._is_pressed:
            fault = Fault.CANCELLED
            message = "the answer was not read in time"
        self._break(fault, ErrorInfo(504, message, "timeout_error", "timeout"))

    # -- inside

    def _begin(self, first: bytes) -> None:
        """The first piece for the caller: from here on this attempt is the answer."""
        exchange = self._exchange
        self.last_s = self._orchestrator.clock()
        self.has_begun = True
        exchange.begin(self, first)
        self._kept = None if exchange.rescuer is None else exchange.rescuer.kept
        if not self.is_over:
            self._unwatch()
            self._watch_pieces(self.last_s)

    def _goes_on(self, now_s: float) -> bool:
        """Tell whether an answer under way is not overdue, and look again when it may be."""
        exchange = self._exchange
        exchange.dispatch.progress(now_s, self.relay.chunks)
        if self._is_pressed:  # the node waits for the caller, not the other way round
            self.last_s = now_s
        if now_s - self.last_s < self._limits.idle_s - TIMER_EARLY_S:
            self._watch_pieces(now_s)
            return True
        if self.relay.finished:  # it only forgot to hang up
            self.finish()
            return True
        return False

    def _has_time_for_first(self, now_s: float) -> bool:
        """Tell whether the first token may still come: the status line came in time, and its own time is not over."""
        if not self.status or not self._is_streamed:
            return False
        left_s = self.sent_s + self._extra_s() + self._limits.first_token_s - now_s
        if left_s <= TIMER_EARLY_S:
            return False
        self._watch(min(left_s, self._end_s - now_s))
        return True

    def _first_limit_s(self, limits: CallTimeouts) -> float:
        """Return how long until the first look: at the status line, or at the first token."""
        headers_s = limits.headers_s
        first_s = limits.first_token_s if headers_s is None else min(headers_s, limits.first_token_s)
        return first_s + self._extra_s() if self.decision.is_cold else first_s

    def _extra_s(self) -> float:
        return self._limits.load_s if self.decision.is_cold else 0.0

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > (MAX_WHOLE_BYTES if self.status < 300 else MAX_ERROR_BYTES):
            self._break(Fault.MALFORMED, ErrorInfo(502, f"{self.name} sent more than the gateway will hold"))
        else:
            self._parts.append(data)

    def _complete(self, rest: bytes) -> None:
        self.is_over = True
        self._sending = None
        self._unwatch()
        self._exchange.complete(self, rest if self.has_begun else self._early + rest)

    def _refused(self) -> None:
        """Read the node's error; its status and reason reach the caller when nobody else can help."""
        info = read_error(self.status, b"".join(self._parts))
        if 300 <= self.status < 400:
            message = "the node answers with a redirect, which is not followed: put the final address into its url"
            info = ErrorInfo(502, message)
        fault = Fault.NOT_FOUND if self.status < 400 else fault_of(self.status, info)
        if self.status == 508:  # this node leads back to here, and will again
            fault = Fault.DENIED
        if fault is Fault.NOT_FOUND and self._exchange.call.operation in _NOT_EVERYWHERE:
            fault = Fault.UNSUPPORTED
        self._break(fault, info, read_retry_after(self.answer_headers, self._orchestrator.wall_clock()), is_ended=True)

    def _break_in_stream(self, error: ProviderError | MalformedAnswerError, *, is_ended: bool = False) -> None:
        if isinstance(error, ProviderError):
            self._break(fault_in_stream(error.info), error.info, is_ended=is_ended)
        elif isinstance(error, DivergedError):
            self._break(Fault.DIVERGED, ErrorInfo(502, f"{self.name}: {error}"), is_ended=is_ended)
        else:
            info = ErrorInfo(502, f"the node's answer is malformed: {error}")
            self._break(Fault.MALFORMED, info, is_ended=is_ended)

    def _break(
        self, fault: Fault, info: ErrorInfo, retry_after_s: float | None = None, *, is_ended: bool = False
    ) -> None:
        if is_ended:
            self._sending = None
        self.stop()
        try:
            self._exchange.failed(self, fault, info, retry_after_s)
        except Exception as error:  # noqa: BLE001
            self._orchestrator.stuck(self._exchange, error)

    def _watch_pieces(self, now_s: float) -> None:
        """Look again when the next piece is overdue or the lease needs renewal, and at the end of its time."""
        idle_s = self._limits.idle_s
        limit_s = min(RENEWAL_S, idle_s)
        quiet_s = now_s - self.last_s
        if quiet_s or self._end_s - now_s < limit_s:
            limit_s = max(min(limit_s, idle_s - quiet_s, self._end_s - now_s), 0.01)
        self._watch(limit_s)

    def _watch(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._orchestrator.timeouts.watch(self, limit_s)

    def _unwatch(self) -> None:
        self._orchestrator.timeouts.unwatch(self, self._limit_s)


def _says_nothing(out: bytes) -> bool:
    """Tell whether whole events only keep the line open: comments and blank lines."""
    if out[0] != COMMENT and not out[:1].isspace():
        return False
    return all(not line.strip() or line[0] == COMMENT for line in out.splitlines())
