"""What a route's score is made of: four factors, each on an absolute scale in [0, 1], and how a knob weighs them.

    score = 0.4 capability + 0.3 performance + 0.2 resource efficiency + 0.1 historical success

Nothing is measured against the other candidates: a model's factors stay the same whoever stands beside it, and a gap of
1 % counts like 1 %. What is unknown scores 0.5.

The knob q in [0, 1] turns the weights: capability and historical success count 2q times, resource efficiency 2 (1 - q)
times, performance 1 - |2q - 1| times, and the sum is made 1 again. So 0.5 leaves the formula as it is, 0 looks at the
price alone, 1 at what answers are worth alone.
"""

import math
from collections.abc import Sequence
from math import log10

from fairlead.routing.config import Weights

NAMES = ("capability", "performance", "resource_efficiency", "historical_success")
UNKNOWN = 0.5
"""The value of a factor of which nothing is known."""
CHEAP_USD = 1e-6
"""The price of an answer that scores 1."""
DEAR_USD = 10.0
"""The price of an answer that scores 0."""
NEUTRAL_USD = math.sqrt(CHEAP_USD * DEAR_USD)
"""The price that scores like an unknown one."""
_LOG_DEAR = log10(DEAR_USD)
DECADES = _LOG_DEAR - log10(CHEAP_USD)
"""Tenfold steps between the two."""

Shares = tuple[float, float, float, float]
"""One for each of `NAMES`; they sum to 1."""


def efficiency(cost_usd: float) -> float:
    """Return how little an answer costs: 1 at a millionth of a dollar or less, 0 at ten, even steps per tenfold."""
    if cost_usd <= CHEAP_USD:
        return 1.0
    if cost_usd >= DEAR_USD:
        return 0.0
    return (_LOG_DEAR - log10(cost_usd)) / DECADES


def efficiencies(costs: Sequence[float]) -> list[float]:
    """Return the same for many, written out for speed; `UNKNOWN` for NaN."""
    return [
        UNKNOWN
        if cost != cost  # noqa: PLR0124 - only NaN is not itself
        else 1.0
        if cost <= CHEAP_USD
        else 0.0
        if cost >= DEAR_USD
        else (_LOG_DEAR - log10(cost)) / DECADES
        for cost in costs
    ]


def shares(weights: Weights, quality: float) -> Shares:
    """Return the weights as the knob turns them, summing to 1.

    Where the knob leaves nothing of them, as when resource efficiency weighs 0 and only it is asked for, the factor
    that the knob stands for counts alone.
    """
    worth, thrift = 2.0 * quality, 2.0 * (1.0 - quality)
    turned = (
        weights.capability * worth,
        weights.performance * min(worth, thrift),
        weights.resource_efficiency * thrift,
        weights.historical_success * worth,
    )
    total = math.fsum(turned)
    if total <= 0.0:
        return (1.0, 0.0, 0.0, 0.0) if quality >= 0.5 else (0.0, 0.0, 1.0, 0.0)
    return (turned[0] / total, turned[1] / total, turned[2] / total, turned[3] / total)


def nearness(tolerance: float, quality: float) -> float:
    """Return by how much two scores may differ and still count as equal.

    The tolerance is for estimates; a price is a fact. So it shrinks as the knob goes to the cheapest, down to nothing.
    """
    return tolerance * min(1.0, 2.0 * quality)
