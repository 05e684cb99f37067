"""A report in rows of words, for tables that people read."""

from collections.abc import Iterable

from fairlead.evaluation.report import Difference, Interval, OperatingPoint, Report, RouterFigures
from fairlead.evaluation.sketch import NAMES, line_of

Rows = list[tuple[str, ...]]
FIGURE_NAMES = {
    "apgr": "APGR",
    "aiq": "AIQ",
    "accuracy": "score for quality alone",
    "accuracy_at_equal_cost": "score at the best single model's {axis}",
}
_UNITS = {"cost_usd": "cost", "latency_s": "latency", "strong_calls": "strong calls", "none": "cost"}


def printable(name: str) -> str:
    """Return a name from a file without what would steer a terminal or break a picture."""
    return "".join(char for char in name if char.isprintable())


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure, `-` where it is not defined."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a share in per cent."""
    return "-" if value is None else f"{value * 100:.1f} %"


def amount(value: float | None) -> str:
    """Return a cost or a latency, to four figures."""
    return "-" if value is None else f"{value:.4g}"


def between(interval: Interval | None, *, is_signed: bool = False) -> str:
    """Return an interval."""
    if interval is None:
        return ""
    sign = "+" if is_signed else ""
    return f"[{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]"


def router_table(report: Report) -> tuple[tuple[str, ...], Rows]:
    """Return heads and rows: a line per router."""
    unit = _UNITS[report.axis]
    heads = ["router", "APGR", "95 %", "CPT(50)", "CPT(80)", "score"]
    has_axis = report.axis in ("cost_usd", "latency_s")
    if has_axis:
        heads += [unit, "AIQ", "95 %", f"at equal {unit}", f"{unit} at equal score"]
    rows = [_router(name, one, report.axis, has_axis=has_axis) for name, one in _with_hull(report, has_axis=has_axis)]
    return tuple(heads), rows


def _with_hull(report: Report, *, has_axis: bool) -> Iterable[tuple[str, RouterFigures]]:
    for name, one in report.routers.items():
        if name == "oracle" and has_axis:
            yield "hull", report.hull
        if one.accuracy is not None:
            yield name, one


def _router(name: str, one: RouterFigures, axis: str, *, has_axis: bool) -> tuple[str, ...]:
    cells = (
        NAMES[name],
        number(one.apgr),
        between(one.intervals.get("apgr")),
        percent(one.cpt50),
        percent(one.cpt80),
        number(one.accuracy),
    )
    if not has_axis:
        return cells
    paid = one.cost_usd if axis == "cost_usd" else one.latency_s
    return (
        *cells,
        amount(paid),
        number(one.aiq),
        between(one.intervals.get("aiq")),
        number(one.accuracy_at_equal_cost),
        amount(one.cost_at_equal_accuracy),
    )


def difference_rows(report: Report) -> Rows:
    """Return what ours has over what it is compared with, each with its interval."""
    rows: Rows = []
    for key, one in report.differences.items():
        pair, _, figure = key.rpartition(".")
        if figure in FIGURE_NAMES and one.value is not None:
            other = NAMES[pair.removeprefix("ours_minus_")]
            name = FIGURE_NAMES[figure].format(axis=_UNITS[report.axis])
            rows.append((name, other, f"{one.value:+.3f}", between(one.interval, is_signed=True), verdict(one)))
    return rows


def verdict(one: Difference) -> str:
    """Return what an interval allows to say."""
    if one.interval is None:
        return ""
    low, high = one.interval
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no difference shown"


def calibration_rows(report: Report) -> Rows:
    """Return how well expectations hold."""
    found = report.calibration
    names = {
        "ece": "expected calibration error",
        "brier": "Brier score",
        "brier_skill": "Brier skill over the base rate of the detected category",
        "brier_skill_over_labels": "Brier skill over the base rate of the file's category",
    }
    return [
        (name, number(getattr(found, key), 4), between(found.intervals.get(key)))
        for key, name in names.items()
        if getattr(found, key) is not None
    ]


def operating_rows(report: Report) -> Rows:
    """Return what is reached at settings chosen on other folds."""
    return [_operating(one) for one in report.operating_points]


def _operating(one: OperatingPoint) -> tuple[str, ...]:
    wish = "as good as the best single model" if one.margin == 0 else f"within {one.margin:g} of the best single model"
    return (
        wish,
        NAMES[one.router],
        f"{one.accuracy:.3f}",
        f"{one.accuracy_less_best_single:+.3f} {between(one.accuracy_interval, is_signed=True)}",
        amount(one.cost),
        f"{number(one.cost_ratio, 2)} {between(one.cost_ratio_interval)}",
        number(one.median_ratio, 2),
    )


def flip_rows(report: Report) -> Rows:
    """Return how often decisions flip."""
    return [
        (one.rule, percent(one.best_quality), percent(one.half_way), percent(one.changed_prompts))
        for one in report.robustness
    ]


def frontier_rows(report: Report) -> Rows:
    """Return the corners of ours' hull, from the cheapest on: what each step of cost buys."""
    curve = report.curves.get("ours")
    if curve is None:
        return []
    corners = set(zip(*(one.tolist() for one in line_of("ours", curve, report.axis)), strict=True))
    best = report.singles[0]
    rows: Rows = []
    for cost, score, median in zip(curve.cost, curve.score, curve.median, strict=True):
        if (cost, score) in corners:
            corners.discard((cost, score))  # several settings may share one point
            share = number(cost / best.cost if best.cost else None, 2)
            part = number(median / best.median if best.median else None, 2)
            rows.append((amount(cost), share, amount(median), part, number(score)))
    return rows
