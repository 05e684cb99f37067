"""The queue of those who found no room."""

from collections.abc import Hashable, Mapping

from fairlead.admission.ageing import CLASSES, KIND_OF, Ageing
from fairlead.admission.config import QueueConfig
from fairlead.admission.fair_share import FairShare
from fairlead.admission.outlook import Outlook
from fairlead.admission.places import Places
from fairlead.admission.report import class_states, tenant_states
from fairlead.admission.roster import Roster
from fairlead.admission.round import Competes, Round
from fairlead.admission.state import QueueState
from fairlead.admission.waiting import ENTERED, Entry, Refusal, Waiting, Why
from fairlead.admission.wording import sent_off, turned_away
from fairlead.domain import PriorityClass, Task
from fairlead.domain.priority import NORMAL

HEADROOM = 0.8
"""Share of the longest wait that may be expected at the entrance: forecasts err, and who waits in vain waits long."""
PATIENCE = 0.5
"""Share of the longest wait for which one at the head of its line lets others of other lines slip by."""


class AdmissionQueue:
    """Those who wait, in the order in which they are to be let in; one owner, no locks.

    Order: level, with ageing of whole levels; inside a level fair share between tenants; inside a tenant who is due
    first, which is the deadline or the end of the class's longest wait. Every operation is O(log n).
    """

    def __init__(
        self,
        config: QueueConfig | None = None,
        shares: Mapping[str, float] | None = None,
        competes: Competes | None = None,
    ) -> None:
        """Raises ValueError for a share that is not above 0.

        `shares` are tenants' weights, 1.0 where nothing is said; `competes(line, other)` tells whether two lines may
        want the same room, as all do when it is left out.
        """
        self.config = config or QueueConfig()
        self.evicted_total = self.expired_total = self.admitted_total = 0
        self.refused: dict[Why, int] = dict.fromkeys(Why, 0)
        self._competes = competes or _always
        self._shares = FairShare(shares)
        self._ageing = Ageing(self.config)
        roster = Roster(self.config.max_waiting, self.config.max_bytes)
        self._outlook = Outlook(self._shares, roster, self._ageing)
        self._places = Places(roster, self._ageing, self._shares, self._outlook)
        self._waiting = self._places.of
        self._shed: frozenset[PriorityClass] = frozenset()
        self._wait_share = 1.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, ticket: Hashable) -> bool:
        return ticket in self._waiting

    # -- coming and going

    def enter(
        self,
        waiting: Waiting,
        now_s: float,
        may_take_s: float | None = None,
        *,
        at_work_tokens: int = 0,
        is_back: bool = False,
    ) -> Entry:
        """Let one wait, or refuse it at once where that is hopeless or there is no place for it.

        `may_take_s` is what it is expected to take once it is let in, and `at_work_tokens` what was let in and has not
        ended: together they say how soon there will be room before anything has ended. One that `is_back` was let in
        before and gave its room to more urgent work: it is refused only where the queue is full of that, whatever wait
        is to be expected. Raises ValueError where its ticket waits already.
        """
        if waiting.ticket in self._waiting:
            raise ValueError(f"{waiting.ticket!r} waits already: leave() comes before it may enter again")
        self._places.now_s = now_s
        task = waiting.task
        if not self._waiting:
            self._outlook.drain.expect(at_work_tokens, may_take_s or 0.0)
        if not is_back:
            self._outlook.came(task.priority, waiting.tokens, now_s)
        wait_s = self._outlook.wait_s(task.priority, waiting.tokens, task.tenant, now_s)
        takes_s = may_take_s or 0.0
        reason = None if is_back else self._hopeless(waiting, now_s, wait_s, takes_s)
        if reason is not None:
            return self._turn_away(waiting, reason, now_s, wait_s, takes_s)
        victims = self._places.roster.victims(waiting, self._shares, is_back=is_back)
        if victims is None:
            return self._turn_away(waiting, Why.FULL, now_s, wait_s, takes_s)
        self.evicted_total += len(victims)
        for victim in victims:
            self._places.remove(victim)
        self._places.add(waiting, now_s, is_back=is_back)
        return Entry(True, tuple([victim.waiting for victim in victims])) if victims else ENTERED

    def leave(self, ticket: Hashable) -> Waiting | None:
        """One is gone, or was let in by another way; None where it does not wait."""
        place = self._waiting.get(ticket)
        if place is None:
            return None
        self._places.remove(place)
        return place.waiting

    def round(self, now_s: float) -> Round:
        """Begin a pass over those who wait; the owner has asked for `overdue` before."""
        self._places.now_s = now_s

        def no_room(waiting: Waiting) -> bool:
            return self._is_impatient(waiting, now_s)

        return Round(self._places.order, now_s, self._competes, self._admit, no_room)

    def overdue(self, now_s: float) -> list[tuple[Waiting, Refusal]]:
        """Send off those who have waited as long as their class may, or whose deadline has passed."""
        gone: list[tuple[Waiting, Refusal]] = []
        while (place := self._places.pop_due(now_s)) is not None:
            self.expired_total += 1
            deadline_s = place.waiting.task.deadline_s
            is_late = deadline_s is not None and deadline_s <= now_s
            gone.append((place.waiting, self.send_off(place.waiting, now_s, Why.DEADLINE if is_late else Why.TOO_LONG)))
        return gone

    @property
    def next_due_s(self) -> float | None:
        """Return when `overdue` will have somebody, or None."""
        return self._places.next_due_s()

    def may_barge(self, task: Task, line: Hashable, now_s: float) -> bool:
        """Tell whether a newcomer may try at once: nobody who would come before it waits for the same room."""
        if not self._waiting:
            return True
        order = self._places.order
        if order.is_anyone(line, task.priority, now_s):
            return False
        return not any(
            order.level_of(place, now_s) <= task.priority and self._competes(place.waiting.line, line)
            for place in self._places.impatient.values()
        )

    # -- what tasks take, and what goes away

    def charge(self, tenant: str | None, tokens: int, now_s: float, priority: int = NORMAL) -> None:
        """A task is let in that did not wait."""
        self._outlook.came(priority, tokens, now_s)
        if self._waiting:
            self._shares.charge(tenant, tokens)

    def settle(self, tenant: str | None, charged: int, used: int) -> None:
        """Correct what a task was charged to what it used; nothing where nobody waits."""
        if self._waiting and charged != used:
            self._shares.settle(tenant, charged, used)

    def served(self, tokens: int, now_s: float) -> None:
        """A lease ended. `tokens` are those that its task was charged, so that waits are counted in one measure."""
        self._outlook.drain.add(tokens, now_s)

    # -- forecasts

    def expected_wait_s(self, priority: int, tokens: int, now_s: float, tenant: str | None = None) -> float:
        """Return how long a newcomer would wait, in seconds; 0.0 where that is not known yet."""
        return self._outlook.wait_s(priority, tokens, tenant, now_s)

    def retry_after_s(self, priority: int, tokens: int, now_s: float) -> float:
        """Return when one who is refused should come again, in seconds; nothing is promised by asking."""
        return self._outlook.retry_after_s(priority, tokens, now_s)

    def send_off(self, waiting: Waiting, now_s: float, reason: Why = Why.FULL) -> Refusal:
        """Return what one is told that has waited in vain (by default: one that was evicted), with an appointment."""
        priority = waiting.task.priority
        retry_after_s = self._outlook.appoint_s(priority, waiting.tokens, now_s)
        return sent_off(reason, CLASSES[KIND_OF[priority]].value, now_s - waiting.since_s, retry_after_s)

    def tighten(self, *, shed: frozenset[PriorityClass] = frozenset(), share: float = 1.0) -> None:
        """From now on refuse these classes at once, and let others wait for `share` of the usual time at most.

        Interactive tasks keep their time. Who waits already stays. Called without arguments it undoes itself. Raises
        ValueError for a share that is not in (0, 1].
        """
        if not 0 < share <= 1:
            raise ValueError(f"a share of the usual wait is above 0 and at most 1, not {share!r}")
        self._shed = shed
        self._wait_share = share

    def state(self, now_s: float) -> QueueState:
        """Tell how things stand."""
        outlook = self._outlook
        return QueueState(
            class_states(self._places.roster, outlook, now_s),
            tenant_states(self._shares),
            outlook.drain.rate(now_s),
            outlook.drain.ends_per_s(now_s),
            outlook.usual.rate(now_s),
            {why.value: number for why, number in self.refused.items()},
            self.evicted_total,
            self.expired_total,
            self.admitted_total,
        )

    # -- inside

    def _hopeless(self, waiting: Waiting, now_s: float, wait_s: float, takes_s: float) -> Why | None:
        task = waiting.task
        kind = CLASSES[KIND_OF[task.priority]]
        if kind in self._shed:
            return Why.SHED
        if task.deadline_s is not None and now_s + wait_s + takes_s > task.deadline_s:
            return Why.DEADLINE
        is_too_long = wait_s > 0 and now_s - waiting.since_s + wait_s > self._allowed_s(task.priority)
        return Why.TOO_LONG if is_too_long else None

    def _allowed_s(self, priority: int) -> float:
        """Return the longest wait that may be expected of one who enters."""
        share = 1.0 if CLASSES[KIND_OF[priority]] is PriorityClass.INTERACTIVE else self._wait_share
        return self._ageing.limits_s[priority] * HEADROOM * share

    def _turn_away(self, waiting: Waiting, reason: Why, now_s: float, wait_s: float, takes_s: float) -> Entry:
        self.refused[reason] += 1
        priority = waiting.task.priority
        retry_after_s = self._outlook.appoint_s(priority, waiting.tokens, now_s)
        refusal = turned_away(
            reason,
            CLASSES[KIND_OF[priority]].value,
            wait_s=wait_s,
            takes_s=takes_s,
            allowed_s=self._allowed_s(priority),
            retry_after_s=retry_after_s,
        )
        return Entry(False, (), refusal)

    def _admit(self, waiting: Waiting) -> None:
        place = self._waiting.get(waiting.ticket)
        if place is None or place.waiting is not waiting:
            raise ValueError(f"{waiting.ticket!r} does not wait: it was let in, or left, before")
        self.admitted_total += 1
        self._shares.charge(waiting.task.tenant, waiting.tokens)
        self._places.remove(place)

    def _is_impatient(self, waiting: Waiting, now_s: float) -> bool:
        place = self._waiting.get(waiting.ticket)
        if place is None:
            return False
        if place.stuck_s is None:
            place.stuck_s = now_s
        if now_s - place.stuck_s < PATIENCE * self._ageing.limits_s[waiting.task.priority]:
            return False
        self._places.impatient[place.number] = place
        return True


def _always(_line: Hashable, _other: Hashable) -> bool:
    return True
