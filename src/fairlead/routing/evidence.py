"""What has been seen of a candidate: its expected success, forgotten at half-life speed, and its latency.

The success is a `fairlead.capability.posterior`; the latency is the mean over the remembered successes. Recording is
O(1). What decisions read is worked out when evidence comes, or when 1/64 of a half-life has gone by: it drifts by at
most 0.3 % meanwhile.
"""

from collections.abc import Iterable, Sequence

from fairlead.capability.posterior import DECLARED_WEIGHT, NEGLIGIBLE, PRIOR_WEIGHT, DecayedBeta

MIXING_WEIGHT = 5.0
"""How much evidence makes a category's own record count as much as the overall one."""
LATENCY_SCALE_S = 2.0
"""The latency that scores 0.5."""
SUCCESS_SHARE = 0.7
"""Share of success in the performance score; the rest is speed."""

__all__ = ["DECLARED_WEIGHT", "MIXING_WEIGHT", "NEGLIGIBLE", "PRIOR_WEIGHT", "Evidence", "performance_of"]


def performance_of(success: float, latency_s: float | None) -> float:
    """Return 0.7 x success + 0.3 x speed, where speed is 2 s / (2 s + latency), 0.5 while unknown."""
    speed = 0.5 if latency_s is None else LATENCY_SCALE_S / (LATENCY_SCALE_S + latency_s)
    return SUCCESS_SHARE * success + (1.0 - SUCCESS_SHARE) * speed


class Evidence(DecayedBeta):
    """Decayed counts of successes and failures, and the latency of the successes."""

    __slots__ = ("latency_sum_s",)

    def __init__(self, half_life_s: float, declared: float | None = None, *, is_watched: bool = True) -> None:
        super().__init__(half_life_s, declared, is_watched=is_watched)
        self.latency_sum_s = 0.0

    @property
    def reliability(self) -> float:
        """One less the share of failures; 1.0 as long as nothing has failed."""
        return 1.0 - self.failures / (self.successes + self.failures + 1.0)

    @property
    def latency_s(self) -> float | None:
        """Mean latency of the remembered successes; failures may be fast, so they do not count."""
        return self.latency_sum_s / self.successes if self.successes > 1e-6 else None

    def add(self, success: bool, latency_s: float, now_s: float) -> bool:
        """Record one outcome, and return whether it showed a change of the success rate."""
        if success:
            if now_s > self._at_s:
                self.decay(now_s)
            self.latency_sum_s += latency_s
        return self.count_whole(success, now_s)

    def judge(self, score: float, now_s: float, previous: float | None = None) -> bool:
        """Record what an answer was worth, in place of a `previous` score of the same; it says nothing about latency.

        Returns as `add` does.
        """
        latency_s = self.latency_s
        changed = False
        if previous is None:
            changed = self.count(score, 1.0, now_s)
        else:
            self.exchange(previous, score, now_s)
        if latency_s is not None:
            self.latency_sum_s = latency_s * self.successes
        return changed

    def sum_up(self, parts: Iterable["Evidence"], now_s: float) -> None:
        """Become the sum of other evidence; the last change found in any part is one of the whole."""
        parts = tuple(parts)
        self.add_up(parts, now_s)
        self.drifted_at_s = max((part.drifted_at_s for part in parts if part.drifted_at_s is not None), default=None)
        self.latency_sum_s = sum(part.latency_sum_s for part in parts)

    def kept(self) -> list[float | None]:
        """Return what has to be kept, as plain data."""
        return [*self.snapshot(), self.latency_sum_s]

    def take_over(self, kept: Sequence[float | None]) -> None:
        """Become what `kept` gave. Raises ValueError for anything else."""
        self.restore(kept)
        latency_sum_s = kept[4] if len(kept) > 4 else None
        if not isinstance(latency_sum_s, int | float) or not 0.0 <= latency_sum_s < 1e15:
            raise ValueError(f"kept evidence must end with a sum of seconds, not {kept!r}")
        self.latency_sum_s = float(latency_sum_s)

    def performance(self) -> float:
        """Return 0.7 x expected success + 0.3 x speed, where speed is 2 s / (2 s + latency), 0.5 while unknown."""
        return performance_of(self.mean, self.latency_sum_s / self.successes if self.successes > 0.0 else None)

    def _fade(self, kept: float) -> None:
        super()._fade(kept)
        self.latency_sum_s *= kept if self.successes else 0.0

    def _drift(self, now_s: float) -> None:
        """Drop older evidence, but keep the mean latency: it is not what changed."""
        before = self.successes
        super()._drift(now_s)
        self.latency_sum_s *= self.successes / before if before else 0.0
