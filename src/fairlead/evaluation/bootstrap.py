"""How sure a figure is: the same figure on prompts drawn again, with replacement.

Percentile intervals; figures of two routers are taken on the same draws, so the interval of their difference is paired
(Efron and Tibshirani, "An Introduction to the Bootstrap", 1993).
"""

from collections.abc import Iterator

import numpy as np

from fairlead.evaluation.table import Floats

LEVEL = 0.95


def resamples(n: int, draws: int, seed: int) -> Iterator[Floats]:
    """Yield, for each draw, how often each of `n` prompts is in it."""
    rng = np.random.default_rng([seed, n])
    for _ in range(draws):
        yield np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)


def interval(values: Floats) -> tuple[float, float] | None:
    """Return the middle 95 % of drawn figures; None where fewer than half of them are defined."""
    good = values[np.isfinite(values)]
    if not len(good) or len(good) * 2 < len(values):
        return None
    low, high = np.quantile(good, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
