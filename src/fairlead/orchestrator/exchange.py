"""One task on its way through the fleet: does what the dispatch says and tells it what happened.

No task of the event loop is made per request: the door starts an exchange, and the nodes' answers drive it through its
attempts. The load is released when the answer ends, breaks, or its caller goes away, never at the headers.

    attempt fails ---> nothing sent yet: another node          part of it sent: another node goes on (a rescue)
    first token late ---> a second attempt races the first (a hedge); the first to speak is the answer
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from fairlead.backends.contract import Headers
from fairlead.dialects import make_relay, node_request
from fairlead.dialects.contract import Call, ErrorInfo, Relay, Usage
from fairlead.dialects.limits import limited
from fairlead.domain import Outcome, Shortage, Task
from fairlead.domain.rescue import Rescue
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Refuse, Send, Wait
from fairlead.engine.events import FailedOver, Hedged, RescueFailed
from fairlead.engine.lobby import LAST_NORMAL
from fairlead.errors import BadRequestError, Fault, NoCandidateError, OverloadedError, RoutingError
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.orchestrator.attempt import TIMER_EARLY_S, Attempt
from fairlead.orchestrator.limits import Charge, KeyLimits
from fairlead.orchestrator.reading import beyond_limit, routing_error
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.rescuing import NOBODY_LEFT, Rescuer, unable_to_continue
from fairlead.orchestrator.steps import HedgeStep, RescueStep, Step
from fairlead.orchestrator.target import Target
from fairlead.orchestrator.wishes import NO_WISHES, Wishes

if TYPE_CHECKING:
    from fairlead.orchestrator.orchestrator import ModelOrchestrator

LEAST_TIME_S = 0.01
"""With less time left, no further node is asked."""
_NOBODY_ASKED = ErrorInfo(503, "no node was asked")


class Exchange:
    """The life of one task, from the door to the end of its answer."""

    __slots__ = (
        "_charged",
        "_deadline_s",
        "_head",
        "_is_partial",
        "_is_pressed",
        "_last_error",
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
        "relay",
        "reply",
        "rescuer",
        "rival",
        "status",
        "step",
        "task",
        "usage",
        "wishes",
    )

    def __init__(
        self,
        orchestrator: "ModelOrchestrator",
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
        self._is_pressed = False
        """Whether the caller reads too slowly."""
        self._last_error: tuple[ErrorInfo, float | None] = (_NOBODY_ASKED, None)
        """What the last node that failed said, and when it may be asked again."""
        self.call = call
        self.task = task
        self.dispatch = dispatch
        self.reply = reply
        self.wishes = wishes
        self.decisions: list[Decision] = []
        """Who was asked; the one whose answer the caller gets stands last."""
        self.attempt: Attempt | None = None
        self.rival: Attempt | None = None
        """The second of two attempts at once."""
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
        return self.task.input_tokens + (0 if self.relay is None else self.relay.chunks)

    @property
    def rescues(self) -> Sequence[RescueStep]:
        """Who took over, where the answer broke in the middle."""
        return () if self.rescuer is None else self.rescuer.steps

    def when_over(self, tell: "Callable[[Exchange], None]") -> None:
        """Call `tell` once it is over and its figures are known."""
        self._orchestrator.loop.call_soon(tell, self)

    def on_pressure(self, is_high: bool) -> None:
        """Take no more from the node while the caller reads too slowly."""
        self._is_pressed = is_high
        if self.attempt is not None:
            self.attempt.press(is_high)

    # -- what the dispatch says

    def act(self, action: Action) -> None:
        """Do what the lobby says, unasked: its turn has come, or it is turned away, or has to give way."""
        if self.is_over or (type(action) is Send and not self._is_under_way(action.decision)):
            return  # it left, or had to give way, since this was said
        self._unwatch()
        if type(action) is GiveWay:
            self._stop_timer()
            self._stop_attempts()
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
        if self.decisions:
            self._tell_failover(decision)
        if self.step is not None and self.step.choice is not None:
            decision.models = self.step.choice
        self.decisions.append(decision)
        self.status = 0
        if self.has_begun and self.rescuer is not None:
            orchestrator.lobby.began(self)  # who has part of an answer does not give way
            self.rescuer.ask(orchestrator.targets[decision.candidate.node.name])
        attempt = self._ask(decision)
        if not attempt.is_over:
            self.attempt = attempt
        if not orchestrator.hedger.is_off and not self.has_begun and self.call.stream:
            self._hedge_later(decision)

    def _ask(self, decision: Decision) -> Attempt:
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
            if limit is not None and not self.has_begun:
                call = limited(call, limit)
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
            self._give_up(*self._last_error, self.fault)
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
        is_routing = self._last_error[0] is _NOBODY_ASKED or isinstance(error, OverloadedError)
        if action.fault is None and error is not None and is_routing:
            wait_s = error.retry_after_s if isinstance(error, NoCandidateError | OverloadedError) else None
            self._give_up(routing_error(error), wait_s)
        else:
            self._give_up(*self._last_error, action.fault)

    def _give_up(self, error: ErrorInfo, retry_after_s: float | None, fault: Fault | None = None) -> None:
        if self.has_begun and self.relay is not None:
            error = (self.rescuer and self.rescuer.broken) or error
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
                broken = self.decisions[-2 if len(self.decisions) > 1 else -1].candidate
                to, now_s = attempt.decision.candidate, self._orchestrator.clock()
                self._orchestrator.tell(self.rescuer.took_over(self.task.id, broken, to, now_s))
                self.rescuer.kept.add(first)
            self.reply.write(first)
            if self._is_pressed:
                attempt.press(True)
            return
        self._stop_timer()
        if self.rival is not None:
            self._win(attempt)
        self.relay = attempt.relay
        self.status, self.answer_headers = attempt.status, attempt.answer_headers
        self.first_s = attempt.last_s
        self.has_begun = self._is_partial = True
        orchestrator = self._orchestrator
        if self.task.priority > LAST_NORMAL:
            orchestrator.lobby.began(self)
        if self._may_be_rescued(attempt):
            self.rescuer = Rescuer(self.call, attempt.decision.candidate.model.name)
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
        elif self.rival is not None:
            self._win(attempt)
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
        if first_s is not None and orchestrator.hedger.config.enabled:
            orchestrator.hedger.observe(attempt.decision.candidate.holder, first_s)
        if self.task.prefix and orchestrator.prefixes is not None:
            self._learn_prefix(orchestrator.prefixes, first_s)
        self.dispatch.complete(outcome, now_s)
        if orchestrator.on_answer is not None:
            orchestrator.on_answer(attempt.decision.candidate.node.name)
        self._finish(None)

    def failed(self, attempt: Attempt, fault: Fault, info: ErrorInfo, retry_after_s: float | None) -> None:
        """An attempt came to nothing: tell the dispatch, and do what it says."""
        if self.is_over:
            return
        orchestrator = self._orchestrator
        now_s = orchestrator.clock()
        if not attempt.has_begun and self.rescuer is not None and self._asks_otherwise(fault):
            self.attempt = self._ask(attempt.decision)
            return
        orchestrator.attempt_failed(self, attempt.decision, fault, info)
        latency_s = now_s - attempt.sent_s
        if self.rival is not None and self.dispatch.lost(attempt.decision, fault, now_s, latency_s, retry_after_s):
            self._go_on_alone(attempt)
            return
        self._stop_timer()
        self._last_error = info, retry_after_s
        self.status, self.answer_headers = attempt.status, attempt.answer_headers
        self.fault = fault
        self.attempt = None
        if self.has_begun:
            action = self._mend(attempt, fault, info, now_s)
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

    # -- two attempts at once

    def _hedge_later(self, decision: Decision) -> None:
        orchestrator = self._orchestrator
        delay_s = None if decision.is_cold else orchestrator.hedger.delay_s(decision.candidate.holder)
        if delay_s is not None:
            self._timer = orchestrator.loop.call_later(delay_s, self._hedge, delay_s)

    def _hedge(self, after_s: float) -> None:
        """The first token is late: ask a second node, and take whose answer comes first."""
        self._timer = None
        orchestrator = self._orchestrator
        first = self.attempt
        if self.is_over or self.has_begun or first is None or self.rival is not None or orchestrator.hedger.is_off:
            return
        if not orchestrator.hedger.withdraw():
            return
        action = self.dispatch.hedge(orchestrator.clock())
        if type(action) is not Send:
            orchestrator.hedger.refund()
            return
        decision = action.decision
        node, to_node = first.decision.candidate.node.name, decision.candidate.node.name
        self.decisions.append(decision)
        self.hedge = HedgeStep(node, to_node, after_s, won=False)
        orchestrator.tell(
            Hedged(at_s=orchestrator.clock(), task=self.task.id, node=node, to_node=to_node, after_s=after_s)
        )
        self.rival = first  # so that it counts as one of two while it is being sent
        rival = self._ask(decision)
        self.rival = None if rival.is_over else rival

    def _win(self, winner: Attempt) -> None:
        """One of two attempts speaks first: the other is stopped."""
        loser = self.attempt if winner is self.rival else self.rival
        if self.hedge is not None:
            self.hedge = msgspec.structs.replace(self.hedge, won=winner is self.rival)
        self.attempt, self.rival = winner, None
        if loser is not None:
            loser.stop()
        self.dispatch.won(winner.decision, self._orchestrator.clock())
        self.decisions.remove(winner.decision)
        self.decisions.append(winner.decision)
        self._orchestrator.lease_released()

    def _go_on_alone(self, failed: Attempt) -> None:
        other = self.rival if failed is self.attempt else self.attempt
        self.attempt, self.rival = other, None
        if other is not None:
            self.relay = other.relay
            self.decisions.remove(other.decision)
            self.decisions.append(other.decision)
        self._orchestrator.lease_released()

    # -- an answer that broke

    def _may_be_rescued(self, attempt: Attempt) -> bool:
        who = self._rescuers()
        if who is Rescue.NONE:
            return False
        fleet = self._orchestrator.fleet
        name = attempt.decision.candidate.model.name if who is Rescue.SAME_MODEL else self.task.model
        return len(fleet.lineup(name).nodes) > 1

    def _rescuers(self) -> Rescue:
        wish = self.wishes.rescue
        return self._orchestrator.rescue if wish is None else wish

    def _asks_otherwise(self, fault: Fault) -> bool:
        return self.rescuer is not None and self.rescuer.ask_otherwise(fault, may_restart=self.wishes.restart)

    def _mend(self, attempt: Attempt, fault: Fault, info: ErrorInfo, now_s: float) -> Action:
        """Find another node that finishes the answer; where nobody can, the caller is told that it broke."""
        latency_s, rescuer = now_s - attempt.sent_s, self.rescuer
        if rescuer is None:
            why: str | None = "rescue is off, or no other node has the model"
        else:
            rescuer.broke(attempt, info)
            why = rescuer.why_not(fault)
        if why is None:
            unable = unable_to_continue(self.call, self._orchestrator.targets)
            action = self.dispatch.rescue(fault, now_s, latency_s, self._rescuers(), unable)
            if type(action) is not Refuse:
                return action
            why = NOBODY_LEFT
        else:
            action = self.dispatch.fail(fault, now_s, latency_s, is_relayed=True)
        node = attempt.decision.candidate.node.name
        self._orchestrator.tell(RescueFailed(at_s=now_s, task=self.task.id, node=node, why=why))
        return action

    # -- inside

    def _tell_failover(self, decision: Decision) -> None:
        """Tell who takes over from the node that failed the task."""
        before, to = self.decisions[-1].candidate, decision.candidate
        if self.fault is not None:
            self._orchestrator.tell(
                FailedOver(
                    at_s=self._orchestrator.clock(),
                    task=self.task.id,
                    node=before.node.name,
                    fault=self.fault.value,
                    to_node=to.node.name,
                    to_model=to.model.name,
                )
            )

    def _learn_prefix(self, prefixes: PrefixAffinity, first_token_s: float | None) -> None:
        """Tell what the node really held of the prompt, and how fast it read the rest."""
        choice, usage = self.decisions[-1].choice, self.usage
        if first_token_s is not None:
            prefixes.record_first_token(max(self.task.input_tokens - choice.promised_tokens, 0), first_token_s)
        if usage is not None and usage.cached_tokens is not None:
            prefixes.record_hit(choice.picked.holder, usage.cached_tokens, choice.promised_tokens)

    def _stop_attempts(self) -> None:
        for attempt in (self.attempt, self.rival):
            if attempt is not None:
                attempt.stop()
        self.attempt = self.rival = None

    def _finish(self, fault: Fault | None) -> None:
        self.is_over = True
        self.fault = fault
        if self._charged is not None:
            self._charged.settle(self.used_tokens or 0)
        self._unwatch()
        self._stop_timer()
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
