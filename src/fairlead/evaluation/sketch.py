"""The curve of an evaluation in a terminal: one mark per router, on a grid of characters."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fairlead.evaluation.metrics import answered, hull
from fairlead.evaluation.report import Curve, Report
from fairlead.evaluation.table import Floats

MARKS = {"random": "·", "hull": "-", "length": "l", "task_table": "t", "oracle": "^", "ours": "●"}
NAMES = {
    "ours": "ours",
    "random": "random",
    "best_single": "best single model",
    "length": "length alone",
    "task_table": "per-task table",
    "hull": "hull of single models",
    "oracle": "oracle",
    "single": "one model for all",
}
AXIS_NAMES = {
    "cost_usd": "mean cost of a prompt, $",
    "latency_s": "mean latency of a prompt, s",
    "strong_calls": "share of strong calls",
    "none": "",
}
_SINGLE = "o"


class Window(NamedTuple):
    """What of the plane is shown."""

    left: float
    right: float
    bottom: float
    top: float


def line_of(name: str, curve: Curve, axis: str) -> tuple[Floats, Floats]:
    """Return the line to draw: shares of strong calls as they are, everything else by its hull."""
    cost, score = np.array(curve.cost), np.array(curve.score)
    if axis == "strong_calls" or name == "hull":
        return cost, score
    return answered(hull(cost, score))


def window(report: Report) -> Window:
    """Return the part worth seeing: from the cheapest to a quarter beyond the best single model."""
    costs = [one.cost for one in report.singles if one.cost is not None]
    left, best = min(costs), next(one.cost or 0.0 for one in report.singles if one.model == report.strong)
    right = min(max(costs), left + (best - left) * 1.25) if best > left else max(costs)
    heights = []
    for name, curve in report.curves.items():
        if name != "oracle":
            xs, ys = line_of(name, curve, report.axis)
            heights += ys[(xs >= left) & (xs <= right)].tolist()
    top = max([*heights, *report.curves["oracle"].score], default=1.0)
    bottom = min(heights, default=0.0)
    pad = max((top - bottom) * 0.06, 0.005)
    return Window(left, right if right > left else left + 1.0, bottom - 2 * pad, top + pad)


def sketch(report: Report, width: int = 68, height: int = 18) -> list[str]:
    """Return the lines of the plot with its axes and legend; empty where there is no curve."""
    if not report.curves:
        return []
    view = window(report)
    grid = [[" "] * width for _ in range(height)]
    for name, mark in MARKS.items():
        if name in report.curves:
            _draw(grid, line_of(name, report.curves[name], report.axis), view, mark)
    for one in report.singles:
        if one.cost is not None:
            _dot(grid, view, one.cost, one.score, _SINGLE)
    legend = [f"{mark} {NAMES[name]}" for name, mark in reversed(MARKS.items()) if name in report.curves]
    return [*_framed(grid, view, report.axis), "  " + "   ".join([*legend, f"{_SINGLE} a model"])]


def _draw(grid: list[list[str]], line: tuple[Floats, Floats], view: Window, mark: str) -> None:
    xs, ys = line
    if not len(xs):
        return
    width = len(grid[0])
    for column in range(width):
        x = view.left + (view.right - view.left) * column / (width - 1)
        if x >= xs[0]:
            _dot(grid, view, x, float(np.interp(x, xs, ys)), mark)


def _dot(grid: list[list[str]], view: Window, x: float, y: float, mark: str) -> None:
    height, width = len(grid), len(grid[0])
    column = round((x - view.left) / (view.right - view.left) * (width - 1))
    row = round((view.top - y) / (view.top - view.bottom) * (height - 1))
    if 0 <= column < width and 0 <= row < height:
        grid[row][column] = mark


def _framed(grid: Sequence[Sequence[str]], view: Window, axis: str) -> list[str]:
    height, width = len(grid), len(grid[0])
    lines = ["  score"]
    for row, cells in enumerate(grid):
        y = view.top - (view.top - view.bottom) * row / (height - 1)
        label = f"{y:7.3f} ┤" if row % 4 == 0 else "        │"
        lines.append(label + "".join(cells).rstrip())
    lines.append("        └" + "─" * width)
    left, right = f"{view.left:.3g}", f"{view.right:.3g}"
    name = AXIS_NAMES[axis]
    gap = max(1, width - len(left) - len(right) - len(name))
    lines.append("         " + left + " " * (gap // 2) + name + " " * (gap - gap // 2) + right)
    return lines
