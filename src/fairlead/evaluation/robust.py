"""How often a decision flips when the same is asked in other words."""

from collections.abc import Sequence

import numpy as np

from fairlead.evaluation.contender import Yardstick, quality_choice
from fairlead.evaluation.expectation import Expectations
from fairlead.evaluation.report import Flips
from fairlead.evaluation.reword import RULES
from fairlead.evaluation.table import Floats, Ints
from fairlead.evaluation.tradeoff import choices


def flips(expected: Expectations, yard: Yardstick, prompts: Sequence[str]) -> list[Flips]:
    """Return the share of flips for each rule; empty where nothing was reworded."""
    before = expected.quality["ours"]
    found = []
    for rule, after in expected.reworded.items():
        best = quality_choice(before, yard) != quality_choice(after, yard)
        half_way = _half_way(before, before, yard) != _half_way(after, before, yard)
        changed = float(np.mean([RULES[rule](prompt) != prompt for prompt in prompts]))
        found.append(Flips(rule, float(best.mean()), float(half_way.mean()), changed))
    return found


def _half_way(quality: Floats, fitted: Floats, yard: Yardstick) -> Ints:
    """Return the choices half-way along the trade-off, its setting taken from the prompts as they stand."""
    if yard.is_two_way or yard.expected_cost is None or yard.price is None:
        return _above_median(quality, fitted, yard)
    costs = yard.expected_cost
    rows = np.arange(len(costs))[:, None]
    means = costs[rows, choices(fitted, costs, yard.price)].mean(axis=0)
    half = (means.min() + means.max()) / 2
    nearest = int(np.argmin(np.abs(means - half)))
    return choices(quality, costs, yard.price[nearest : nearest + 1])[:, 0]


def _above_median(quality: Floats, fitted: Floats, yard: Yardstick) -> Ints:
    worth, reference = (one[:, yard.strong] - one[:, yard.weak] for one in (quality, fitted))
    picks = np.empty(len(worth), dtype=np.intp)
    for one in np.unique(yard.fold):
        members = yard.fold == one
        picks[members] = np.where(worth[members] > np.median(reference[members]), yard.strong, yard.weak)
    return picks
