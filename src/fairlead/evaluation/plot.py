"""The curve of an evaluation as a picture, with matplotlib; SVG or PNG, by the file's ending."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from fairlead.errors import FairleadError
from fairlead.evaluation.needs import need
from fairlead.evaluation.report import Report
from fairlead.evaluation.sketch import NAMES, Window, line_of, window
from fairlead.evaluation.words import printable

ENDINGS = (".svg", ".png")
_INK, _FAINT = "#1f2933", "#9aa5b1"
_STYLES: dict[str, dict[str, Any]] = {
    "oracle": {"color": "#c9a227", "linestyle": (0, (1, 1.5)), "linewidth": 1.6},
    "random": {"color": _FAINT, "linestyle": (0, (4, 3)), "linewidth": 1.4},
    "hull": {"color": "#52606d", "linestyle": "-", "linewidth": 1.2},
    "length": {"color": "#d1495b", "linestyle": "-", "linewidth": 1.6},
    "task_table": {"color": "#2a9d8f", "linestyle": "-", "linewidth": 1.6},
    "ours": {"color": "#1d4e89", "linestyle": "-", "linewidth": 2.8},
}
_LABELS = {
    "cost_usd": "mean cost of a prompt (US dollars)",
    "latency_s": "mean latency of a prompt (seconds)",
    "strong_calls": "prompts sent to {strong} (%)",
}
_MOST_NAMES, _NAME_CHARS = 8, 24


def check_plot_file(path: Path) -> None:
    """Raise FairleadError unless matplotlib is here and the file's ending is one that can be drawn."""
    need("matplotlib")
    if path.suffix.lower() not in ENDINGS:
        raise FairleadError(f"--plot {path}: the file must end in {' or '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise FairleadError(f"--plot {path}: there is no folder {path.parent}")


def draw(report: Report, path: Path) -> None:
    """Draw the trade-off of all routers into `path`. Raises FairleadError where there is nothing to draw."""
    check_plot_file(path)
    if not report.curves:
        raise FairleadError("nothing to plot: with more than two models a curve needs cost_usd, or --by latency")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.2, 5.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    view = window(report)
    _lines(axes, report)
    _models(axes, report)
    _frame(axes, report)
    pad = (view.right - view.left) * 0.03
    axes.set_xlim(view.left - pad, view.right + pad)
    axes.set_ylim(view.bottom, view.top)
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # letters that the font lacks
            figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        raise FairleadError(f"--plot {path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def _lines(axes: Any, report: Report) -> None:
    band, blue = report.band, _STYLES["ours"]["color"]
    if band is not None:
        axes.fill_between(
            band.cost, band.low, band.high, color=blue, alpha=0.12, linewidth=0, label="ours, 95 % of draws"
        )
    for order, (name, style) in enumerate(_STYLES.items()):
        if name in report.curves:
            xs, ys = line_of(name, report.curves[name], report.axis)
            end = max(report.curves["ours"].cost[-1], *(one.cost or 0.0 for one in report.singles), xs[-1])
            axes.plot(np.append(xs, end), np.append(ys, ys[-1]), label=_label(report, name), zorder=3 + order, **style)


def _label(report: Report, name: str) -> str:
    found = report.hull if name == "hull" else report.routers[name]
    if report.axis == "strong_calls":
        return NAMES[name] if found.apgr is None else f"{NAMES[name]}  APGR {found.apgr:.3f}"
    return NAMES[name] if found.aiq is None else f"{NAMES[name]}  AIQ {found.aiq:.3f}"


def _models(axes: Any, report: Report) -> None:
    shown = [(one.cost, one.score, one.model) for one in report.singles if one.cost is not None]
    best = next(one for one in shown if one[2] == report.strong)
    rest = [one for one in shown if one is not best]
    axes.scatter([x for x, _, _ in rest], [y for _, y, _ in rest], s=26, color="white", edgecolor=_INK, zorder=10)
    axes.scatter(best[0], best[1], s=150, marker="*", color=_INK, zorder=11, label=NAMES["best_single"])
    axes.axhline(best[1], color=_FAINT, linewidth=0.8, linestyle=":", zorder=1)
    for x, y, name in _named(shown, window(report)):
        _name(axes, (x, y), name, window(report), is_best=name == report.strong)


def _named(models: list[tuple[float, float, str]], view: Window) -> list[tuple[float, float, str]]:
    """Return the models whose names find room, the best first."""
    placed: list[tuple[float, float]] = []
    found: list[tuple[float, float, str]] = []
    for one in models:
        x, y = (one[0] - view.left) / (view.right - view.left), (one[1] - view.bottom) / (view.top - view.bottom)
        is_crowded = any(abs(y - other_y) < 0.05 and abs(x - other_x) < 0.35 for other_x, other_y in placed)
        if 0 <= x <= 1 and 0 <= y <= 1 and not is_crowded and len(found) < _MOST_NAMES:
            placed.append((x, y))
            found.append(one)
    return found


def _name(axes: Any, at: tuple[float, float], name: str, view: Window, *, is_best: bool) -> None:
    from matplotlib.patheffects import withStroke

    name = printable(name)
    is_right = at[0] > view.left + (view.right - view.left) * 0.6
    axes.annotate(
        name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…",
        at,
        xytext=(-6 if is_right else 7, 9 if is_best else -14),
        textcoords="offset points",
        ha="right" if is_right else "left",
        fontsize=8,
        color=_INK,
        zorder=12,
        parse_math=False,
        path_effects=[withStroke(linewidth=3, foreground="white", alpha=0.85)],
    )


def _frame(axes: Any, report: Report) -> None:
    label = _LABELS[report.axis].format(strong=printable(report.strong))
    axes.set_xlabel(label, color=_INK, parse_math=False)
    axes.set_ylabel("mean score", color=_INK)
    axes.set_title(
        f"Routing on {printable(report.table)}",
        loc="left",
        color=_INK,
        fontsize=13,
        fontweight="bold",
        pad=24,
        parse_math=False,
    )
    under = printable(f"{report.prompts:,} prompts; {report.design}")
    axes.text(0, 1.02, under, transform=axes.transAxes, fontsize=9, color="#52606d", parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.grid(visible=True, color="#e4e7eb", linewidth=0.7)
    axes.set_axisbelow(True)
    if report.axis == "strong_calls":
        axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f}")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, reverse=True)
