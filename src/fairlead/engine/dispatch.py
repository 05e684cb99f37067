"""The dispatch of one task as a state machine without I/O: events in, actions out.

    begin() ---> Send ---- complete() --> Done
                  |  ^
           fail() |  | (another candidate, or the same after a Wait)
         rescue() v  |
                 Wait -- resume() --> Send | Wait | Refuse          cancel(): Done, from anywhere

    Send ... hedge() --> Send (a rival) ... won() | lost(): one of the two goes on

The owner does what an action says and reports what happened; the dispatch never looks at a clock. Never is the same
node asked twice while another is left, and one that was silent not at all; `Retry-After` is honoured; repeats of work
that a node may have begun are paid for from the retry budget, except where that node's circuit has since opened.
"""

from collections.abc import Collection, Iterator
from enum import StrEnum

import msgspec

from fairlead.domain import Outcome, Task
from fairlead.domain.rescue import Rescue
from fairlead.engine.decision import Decision
from fairlead.engine.faults import TREATMENTS, Blame
from fairlead.engine.fleet import Fleet
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault, NoCandidateError, RoutingError
from fairlead.health import Circuit
from fairlead.load.prefix import Holder
from fairlead.rng import Draw
from fairlead.routing.contract import Strategy
from fairlead.routing.filters import WAITING_HELPS, Reason

_WAITING_HELPS = frozenset(reason.value for reason in WAITING_HELPS)
BLOCK_S = 60.0
"""How long a node is spared a model that it refused."""
COOL_S = 1.0
"""How long a node that answers 429 is left alone when it names no time."""
BACKOFF_S = 0.1
"""First wait before the same node is asked again; doubled each time, half of it drawn at random."""


class Send(msgspec.Struct, gc=False):
    """Send the task to the decision's candidate."""

    decision: Decision


class Wait(msgspec.Struct, frozen=True):
    """Call `resume` at that time, or, where it is None, as soon as a lease is given back."""

    until_s: float | None
    look_again_s: float | None = None
    """When a limit per minute gives way, which no lease tells; None where no such limit is in the way."""


class GiveWay(msgspec.Struct, frozen=True):
    """Stop the attempt: more urgent work took its place. The task waits for room from now on."""


class Refuse(msgspec.Struct, frozen=True):
    """Give up. `error` says why where routing is at fault; else the last answer of a node goes to the caller."""

    fault: Fault | None = None
    error: RoutingError | None = None


class Done(msgspec.Struct, frozen=True):
    """Nothing is left to do."""


Action = Send | Wait | GiveWay | Refuse | Done
DONE = Done()


class Phase(StrEnum):
    """Where a dispatch stands."""

    NEW = "new"
    SENT = "sent"
    WAITING = "waiting"
    OVER = "over"


class Dispatch:
    """One task on its way. Late and duplicate events change nothing."""

    __slots__ = (
        "_budget",
        "_fault",
        "_fleet",
        "_last",
        "_min_context",
        "_only",
        "_owes",
        "_policy",
        "_rescue",
        "_silent",
        "_spared",
        "_strategy",
        "_tried",
        "_waits_since_s",
        "attempts",
        "begun_s",
        "charged_tokens",
        "decision",
        "phase",
        "queued_s",
        "repeats",
        "rival",
        "task",
    )

    def __init__(
        self, fleet: Fleet, task: Task, policy: RetryPolicy, budget: RetryBudget, strategy: Strategy | None = None
    ) -> None:
        self.task = task
        self._fleet = fleet
        self._policy = policy
        self._budget = budget
        self._strategy = strategy
        self._tried: set[str | Holder] = set()
        self._spared: set[str] = set()
        self._silent: set[str] = set()
        """Nodes that took a request and never answered."""
        self._min_context = 0
        self._fault: Fault | None = None
        self._owes = False
        """Whether the next attempt repeats work that a node may have begun, and is not paid for yet."""
        self._rescue = Rescue.NONE
        """Who may finish the answer that the caller has a part of."""
        self._only = ""
        """The model that said that part."""
        self._last: set[Holder] = set()
        """Who is asked after all others: those that lost a race, and those that would have to say it all again."""
        self.attempts = 0
        """Nodes asked so far."""
        self.repeats = 0
        """Of these, those that repeated work which a node may have begun."""
        self.begun_s = 0.0
        self.queued_s = 0.0
        """How long it waited for room."""
        self.charged_tokens = 0
        """What it counts for in its tenant's share; 0 while it was not let in."""
        self._waits_since_s: float | None = None
        self.decision: Decision | None = None
        self.rival: Decision | None = None
        """The second of two attempts at once."""
        self.phase = Phase.NEW

    def begin(self, now_s: float) -> Action:
        """Start: decide for the first time."""
        if self.phase is not Phase.NEW:
            return DONE
        self._budget.deposit()
        self.begun_s = now_s
        return self._next(now_s)

    def hold(self, now_s: float) -> None:
        """Start by waiting for room, because others wait for the same."""
        if self.phase is Phase.NEW:
            self._budget.deposit()
            self.begun_s = self._waits_since_s = now_s
            self.phase = Phase.WAITING

    def give_way(self, now_s: float) -> None:
        """Give the node back to more urgent work, before anything of the answer came, and wait for room."""
        if self.phase is Phase.SENT:
            self._settle_all(now_s)
            self._waits_since_s = now_s
            self.phase = Phase.WAITING

    def may_replace(self, other: Decision, now_s: float) -> bool:
        """Tell whether this task would find room where another was sent, if that one gave way."""
        node = other.candidate.node.name
        return node not in self._tried and self._fleet.would_fit(self.task, other.lease, now_s, self._min_context)

    def resume(self, now_s: float) -> Action:
        """The time of a Wait has come."""
        if self.phase is not Phase.WAITING:
            return DONE
        action = self._next(now_s)
        if type(action) is not Wait:
            self._waited(now_s)
        return action

    def progress(self, now_s: float, output_tokens: int = 0) -> None:
        """The answer is on its way and so long by now: renew the lease, and let it hold more where that is needed."""
        if self.phase is Phase.SENT and self.decision is not None and self.decision.lease.is_open:
            lease = self.decision.lease
            self._fleet.ledger.renew(lease, now_s)
            if output_tokens:
                self._fleet.lessor.adjust(lease, output_tokens)

    def complete(self, outcome: Outcome, now_s: float) -> Action:
        """The answer is whole."""
        if self.phase is not Phase.SENT or self.decision is None:
            return DONE
        self._settle(self.decision, outcome, now_s)
        self._drop_rival(now_s)
        return self._over()

    def cancel(self, now_s: float) -> Action:
        """The caller went away: give back what is held, blame nobody."""
        if self.phase is Phase.SENT:
            self._settle_all(now_s)
        self._waited(now_s)
        return self._over()

    def fail(
        self, fault: Fault, now_s: float, latency_s: float, retry_after_s: float | None = None, is_relayed: bool = False
    ) -> Action:
        """The attempt failed. `is_relayed` says that the caller has part of the answer, so it cannot begin anew."""
        decision = self.decision
        if self.phase is not Phase.SENT or decision is None:
            return DONE
        self._drop_rival(now_s)
        retry_after_s = self._blame(decision, fault, now_s, latency_s, retry_after_s)
        treatment = TREATMENTS[fault]
        counts = treatment.is_budgeted and fault is not Fault.RATE_LIMITED  # it did nothing, and says when it will
        if not treatment.moves_on or is_relayed or not self._may_repeat(counts, now_s):
            return self._refuse(fault)
        self._owes = treatment.is_budgeted and not self._is_gone()
        return self._next(now_s, fault, retry_after_s)

    def rescue(self, fault: Fault, now_s: float, latency_s: float, who: Rescue, unable: Collection[str] = ()) -> Action:
        """The answer broke after the caller got part of it: let another node finish it.

        `unable` names nodes that would have to say it all again, and are asked last.
        """
        decision = self.decision
        if self.phase is not Phase.SENT or decision is None:
            return DONE
        self._drop_rival(now_s)
        retry_after_s = self._blame(decision, fault, now_s, latency_s, None)
        if who is Rescue.NONE or not TREATMENTS[fault].moves_on or not self._may_repeat(True, now_s):
            return self._refuse(fault)
        self._rescue = who
        self._last.update(holder for name in unable for holder in self._fleet.holders_on(name))
        self._only = self._only or decision.candidate.model.name
        self._owes = not self._is_gone()
        return self._next(now_s, fault, retry_after_s)

    # -- two at once

    def hedge(self, now_s: float) -> Action:
        """The first token is late: ask a second node for the same model, if one is free. Done: there is none."""
        if self.phase is not Phase.SENT or self.decision is None or self.rival is not None:
            return DONE
        first = self.decision.candidate  # another model might well be faster, and its answer is not the one wanted
        others: set[str | Holder] = {*self._tried, first.node.name}
        try:
            self.rival = self._fleet.decide(
                self.task, now_s, self.attempts + 1, others, self._min_context, self._strategy, first.model.name
            )
        except RoutingError:
            return DONE
        self.attempts += 1
        return Send(self.rival)

    def is_under_way(self, decision: Decision) -> bool:
        """Tell whether an attempt is one of those that are being made now."""
        return self.phase is Phase.SENT and (decision is self.decision or decision is self.rival)

    def won(self, decision: Decision, now_s: float) -> Decision | None:
        """One of two attempts answers: the other gives its lease back, and is returned. None: there was only one."""
        if self.rival is None or not self.is_under_way(decision):
            return None
        loser = self.decision if decision is self.rival else self.rival
        self._settle(loser, None, now_s)
        if loser is not None:
            self._last.add(loser.candidate.holder)
        self.decision, self.rival = decision, None
        return loser

    def lost(
        self, decision: Decision, fault: Fault, now_s: float, latency_s: float, retry_after_s: float | None = None
    ) -> bool:
        """One of two attempts failed: the other goes on alone. False where there is only one: it has to `fail`."""
        if self.rival is None or not self.is_under_way(decision):
            return False
        self._blame(decision, fault, now_s, latency_s, retry_after_s)
        if decision is self.decision:
            self.decision = self.rival
        self.rival = None
        return True

    # -- inside

    def _blame(
        self,
        decision: Decision,
        fault: Fault,
        now_s: float,
        latency_s: float,
        retry_after_s: float | None,
    ) -> float | None:
        """Let an attempt's failure count for who is at fault; returns when its node may be asked again."""
        treatment = TREATMENTS[fault]
        candidate = decision.candidate
        name = candidate.node.name
        is_blamed = treatment.blame is Blame.NODE
        outcome = Outcome(False, latency_s, self.task.category, fault=fault) if is_blamed else None
        self._settle(decision, outcome, now_s)
        if treatment.blame is Blame.PAIR:
            self._fleet.block(candidate, fault, now_s + BLOCK_S, now_s)
        if fault is Fault.RATE_LIMITED:
            retry_after_s = COOL_S if retry_after_s is None else retry_after_s
            self._fleet.cool(candidate, now_s + retry_after_s, now_s)
        if fault is Fault.CONTEXT:
            self._min_context = (candidate.model.context_tokens or self._min_context) + 1
            self._tried.update(self._fleet.of_unknown_context(candidate.model.name))
        if fault in (Fault.TIMEOUT, Fault.LATE):
            self._silent.add(name)
        self._fault = fault
        self._tried.add(name)
        if fault is Fault.NOT_FOUND or (fault is Fault.CONTEXT and candidate.model.context_tokens is not None):
            self._spared.add(name)
        return retry_after_s

    def _waited(self, now_s: float) -> None:
        if self._waits_since_s is not None:
            self.queued_s += now_s - self._waits_since_s
            self._waits_since_s = None

    def _may_repeat(self, is_budgeted: bool, now_s: float) -> bool:
        if self.task.deadline_s is not None and now_s >= self.task.deadline_s:
            return False
        if not is_budgeted:  # the node did no work; each node is moved away from once at most
            return True
        self.repeats += 1
        return self.repeats < self._policy.max_attempts

    def _is_well(self, decision: Decision) -> bool:
        state = self._fleet.nodes[decision.candidate.node.name]
        return state.breaker.failures_in_a_row == 0 and state.breaker.state is Circuit.CLOSED and state.has_answered

    def _is_gone(self) -> bool:
        """Tell whether the node that failed is given no tasks now: work taken away from it is not work done twice."""
        state = self._fleet.nodes.get(self.decision.candidate.node.name) if self.decision else None
        return self._has_opened() or (state is not None and state.is_unreachable)

    def _has_opened(self) -> bool:
        state = self._fleet.nodes.get(self.decision.candidate.node.name) if self.decision else None
        return state is not None and state.breaker.state is not Circuit.CLOSED

    def _next(
        self,
        now_s: float,
        fault: Fault | None = None,
        retry_after_s: float | None = None,
    ) -> Action:
        """Ask the next candidate, and pay for it where it repeats work.

        A node that has not failed since it last answered costs nothing: work sent there gets done, so a repeat adds
        none to an outage. What a whole fleet that fails is asked again comes from the budget.
        """
        nobody: NoCandidateError | None = None
        for only, others in self._ways():
            try:
                decision = self._fleet.decide(
                    self.task, now_s, self.attempts + 1, others, self._min_context, self._strategy, only
                )
            except NoCandidateError as error:
                nobody = error.with_traceback(None)  # which would keep this very frame for the garbage collector
            except RoutingError as error:
                return self._refuse(fault, error)
            else:
                if self._owes and not self._is_well(decision) and not self._budget.withdraw(now_s):
                    self._settle(decision, None, now_s)
                    return self._refuse(fault or self._fault)
                self._owes = False
                self.decision = decision
                self.attempts += 1
                self.phase = Phase.SENT
                return Send(decision)
        if nobody is None:
            return self._refuse(fault)
        return self._nobody_left(nobody, now_s, fault, retry_after_s)

    def _ways(self) -> Iterator[tuple[str | None, Collection[str | Holder]]]:
        """Give whom to ask: one model alone, or whatever was asked for (None), and who is not to be asked.

        A broken answer goes to who can go on from it, then to who may say the same again, and to another model last.
        """
        models: tuple[str | None, ...] = (None,)
        if self._rescue is not Rescue.NONE:
            models = (self._only, None) if self._rescue is Rescue.ANY_MODEL else (self._only,)
        for only in models:
            if self._last:
                yield only, self._tried.union(self._last)
            yield only, self._tried

    def _nobody_left(
        self, error: NoCandidateError, now_s: float, fault: Fault | None, retry_after_s: float | None
    ) -> Action:
        """Wait for capacity, or for a node that may be asked again; else give up."""
        if not _WAITING_HELPS.isdisjoint(error.reasons):
            self.phase = Phase.WAITING
            if self._waits_since_s is None:
                self._waits_since_s = now_s
            is_limit = Reason.RATE.value in error.reasons and error.retry_after_s is not None
            return Wait(None, now_s + (error.retry_after_s or 0.0) if is_limit else None)
        if self._spared:  # another model on the same node may do
            self._tried -= self._spared
            self._spared.clear()
            return self._next(now_s, fault, retry_after_s)
        if fault is None or not TREATMENTS[fault].is_budgeted:
            return self._refuse(fault or self._fault, error)
        if (self._has_opened() and retry_after_s is None) or self._tried <= self._silent:
            return self._refuse(fault, error)
        until_s = now_s + self._pause_s(retry_after_s)
        deadline_s = self.task.deadline_s
        if fault is Fault.RATE_LIMITED and not self._may_repeat(True, now_s):
            return self._refuse(fault, error)
        if until_s - now_s > self._policy.max_wait_s or (deadline_s is not None and until_s >= deadline_s):
            return self._refuse(fault, error)
        self._tried.intersection_update(self._silent)
        self.phase = Phase.WAITING
        return Wait(until_s)

    def _pause_s(self, retry_after_s: float | None) -> float:
        backoff_s = BACKOFF_S * 2.0 ** (self.attempts - 1)
        jitter = Draw(self._fleet.settings.seed, self.task.key, -self.attempts).unit()
        return max(retry_after_s or 0.0, backoff_s * (0.5 + 0.5 * jitter))

    def _settle_all(self, now_s: float) -> None:
        self._settle(self.decision, None, now_s)
        self._drop_rival(now_s)

    def _drop_rival(self, now_s: float) -> None:
        self._settle(self.rival, None, now_s)
        self.rival = None

    def _settle(self, decision: Decision | None, outcome: Outcome | None, now_s: float) -> None:
        if decision is not None:
            self._fleet.settle(decision.lease, decision.candidate, outcome, now_s)
            if decision.is_cold and outcome is not None and outcome.first_token_s is not None:
                self._fleet.loaded(decision.candidate, outcome.first_token_s)

    def _refuse(self, fault: Fault | None, error: RoutingError | None = None) -> Action:
        self.phase = Phase.OVER
        return Refuse(fault, error)

    def _over(self) -> Action:
        self.phase = Phase.OVER
        return DONE
