"""One task on its way through the fleet: does what the dispatch says and tells it what happened.

No task of the event loop is made per request: the door starts an exchange, and the node's answer drives it through
the callbacks of `Sink`. The load is released when the answer ends, breaks, or its caller goes away, never at the
headers.
"""

import asyncio
from typing import TYPE_CHECKING

import msgspec

from fairlead.backends.contract import Headers, Sending
from fairlead.dialects import fault_of, make_relay, node_request, read_error
from fairlead.dialects.contract import Call, ErrorInfo, Operation, ProviderError, Relay, Usage
from fairlead.dialects.limits import limited
from fairlead.domain import Outcome, Shortage, Task
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Phase, Refuse, Send, Wait
from fairlead.engine.lobby import LAST_NORMAL
from fairlead.errors import (
    BadRequestError,
    Fault,
    MalformedAnswerError,
    NoCandidateError,
    OverloadedError,
    RoutingError,
)
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.orchestrator.limits import Charge, KeyLimits
from fairlead.orchestrator.reading import beyond_limit, fault_in_stream, read_retry_after, routing_error
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.target import Target
from fairlead.routing.engine import ModelChoice

if TYPE_CHECKING:
    from fairlead.orchestrator.orchestrator import ModelOrchestrator

MAX_WHOLE_BYTES = 64 * 1024 * 1024
MAX_ERROR_BYTES = 1024 * 1024
DEADLINE_SLACK_S = 1.0
"""Deciding takes a moment of the total: usual durations share a timer, so they are not cut for so little."""
LEAST_TIME_S = 0.01
"""With less time left, no further node is asked."""
RENEWAL_S = 5.0
TIMER_EARLY_S = 0.002
"""A timer of uvloop may come so much too early."""


_NOBODY_ASKED = ErrorInfo(503, "no node was asked")
_NOT_EVERYWHERE = (Operation.EMBEDDING, Operation.PASSING)
"""Operations that a node may well lack altogether, so that its 404 says nothing about the model."""


class Step(msgspec.Struct):
    """Which step of a cascade an exchange is."""

    cascade: str
    number: int
    """From 1."""
    total: int
    reason: str | None = None
    """Why the cascade did not take this step's answer; None while nobody knows, and where it took it."""
    outline: str | None = None
    """The same without the words of a node or a plugin, which may quote a prompt."""
    asked_for: str = ""
    """The name that the caller asked for."""
    choice: ModelChoice | None = None
    """What chose the cascade, where the caller left that open."""

    def __str__(self) -> str:
        return f"{self.cascade} {self.number}/{self.total}"


class Exchange:
    """The life of one task, from the door to the end of its answer."""

    __slots__ = (
        "_charged",
        "_deadline_s",
        "_error",
        "_head",
        "_idle_s",
        "_is_partial",
        "_is_pressed",
        "_limit_s",
        "_orchestrator",
        "_parts",
        "_reply",
        "_retry_after_s",
        "_sending",
        "_sent_s",
        "_size",
        "_timer",
        "answer_headers",
        "began_s",
        "call",
        "decisions",
        "dispatch",
        "ended_s",
        "error",
        "fault",
        "first_s",
        "has_begun",
        "is_over",
        "last_s",
        "relay",
        "status",
        "step",
        "task",
        "usage",
    )

    def __init__(
        self,
        orchestrator: "ModelOrchestrator",
        call: Call,
        task: Task,
        dispatch: Dispatch,
        reply: Reply,
        head: bytes,
        began_s: float,
    ) -> None:
        self._orchestrator = orchestrator
        self._reply = reply
        self._head = head
        self._sending: Sending | None = None
        self._charged: Charge | None = None
        """What counts against the limits of its key."""
        self._timer: asyncio.TimerHandle | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._limit_s = 0.0
        self._idle_s = 0.0
        self._is_pressed = False
        self._is_partial = False
        """Whether a node did a part of the work that counts although nothing whole came of it."""
        self._sent_s = began_s
        self._error = _NOBODY_ASKED
        self._retry_after_s: float | None = None
        self._deadline_s = began_s + orchestrator.timeouts_of_calls.total_s
        if task.deadline_s is not None:
            self._deadline_s = min(self._deadline_s, task.deadline_s)
        self.call = call
        self.task = task
        self.dispatch = dispatch
        self.decisions: list[Decision] = []
        self.relay: Relay | None = None
        self.status = 0
        self.answer_headers: Headers = []
        self.began_s = began_s
        self.first_s: float | None = None
        self.last_s = began_s
        self.ended_s: float | None = None
        self.has_begun = False
        self.is_over = False
        self.fault: Fault | None = None
        """What ended it, where it did not end well."""
        self.error: RoutingError | None = None
        """Why routing gave up, where it did."""
        self.usage: Usage | None = None
        self.step: Step | None = None
        """Where it is part of a cascade."""

    def start(self, limits: KeyLimits | None = None) -> None:
        """Decide and send, or wait for room; or refuse what passes the limits of its key."""
        orchestrator = self._orchestrator
        if limits is not None and not self._charge(limits):
            return
        action = orchestrator.lobby.begin(self, self.dispatch, self.began_s, len(self.call.body))
        if orchestrator.lobby.told:  # first, so that who gives way has left the node
            orchestrator.tell_others()
        self._perform(action)
        if orchestrator.lobby.look_again_s <= self.began_s:
            orchestrator.lease_released()

    def _charge(self, limits: KeyLimits) -> bool:
        task = self.task
        is_further = self.step is not None and self.step.number > 1
        charge = limits.charge(task.input_tokens, task.output_tokens, self.began_s, is_further=is_further)
        if isinstance(charge, Shortage):
            self.dispatch.cancel(self.began_s)
            self._perform(Refuse(None, beyond_limit(charge)))
            return False
        self._charged = charge
        return True

    def cancel(self) -> None:
        """The caller went away: stop the work and release the load."""
        if not self.is_over:
            if self._sending is not None:
                self._is_partial = True
                self._sending.cancel()
            self.dispatch.cancel(self._orchestrator.clock())
            self._finish(Fault.CANCELLED)

    def stop(self, error: ErrorInfo, retry_after_s: float | None = None) -> None:
        """The gateway can do no more for it: stop the work, and tell the caller."""
        if not self.is_over:
            if self._sending is not None:
                self._sending.cancel()
            self.dispatch.cancel(self._orchestrator.clock())
            self._give_up(error, retry_after_s, Fault.CANCELLED)

    @property
    def used_tokens(self) -> int | None:
        """What it took, as far as that is known; None where it ended early and nothing came of it.

        Who hangs up has had the prompt read, and what came of the answer until then.
        """
        if self.usage is not None:
            return self.usage.input_tokens + self.usage.output_tokens
        if not self._is_partial:
            return None
        return self.task.input_tokens + (0 if self.relay is None else self.relay.chunks)

    def on_pressure(self, is_high: bool) -> None:
        """Take no more from the node while the caller reads too slowly."""
        if self._sending is not None and not self.is_over:
            self._is_pressed = is_high
            self.last_s = self._orchestrator.clock()
            if is_high:
                self._sending.pause()
            else:
                self._sending.resume()

    # -- what the dispatch says

    def act(self, action: Action) -> None:
        """Do what the lobby says, unasked: its turn has come, or it is turned away, or has to give way."""
        if self.is_over or (type(action) is Send and not self._is_under_way(action.decision)):
            return  # it left, or had to give way, since this was said
        self._unwatch()
        if type(action) is GiveWay:
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None
            self._follow(Wait(None))
        else:
            self._perform(action)

    def _follow(self, action: Action) -> None:
        """Do what the dispatch said, once the lobby has heard of it."""
        orchestrator = self._orchestrator
        lobby = orchestrator.lobby
        size = len(self.call.body)
        action = lobby.follow(self, self.dispatch, action, orchestrator.clock(), size)
        if lobby.told:
            orchestrator.tell_others()
        self._perform(action)

    def _perform(self, action: Action) -> None:
        if type(action) is Send:
            self._send(action.decision)
        elif type(action) is Wait:
            self._wait(action.until_s)
        elif type(action) is Refuse:
            self._refuse(action)

    def _send(self, decision: Decision) -> None:
        orchestrator = self._orchestrator
        candidate = decision.candidate
        target: Target = orchestrator.targets[candidate.node.name]
        self.decisions.append(decision)
        if self.step is not None and self.step.choice is not None:
            decision.models = self.step.choice
        self.status = 0
        self._size = 0
        if self._parts:
            self._parts = []
        self._sent_s = self.last_s = now_s = orchestrator.clock()
        dialect = target.backend.dialect
        model = candidate.model.name
        wall_s = orchestrator.wall_clock()
        self.relay = make_relay(self.call, dialect, answer_id=self.task.id, now_s=wall_s, model=model)
        try:
            call = self.call
            if decision.max_output_tokens is not None:
                call = limited(call, decision.max_output_tokens)
            request = node_request(call, target.own_names.get(model, model), dialect)
        except BadRequestError as error:  # this node's dialect cannot say it; another's may
            info = ErrorInfo(400, str(error), "invalid_request_error")
            # not at once: a large fleet must not nest as deep as it is wide
            orchestrator.loop.call_soon(self._cannot_say, decision, info)
            return
        self._sending = target.backend.send(request, self._head, self)
        self._idle_s = target.idle_s
        limit_s = target.first_token_s if self.call.stream else target.total_s
        left_s = self._deadline_s - now_s
        if left_s < limit_s - (DEADLINE_SLACK_S if self.task.deadline_s is None else 0.0):
            limit_s = max(left_s, 0.0)
        self._limit_s = limit_s
        orchestrator.timeouts.watch(self, limit_s)

    def _cannot_say(self, decision: Decision, info: ErrorInfo) -> None:
        if not self.is_over and self._is_under_way(decision):
            self._break(Fault.UNSUPPORTED, info)

    def _wait(self, until_s: float | None) -> None:
        if until_s is None:
            self._watch(max(self._deadline_s - self._orchestrator.clock(), 0.0))
        elif until_s > self._deadline_s - LEAST_TIME_S:
            self.dispatch.cancel(self._orchestrator.clock())
            self._give_up(self._error, self._retry_after_s, self.fault)
        else:
            delay_s = until_s - self._orchestrator.clock() + TIMER_EARLY_S
            self._timer = self._orchestrator.loop.call_later(delay_s, self.resume_dispatch)

    def resume_dispatch(self) -> None:
        """The time of a wait has come."""
        if not self.is_over:
            self._unwatch()
            self._timer = None
            self._follow(self.dispatch.resume(self._orchestrator.clock()))

    def _refuse(self, action: Refuse) -> None:
        self.error = error = action.error
        is_routing = self._error is _NOBODY_ASKED or isinstance(error, OverloadedError)
        if action.fault is None and error is not None and is_routing:
            wait_s = error.retry_after_s if isinstance(error, NoCandidateError | OverloadedError) else None
            self._give_up(routing_error(error), wait_s)
        else:
            self._give_up(self._error, self._retry_after_s, action.fault)

    def _give_up(self, error: ErrorInfo, retry_after_s: float | None, fault: Fault | None = None) -> None:
        if self.has_begun and self.relay is not None:
            self._reply.write(self.relay.fail(error))
            self._reply.break_off()
        else:
            self._reply.refuse(self, error, retry_after_s)
        self.status = error.status
        self._finish(fault or Fault.UNAVAILABLE)

    # -- what the node sends

    def on_head(self, status: int, headers: Headers) -> None:
        """The node answers."""
        self.status = status
        self.answer_headers = headers
        if status == 200 and not self.call.stream and self.task.priority > LAST_NORMAL:
            self._orchestrator.lobby.began(self)  # a whole answer begins when it is nearly done

    def on_data(self, data: bytes) -> None:
        """A piece of the answer: relayed at once where it is streamed, kept until the end where not."""
        if not self.call.stream or self.status != 200 or self.relay is None:
            self._keep(data)
            return
        try:
            out = self.relay.feed(data)
        except ProviderError as error:
            self._break(fault_in_stream(error.info), error.info)
            return
        except MalformedAnswerError as error:
            self._break(Fault.MALFORMED, ErrorInfo(502, f"the node's answer is malformed: {error}"))
            return
        if out:
            if self.has_begun:
                self._reply.write(out)
                self.last_s = self._orchestrator.clock()
            elif not out.startswith(b":"):  # a comment that only keeps the line open is no token
                self._begin(out)

    def on_end(self) -> None:
        """The answer is whole."""
        if self.is_over:
            return
        relay = self.relay
        if self.status >= 300 or relay is None:
            self._node_refused()
            return
        relay.elapsed_s = self._orchestrator.clock() - self._sent_s
        try:
            if self.call.stream:
                rest = relay.close()
            else:
                rest = relay.whole(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        except ProviderError as error:
            self._break(fault_in_stream(error.info), error.info, is_ended=True)
        except MalformedAnswerError as error:
            info = ErrorInfo(502, f"the node's answer is malformed: {error}")
            self._break(Fault.MALFORMED, info, is_ended=True)
        else:
            self._complete(rest)

    def on_error(self, fault: Fault, message: str) -> None:
        """The attempt broke."""
        if not self.is_over:
            status = 504 if fault is Fault.TIMEOUT else 502
            self._break(fault, ErrorInfo(status, f"{self._node_name()}: {message}"), is_ended=True)

    def on_due(self) -> None:
        """Something took too long: the first token, the next piece, or the whole."""
        if self.is_over:
            return
        now_s = self._orchestrator.clock()
        if self.has_begun and now_s < self._deadline_s:
            idle_s = self._idle_s
            self.dispatch.progress(now_s, 0 if self.relay is None else self.relay.chunks)
            if self._is_pressed:  # the node waits for the caller, not the other way round
                self.last_s = now_s
            if now_s - self.last_s < idle_s - TIMER_EARLY_S:
                self._watch_pieces(now_s)
                return
            if self.relay is not None and self.relay.finished:  # it only forgot to hang up
                if self._sending is not None:
                    self._sending.cancel()
                self._complete(self.relay.close())
                return
            message = f"{self._node_name()} sent nothing for {idle_s:g} s in the middle of its answer"
        elif self.dispatch.decision is None or self._sending is None:
            message = "no node had room in time"
        else:
            message = f"{self._node_name()} gave no answer within {now_s - self._sent_s:.1f} s"
        fault = Fault.TIMEOUT
        deadline_s = self.task.deadline_s
        if deadline_s is not None and now_s >= deadline_s - TIMER_EARLY_S:
            fault = Fault.CANCELLED  # the caller's own limits say nothing about the node
            message = f"the deadline of this request has passed: {message}"
        elif self._is_pressed:
            fault = Fault.CANCELLED
            message = "the answer was not read in time"
        self._break(fault, ErrorInfo(504, message, "timeout_error", "timeout"))

    # -- inside

    def _begin(self, first: bytes) -> None:
        self.first_s = self.last_s = self._orchestrator.clock()
        self.has_begun = self._is_partial = True
        if self.task.priority > LAST_NORMAL:
            self._orchestrator.lobby.began(self)
        self._unwatch()
        self._watch_pieces(self.last_s)
        self._reply.begin(self, first)

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > (MAX_WHOLE_BYTES if self.status < 300 else MAX_ERROR_BYTES):
            self._break(Fault.MALFORMED, ErrorInfo(502, f"{self._node_name()} sent more than the gateway will hold"))
        else:
            self._parts.append(data)

    def _complete(self, rest: bytes) -> None:
        now_s = self._orchestrator.clock()
        relay = self.relay
        if relay is not None:
            self.usage = relay.usage or Usage(len(self.call.body) // 4, relay.chunks, estimated=True)
        if not self.call.stream:
            self._reply.whole(self, rest)
        else:
            if self.has_begun:
                if rest:
                    self._reply.write(rest)
            else:
                self._begin(rest)
            self._reply.end()
        usage = self.usage
        first_s = None if self.first_s is None else self.first_s - self._sent_s
        outcome = Outcome(
            True,
            now_s - self._sent_s,
            self.task.category,
            first_s,
            0 if usage is None else usage.input_tokens,
            0 if usage is None else usage.output_tokens,
        )
        if self.task.prefix and self._orchestrator.prefixes is not None:
            self._learn_prefix(self._orchestrator.prefixes, first_s)
        self.dispatch.complete(outcome, now_s)
        self._finish(None)

    def _learn_prefix(self, prefixes: PrefixAffinity, first_token_s: float | None) -> None:
        """Tell what the node really held of the prompt, and how fast it read the rest."""
        choice, usage = self.decisions[-1].choice, self.usage
        if first_token_s is not None:
            prefixes.record_first_token(max(self.task.input_tokens - choice.promised_tokens, 0), first_token_s)
        if usage is not None and usage.cached_tokens is not None:
            prefixes.record_hit(choice.picked.holder, usage.cached_tokens, choice.promised_tokens)

    def _node_refused(self) -> None:
        """Read the node's error; its status and reason reach the caller when nobody else can help."""
        info = read_error(self.status, b"".join(self._parts))
        if 300 <= self.status < 400:
            message = "the node answers with a redirect, which is not followed: put the final address into its url"
            info = ErrorInfo(502, message)
        retry_after_s = read_retry_after(self.answer_headers)
        fault = Fault.NOT_FOUND if self.status < 400 else fault_of(self.status, info)
        if self.status == 508:  # this node leads back to here, and will again
            fault = Fault.DENIED
        if fault is Fault.NOT_FOUND and self.call.operation in _NOT_EVERYWHERE:
            fault = Fault.UNSUPPORTED
        self._break(fault, info, retry_after_s, is_ended=True)

    def _break(
        self, fault: Fault, info: ErrorInfo, retry_after_s: float | None = None, *, is_ended: bool = False
    ) -> None:
        """Tell the dispatch that the attempt failed, and do what it says."""
        if not is_ended and self._sending is not None:
            self._sending.cancel()
        self._sending = None
        self._unwatch()
        now_s = self._orchestrator.clock()
        self._error, self._retry_after_s = info, retry_after_s
        self.fault = fault
        if self.dispatch.phase is Phase.SENT:
            self._orchestrator.attempt_failed(self, fault, info)
        if self.dispatch.decision is None or self.dispatch.phase is Phase.WAITING:
            self.dispatch.cancel(now_s)
            self._give_up(info, self._orchestrator.lobby.retry_after_s(self.task, now_s), fault)
            return
        is_final = self.has_begun or now_s > self._deadline_s - LEAST_TIME_S
        action = self.dispatch.fail(fault, now_s, now_s - self._sent_s, retry_after_s, is_relayed=is_final)
        self._orchestrator.lease_released()
        self._follow(action)

    def _finish(self, fault: Fault | None) -> None:
        self.is_over = True
        self.fault = fault
        if self._charged is not None:
            self._charged.settle(self.used_tokens or 0)
        self._sending = None
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        self.ended_s = self._orchestrator.clock()
        self._orchestrator.finished(self)

    def _watch_pieces(self, now_s: float) -> None:
        """Look again when the next piece is overdue or the lease needs renewal, and at the deadline."""
        limit_s = min(RENEWAL_S, self._idle_s)
        quiet_s = now_s - self.last_s
        if quiet_s or self._deadline_s - now_s < limit_s:
            limit_s = max(min(limit_s, self._idle_s - quiet_s, self._deadline_s - now_s), 0.01)
        self._watch(limit_s)

    def _watch(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._orchestrator.timeouts.watch(self, limit_s)

    def _unwatch(self) -> None:
        self._orchestrator.timeouts.unwatch(self, self._limit_s)

    def _is_under_way(self, decision: Decision) -> bool:
        return self.dispatch.decision is decision and self.dispatch.phase is Phase.SENT

    def _node_name(self) -> str:
        return f"node {self.decisions[-1].candidate.node.name}" if self.decisions else "the fleet"
