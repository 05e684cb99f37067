"""Where a noisy number usually lies, and when it moved: the level of a model's pace.

Robust on purpose, as latencies have long tails: centre and scale follow each value by a bounded step (the scale is the
median distance from the centre, as the median absolute deviation is), and a two-sided CUSUM (Page, "Continuous
inspection schemes", Biometrika 1954) adds up clipped distances, so that a few outliers change nothing. Logarithms go
in, so a change is a ratio; one below `SMALLEST` is taken as the new level and not told.
"""

from math import exp, log
from typing import NamedTuple

WARMED_UP = 20
"""Values before a change can show."""
SLOWEST = 0.02
"""Step of centre and scale per value, in scales, once many were seen."""
SLACK = 1.0
"""Standard deviations that a value may be off without counting."""
CLIP = 3.0
"""Standard deviations that a value counts at most."""
ALARM = 12.0
"""Sum of what counted at which a change is believed: at least six values far off."""
SMALLEST = log(1.5)
"""The smallest change that is told, as a logarithm of a ratio."""
LEAST_SCALE = 0.1
"""Least standard deviation, so that an almost constant number does not alarm at trifles."""
_FIRST_SCALE = 0.5
_PER_MAD = 1.4826
"""Standard deviations of a normal distribution in a median absolute deviation."""


class Moved(NamedTuple):
    """The ratio scale's level before and after a change, and when it began to show."""

    since_s: float
    before: float
    after: float


class Level:
    """Follows one positive number."""

    __slots__ = ("_down", "_run_count", "_run_since_s", "_run_sum", "_scale", "_up", "centre", "seen")

    _down: float
    _run_count: int
    _run_since_s: float
    _run_sum: float
    _up: float

    def __init__(self) -> None:
        self.centre = 0.0
        """Logarithm of the usual value."""
        self.seen = 0
        self._scale = _FIRST_SCALE
        self._steady()

    def add(self, value: float, now_s: float) -> Moved | None:
        """Take in one value above 0, and return the change that it confirms, if any."""
        at = log(value)
        self.seen += 1
        if self.seen == 1:
            self.centre = at
            return None
        distance = at - self.centre
        moved = self._watch(distance, at, now_s) if self.seen > WARMED_UP else None
        if moved is None:
            self._follow(distance)
        return moved

    def _follow(self, distance: float) -> None:
        step = max(1.0 / self.seen, SLOWEST)
        scale = self._scale
        self.centre += step * min(max(distance, -2.0 * scale), 2.0 * scale)
        self._scale = scale * (1.0 + step if abs(distance) > scale else 1.0 - step)

    def _watch(self, distance: float, at: float, now_s: float) -> Moved | None:
        off = distance / max(_PER_MAD * self._scale, LEAST_SCALE)
        off = min(max(off, -CLIP), CLIP)
        self._up = max(0.0, self._up + off - SLACK)
        self._down = max(0.0, self._down - off - SLACK)
        if not (self._up or self._down):
            self._run_count, self._run_sum = 0, 0.0
            return None
        if not self._run_count:
            self._run_since_s = now_s
        self._run_count += 1
        self._run_sum += at
        if max(self._up, self._down) < ALARM:
            return None
        before, after = self.centre, self._run_sum / self._run_count
        since_s = self._run_since_s
        self.centre = after
        self._steady()
        return Moved(since_s, exp(before), exp(after)) if abs(after - before) >= SMALLEST else None

    def _steady(self) -> None:
        self._up = self._down = self._run_sum = self._run_since_s = 0.0
        self._run_count = 0

    def snapshot(self) -> tuple[float, float, int]:
        """Return what has to be kept."""
        return (self.centre, self._scale, self.seen)

    def restore(self, centre: float, scale: float, seen: int) -> None:
        """Take over what `snapshot` gave. Raises ValueError for what it cannot have given."""
        if not (abs(centre) < 1e3 and 0.0 < scale < 1e3 and seen >= 0):
            raise ValueError(f"a kept level must be a finite centre, a scale above 0 and a count, not {centre!r}")
        self.centre, self._scale, self.seen = centre, scale, int(seen)
        self._steady()
