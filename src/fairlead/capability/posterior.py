"""What outcomes say of a chance of success: a Beta posterior that forgets with time, and at once when it is wrong.

Evidence loses half its weight each half-life. That alone is slow: a model that did 500 tasks well and breaks would be
trusted for hundreds more. So two one-sided tests watch each outcome for a change of the odds by `ODDS_RATIO`, down or
up: CUSUM (Page, "Continuous inspection schemes", Biometrika 1954) as a product of likelihood ratios, which needs no
logarithm. With p the expected success and r the ratio, an outcome of score x multiplies the test for "up" by
r^x / (1 - p + p r), the one for "down" by the same with 1/r; below 1 a test starts anew. For scores between 0 and 1 the
expectation of that factor is at most 1 as long as nothing changes (r^x is convex), so beyond `ALARM` outcomes pass, on
average, before a test of known p raises a false alarm. When one fires, only what came since it last started is
remembered. Measured on steady streams with success between 0.5 and 0.99: below 1 false alarm in 5,000 outcomes; a fall
from 0.9 to 0.3 is found after about 11 outcomes (`tests/capability/test_capability_posterior.py`).
"""

from collections.abc import Iterable, Sequence
from math import isfinite, sqrt

PRIOR_WEIGHT = 0.5
"""Outcomes that the prior is worth where no skill is declared: two equals soon look equal."""
DECLARED_WEIGHT = 4.0
"""Outcomes that a declared skill is worth."""
NEGLIGIBLE = 0.01
"""Remembered outcomes below which nothing is known any more."""
ODDS_RATIO = 6.0
"""How much the odds of success have to change to count as another success rate: from 0.9 down to 0.6."""
ALARM = 10_000.0
"""The likelihood ratio at which a change is believed."""
WATCHED_FROM = 8.0
"""Remembered outcomes from which on there is something that could change."""
HOPE_SPREADS = 2.0
"""How many standard deviations above its mean a success rate may well be."""
UNIFORM_SPREAD = 12**-0.5
"""Standard deviation when every success rate is equally likely."""


def spread_of(mean: float, known: float) -> float:
    """Return the standard deviation of a success rate, one success and one failure added so that none is certain.

    `known` is how many outcomes stand behind the mean. (Agresti, Coull: "Approximate is better than exact", The
    American Statistician 1998, for the addition.)
    """
    mean = (known * mean + 1.0) / (known + 2.0)
    return sqrt(mean * (1.0 - mean) / (known + 3.0))


def doubt_of(mean: float, known: float) -> float:
    """Return how far above its mean a success rate may well be: two spreads, and at most up to 1."""
    return min(HOPE_SPREADS * spread_of(mean, known), 1.0 - mean)


class DecayedBeta:
    """Decayed counts of successes and failures behind an expected success: what all that learns builds on."""

    __slots__ = (
        "_at_s",
        "_fall",
        "_fall_failures",
        "_fall_successes",
        "_half_life_s",
        "_is_watched",
        "_prior",
        "_prior_weight",
        "_rise",
        "_rise_failures",
        "_rise_successes",
        "declared_weight",
        "drifted_at_s",
        "failures",
        "successes",
    )

    _fall: float
    _fall_failures: float
    _fall_successes: float
    _rise: float
    _rise_failures: float
    _rise_successes: float

    def __init__(self, half_life_s: float, declared: float | None = None, *, is_watched: bool = True) -> None:
        """Begin without outcomes. `is_watched=False` leaves out the tests for a change, for sums of unlike streams."""
        self._half_life_s = half_life_s
        self.declared_weight = 0.0 if declared is None else DECLARED_WEIGHT
        """Outcomes that a declared skill is worth."""
        self._prior_weight = PRIOR_WEIGHT if declared is None else DECLARED_WEIGHT
        self._prior = self._prior_weight * (0.5 if declared is None else declared)
        self._is_watched = is_watched
        self._at_s = 0.0
        self.successes = 0.0
        self.failures = 0.0
        self.drifted_at_s: float | None = None
        """When the last change was found; None if there was none."""
        self._steady()

    @property
    def at_s(self) -> float:
        """The time that the counts stand for."""
        return self._at_s

    @property
    def weight(self) -> float:
        """Outcomes remembered, as of the last `decay`."""
        return self.successes + self.failures

    @property
    def alpha(self) -> float:
        """First parameter of the Beta distribution: successes and the prior's."""
        return self.successes + self._prior

    @property
    def beta(self) -> float:
        """Second parameter: failures and the prior's."""
        return self.failures + self._prior_weight - self._prior

    @property
    def mean(self) -> float:
        """Expected success, in [0, 1]."""
        return (self.successes + self._prior) / (self.successes + self.failures + self._prior_weight)

    @property
    def spread(self) -> float:
        """Standard deviation of the success rate."""
        return spread_of(self.mean, self.successes + self.failures + self.declared_weight)

    @property
    def doubt(self) -> float:
        """How far above its mean the success rate may well be: two spreads, and at most up to 1."""
        return doubt_of(self.mean, self.successes + self.failures + self.declared_weight)

    @property
    def confidence(self) -> float:
        """How much is known, in [0, 1]: 1 - spread / (spread when nothing is known); 0.5 takes about ten outcomes."""
        return max(0.0, 1.0 - self.spread / UNIFORM_SPREAD)

    def decay(self, now_s: float) -> None:
        """Forget what the time since the last call has worn away; a step backwards changes nothing."""
        if now_s > self._at_s:
            if self.successes or self.failures:
                self._fade(2.0 ** ((self._at_s - now_s) / self._half_life_s))
            self._at_s = now_s

    def count(self, score: float, weight: float, now_s: float) -> bool:
        """Record one outcome as `Posterior.add` does, without a look at whether it makes sense."""
        if now_s > self._at_s:
            self.decay(now_s)
        won = score * weight
        remembered = self.successes + self.failures
        if remembered < WATCHED_FROM or not self._is_watched:
            self.successes += won
            self.failures += weight - won
            return False
        self._watch((self.successes + 1.0) / (remembered + 2.0), score, weight)
        self.successes += won
        self.failures += weight - won
        if self._fall < ALARM and self._rise < ALARM:
            return False
        self._drift(now_s)
        return True

    def count_whole(self, success: bool, now_s: float) -> bool:
        """Record a whole success or failure: `count` of 1 or 0, at half the price."""
        if now_s > self._at_s:
            self.decay(now_s)
        successes = self.successes
        remembered = successes + self.failures
        if remembered < WATCHED_FROM or not self._is_watched:
            if success:
                self.successes = successes + 1.0
            else:
                self.failures += 1.0
            return False
        tilt = (ODDS_RATIO - 1.0) * (successes + 1.0) / (remembered + 2.0)
        if success:
            self.successes = successes + 1.0
            rise = self._rise = self._rise * ODDS_RATIO / (1.0 + tilt)  # above 1, as it was at least 1
            self._rise_successes += 1.0
            if self._fall > 1.0:
                self._let_fall(1.0 / (ODDS_RATIO - tilt))
            if rise < ALARM:
                return False
        else:
            self.failures += 1.0
            fall = self._fall = self._fall * ODDS_RATIO / (ODDS_RATIO - tilt)
            self._fall_failures += 1.0
            if self._rise > 1.0:
                self._let_rise(1.0 / (1.0 + tilt))
            if fall < ALARM:
                return False
        self._drift(now_s)
        return True

    def exchange(self, previous: float, score: float, now_s: float) -> None:
        """Let a score take the place of one that was counted before; of one long forgotten little is left to change."""
        self.decay(now_s)
        moved = min(max(score - previous, -self.successes), self.failures)
        self.successes += moved
        self.failures -= moved

    def add_up(self, parts: Iterable["DecayedBeta"], now_s: float) -> None:
        """Become the sum of other evidence, each part decayed to the same moment."""
        self.decay(now_s)
        self.successes = self.failures = 0.0
        for part in parts:
            part.decay(now_s)
            self.successes += part.successes
            self.failures += part.failures

    def snapshot(self) -> tuple[float, float, float, float | None]:
        """Return what has to be kept: successes, failures, the time they stand for, and when a change was found."""
        return (self.successes, self.failures, self._at_s, self.drifted_at_s)

    def restore(self, kept: Sequence[float | None]) -> None:
        """Take over what `snapshot` gave. Raises ValueError for anything else."""
        try:
            successes, failures, at_s = (float(value) for value in kept[:3] if value is not None)
            drifted_at_s = None if kept[3] is None else float(kept[3])
        except (TypeError, ValueError, IndexError):
            raise ValueError(f"kept evidence must be three numbers and a time or None, not {kept!r}") from None
        if not (0 <= successes < 1e12 and 0 <= failures < 1e12 and isfinite(at_s) and isfinite(drifted_at_s or 0.0)):
            raise ValueError(f"kept evidence must be counts of 0 or more at a time, not {kept!r}")
        self.successes, self.failures, self._at_s, self.drifted_at_s = successes, failures, at_s, drifted_at_s
        self._steady()

    # -- inside

    def _fade(self, kept: float) -> None:
        self.successes *= kept
        self.failures *= kept
        if self.successes + self.failures < NEGLIGIBLE:  # a trace would lose every tie for ever
            self.successes = self.failures = 0.0
        if self._fall > 1.0:
            self._fall_successes *= kept
            self._fall_failures *= kept
        if self._rise > 1.0:
            self._rise_successes *= kept
            self._rise_failures *= kept

    def _watch(self, expected: float, score: float, weight: float) -> None:
        """Let both tests take one outcome in."""
        up = ODDS_RATIO**score
        missed = 1.0 - expected
        rise = up / (missed + expected * ODDS_RATIO)
        fall = 1.0 / (up * (missed + expected / ODDS_RATIO))
        if weight != 1.0:
            rise, fall = rise**weight, fall**weight
        won = score * weight
        self._rise *= rise
        if self._rise > 1.0:
            self._rise_successes += won
            self._rise_failures += weight - won
        else:
            self._rise = 1.0
            self._rise_successes = self._rise_failures = 0.0
        self._fall *= fall
        if self._fall > 1.0:
            self._fall_successes += won
            self._fall_failures += weight - won
        else:
            self._fall = 1.0
            self._fall_successes = self._fall_failures = 0.0

    def _let_fall(self, ratio: float) -> None:
        """Let the test for a fall take in a success."""
        self._fall *= ratio
        if self._fall > 1.0:
            self._fall_successes += 1.0
        else:
            self._fall = 1.0
            self._fall_successes = self._fall_failures = 0.0

    def _let_rise(self, ratio: float) -> None:
        """Let the test for a rise take in a failure."""
        self._rise *= ratio
        if self._rise > 1.0:
            self._rise_failures += 1.0
        else:
            self._rise = 1.0
            self._rise_successes = self._rise_failures = 0.0

    def _drift(self, now_s: float) -> None:
        """Remember only what came since the change began to show."""
        if self._fall >= self._rise:
            self.successes, self.failures = self._fall_successes, self._fall_failures
        else:
            self.successes, self.failures = self._rise_successes, self._rise_failures
        self.drifted_at_s = now_s
        self._steady()

    def _steady(self) -> None:
        self._fall = self._rise = 1.0
        self._fall_successes = self._fall_failures = self._rise_successes = self._rise_failures = 0.0


class Posterior(DecayedBeta):
    """What is known of a chance of success; scores between 0 and 1 count as shares of a success."""

    __slots__ = ()

    def add(self, score: float, now_s: float, weight: float = 1.0) -> bool:
        """Record one outcome, and return whether it showed a change, so that older evidence was dropped.

        Raises ValueError for a score that is not in [0, 1] and for a weight that is not above 0.
        """
        if not (0.0 <= score <= 1.0 and 0.0 < weight < 1e9):
            raise ValueError(f"an outcome needs a score in [0, 1] and a weight above 0, not {score!r} and {weight!r}")
        return self.count(score, weight, now_s)
