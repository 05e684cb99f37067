"""An evaluation from a table to its report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fairlead.capability.scorer import CapabilityScorer
from fairlead.evaluation import figures as fig
from fairlead.evaluation.contender import ROUTERS, Contender, Yardstick, contenders, make_yardstick
from fairlead.evaluation.expectation import Expectations, Ours, Progress, Split, expectations
from fairlead.evaluation.folds import assign_folds, unmixed
from fairlead.evaluation.operating import operating_points
from fairlead.evaluation.report import Report
from fairlead.evaluation.robust import flips
from fairlead.evaluation.rows import TableError
from fairlead.evaluation.summary import (
    band_of,
    calibration_of,
    curves_of,
    differences_of,
    router_figures,
    singles_of,
)
from fairlead.evaluation.table import Axis, Floats, Table


@dataclass(frozen=True)
class Settings:
    """How to measure."""

    folds: int = 5
    seed: int = 0
    draws: int = 1000
    """Of the prompts, for the intervals; 0 for none."""
    robust: bool = False
    axis: Axis | None = None
    """What a call takes; None: dollars where the table has them."""


def cross_validated(
    table: Table,
    settings: Settings,
    progress: Progress = lambda *_: None,
    make_scorer: Callable[[], CapabilityScorer] = CapabilityScorer,
) -> Report:
    """Fit on all folds but one and measure on that, in turn. Raises TableError with more folds than groups."""
    fold = assign_folds(table, settings.folds, settings.seed)
    splits = [Split(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(settings.folds)]
    grouped = len({group for group in table.group if group is not None})
    kind = f"grouped, {grouped} groups" if grouped else "random"
    design = f"{settings.folds} folds ({kind}), each measured by routers fitted on the others"
    return _evaluate(table, splits, design, settings, progress, make_scorer)


def fitted_and_tested(
    fit: Table,
    test: Table,
    settings: Settings,
    progress: Progress = lambda *_: None,
    make_scorer: Callable[[], CapabilityScorer] = CapabilityScorer,
) -> Report:
    """Fit on one table and measure on another of the same models; prompts of both are left out of the fit.

    Raises TableError where that leaves nothing to fit on.
    """
    shared = set(test.prompts)
    kept = [i for i, prompt in enumerate(fit.prompts) if prompt not in shared]
    if not kept:
        raise TableError(f"{fit.name}: nothing is left to fit on: all its prompts stand in {test.name}, too")
    both = len(fit.prompts) - len(kept)
    fit = fit.take(kept)
    table = _joined(fit, test)
    if both:
        note = f"{both} prompts of {fit.name} stand in {test.name} too, and are not fitted on"
        table = replace(table, notes=(*table.notes, note))
    split = Split(np.arange(len(kept)), np.arange(len(kept), len(table.prompts)))
    design = f"fitted on {len(kept):,} prompts of {fit.name}, measured on {test.name}"
    return _evaluate(table, [split], design, settings, progress, make_scorer)


def _joined(fit: Table, test: Table) -> Table:
    def both(one: Floats | None, other: Floats | None) -> Floats | None:
        return None if one is None or other is None else np.concatenate((one, other))

    return Table(
        name=test.name,
        prompts=fit.prompts + test.prompts,
        models=test.models,
        score=np.concatenate((fit.score, test.score)),
        cost_usd=both(fit.cost_usd, test.cost_usd),
        latency_s=both(fit.latency_s, test.latency_s),
        category=fit.category + test.category,
        group=fit.group + test.group,
        notes=fit.notes + test.notes,
    )


def _evaluate(
    whole: Table,
    splits: Sequence[Split],
    design: str,
    settings: Settings,
    progress: Progress,
    make_scorer: Callable[[], CapabilityScorer],
) -> Report:
    axis: Axis | None = settings.axis or ("cost_usd" if whole.cost_usd is not None else None)
    ours = Ours(whole.models, make_scorer)
    expected = expectations(whole, splits, axis, ours, robust=settings.robust, progress=progress)
    table = whole.take(np.sort(np.concatenate([split.test for split in splits])).tolist())
    yard, axis_name = _yardstick(table, expected, axis, settings.seed)
    rivals = contenders(yard, expected)
    singles, trades = _trades(rivals, yard)
    grid = None if singles is None else _grid(singles, yard)
    figures = _figures(rivals, trades, singles, grid, expected, yard, is_raw=axis_name == "strong_calls")
    total = settings.draws + 1
    drawn = fig.drawn(
        figures,
        len(table.prompts),
        settings.draws,
        settings.seed,
        lambda done: progress("drawing again", done, total),
    )
    return Report(
        table=table.name,
        prompts=len(table.prompts),
        design=design,
        axis=axis_name,
        strong=table.models[yard.strong],
        weak=table.models[yard.weak],
        routers={name: router_figures(name, drawn, axis_name) for name in ROUTERS},
        hull=router_figures("hull", drawn, axis_name),
        differences=differences_of(drawn, axis_name),
        calibration=calibration_of(expected, table, drawn),
        operating_points=operating_points(rivals, yard, settings.draws) if axis_name != "strong_calls" else [],
        robustness=flips(expected, yard, table.prompts),
        singles=singles_of(yard),
        curves=curves_of(singles, trades, yard),
        band=band_of(grid, drawn),
        seed=settings.seed,
        draws=settings.draws,
        notes=[*table.notes, *unmixed(table, expected.fold)],
    )


def _figures(
    rivals: Sequence[Contender],
    trades: Sequence[fig.TradeOff],
    singles: fig.TradeOff | None,
    grid: Floats | None,
    expected: Expectations,
    yard: Yardstick,
    *,
    is_raw: bool,
) -> list[fig.Figure]:
    figures = [fig.choice_figures(one, yard) for one in rivals]
    figures += [fig.order_figures(one, yard) for one in rivals]
    figures.append(fig.calibration_figures(expected, yard))
    if singles is not None and grid is not None:
        figures.append(fig.hull_figures(trades, singles, yard))
        figures.append(fig.band_figures(trades[0], grid, is_raw=is_raw))
    return figures


def _grid(singles: fig.TradeOff, yard: Yardstick) -> Floats:
    """Return the costs at which ours' band is taken: up to a little beyond the best single model, as plots show."""
    costs, _ = singles.points(np.ones(len(yard.table.prompts)))
    low, best = float(costs.min()), float(costs[yard.strong])
    end = min(float(costs.max()), low + (best - low) * 1.25) if best > low else float(costs.max())
    return np.linspace(low, end, fig.BAND_POINTS)


def _yardstick(table: Table, expected: Expectations, axis: Axis | None, seed: int) -> tuple[Yardstick, str]:
    paid = None if axis is None else table.axis(axis)
    yard = make_yardstick(table, expected, paid, seed)
    if paid is not None and axis is not None:
        return replace(yard, is_latency=axis == "latency_s"), axis
    if not yard.is_two_way:
        return yard, "none"
    calls = np.zeros_like(table.score)  # without prices, what is paid is a strong call
    calls[:, yard.strong] = 1.0
    return replace(yard, paid=calls), "strong_calls"


def _trades(rivals: Sequence[Contender], yard: Yardstick) -> tuple[fig.TradeOff | None, list[fig.TradeOff]]:
    trades = [trade for trade in (fig.trade_off(one, yard) for one in rivals) if trade is not None]
    if yard.paid is None:
        return None, trades
    return fig.TradeOff("hull", yard.table.score, yard.paid), trades
