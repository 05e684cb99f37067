"""Whether more tasks arrive than usual, and for how long yet: a detector with hysteresis.

    calm --last second high--> rising --three seconds high--> spike --low again--> ramping_down --stepwise--> calm
      ^                          |                              ^                      |
      +------ not high any more -+                              +-- three seconds high +

Judged four times a second on the last three seconds. High is what neither a forecast nor chance explains: arrivals
above the usual rate by `threshold_per_s` (and by a fifth, since a great fleet's usual rate is not known to the
percent), or three times the usual rate, so that a small fleet notices too; and in each of the three seconds, so that a
burst of one second is no spike; and six standard deviations of a Poisson process above the usual. A spike is over when
the rate has been below half of that for `COOL_S`; what was held back then returns in steps. A spike that lasts for some
ten minutes has become usual (`arrivals`).

Not for: fleets with less than about two arrivals a second, where ten times the usual rate takes longer to tell from
chance.
"""

from enum import StrEnum
from math import sqrt

import msgspec

from fairlead.demand.arrivals import TICK_S, Arrivals

SECOND = round(1.0 / TICK_S)
RATIO = 3.0
"""How many times the usual rate is high."""
LEAST_SHARE = 1.2
"""How many times the usual rate is the least that is high, whatever the threshold."""
SIGMAS = 6.0
FEW = 5.0
"""Arrivals by which any count may exceed the usual one: chance, where Poisson is far from normal."""
COOL_S = 2.0
RAMP_STEPS = 4
STEP_S = 4.0
_INTERVALS = 3.0


class Stage(StrEnum):
    """How far a spike has come."""

    CALM = "calm"
    RISING = "rising"
    SPIKE = "spike"
    RAMPING_DOWN = "ramping_down"


class Surge(msgspec.Struct, frozen=True):
    """What the arrivals look like now."""

    stage: Stage = Stage.CALM
    rate_per_s: float = 0.0
    """Over the last three seconds."""
    usual_per_s: float | None = None
    """What would be usual; None: too early to say."""
    acceleration_per_s2: float = 0.0
    """How fast the rate has been growing over these seconds."""
    eased: float = 1.0
    """While ramping down: the share in [0, 1) of what was held back that is let in again; 0.0 in a spike, else 1.0."""
    since_s: float = 0.0
    """When the stage began."""


class SpikeDetector:
    """Counts arrivals and says which stage they are in. Single-owner, told the time."""

    __slots__ = ("_cool_since_s", "_surge", "_threshold_per_s", "_tick", "arrivals")

    def __init__(self, threshold_per_s: float = 100.0, arrivals: Arrivals | None = None) -> None:
        """Raises ValueError for a threshold that is not above 0."""
        if not threshold_per_s > 0:
            raise ValueError(f"threshold_per_s must be above 0, not {threshold_per_s!r}")
        self._threshold_per_s = threshold_per_s
        self.arrivals = arrivals or Arrivals()
        self._surge = Surge()
        self._tick = -1
        self._cool_since_s: float | None = None

    def observe(self, n: int, now_s: float, usual_per_s: float | None = None) -> Surge:
        """Count `n` arrivals and judge; between two quarters of a second the judgement stands.

        `usual_per_s` is a forecast to judge by in the place of the detector's own. Raises ValueError for a negative n.
        """
        arrivals = self.arrivals
        arrivals.add(n, now_s)
        if arrivals.ticks.head != self._tick:
            self._tick = arrivals.ticks.head
            self._surge = self._judge(now_s, arrivals.usual_per_s if usual_per_s is None else usual_per_s)
        return self._surge

    def _judge(self, now_s: float, usual: float | None) -> Surge:
        head, ticks = self._tick, self.arrivals.ticks
        counts = [ticks.count(head - (ago + 1) * SECOND, head - ago * SECOND) for ago in (2, 1, 0)]
        first, second, third = (count or 0 for count in counts)
        rate = (first + second + third) / _INTERVALS
        before = self._surge
        stage, eased = before.stage, before.eased
        if usual is not None and None not in counts:
            stage, eased = self._next(now_s, usual, (first, second, third))
        since_s = before.since_s if stage == before.stage else now_s
        return Surge(stage, rate, usual, (third - first) / 2.0, eased, since_s)

    def _next(self, now_s: float, usual: float, counts: tuple[int, int, int]) -> tuple[Stage, float]:
        stage = self._surge.stage
        if stage is not Stage.SPIKE and self._is_high(usual, counts):
            self._cool_since_s = None
            return Stage.SPIKE, 0.0
        if stage is Stage.SPIKE:
            return (Stage.RAMPING_DOWN, 0.0) if self._has_cooled(now_s, usual, sum(counts)) else (Stage.SPIKE, 0.0)
        if stage is Stage.RAMPING_DOWN:
            step = int((now_s - self._surge.since_s) / STEP_S)
            return (Stage.CALM, 1.0) if step >= RAMP_STEPS else (stage, step / RAMP_STEPS)
        return (Stage.RISING if self._is_rising(usual, counts) else Stage.CALM), 1.0

    def _is_high(self, usual: float, counts: tuple[int, int, int]) -> bool:
        total, expected = sum(counts), _INTERVALS * usual
        if total < expected + SIGMAS * sqrt(expected) + FEW:
            return False
        threshold = self._threshold_per_s
        if min(counts) >= usual + threshold / 2.0 and total > max(
            expected + _INTERVALS * threshold, LEAST_SHARE * expected
        ):
            return True
        return total >= RATIO * expected and min(counts) >= max(2.0 * usual, usual + 3.0 * sqrt(usual) + FEW / 2.0)

    def _is_rising(self, usual: float, counts: tuple[int, int, int]) -> bool:
        first, _, last = counts
        return last > first and last >= max(2.0 * usual, usual + SIGMAS * sqrt(usual) + FEW)

    def _has_cooled(self, now_s: float, usual: float, total: int) -> bool:
        """Whether the rate has been below half of what makes a spike for long enough."""
        expected = _INTERVALS * usual
        chance = expected + 2.0 * sqrt(expected) + FEW / 2.0
        half = (1.0 + LEAST_SHARE) / 2.0 * expected
        is_above_forecast = total > max(expected + _INTERVALS * self._threshold_per_s / 2.0, half)
        if total >= chance and (is_above_forecast or total >= RATIO / 2.0 * expected):
            self._cool_since_s = None
        elif self._cool_since_s is None:
            self._cool_since_s = now_s
        return self._cool_since_s is not None and now_s - self._cool_since_s >= COOL_S
