"""Round robin: each candidate in turn.

Intent: equal shares, and an order that a person can predict; a fair way to collect first evidence. Keeps the last
turn per name asked for, so a candidate that comes or goes does not disturb the order of the others.
Wrong choice: when tasks or nodes are unequal, since it is blind to load, and to whether a node has warmed up.
"""

from bisect import bisect_right
from operator import attrgetter

from fairlead.domain import Task
from fairlead.rng import Draw
from fairlead.routing.contract import Choice, Pool, RoutingSettings

_order = attrgetter("order")


class RoundRobin:
    """Takes the candidate that stands next after the last one."""

    name = "round_robin"

    def __init__(self, settings: RoutingSettings) -> None:
        del settings  # nothing to set
        self._last: dict[str, int] = {}

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the next in turn; deterministic, the draw is not used."""
        del task, now_s, draw
        candidates = pool.candidates
        index = bisect_right(candidates, self._last.get(pool.key, -1), key=_order) % len(candidates)
        picked = candidates[index]
        self._last[pool.key] = picked.order
        return Choice(picked, (picked,), (1.0,), "next in turn")

    def forget(self) -> None:
        """Begin with the first candidate again."""
        self._last.clear()
