"""One task on its way through the fleet: does what the dispatch says and tells it what happened.

No task of the event loop is made per request: the door starts an exchange, and the nodes' answers drive it through its
attempts. The load is released when the answer ends, breaks, or its caller goes away, never at the headers.

    attempt fails ---> nothing sent yet: another node          part of it sent: another node goes on (a rescue)
    first token late ---> a second attempt races the first (a hedge); the first to speak is the answer
"""

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from fairlead.backends.contract import Headers
from fairlead.dialects import make_relay, node_request
from fairlead.dialects.contract import Call, ErrorInfo, Relay, Usage
from fairlead.dialects.limits import cut
from fairlead.domain import Outcome, Shortage, Task
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Refuse, Send, Wait
from fairlead.engine.lobby import LAST_NORMAL
from fairlead.errors import BadRequestError, Fault, NoCandidateError, OverloadedError, RoutingError
from fairlead.orchestrator.attempt import TIMER_EARLY_S, Attempt
from fairlead.orchestrator.limits import Charge, KeyLimits
from fairlead.orchestrator.owner import Owner
from fairlead.orchestrator.racing import Race
from fairlead.orchestrator.reading import beyond_limit, routing_error
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.rescuing import Rescuer, may_be_rescued, mend
from fairlead.orchestrator.steps import HedgeStep, RescueStep, Step
from fairlead.orchestrator.target import Target
from fairlead.orchestrator.telling import failed_over, learn, rescue_failed
from fairlead.orchestrator.wishes import NO_WISHES, Wishes

LEAST_TIME_S = 0.01
"""With less time left, no further node is asked."""


class Trouble(msgspec.Struct, gc=False):
    """How a node failed a task."""

    info: ErrorInfo
    retry_after_s: float | None = None
    node: str = ""
    why: str = ""
    """Why nobody could finish the answer that broke there."""


_NOBODY_ASKED = Trouble(ErrorInfo(503, "no node was asked"))


class Exchange:
    """The life of one task, from the door to the end of its answer."""

    __slots__ = (
        "_charged",
        "_deadline_s",
        "_head",
        "_is_partial",
        "_last",
        "_limit_s",
        "_orchestrator",
        "_timer",
        "answer_headers",
        "attempt",
        "began_s",
        "call",
        "decisions",
        "degraded",
        "dispatch",
        "ended_s",
        "error",
        "fault",
        "first_s",
        "has_begun",
        "hedge",
        "is_over",
        "is_pressed",
        "max_output_tokens",
        "race",
        "relay",
        "reply",
        "rescuer",
        "status",
        "step",
        "task",
        "usage",
        "wishes",
    )

    def __init__(
        self,
        orchestrator: Owner,
        call: Call,
        task: Task,
        dispatch: Dispatch,
        reply: Reply,
        head: bytes,
        wishes: Wishes = NO_WISHES,
    ) -> None:
        self._orchestrator = orchestrator
        self._head = head
        self._charged: Charge | None = None
        """What counts against the limits of its key."""
        self._timer: asyncio.TimerHandle | None = None
        self._limit_s = 0.0
        self._is_partial = False
        """Whether a node did a part of the work that counts although nothing whole came of it."""
        """Whether the caller reads too slowly."""
        self._last = _NOBODY_ASKED
        """How the last node failed."""
        self.call = call
        self.task = task
        self.dispatch = dispatch
        self.reply = reply
        self.wishes = wishes
        self.decisions: list[Decision] = []
        """Who was asked; the one whose answer the caller gets stands last."""
        self.attempt: Attempt | None = None
        self.race: Race | None = None
        """Whether a second attempt runs beside it, or will."""
        self.hedge: HedgeStep | None = None
        self.rescuer: Rescuer | None = None
        """Keeps what the caller got so far, where an answer that breaks can be finished by another node."""
        self.relay: Relay | None = None
        self.status = 0
        self.answer_headers: Headers = []
        self.began_s = orchestrator.clock()
        self._deadline_s = self.began_s + orchestrator.total_s(wishes)
        if task.deadline_s is not None:
            self._deadline_s = min(self._deadline_s, task.deadline_s)
        self.first_s: float | None = None
        self.ended_s: float | None = None
        self.has_begun = False
        self.is_over = False
        self.is_pressed = False
        """Whether the caller reads too slowly, so that the node has to wait."""
        self.max_output_tokens: int | None = None
        """To what the answer is cut under pressure; None: it is not."""
        self.degraded = ""
        """What was given up for it under pressure."""
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
            self._is_partial = self._is_partial or self.attempt is not None
            self._stop_attempts()
            self.dispatch.cancel(self._orchestrator.clock())
            self._finish(Fault.CANCELLED)

    def stop(self, error: ErrorInfo, retry_after_s: float | None = None) -> None:
        """The gateway can do no more for it: stop the work, and tell the caller."""
        if self.is_over:
            return
        attempt = self.attempt
        if attempt is not None and attempt.has_begun and attempt.relay.finished:
            attempt.finish()  # all of the answer is out: only its end mark is not
            return
        self._stop_attempts()
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
        said = 0 if self.relay is None else self.relay.chunks
        return self.task.input_tokens + (said if self.rescuer is None else max(said, self.rescuer.said_tokens))

    @property
    def rival(self) -> Attempt | None:
        """The second of two attempts at once."""
        return None if self.race is None else self.race.rival

    @property
    def rescues(self) -> Sequence[RescueStep]:
        """Who took over, where the answer broke in the middle."""
        return () if self.rescuer is None else self.rescuer.steps

    def when_over(self, tell: "Callable[[Exchange], None]") -> None:
        """Call `tell` once it is over and its figures are known."""
        self._orchestrator.loop.call_soon(tell, self)

    def on_pressure(self, is_high: bool) -> None:
        """Take no more from the node while the caller reads too slowly."""
        self.is_pressed = is_high
        if self.attempt is not None:
            self.attempt.press(is_high)

    # -- what the dispatch says

    def act(self, action: Action) -> None:
        """Do what the lobby says, unasked: its turn has come, or it is turned away, or has to give way."""
        if self.is_over or (type(action) is Send and not self._is_under_way(action.decision)):
            return  # it left, or had to give way, since this was said
        self._unwatch()
        if type(action) is GiveWay:
            self._stop_attempts()
            self._follow(Wait(None))
        elif type(action) is Send and self._orchestrator.clock() > self._deadline_s - LEAST_TIME_S:
            self.on_due()  # its turn comes too late
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
        if self.decisions and self.fault is not None:
            orchestrator.tell(failed_over(self, self.fault, decision, orchestrator.clock()))
        if self.step is not None and self.step.choice is not None:
            decision.models = self.step.choice
        self.decisions.append(decision)
        self.status = 0
        if self.has_begun and self.rescuer is not None:
            orchestrator.lobby.began(self)  # who has part of an answer does not give way
            self.rescuer.ask(orchestrator.targets[decision.candidate.node.name])
        attempt = self.ask(decision)
        if not attempt.is_over:
            self.attempt = attempt
        if not (orchestrator.hedger.is_off or self.has_begun or decision.is_cold) and self.call.stream:
            delay_s = orchestrator.hedger.delay_s(decision.candidate.holder)
            self.race = None if delay_s is None else Race(orchestrator, self, delay_s)

    def ask(self, decision: Decision) -> Attempt:
        """Send the task to a node."""
        orchestrator = self._orchestrator
        candidate = decision.candidate
        target: Target = orchestrator.targets[candidate.node.name]
        now_s = orchestrator.clock()
        dialect = target.backend.dialect
        model = candidate.model.name
        wall_s = orchestrator.wall_clock()
        relay = make_relay(self.call, dialect, answer_id=self.task.id, now_s=wall_s, model=model)
        call, rescuer = self.call, self.rescuer
        if rescuer is not None and rescuer.plan is not None:
            relay, call = rescuer.relay(relay, candidate), rescuer.plan.call
        if self.rival is None:
            self.relay = relay
        attempt = Attempt(orchestrator, self, decision, target, relay)
        try:
            limit = decision.max_output_tokens or self.max_output_tokens
            if limit is not None:
                call = cut(call, limit if rescuer is None else rescuer.left_of(limit))
            request = node_request(call, target.own_names.get(model, model), dialect)
        except BadRequestError as error:  # this node's dialect cannot say it; another's may
            info = ErrorInfo(400, str(error), "invalid_request_error")
            # not at once: a large fleet must not nest as deep as it is wide
            orchestrator.loop.call_soon(self._cannot_say, attempt, info)
            return attempt
        head = self._head
        if self.task.deadline_s is not None:
            head += b"x-fairlead-deadline-ms: %d\r\n" % max((self.task.deadline_s - now_s) * 1000, 1)
        attempt.send(request, head, self._deadline_s)
        return attempt

    def _cannot_say(self, attempt: Attempt, info: ErrorInfo) -> None:
        if not self.is_over and not attempt.is_over and self._is_under_way(attempt.decision):
            attempt.stop()
            self.failed(attempt, Fault.UNSUPPORTED, info, None)

    def _wait(self, until_s: float | None) -> None:
        if until_s is None:
            self._watch(max(self._deadline_s - self._orchestrator.clock(), 0.001))
        elif until_s > self._deadline_s - LEAST_TIME_S:
            self.dispatch.cancel(self._orchestrator.clock())
            self._give_up(self._last.info, self._last.retry_after_s, self.fault)
        else:
            delay_s = until_s - self._orchestrator.clock() + TIMER_EARLY_S
            self._timer = self._orchestrator.loop.call_later(delay_s, self.resume_dispatch)

    def resume_dispatch(self) -> None:
        """The time of a wait has come."""
        if not self.is_over:
            self._unwatch()
            self._timer = None
            self._follow(self.dispatch.resume(self._orchestrator.clock()))

    def on_due(self) -> None:
        """It waited for room until its time was over."""
        if self.is_over or self.attempt is not None:
            return
        now_s = self._orchestrator.clock()
        message = "no node had room in time"
        deadline_s = self.task.deadline_s
        fault = Fault.TIMEOUT
        if deadline_s is not None and now_s >= deadline_s - TIMER_EARLY_S:
            fault = Fault.CANCELLED
            message = f"the deadline of this request has passed: {message}"
        self.dispatch.cancel(now_s)
        info = ErrorInfo(504, message, "timeout_error", "timeout")
        self._give_up(info, self._orchestrator.lobby.retry_after_s(self.task, now_s), fault)

    def _refuse(self, action: Refuse) -> None:
        self.error = error = action.error
        if isinstance(error, NoCandidateError):
            self._orchestrator.recovery.handle_routing_failure(self.task, error)
        is_routing = self._last is _NOBODY_ASKED or isinstance(error, OverloadedError)
        if action.fault is None and error is not None and is_routing:
            wait_s = error.retry_after_s if isinstance(error, NoCandidateError | OverloadedError) else None
            self._give_up(routing_error(error), wait_s)
        else:
            self._give_up(self._last.info, self._last.retry_after_s, action.fault)

    def _give_up(self, error: ErrorInfo, retry_after_s: float | None, fault: Fault | None = None) -> None:
        if self.has_begun and self.relay is not None:
            error = (self.rescuer and self.rescuer.broken) or error
            self.status = error.status  # who reads the event that follows may ask for it
            if fault is not Fault.CANCELLED:
                orchestrator = self._orchestrator
                orchestrator.tell(rescue_failed(self, self._last.node, self._last.why, orchestrator.clock()))
            self.reply.write(self.relay.fail(error))
            self.reply.break_off()
        else:
            self.reply.refuse(self, error, retry_after_s)
        self.status = error.status
        self._finish(fault or Fault.UNAVAILABLE)

    # -- what attempts say

    def on_whole_begins(self) -> None:
        """An answer that is not streamed is on its way."""
        if self.task.priority > LAST_NORMAL:
            self._orchestrator.lobby.began(self)

    def begin(self, attempt: Attempt, first: bytes) -> None:
        """The first piece of an attempt: of the answer, or of what another node adds to it."""
        if self.has_begun:
            if self.rescuer is not None:
                to, now_s = attempt.decision.candidate, self._orchestrator.clock()
                self._orchestrator.tell(self.rescuer.took_over(self.task.id, to, now_s))
                self.rescuer.kept.add(first)
            self.reply.write(first)
            if self.is_pressed:
                attempt.press(True)
            return
        if self.race is not None:
            self.race.won_by(attempt)
        self.relay = attempt.relay
        self.status, self.answer_headers = attempt.status, attempt.answer_headers
        self.first_s = attempt.last_s
        self.has_begun = self._is_partial = True
        orchestrator = self._orchestrator
        if self.task.priority > LAST_NORMAL:
            orchestrator.lobby.began(self)
        model = attempt.decision.candidate.model.name
        if may_be_rescued(orchestrator, self, model):
            self.rescuer = Rescuer(self.call, model)
            self.rescuer.kept.add(first)
        self.reply.begin(self, first)

    def complete(self, attempt: Attempt, rest: bytes) -> None:
        """The answer is whole."""
        relay = attempt.relay
        if self.call.stream:
            if not attempt.has_begun:
                attempt.has_begun = True
                self.begin(attempt, rest)
            elif rest:
                self.reply.write(rest)
        now_s = self._orchestrator.clock()
        self.status, self.answer_headers = attempt.status, attempt.answer_headers
        self.usage = usage = relay.usage or Usage(len(self.call.body) // 4, relay.chunks, estimated=True)
        self.attempt = None
        if self.call.stream:
            self.reply.end()
        else:
            self.reply.whole(self, rest)
        is_first = self.first_s is not None and self.first_s >= attempt.sent_s and not self.rescues
        first_s = self.first_s - attempt.sent_s if is_first and self.first_s is not None else None
        outcome = Outcome(
            True, now_s - attempt.sent_s, self.task.category, first_s, usage.input_tokens, usage.output_tokens
        )
        orchestrator = self._orchestrator
        learn(orchestrator, self, first_s)
        self.dispatch.complete(outcome, now_s)
        self._finish(None)

    def failed(self, attempt: Attempt, fault: Fault, info: ErrorInfo, retry_after_s: float | None) -> None:
        """An attempt came to nothing: tell the dispatch, and do what it says."""
        if self.is_over:
            return
        orchestrator = self._orchestrator
        now_s = orchestrator.clock()
        orchestrator.attempt_failed(self, attempt.decision, fault, info)
        rescuer = None if attempt.has_begun else self.rescuer
        if rescuer is not None and rescuer.ask_otherwise(fault, may_restart=self.wishes.restart):
            self.attempt = self.ask(attempt.decision)
            return
        latency_s = now_s - attempt.sent_s
        if self.race is not None and self.race.lost_by(attempt, fault, now_s, latency_s, retry_after_s):
            return
        self._last = Trouble(info, retry_after_s, attempt.decision.candidate.node.name)
        self.status, self.answer_headers = attempt.status, attempt.answer_headers
        self.fault = fault
        self.attempt = None
        if self.has_begun:
            is_late = now_s > self._deadline_s - LEAST_TIME_S
            action, self._last.why = mend(orchestrator, self, attempt, fault, info, is_late=is_late)
        else:
            is_final = now_s > self._deadline_s - LEAST_TIME_S
            action = self.dispatch.fail(fault, now_s, latency_s, retry_after_s, is_relayed=is_final)
        orchestrator.lease_released()
        self._follow(action)

    def leave(self, attempt: Attempt, info: ErrorInfo) -> None:
        """The node of an attempt is not waited for any more: go on as when its connection breaks."""
        if not (self.is_over or attempt.is_over):
            attempt.stop()
            self.failed(attempt, Fault.TRANSPORT, info, None)

    # -- inside

    def _stop_attempts(self) -> None:
        if self.race is not None:
            self.race.stop()
        if self.attempt is not None:
            self.attempt.stop()
            self.attempt = None

    def _finish(self, fault: Fault | None) -> None:
        self.is_over = True
        self.fault = fault
        if self._charged is not None:
            self._charged.settle(self.used_tokens or 0)
        self._unwatch()
        self._stop_timer()
        self.race = None  # it knows this exchange: nothing may be left for the garbage collector to find
        self.ended_s = self._orchestrator.clock()
        self._orchestrator.finished(self)

    def _stop_timer(self) -> None:
        """Forget what was to be done later: to ask again, or to ask a second node."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._orchestrator.timeouts.watch(self, limit_s)

    def _unwatch(self) -> None:
        if self._limit_s:
            self._orchestrator.timeouts.unwatch(self, self._limit_s)
            self._limit_s = 0.0

    def _is_under_way(self, decision: Decision) -> bool:
        return self.dispatch.is_under_way(decision)
