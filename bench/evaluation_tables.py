"""The measured part of docs/evaluation.md, from the reports of `bench/evaluation.py`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fairlead.evaluation.report import Difference, Interval, OperatingPoint, Report
from fairlead.evaluation.words import frontier_rows, number, percent

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
WITHIN = 0.01
ROUTERS = {
    "ours": "ours",
    "length": "length alone",
    "task_table": "per-task table",
    "single": "one model for all",
}
Reports = Mapping[tuple[str, str], Report]
"""By data set and kind of folds."""


def update(page: Path, reports: Reports) -> None:
    """Put the tables between the two marks of a page."""
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    page.write_text(f"{head}{BEGIN}\n\n{markdown(reports)}\n{END}{tail}", encoding="utf-8")


def markdown(reports: Reports) -> str:
    """Return all tables."""
    parts = (two_models, several_models, quality_alone, settings, frontier, calibration, rewording)
    return "\n".join(line for part in parts for line in part(reports))


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"{title}\n"
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def with_interval(value: float | None, interval: Interval | None, *, is_signed: bool = False, digits: int = 3) -> str:
    if value is None:
        return "-"
    sign = "+" if is_signed else ""
    between = "" if interval is None else f" [{', '.join(f'{one:{sign}.{digits}f}' for one in interval)}]"
    return f"{value:{sign}.{digits}f}{between}"


def difference(report: Report, key: str) -> str:
    one = report.differences.get(key, Difference(None, None))
    return with_interval(one.value, one.interval, is_signed=True)


def two_models(reports: Reports) -> Iterator[str]:
    heads = ("data", "folds", "ours", "length alone", "per-task table", "ours less length", "CPT(50)", "CPT(80)")
    rows = []
    for (data, folds), report in reports.items():
        ours, length, by_task = (report.routers[name] for name in ("ours", "length", "task_table"))
        if len(report.singles) == 2:
            apgr = with_interval(ours.apgr, ours.intervals.get("apgr"))
            gain = difference(report, "ours_minus_length.apgr")
            cells = (apgr, number(length.apgr), number(by_task.apgr), gain, percent(ours.cpt50), percent(ours.cpt80))
            rows.append((f"`{data}`", folds, *cells))
    return table("**Two models**: APGR (random is 0.500 in expectation).", heads, rows)


def several_models(reports: Reports) -> Iterator[str]:
    heads = ("data", "folds", "ours", "length alone", "per-task table", "hull", "oracle", "ours less hull")
    rows = []
    for (data, folds), report in several(reports):
        found = [number(report.routers[name].aiq) for name in ("ours", "length", "task_table")]
        bounds = number(report.hull.aiq), number(report.routers["oracle"].aiq)
        rows.append((f"`{data}`", folds, *found, *bounds, difference(report, "ours_minus_hull.aiq")))
    return table("**Several models**: AIQ, along dollars or, for `bfcl_2024_08`, seconds.", heads, rows)


def quality_alone(reports: Reports) -> Iterator[str]:
    heads = ("data", "folds", "ours", "best single model", "per-task table", "oracle", "ours less best single", "saved")
    rows = []
    for (data, folds), report in several(reports):
        names = ("ours", "best_single", "task_table", "oracle")
        found = [number(report.routers[name].accuracy) for name in names]
        ours = report.routers["ours"]
        saved = with_interval(ours.saved, ours.intervals.get("saved"), digits=2)
        rows.append((f"`{data}`", folds, *found, difference(report, "ours_minus_best_single.accuracy"), saved))
    title = (
        "The same: score for quality alone, and the share of cost saved at the best single model's score (hindsight)."
    )
    return table(title, heads, rows)


def settings(reports: Reports) -> Iterator[str]:
    heads = ("data", "folds", "router", "score less best single", "mean cost of its", "median of its median")
    rows = [
        (f"`{data}`", folds, *setting(point))
        for (data, folds), report in several(reports)
        for point in report.operating_points
        if point.margin == WITHIN
    ]
    return table(
        "**At a setting chosen on other folds**, to be within one point of the best single model.", heads, rows
    )


def setting(point: OperatingPoint) -> tuple[str, str, str, str]:
    return (
        ROUTERS[point.router],
        with_interval(point.accuracy_less_best_single, point.accuracy_interval, is_signed=True),
        with_interval(point.cost_ratio, point.cost_ratio_interval, digits=2),
        number(point.median_ratio, 2),
    )


def frontier(reports: Reports) -> Iterator[str]:
    heads = ("mean latency, s", "of best single", "median latency, s", "of its median", "score")
    for (data, folds), report in reports.items():
        if report.axis == "latency_s":
            yield from table(f"**Frontier of ours** on `{data}`, folds {folds}.", heads, frontier_rows(report))


def calibration(reports: Reports) -> Iterator[str]:
    heads = (
        "data",
        "folds",
        "calibration error",
        "Brier",
        "skill over the detected category",
        "over the file's category",
    )
    rows = []
    for (data, folds), report in reports.items():
        held = report.calibration
        keys = ("ece", "brier", "brier_skill", "brier_skill_over_labels")
        rows.append((f"`{data}`", folds, *(with_interval(getattr(held, key), held.intervals.get(key)) for key in keys)))
    return table("**Calibration of ours**, on rows not fitted on.", heads, rows)


def rewording(reports: Reports) -> Iterator[str]:
    heads = ("data", "case", "whitespace", "politeness", "order of sentences")
    rows = [
        (f"`{data}`", *(percent(one.half_way) for one in report.robustness))
        for (data, _), report in reports.items()
        if report.robustness
    ]
    return table("**In other words**: decisions half-way along the trade-off that flip, folds at random.", heads, rows)


def several(reports: Reports) -> Iterator[tuple[tuple[str, str], Report]]:
    return ((key, report) for key, report in reports.items() if len(report.singles) > 2)
