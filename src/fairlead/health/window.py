"""What came of the tasks of one node within the last `window_s`: counts, and a sample of how late it was.

Counted in a ring of `PARTS` parts, the oldest dropped as a whole, so that counting costs the same however much comes.
Of the times each part keeps its newest `SAMPLES`: their median is what half of the tasks see, and no single one moves
it.
"""

from collections import deque

import msgspec

PARTS = 6
"""Of a window; what is looked at reaches back between five sixths of it and all of it."""
SAMPLES = 16
"""Times kept of each part; a power of two."""
_LAST = SAMPLES - 1


class Figures(msgspec.Struct, frozen=True):
    """What a window holds."""

    outcomes: int = 0
    failures: int = 0
    timed: int = 0
    """Outcomes whose lateness is known."""
    excess_s: float = 0.0
    """Their median."""


class _Part(msgspec.Struct, frozen=True):
    """A part of the window that is over."""

    ended_s: float
    successes: int
    failures: int
    timed: int
    sample: list[float]


class Window:
    """Counts outcomes. Single-owner; the times it is told never go back."""

    __slots__ = ("_failures", "_past", "_sample", "_successes", "_timed", "_turns_s", "_window_s", "succeeded_s")

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self.succeeded_s = float("-inf")
        """When the newest success came."""
        self._past: deque[_Part] = deque()
        self.clear()

    def clear(self) -> None:
        """Forget every outcome."""
        self._past.clear()
        self._begin(float("-inf"))

    def add(self, success: bool, now_s: float, excess_s: float | None) -> None:
        """Count one outcome, and by how much its first token was late where that is known."""
        if now_s >= self._turns_s:
            self._turn(now_s)
        if success:
            self._successes += 1
            self.succeeded_s = now_s
        else:
            self._failures += 1
        if excess_s is not None:
            self._sample[self._timed & _LAST] = excess_s
            self._timed += 1

    def figures(self, now_s: float) -> Figures:
        """Sum up what there is."""
        if now_s >= self._turns_s:
            self._turn(now_s)
        self._drop(now_s)
        successes, failures, timed = self._successes, self._failures, self._timed
        values = self._sample[:timed]
        for part in self._past:
            successes += part.successes
            failures += part.failures
            timed += part.timed
            values += part.sample[: part.timed]
        return Figures(successes + failures, failures, timed, _median(values))

    def _turn(self, now_s: float) -> None:
        """Begin a new part."""
        if self._successes or self._failures:
            part = _Part(self._turns_s, self._successes, self._failures, self._timed, self._sample)
            self._past.append(part)
        self._drop(now_s)
        self._begin(now_s + self._window_s / PARTS)

    def _drop(self, now_s: float) -> None:
        """Drop the parts of which some may be older than the window."""
        past, oldest_s = self._past, now_s - self._window_s * (1.0 - 1.0 / PARTS)
        while past and past[0].ended_s <= oldest_s:
            past.popleft()

    def _begin(self, turns_s: float) -> None:
        self._turns_s = turns_s
        self._successes = self._failures = self._timed = 0
        self._sample = [0.0] * SAMPLES


def _median(values: list[float]) -> float:
    """Return the value in the middle, the mean of the two there for an even number, 0.0 for none."""
    if not values:
        return 0.0
    values.sort()
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2.0
