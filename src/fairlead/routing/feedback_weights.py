"""What the four weights should have been: re-estimated from outcomes, within bounds, when somebody asks.

Each pair of factors and outcome is a row of a ridge regression of the outcome on the factors, pulled to the configured
weights (scaled so that the configured score fits best) as strongly as `RIDGE_ROWS` rows would pull:

    minimise |y - X b|^2 + RIDGE_ROWS x (mean variance of X) x |b - s w|^2

What is left of b, scaled to a sum of 1 and kept between half and twice the configured share, is the new set. Resource
efficiency is a preference, not a prediction: outcomes that do not count money say nothing about it, so its share stays
unless it is asked for.
"""

from collections import deque
from collections.abc import Collection, Sequence

import msgspec

from fairlead.routing.config import Weights
from fairlead.routing.factors import NAMES, Shares

LEAST_ROWS = 50
"""Outcomes below which weights stay as they are."""
MOST_ROWS = 2_000
"""Outcomes that are kept for it, the oldest dropped first."""
RIDGE_ROWS = 50.0
FACTOR = 2.0
"""How far a share may move from the configured one, up or down."""
PREFERENCES = frozenset({"resource_efficiency"})

Row = tuple[Sequence[float], float]
"""The values of the factors, and the outcome in [0, 1]."""


class WeightsUpdate(msgspec.Struct, frozen=True):
    """What became of the weights, and why."""

    before: Weights
    after: Weights
    outcomes: int
    """How many the estimate rests on."""
    error_before: float | None = None
    """Mean squared error of the outcomes, as a line over the score before."""
    error_after: float | None = None
    reason: str = ""

    @property
    def has_changed(self) -> bool:
        """Whether the weights moved."""
        return self.before != self.after


class FeedbackLog:
    """The last pairs of factors and outcome."""

    def __init__(self) -> None:
        self.rows: deque[Row] = deque(maxlen=MOST_ROWS)

    def add(self, values: Sequence[float], score: float) -> None:
        """Keep one pair."""
        self.rows.append((tuple(values), score))


def as_shares(weights: Weights) -> Shares:
    """Return weights in proportion to their sum."""
    values = (weights.capability, weights.performance, weights.resource_efficiency, weights.historical_success)
    total = sum(values)
    return (values[0] / total, values[1] / total, values[2] / total, values[3] / total)


def re_estimate(
    configured: Weights, current: Weights, rows: Sequence[Row], held: Collection[str] = PREFERENCES
) -> WeightsUpdate:
    """Return the weights that fit the outcomes best, within bounds round the configured ones."""
    n = len(rows)
    if n < LEAST_ROWS:
        return WeightsUpdate(current, current, n, reason=f"{n} outcomes are too few, {LEAST_ROWS} are needed")
    xs, ys = _centred(rows)
    base = as_shares(configured)
    free = [j for j in range(4) if NAMES[j] not in held and base[j] > 0.0]
    spread = sum(x[j] * x[j] for x in xs for j in free) / (n * len(free)) if free else 0.0
    if spread <= 1e-9:
        return WeightsUpdate(current, current, n, reason="the factors did not differ, so nothing can be told from them")
    slope = max(_slope([sum(base[j] * x[j] for j in free) for x in xs], ys), 0.1)
    pull = RIDGE_ROWS * spread
    left = [[sum(x[i] * x[j] for x in xs) + (pull if i == j else 0.0) for j in free] for i in free]
    right = [sum(x[i] * y for x, y in zip(xs, ys, strict=True)) + pull * slope * base[i] for i in free]
    fitted = [max(value, 0.0) for value in _solve(left, right)]
    share = sum(base[j] for j in free)
    bounded = _within([value or 1e-9 for value in fitted], [base[j] for j in free], share)
    new = list(base)
    for j, value in zip(free, bounded, strict=True):
        new[j] = value
    after = Weights(**dict(zip(NAMES, new, strict=True)))
    return WeightsUpdate(
        current, after, n, _error(as_shares(current), xs, ys), _error(as_shares(after), xs, ys), "fitted to outcomes"
    )


def _centred(rows: Sequence[Row]) -> tuple[list[list[float]], list[float]]:
    n = len(rows)
    means = [sum(values[j] for values, _ in rows) / n for j in range(4)]
    middle = sum(score for _, score in rows) / n
    return [[values[j] - means[j] for j in range(4)] for values, _ in rows], [score - middle for _, score in rows]


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    square = sum(x * x for x in xs)
    return sum(x * y for x, y in zip(xs, ys, strict=True)) / square if square > 0.0 else 0.0


def _error(shares: Sequence[float], xs: Sequence[Sequence[float]], ys: Sequence[float]) -> float:
    scores = [sum(share * value for share, value in zip(shares, x, strict=True)) for x in xs]
    slope = max(_slope(scores, ys), 0.0)
    return sum((y - slope * score) ** 2 for score, y in zip(scores, ys, strict=True)) / len(ys)


def _solve(left: list[list[float]], right: list[float]) -> list[float]:
    """Solve a small positive definite system by elimination."""
    n = len(right)
    rows = [[*line, value] for line, value in zip(left, right, strict=True)]
    for i in range(n):
        for k in range(i + 1, n):
            ratio = rows[k][i] / rows[i][i]
            rows[k] = [there - ratio * here for there, here in zip(rows[k], rows[i], strict=True)]
    solution = [0.0] * n
    for i in reversed(range(n)):
        solution[i] = (rows[i][n] - sum(rows[i][k] * solution[k] for k in range(i + 1, n))) / rows[i][i]
    return solution


def _within(values: Sequence[float], base: Sequence[float], total: float) -> list[float]:
    """Scale values until, each kept between half and twice its base, they sum to `total`."""

    def kept(scale: float) -> list[float]:
        return [min(max(scale * v, b / FACTOR), b * FACTOR) for v, b in zip(values, base, strict=True)]

    low, high = 0.0, 1.0
    while sum(kept(high)) < total and high < 1e15:
        high *= 2.0
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if sum(kept(middle)) < total else (low, middle)
    return kept(high)
