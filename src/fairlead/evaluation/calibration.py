"""Whether expected quality means what it says.

The expected calibration error is the gap between what was expected and what happened, averaged over ten bins of equal
width (Naeini et al., AAAI 2015). The Brier score is the mean squared error; its skill compares it with that of
expecting, for each model, the base rate of the prompt's category (Murphy, 1973): above 0 says more than the base rate.
"""

import numpy as np

from fairlead.evaluation.table import Floats, Ints

BINS = 10


def bins_of(expected: Floats) -> Ints:
    """Return the bin of each expectation in [0, 1]."""
    return np.minimum((expected * BINS).astype(np.intp), BINS - 1)


def ece(bins: Ints, error: Floats, weight: Floats | None = None) -> float:
    """Return the expected calibration error; `error` is expected less scored."""
    weight = np.ones(len(error)) if weight is None else weight
    sums = np.bincount(bins, weights=weight * error, minlength=BINS)
    return float(np.abs(sums).sum() / weight.sum())


def reliability(expected: Floats, score: Floats) -> list[dict[str, float]]:
    """Return, for each bin that holds anything: how many, mean expectation, mean score."""
    bins = bins_of(expected)
    count = np.bincount(bins, minlength=BINS)
    means = [np.bincount(bins, weights=one, minlength=BINS) / np.maximum(count, 1) for one in (expected, score)]
    return [
        {"count": float(count[b]), "expected": float(means[0][b]), "scored": float(means[1][b])}
        for b in range(BINS)
        if count[b]
    ]


def skill(squared: Floats, base_squared: Floats, weight: Floats | None = None) -> float:
    """Return 1 - Brier / Brier of the base rate; NaN where the base rate is never wrong."""
    weight = np.ones(len(squared)) if weight is None else weight
    base = float(weight @ base_squared)
    return 1.0 - float(weight @ squared) / base if base > 0.0 else float("nan")
