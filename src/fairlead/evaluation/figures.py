"""Every figure of every router on one draw of the prompts; the point estimate is the draw that has each prompt once."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from fairlead.evaluation.bootstrap import resamples
from fairlead.evaluation.calibration import bins_of, ece, skill
from fairlead.evaluation.contender import Contender, Yardstick, taken
from fairlead.evaluation.expectation import Expectations
from fairlead.evaluation.metrics import aiq, answered, apgr, cost_for, cpt, hull, recovered_in_order, score_at
from fairlead.evaluation.table import Floats

Figure = Callable[[Floats], dict[str, float]]
"""From how often each prompt counts to figures by name, `router.figure`."""
Hull = tuple[Floats, Floats]
BAND_POINTS = 61


def order_figures(contender: Contender, yard: Yardstick) -> Figure:
    """Return APGR, CPT(50) and CPT(80) of a router's order of prompts; nothing where it has none.

    A random router has another order on each draw, so that its figures say what chance does, not what one seed did.
    """
    if contender.rank is None:
        return lambda _: {}
    is_random, rng = contender.name == "random", np.random.default_rng([yard.seed, 1])
    kept, gain = np.argsort(contender.rank, kind="stable"), yard.gain

    def measure(weight: Floats) -> dict[str, float]:
        order = rng.permutation(len(kept)) if is_random else kept
        curve = recovered_in_order(gain[order], weight[order])
        found = {"apgr": apgr(curve), "cpt50": cpt(curve, 0.5), "cpt80": cpt(curve, 0.8)}
        return {f"{contender.name}.{key}": value for key, value in found.items()}

    return measure


def choice_figures(contender: Contender, yard: Yardstick) -> Figure:
    """Return the mean score, cost and latency of a router's choices for quality alone."""
    table = yard.table
    columns = {"accuracy": contender.score(table)}
    for axis, matrix in (("cost_usd", table.cost_usd), ("latency_s", table.latency_s)):
        if matrix is not None:
            columns[axis] = taken(matrix, contender.best)

    def measure(weight: Floats) -> dict[str, float]:
        total = weight.sum()
        return {f"{contender.name}.{key}": float(weight @ values) / total for key, values in columns.items()}

    return measure


class TradeOff:
    """A router's trade-off between score and cost: its points and their hull on any draw of the prompts."""

    def __init__(self, name: str, score: Floats, cost: Floats) -> None:
        self.name = name
        self._score = score
        self._cost = cost

    def points(self, weight: Floats) -> tuple[Floats, Floats]:
        """Return mean costs and mean scores."""
        total = weight.sum()
        return weight @ self._cost / total, weight @ self._score / total

    def medians(self) -> Floats:
        """Return the median cost of each point."""
        found: Floats = np.median(self._cost, axis=0)
        return found

    def hull(self, weight: Floats) -> Hull:
        """Return the corners of the hull of its points."""
        return hull(*self.points(weight))


def trade_off(contender: Contender, yard: Yardstick) -> TradeOff | None:
    """Return the trade-off of a router, None where it has none or costs are unknown."""
    if contender.picks is None or yard.paid is None:
        return None
    return TradeOff(contender.name, taken(yard.table.score, contender.picks), taken(yard.paid, contender.picks))


def hull_figures(trades: Sequence[TradeOff], singles: TradeOff, yard: Yardstick) -> Figure:
    """Return AIQ of every router and of the hull of single models, and what is gained at the best single model."""
    scored = yard.table.score[:, yard.strong]

    def measure(weight: Floats) -> dict[str, float]:
        costs, _ = singles.points(weight)
        low, best_cost = float(costs.min()), float(costs[yard.strong])
        best_score = float(weight @ scored / weight.sum())
        found = {}
        for trade in (*trades, singles):
            corners = trade.hull(weight)
            found[f"{trade.name}.aiq"] = aiq(corners, low, best_cost)
            cost = cost_for(best_score, corners)
            found[f"{trade.name}.accuracy_at_equal_cost"] = score_at(best_cost, corners)
            found[f"{trade.name}.cost_at_equal_accuracy"] = cost
            found[f"{trade.name}.saved"] = 0.0 if np.isnan(cost) or not best_cost else 1.0 - cost / best_cost
        return found

    return measure


def band_figures(trade: TradeOff, grid: Floats, *, is_raw: bool) -> Figure:
    """Return the height of a router's hull (or, raw, its points) on a grid of costs, for the band of a plot."""

    def measure(weight: Floats) -> dict[str, float]:
        heights = np.interp(grid, *(trade.points(weight) if is_raw else answered(trade.hull(weight)))).tolist()
        return {f"band.{i}": height for i, height in enumerate(heights)}

    return measure


def calibration_figures(expected: Expectations, yard: Yardstick) -> Figure:
    """Return how well ours' expectations hold: calibration error, Brier score, skill over base rates."""
    quality, score = np.clip(expected.quality["ours"], 0.0, 1.0), yard.table.score
    m = score.shape[1]
    bins, error = bins_of(quality).ravel(), (quality - score).ravel()
    squared = ((quality - score) ** 2).mean(axis=1)
    base = ((expected.base_rate - score) ** 2).mean(axis=1)
    labelled = None if expected.label_rate is None else ((expected.label_rate - score) ** 2).mean(axis=1)

    def measure(weight: Floats) -> dict[str, float]:
        found = {
            "calibration.ece": ece(bins, error, np.repeat(weight, m)),
            "calibration.brier": float(weight @ squared / weight.sum()),
            "calibration.brier_skill": skill(squared, base, weight),
        }
        if labelled is not None:
            found["calibration.brier_skill_over_labels"] = skill(squared, labelled, weight)
        return found

    return measure


def differences(found: dict[str, float]) -> dict[str, float]:
    """Return the figures of ours less those of what it is compared with, on the same draw."""
    compared = {}
    for other in ("length", "hull", "task_table"):
        for key in ("apgr", "aiq", "accuracy", "accuracy_at_equal_cost"):
            if f"ours.{key}" in found and f"{other}.{key}" in found:
                compared[f"ours_minus_{other}.{key}"] = found[f"ours.{key}"] - found[f"{other}.{key}"]
    if "best_single.accuracy" in found:
        best = found["best_single.accuracy"]
        compared["ours_minus_best_single.accuracy"] = found["ours.accuracy"] - best
        if "ours.accuracy_at_equal_cost" in found:
            compared["ours_minus_best_single.accuracy_at_equal_cost"] = found["ours.accuracy_at_equal_cost"] - best
    return compared


def drawn(
    figures: Sequence[Figure], n: int, draws: int, seed: int, progress: Callable[[int], None]
) -> dict[str, Floats]:
    """Return every figure on every draw, the first being each prompt once."""
    rows: list[dict[str, float]] = []
    for weight in chain((np.ones(n),), resamples(n, draws, seed)):
        found: dict[str, float] = {}
        for figure in figures:
            found |= figure(weight)
        rows.append(found | differences(found))
        progress(len(rows))
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}
