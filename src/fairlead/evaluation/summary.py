"""From figures on every draw to the parts of a report: the point, and the interval round it."""

from collections.abc import Sequence

import numpy as np

from fairlead.evaluation.bootstrap import interval
from fairlead.evaluation.calibration import reliability
from fairlead.evaluation.contender import Yardstick
from fairlead.evaluation.expectation import Expectations
from fairlead.evaluation.figures import TradeOff
from fairlead.evaluation.metrics import answered
from fairlead.evaluation.report import Band, Calibration, Curve, Difference, RouterFigures, Single
from fairlead.evaluation.table import Floats, Table

Draws = dict[str, Floats]


def router_figures(name: str, drawn: Draws, axis: str) -> RouterFigures:
    """Return one router's figures and their intervals; one that is not there has none.

    What chance does to a random order is its mean over all draws.
    """
    values: dict[str, float | None] = {}
    intervals: dict[str, tuple[float, float] | None] = {}
    for key in RouterFigures.__struct_fields__:
        found = drawn.get(f"{name}.{key}")
        if found is None or (axis == "strong_calls" and key == "aiq"):
            continue
        is_chance = name == "random" and key in ("apgr", "cpt50", "cpt80")
        values[key] = _number(float(np.nanmean(found)) if is_chance and np.isfinite(found).any() else float(found[0]))
        intervals[key] = interval(found[1:])
    return RouterFigures(**values, intervals=intervals)


def differences_of(drawn: Draws, axis: str) -> dict[str, Difference]:
    """Return every difference with its interval."""
    return {
        key: Difference(_number(values[0]), interval(values[1:]))
        for key, values in drawn.items()
        if "_minus_" in key and not (axis == "strong_calls" and key.endswith(".aiq"))
    }


def calibration_of(expected: Expectations, table: Table, drawn: Draws) -> Calibration:
    """Return how well ours' expectations hold."""
    names = ("ece", "brier", "brier_skill", "brier_skill_over_labels")
    found = {name: drawn[f"calibration.{name}"] for name in names if f"calibration.{name}" in drawn}
    point = {name: _number(found[name][0]) if name in found else None for name in names}
    intervals = {name: interval(values[1:]) for name, values in found.items()}
    quality = np.clip(expected.quality["ours"], 0.0, 1.0)
    return Calibration(**point, intervals=intervals, bins=reliability(quality.ravel(), table.score.ravel()))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def singles_of(yard: Yardstick) -> list[Single]:
    """Return the models, the best first."""
    scores = yard.table.score.mean(axis=0)
    order = np.argsort(-scores, kind="stable").tolist()
    if yard.paid is None:
        return [Single(yard.table.models[j], float(scores[j]), None) for j in order]
    costs, medians = yard.paid.mean(axis=0), np.median(yard.paid, axis=0)
    return [Single(yard.table.models[j], float(scores[j]), float(costs[j]), float(medians[j])) for j in order]


def curves_of(singles: TradeOff | None, trades: Sequence[TradeOff], yard: Yardstick) -> dict[str, Curve]:
    """Return the points of every router's trade-off, and the corners of the hull of single models."""
    if singles is None:
        return {}
    weight = np.ones(len(yard.table.prompts))
    curves = {}
    for trade in trades:
        costs, scores = trade.points(weight)
        order = np.argsort(costs, kind="stable")
        curves[trade.name] = Curve(*(one[order].tolist() for one in (costs, scores, trade.medians())))
    curves["hull"] = Curve(*(one.tolist() for one in answered(singles.hull(weight))))
    return curves


def band_of(grid: Floats | None, drawn: Draws) -> Band | None:
    """Return the band of ours; None without draws or without an axis."""
    if grid is None:
        return None
    bounds = [interval(drawn[f"band.{i}"][1:]) for i in range(len(grid))]
    known = [bound for bound in bounds if bound is not None]
    if len(known) < len(grid):
        return None
    return Band(grid.tolist(), [low for low, _ in known], [high for _, high in known])
