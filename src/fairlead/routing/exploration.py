"""Whom to try besides the best, how often, and how likely each pick was.

A router that always takes the best it knows of stops learning about the others. So some tasks are owed to others:

- the floor share to all that score lower, each as often as the other, so that evidence never dries up and a recovery is
  noticed;
- what is left of the ceiling share to *newcomers*, of which too little is known to score them (one that was never tried
  at anything is looked at three times as often, so that a new node soon takes part), and to the *little known*, each as
  often as the other, so that there is a known next best when the best fails; or else to the one whose score may
  well be the highest, if that reaches the best score: an upper confidence bound (Auer, Cesa-Bianchi, Fischer,
  "Finite-time analysis of the multiarmed bandit problem", Machine Learning 2002). This last can go on for long between
  near equals, so it may have a smaller share of its own, which the others leave to it.

Where all score alike nothing is owed: sharing by load is exploring enough. Unlike with Thompson sampling the chance of
each pick is known in closed form; it is recorded, so that other policies can be valued on the record by weighting each
outcome with 1 / propensity (Horvitz, Thompson, "A generalization of sampling without replacement", JASA 1952).
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

NEWCOMER = 2.0
"""The hope of a candidate with too few outcomes: beyond any score."""
LITTLE_KNOWN = 1.5
"""The hope of a candidate that can be scored, but not yet be ruled out or relied upon."""
UNTRIED = 3.0
"""The hope of a candidate that was never tried at anything."""
SURE = 1.0
"""The highest hope of one that is known."""
UNTRIED_SHARES = 2.0
"""Further ceiling shares for those that were never tried."""
LEARNS = "explores a newcomer"
HOPES = "explores: it may be as good as the best"
ANY = "explores: its evidence is kept fresh"
REASONS = frozenset({LEARNS, HOPES, ANY})
"""Why something is picked that is not, or not only, the best."""


class Limits(msgspec.Struct, frozen=True):
    """Shares of tasks in [0, 1] that go to others than the best."""

    floor: float = 0.01
    """While it is clear which is the best."""
    ceiling: float = 0.1
    """While it is not."""
    rival: float | None = None
    """For one that is known and may be as good as the best; None: what the floor leaves of the ceiling."""


class Turn(NamedTuple):
    """A share of the tasks that is owed to some."""

    share: float
    indices: Sequence[int]
    why: str


def most_owed(limits: Limits) -> float:
    """Return the largest share of tasks that can be owed to others than the best."""
    return limits.ceiling + _untried_share(limits)


def owed(scores: Sequence[float], hopes: Sequence[float], tolerance: float, limits: Limits) -> list[Turn]:
    """Return what is owed to others than the best.

    `hopes` are what the scores may well be, or `LITTLE_KNOWN` or more; scores within `tolerance` of the highest count
    as the best.
    """
    turns: list[Turn] = []
    left = limits.ceiling
    if left <= 0.0:
        return turns
    top = max(scores)
    bar = top - tolerance
    below = [index for index, score in enumerate(scores) if score < bar]
    if below and limits.floor > 0.0:
        turns.append(Turn(limits.floor, below, ANY))
        left -= limits.floor
    learners = _learners(hopes, below) if max(hopes) > SURE else ()
    if learners:
        turns.append(Turn(left - min(limits.rival or 0.0, left), learners, LEARNS))
        untried = [index for index in learners if hopes[index] >= UNTRIED]
        if untried:
            turns.append(Turn(_untried_share(limits), untried, LEARNS))
    elif below:
        hopeful = max(below, key=hopes.__getitem__)
        if top <= hopes[hopeful] <= SURE:
            turns.append(Turn(left if limits.rival is None else min(left, limits.rival), (hopeful,), HOPES))
    return turns


def propensity(turns: Sequence[Turn], picked: int, equals: int) -> float:
    """Return the chance of a pick.

    `equals` is how many shared what is owed to nobody, 0 where the pick was not among them.
    """
    chance = sum([turn.share / len(turn.indices) for turn in turns if picked in turn.indices])
    return chance + ((1.0 - sum([turn.share for turn in turns])) / equals if equals else 0.0)


def _learners(hopes: Sequence[float], below: Sequence[int]) -> Sequence[int]:
    """Return whom to get to know; while nobody is well known, only those that were never tried."""
    if max(hopes) < NEWCOMER:
        return [index for index in below if hopes[index] > SURE]
    for least in (SURE, NEWCOMER):
        learners = [index for index, hope in enumerate(hopes) if hope > least]
        if len(learners) < len(hopes):
            return learners
    return ()


def _untried_share(limits: Limits) -> float:
    return min(UNTRIED_SHARES * limits.ceiling, 1.0 - limits.ceiling)
