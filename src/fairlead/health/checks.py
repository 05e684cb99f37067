"""When each node is next asked how it is: a schedule, told the time, that sends nothing itself.

A node is asked every `interval_s` unless it has answered a task meanwhile, which says more than any check. In doubt
(its last check failed, or something else went wrong, and it has answered nothing since) it is asked `DOUBT` times as
often, so that a node that is back is seen soon: `CheckSchedule.notice_s` says how soon. Each interval is drawn anew
from +-20 % of its length, so that gateways that started together do not ask together.
"""

from heapq import heappop, heappush

import msgspec

from fairlead.health.config import CheckingConfig
from fairlead.rng import Draw, key_of

DOUBT = 5.0
"""How many times as often a node in doubt is asked."""
JITTER = 0.2
"""By which share of its length an interval is shorter or longer, at most."""


class _Plan(msgspec.Struct, eq=False):
    """What is known of one node."""

    key: int
    due_s: float = 0.0
    answered_s: float | None = None
    """When it last answered anything: a task or a check."""
    doubted_s: float | None = None
    """Since when it is in doubt; None while it is not."""
    drawn: int = 0
    """Intervals drawn so far."""
    stretch: float = 1.0
    """By what the present interval is longer or shorter than its length."""


class CheckSchedule:
    """Says which nodes are to be asked now. Single-owner; every node is named, an unknown name is passed over.

    The owner sleeps until `next_due_s()`, asks each of `due(now_s)`, and tells each `result`. A node that is being
    asked is not due; one whose result never comes is due again `timeout_s` + `interval_s` later.
    """

    def __init__(self, config: CheckingConfig | None = None, seed: int = 0) -> None:
        self.config = config or CheckingConfig()
        self._seed = seed
        self._plans: dict[str, _Plan] = {}
        self._heap: list[tuple[float, str]] = []
        """When which node is due; what no longer agrees with its plan is passed over."""

    @property
    def notice_s(self) -> float:
        """The longest time from the recovery of a node in doubt to the end of the check that finds it well.

        A check that just failed, the longest interval in doubt, and a check that takes all of its time.
        """
        config = self.config
        return 2.0 * config.timeout_s + config.interval_s / DOUBT * (1.0 + JITTER)

    def join(self, node: str, now_s: float) -> None:
        """Ask this node from now on, first within the interval of doubt. One that is there already stays as it is."""
        if node not in self._plans:
            self._plans[node] = plan = _Plan(key_of(node))
            first_s = Draw(self._seed, plan.key).unit() * self.config.interval_s / DOUBT
            self._set(node, plan, now_s + first_s)

    def leave(self, node: str) -> None:
        """Ask this node no more."""
        self._plans.pop(node, None)

    def answered(self, node: str, now_s: float) -> None:
        """Note that the node answered a task: it is there, and needs no asking for an interval. O(1).

        May be told late: an answer from before the doubt does not end it.
        """
        plan = self._plans.get(node)
        if plan is not None and (plan.doubted_s is None or now_s >= plan.doubted_s):
            plan.answered_s, plan.doubted_s = now_s, None

    def doubt(self, node: str, now_s: float) -> None:
        """Note that something went wrong (its circuit opened, say): it is asked soon, and often until it answers."""
        plan = self._plans.get(node)
        if plan is not None and plan.doubted_s is None:
            plan.doubted_s = now_s
            sooner_s = now_s + self._draw_s(plan)
            if sooner_s < plan.due_s:
                self._set(node, plan, sooner_s)

    def result(self, node: str, is_well: bool, now_s: float) -> None:
        """Note what a check found."""
        plan = self._plans.get(node)
        if plan is not None:
            if is_well:
                plan.answered_s, plan.doubted_s = now_s, None
            else:
                plan.doubted_s = now_s
            self._set(node, plan, now_s + self._draw_s(plan))

    def due(self, now_s: float) -> list[str]:
        """Return the nodes to ask now, the longest due first; each counts as being asked from here on."""
        found = []
        while (soonest_s := self.next_due_s()) is not None and soonest_s <= now_s:
            node = heappop(self._heap)[1]
            plan = self._plans[node]
            rests_until_s = self._rests_until_s(plan)
            if rests_until_s > now_s:
                self._set(node, plan, rests_until_s)
            else:
                self._set(node, plan, now_s + self.config.timeout_s + self.config.interval_s)
                found.append(node)
        return found

    def next_due_s(self) -> float | None:
        """Return when to look again, None with nobody to ask; by then a node may have answered and not be due."""
        heap, plans = self._heap, self._plans
        while heap:
            due_s, node = heap[0]
            plan = plans.get(node)
            if plan is not None and plan.due_s == due_s:
                return due_s
            heappop(heap)
        return None

    def _rests_until_s(self, plan: _Plan) -> float:
        """Return until when a node needs no asking because of what it answered."""
        if plan.doubted_s is not None or plan.answered_s is None:
            return 0.0
        return plan.answered_s + self.config.interval_s * plan.stretch

    def _draw_s(self, plan: _Plan) -> float:
        """Draw the next interval and return its length."""
        plan.drawn += 1
        plan.stretch = 1.0 + JITTER * (2.0 * Draw(self._seed, plan.key, plan.drawn).unit() - 1.0)
        length_s = self.config.interval_s
        return (length_s if plan.doubted_s is None else length_s / DOUBT) * plan.stretch

    def _set(self, node: str, plan: _Plan, due_s: float) -> None:
        plan.due_s = due_s
        heappush(self._heap, (due_s, node))
