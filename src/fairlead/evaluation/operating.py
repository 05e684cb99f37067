"""One point of the trade-off, chosen without looking at the prompts that it is measured on.

A curve shows what *some* setting would reach; whoever sets the knob does not know which. So for each fold the setting
is chosen on the other folds (the cheapest that scores there within `margin` of the best single model) and measured on
this one. Needs two folds or more.
"""

from collections.abc import Sequence

import numpy as np

from fairlead.evaluation.bootstrap import interval, resamples
from fairlead.evaluation.contender import Contender, Yardstick, taken
from fairlead.evaluation.report import OperatingPoint
from fairlead.evaluation.table import Floats, Ints

MARGINS = (0.01, 0.0)


def chosen(score: Floats, cost: Floats, target: Floats, fold: Ints, margin: float, *, by_median: bool = False) -> Ints:
    """Return for each prompt the setting (a column of `score` and `cost`) that the other folds would have chosen.

    `target` is the best single model's score by prompt. Where no setting reaches it, the one that scores most. With
    `by_median` settings compare by their median cost, as waits do, not by their mean.
    """
    usual = np.median if by_median else np.mean
    column = np.zeros(len(score), dtype=np.intp)
    for one in np.unique(fold):
        others = fold != one
        means, costs = score[others].mean(axis=0), usual(cost[others], axis=0)
        good = np.flatnonzero(means >= target[others].mean() - margin)
        pick = good[np.argmin(costs[good])] if len(good) else np.argmax(means)
        column[fold == one] = pick
    return column


def operating_points(contenders: Sequence[Contender], yard: Yardstick, draws: int) -> list[OperatingPoint]:
    """Return what the routers that learn reach at settings chosen on other folds, and one model for all prompts.

    Empty with one fold, or without costs.
    """
    if yard.paid is None or len(np.unique(yard.fold)) < 2:
        return []
    n, m = yard.table.score.shape
    picks = {one.name: one.picks for one in contenders if one.name in ("ours", "length", "task_table")}
    picks["single"] = np.broadcast_to(np.arange(m), (n, m))
    return [
        _point(name, one, yard.paid, yard, margin, draws)
        for margin in MARGINS
        for name, one in picks.items()
        if one is not None
    ]


def _point(name: str, picks: Ints, all_paid: Floats, yard: Yardstick, margin: float, draws: int) -> OperatingPoint:
    score, cost = taken(yard.table.score, picks), taken(all_paid, picks)
    best_score, best_cost = yard.table.score[:, yard.strong], all_paid[:, yard.strong]
    rows = np.arange(len(score))
    column = chosen(score, cost, best_score, yard.fold, margin, by_median=yard.is_latency)
    got, paid = score[rows, column], cost[rows, column]
    lost = np.array([(w @ (got - best_score)) / len(got) for w in resamples(len(got), draws, yard.seed)])
    ratio = np.array([(w @ paid) / (w @ best_cost) for w in resamples(len(got), draws, yard.seed) if w @ best_cost])
    return OperatingPoint(
        router=name,
        margin=margin,
        accuracy=float(got.mean()),
        accuracy_less_best_single=float((got - best_score).mean()),
        accuracy_interval=interval(lost) if draws else None,
        cost=float(paid.mean()),
        cost_ratio=_ratio(float(paid.mean()), float(best_cost.mean())),
        cost_ratio_interval=interval(ratio) if draws else None,
        median_ratio=_ratio(float(np.median(paid)), float(np.median(best_cost))),
    )


def _ratio(one: float, other: float) -> float | None:
    return one / other if other else None
