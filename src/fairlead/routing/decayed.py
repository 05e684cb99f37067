"""A mean whose evidence loses half its weight each half-life."""

import math

NEGLIGIBLE = 0.01
"""Remembered weight below which nothing is known any more."""


class DecayedMean:
    """The mean of what was added, the old counting less: sum(x w) / sum(w) with w = 2^(-age / half-life)."""

    __slots__ = ("_at_s", "_half_life_s", "_total", "weight")

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._at_s = 0.0
        self._total = 0.0
        self.weight = 0.0
        """How much was added and is remembered, as of the last `add`."""

    @property
    def mean(self) -> float | None:
        """The mean; None where nothing is remembered."""
        return self._total / self.weight if self.weight >= NEGLIGIBLE else None

    def towards(self, prior: float, prior_weight: float) -> float:
        """Return the mean, shrunk to a prior that is worth `prior_weight` additions."""
        return (self._total + prior * prior_weight) / (self.weight + prior_weight)

    def add(self, value: float, now_s: float) -> None:
        """Add one value; a time before the last one counts as the same time."""
        if now_s > self._at_s:
            kept = math.exp2((self._at_s - now_s) / self._half_life_s)
            self._total *= kept
            self.weight *= kept
            self._at_s = now_s
        self._total += value
        self.weight += 1.0

    def state(self) -> list[float]:
        """Return what `restore` takes."""
        return [self._at_s, self._total, self.weight]

    def restore(self, state: list[float]) -> None:
        """Take over a `state`. Raises ValueError for anything else."""
        at_s, total, weight = map(float, state)
        if not (math.isfinite(at_s) and math.isfinite(total) and 0.0 <= weight < math.inf):
            raise ValueError(f"not the state of a mean: {state!r}")
        self._at_s, self._total, self.weight = at_s, total, weight
