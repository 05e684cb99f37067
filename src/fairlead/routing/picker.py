"""Which of the ranked chains is taken: the best, or in a bounded share of the cases one to learn about.

Who is owed a try, and how often, is said in `exploration.py`. The shares are worked out once for a ranking and kept
with it, so that a choice costs one draw and its propensity is known exactly.
"""

from array import array
from collections.abc import Sequence

from fairlead.routing.exploration import HOPES, Limits, Turn, owed


class Plan:
    """How often each chain is taken, by its place in the ranking."""

    __slots__ = ("_left", "_turns", "equals", "hopeful", "is_sure", "near")

    def __init__(self, equals: int = 1, near: int = 1, turns: Sequence[Turn] = ()) -> None:
        self.equals = equals
        """How many share the first place, and so what is left to it."""
        self.near = near
        """How many count as equal to the best, itself included: picking one of them is not exploring."""
        self._turns = tuple(turns)
        self.hopeful = next((turn.indices[0] for turn in self._turns if turn.why == HOPES), None)
        """The place of the one that is tried for what it may well be worth."""
        self._left = 1.0 - sum(turn.share for turn in turns)
        self.is_sure = equals == 1 and not self._turns
        """Whether nothing has to be drawn."""

    def pick(self, luck: float) -> int:
        """Return a place, given a number drawn evenly from [0, 1)."""
        left = self._left
        if luck < left:
            return min(int(luck / left * self.equals), self.equals - 1)
        luck -= left
        for share, places, _ in self._turns:
            if luck < share:
                return places[min(int(luck / share * len(places)), len(places) - 1)]
            luck -= share
        return 0

    def chance(self, place: int) -> float:
        """Return how often the chain at a place is taken, in [0, 1]; over all places the chances sum to 1."""
        chance = self._left / self.equals if place < self.equals else 0.0
        return chance + sum(share / len(places) for share, places, _ in self._turns if place in places)

    def why(self, place: int) -> str:
        """Say in words why the chain at a place is tried; empty where nothing is owed to it."""
        return next((why for _, places, why in self._turns if place in places), "")


def plan(
    scores: Sequence[float],
    hopes: Sequence[float] | None,
    equals: int,
    near: int,
    tolerance: float,
    limits: Limits,
    order: Sequence[int] | None = None,
) -> Plan:
    """Return how often each chain is taken, given the scores in the order of their ranking.

    `hopes` are what the scores may well be, None where nobody is to be tried; `equals` is how many share the first
    place outright, and so the chance of it; `near` as in `Plan`. `order` is which chain has which place: where several
    are owed a turn the draw goes by it, so that it falls on the same one whatever their scores are.
    """
    if hopes is None or len(scores) < 2:
        return Plan(equals, near)
    turns = owed(scores, hopes, tolerance, limits)
    return Plan(equals, near, [turn._replace(indices=_sorted(turn.indices, order)) for turn in turns])


def _sorted(places: Sequence[int], order: Sequence[int] | None) -> Sequence[int]:
    """Return places in the order of their chains, in little memory."""
    if order is not None:
        places = sorted(places, key=order.__getitem__)
    return array("H" if max(places) < 65536 else "L", places)
