"""Signals: numbers about a node that grow old. What a signal counts halves with each half-life of its age."""

from collections.abc import Iterable
from math import exp
from typing import NamedTuple

STALE = 0.0625
"""Weight below which a signal says nothing any more: four half-lives."""
PEAK_DECAY_S = 10.0
"""Time in which a peak of the latency is forgotten to 1/e while other values come in."""


def freshness(age_s: float, half_life_s: float) -> float:
    """Return what a signal of that age counts, in (0, 1]: 2 ^ (-age / half-life)."""
    return 1.0 if age_s <= 0.0 else 0.5 ** (age_s / half_life_s)


class Report(NamedTuple):
    """What a node said of itself: the tasks it had beyond those that are leased here."""

    others: float
    sampled_s: float
    """When the node counted, or the last moment before that which is known: when it was asked."""


def reported(tasks: float, sampled_s: float, taken_s: Iterable[float], last: Report | None = None) -> Report:
    """Take in that a node counted so many tasks, running and waiting; `taken_s`: when each open lease on it was taken.

    Leases taken up to the sample are in the node's count and are taken off it; later ones are not, so the ledger's
    number can be added to the result at any time: each task counts once, as a credit until a report that was sampled
    after its dispatch, and then as the node's own. A report sampled no later than the `last` changes nothing. Raises
    ValueError for a count that cannot be.
    """
    if not 0.0 <= tasks < float("inf"):
        raise ValueError(f"a node cannot have {tasks!r} tasks")
    if last is not None and sampled_s <= last.sampled_s:
        return last
    ours = sum(1 for at_s in taken_s if at_s <= sampled_s)
    return Report(max(tasks - ours, 0.0), sampled_s)


class PeakLatency:
    """A latency that jumps up at once and comes down slowly: what just got slow is avoided before it costs more.

    A value above the mean replaces it; below, the mean moves by 1 - e^(-dt / decay). Finagle's peak EWMA; a value also
    keeps its age, in place of Finagle's decay towards zero, by which a node nobody asks would look fast.
    """

    __slots__ = ("at_s", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.at_s = -1.0
        """Of the last value; negative while there is none."""

    def observe(self, seconds: float, now_s: float) -> None:
        """Take in how long one task took to its first token."""
        if seconds >= self.seconds or self.at_s < 0.0:
            self.seconds = seconds
        else:
            self.seconds = seconds + (self.seconds - seconds) * exp((self.at_s - now_s) / PEAK_DECAY_S)
        self.at_s = now_s
