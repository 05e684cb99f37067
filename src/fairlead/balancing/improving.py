"""Moves queued tasks until the loads are even enough, or no move helps.

From the fullest node down, the largest task first, each goes to where it would be placed now. A task moves if

- the load that it comes to, itself included, is less than the one that it leaves by at least the share
  `min_rebalance_improvement`, and by more than what it gives up: the share of its work that is saved at its home;
- the deviation of the fleet becomes less. Each move does that, so no state comes back and no task goes to and fro;
- it fits, or it waits behind less than it did.

All moves together must lessen the deviation of the fleet by at least that share as well, or none is made: asked of each
task by itself, that would leave a queue of many small tasks where it is, and a fleet of many nodes as it is.

Tasks on unhealthy nodes leave them first, whatever that does to the deviation.
"""

from collections.abc import Sequence
from operator import attrgetter

from fairlead.balancing.config import LoadBalancerConfig
from fairlead.balancing.deviation import Spread
from fairlead.balancing.index import Index
from fairlead.balancing.placing import Seat, ceilings_of, saved_share, seat
from fairlead.balancing.projection import Projection
from fairlead.domain.load import Move, NodeHealth

MOST_PASSES = 8
"""Passes over the nodes in one go; what is left is for the next."""


class Improvement:
    """One go of moves. The seats are changed in place."""

    def __init__(self, index: Index, seats: Sequence[Seat], config: LoadBalancerConfig, affinity_worth: float) -> None:
        self._index = index
        self._seats = seats
        self._config = config
        self._affinity_worth = affinity_worth
        self._origins = [(one, one.node.name) for one in seats]
        self.before = self._spread().deviation
        """The deviation at the start."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """Return who is on another node than at the start."""
        return tuple(Move(one.task.id, was, one.node.name) for one, was in self._origins if one.node.name != was)

    @property
    def deviation(self) -> float:
        """Return the deviation now."""
        return self._spread().deviation

    def leave_unhealthy(self) -> None:
        """Move every task off a node that is unhealthy, where another can take it."""
        soft = self._config.max_node_utilization
        for one in self._seats:
            if one.node.health is NodeHealth.UNHEALTHY:
                for ceiling in (*ceilings_of(one.task, soft), None):
                    target = seat(one.task, self._index, ceiling, self._affinity_worth)
                    if target is not None:
                        self._move(one, target)
                        break

    def even_out(self) -> bool:
        """Make moves until the target is met or none helps; return whether any was made."""
        start = [(one, Seat(one.task, one.node, one.needs)) for one in self._seats]
        before = self.deviation
        for _ in range(MOST_PASSES):
            if self._is_good() or not self._pass():
                break
        after = self.deviation
        if after < before and after <= (1.0 - self._config.min_rebalance_improvement) * before:
            return True
        for one, was in start:
            if one.node is not was.node:
                self._move(one, was)
        return False

    def _is_good(self) -> bool:
        return self.deviation <= self._config.target_load_variance

    def _pass(self) -> bool:
        seats: dict[int, list[Seat]] = {}
        for one in self._seats:
            seats.setdefault(one.node.order, []).append(one)
        moved, spread = False, self._spread()
        for source in sorted(self._index.serving, key=lambda node: (-node.level, node.order)):
            for one in _largest_first(source, seats.get(source.order, [])):
                if source.level <= spread.mean:
                    break
                target = self._better(one, spread)
                if target is not None:
                    self._move(one, target)
                    moved, spread = True, self._spread()
                    if spread.deviation <= self._config.target_load_variance:
                        return True
        return moved

    def _better(self, one: Seat, spread: Spread) -> Seat | None:
        """Return a better seat for a task, if there is one."""
        source = one.node
        target = seat(one.task, self._index, None, self._affinity_worth)
        if target is None or target.node is source:
            return None
        before = source.level, target.node.level
        after = source.level_with(one.needs, -1), target.node.level_with(target.needs)
        gain = before[0] - after[1]
        is_worth_it = gain > self._price(one) and gain >= self._config.min_rebalance_improvement * before[0]
        if is_worth_it and spread.after(before, after) < spread.deviation and self._may_go(target, after):
            return target
        return None

    def _price(self, one: Seat) -> float:
        return self._affinity_worth * saved_share(one.task) if one.task.home == one.node.name else 0.0

    def _may_go(self, target: Seat, after: tuple[float, float]) -> bool:
        ceiling = ceilings_of(target.task, self._config.max_node_utilization)[-1]
        return target.node.can_take(target.needs, ceiling) or after[1] <= after[0]

    def _move(self, one: Seat, target: Seat) -> None:
        self._index.put(one.node, one.needs, -1)
        self._index.put(target.node, target.needs)
        one.node, one.needs = target.node, target.needs

    def _spread(self) -> Spread:
        return Spread(map(attrgetter("level"), self._index.serving))


def _largest_first(source: Projection, seats: list[Seat]) -> list[Seat]:
    return sorted(seats, key=lambda one: (source.level_with(one.needs, -1), one.task.id))
