"""What has been seen of a candidate, forgotten at half-life speed.

Evidence loses half its weight each half-life, so an old failure is forgiven and an old triumph forgotten. The score is
the mean of a Beta posterior whose prior is 0.5, worth half an outcome (so that two equal nodes look equal after a few
outcomes each, however many more one of them has), or a declared skill, worth four. Recording is O(1). What decisions
read is worked out when evidence comes, or when 1/64 of a half-life has gone by: it drifts by at most 0.3 % meanwhile.
"""

PRIOR_WEIGHT = 0.5
DECLARED_WEIGHT = 4.0
NEGLIGIBLE = 0.01
"""Remembered outcomes below which nothing is known any more."""
MIXING_WEIGHT = 5.0
"""How much evidence makes a category's own record count as much as the overall one."""
LATENCY_SCALE_S = 2.0
"""The latency that scores 0.5."""
SUCCESS_SHARE = 0.7
"""Share of success in the performance score; the rest is speed."""


class Evidence:
    """Decayed counts of successes and failures, and the latency of the successes."""

    __slots__ = (
        "_at_s",
        "_half_life_s",
        "_latency_s",
        "_prior",
        "_prior_weight",
        "declared_weight",
        "failures",
        "successes",
    )

    def __init__(self, half_life_s: float, declared: float | None = None) -> None:
        self._half_life_s = half_life_s
        self.declared_weight = 0.0 if declared is None else DECLARED_WEIGHT
        """Outcomes that a declared skill is worth."""
        self._prior_weight = PRIOR_WEIGHT if declared is None else DECLARED_WEIGHT
        self._prior = self._prior_weight * (0.5 if declared is None else declared)
        self._at_s = 0.0
        self._latency_s = 0.0
        self.successes = 0.0
        self.failures = 0.0

    @property
    def weight(self) -> float:
        """Outcomes remembered, as of the last `decay`."""
        return self.successes + self.failures

    @property
    def success(self) -> float:
        """Expected share of successes, in [0, 1]."""
        return (self.successes + self._prior) / (self.weight + self._prior_weight)

    @property
    def reliability(self) -> float:
        """One less the share of failures; 1.0 as long as nothing has failed."""
        return 1.0 - self.failures / (self.weight + 1.0)

    @property
    def latency_s(self) -> float | None:
        """Mean latency of the remembered successes; failures may be fast, so they do not count."""
        return self._latency_s / self.successes if self.successes > 1e-6 else None

    def decay(self, now_s: float) -> None:
        """Forget what the time since the last call has worn away."""
        if now_s > self._at_s:
            if self.successes or self.failures:
                kept = 2.0 ** ((self._at_s - now_s) / self._half_life_s)
                self.successes *= kept
                self.failures *= kept
                self._latency_s *= kept
                if self.successes + self.failures < NEGLIGIBLE:  # a trace would lose every tie for ever
                    self.successes = self.failures = self._latency_s = 0.0
            self._at_s = now_s

    def add(self, success: bool, latency_s: float, now_s: float) -> None:
        """Record one outcome."""
        if now_s > self._at_s:
            self.decay(now_s)
        if success:
            self.successes += 1.0
            self._latency_s += latency_s
        else:
            self.failures += 1.0

    def performance(self) -> float:
        """Return 0.7 x expected success + 0.3 x speed, where speed is 2 s / (2 s + latency), 0.5 while unknown."""
        successes = self.successes
        success = (successes + self._prior) / (successes + self.failures + self._prior_weight)
        speed = 0.5
        if successes > 0.0:
            speed = LATENCY_SCALE_S / (LATENCY_SCALE_S + self._latency_s / successes)
        return SUCCESS_SHARE * success + (1.0 - SUCCESS_SHARE) * speed
