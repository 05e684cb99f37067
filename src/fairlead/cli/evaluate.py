"""`fairlead evaluate`: how good routing is on a table of prompts, models and scores."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fairlead.evaluation.expectation import Progress
    from fairlead.evaluation.report import Report
    from fairlead.evaluation.table import Axis

_FILE = click.Path(path_type=Path)
_AXES: "dict[str, Axis]" = {"cost": "cost_usd", "latency": "latency_s"}


@click.command()
@click.argument("file", type=_FILE, required=False)
@click.option("--fit", type=_FILE, metavar="FILE", help="Fit on this file and measure on --test.")
@click.option("--test", type=_FILE, metavar="FILE", help="Measure on this file what was fitted on --fit.")
@click.option(
    "--folds", type=click.IntRange(2, 100), default=5, show_default=True, help="Parts of the cross-validation."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of folds, ties and intervals.")
@click.option("--draws", type=click.IntRange(0, 100_000), default=1000, show_default=True, help="For the intervals.")
@click.option("--by", type=click.Choice(tuple(_AXES)), help="What a call takes: cost (where given) or latency.")
@click.option("--robust", is_flag=True, help="Reword prompts by rule and count the decisions that flip.")
@click.option("--plot", type=_FILE, metavar="FILE", help="Draw the curves into FILE.svg or FILE.png.")
@click.option("--json", "as_json", is_flag=True, help="Print everything for machines instead.")
def evaluate(
    *,
    file: Path | None,
    fit: Path | None,
    test: Path | None,
    folds: int,
    seed: int,
    draws: int,
    by: str | None,
    robust: bool,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure routing on FILE, beside simple baselines.

    FILE holds one JSON object a line (.jsonl) or is a table (.csv), also with .gz: prompt, model, score in [0, 1], and
    optionally cost_usd, latency_s, category, group. Routers are fitted on four fifths and measured on the rest, in
    turn; rows of one group stay together. What the router sees is the prompt; category and group are never shown to it.
    """
    from fairlead.evaluation.needs import need

    files = [path for path in (file, fit, test) if path is not None]
    if len(files) != (1 if file is not None else 2):
        raise click.UsageError("give one FILE, or --fit FILE and --test FILE")
    need("numpy")
    if plot is not None:
        from fairlead.evaluation.plot import check_plot_file

        check_plot_file(plot)
    from fairlead.evaluation.run import Settings, cross_validated, fitted_and_tested
    from fairlead.evaluation.table import read_table

    axis = None if by is None else _AXES[by]
    settings = Settings(folds=folds, seed=seed, draws=draws, robust=robust, axis=axis)
    with progress_shown() as progress:
        measured = read_table(files[-1], axis)
        if len(files) == 1:
            report = cross_validated(measured, settings, progress)
        else:
            report = fitted_and_tested(read_table(files[0], axis, measured.models), measured, settings, progress)
    if plot is not None:
        from fairlead.evaluation.plot import draw

        draw(report, plot)
    if as_json:
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode(report), indent=1).decode())
    else:
        show(report)


@contextmanager
def progress_shown() -> "Iterator[Progress]":
    """Show how far it is, on standard error and only in a terminal; gone when it is done."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from fairlead.cli.output import console

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(err=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)  # type: ignore[arg-type]  # ids of tasks are whole numbers

        yield progress


def show(report: "Report") -> None:
    """Print a report for people."""
    from fairlead.cli.output import print_table
    from fairlead.evaluation import words
    from fairlead.evaluation.sketch import sketch

    models = len(report.singles)
    click.echo(words.printable(f"{report.table}: {report.prompts:,} prompts, {models} models; {report.design}"))
    click.echo(words.printable(f"strong: {report.strong}; weak: {report.weak}"))
    for note in report.notes:
        click.echo(words.printable(f"note: {note}"))
    click.echo()
    heads, rows = words.router_table(report)
    print_table(heads, rows, numbers=[head for head in heads[1:] if head != "95 %"])
    _section("ours less", words.difference_rows(report), ("figure", "against", "difference", "95 %", ""))
    _section(
        "at a setting chosen on the other folds",
        words.operating_rows(report),
        ("wish", "router", "score", "less best single", "mean", "of best single", "median of its median"),
    )
    if report.axis in ("cost_usd", "latency_s"):
        unit = "latency" if report.axis == "latency_s" else "cost"
        heads = (f"mean {unit}", "of best single", f"median {unit}", "of its median", "score")
        _section("frontier of ours (any mixture of neighbours is reached too)", words.frontier_rows(report), heads)
    _section("calibration of ours", words.calibration_rows(report), ("figure", "", "95 %"))
    _section(
        "decisions that flip when prompts are reworded",
        words.flip_rows(report),
        ("rule", "for quality alone", "half-way", "prompts changed"),
    )
    lines = sketch(report)
    if lines:
        click.echo()
    for line in lines:
        click.echo(_printable(line))


def _section(title: str, rows: "list[tuple[str, ...]]", heads: tuple[str, ...]) -> None:
    from fairlead.cli.output import print_table

    if rows:
        click.echo(f"\n{title}")
        print_table(heads, rows)


def _printable(line: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return line.translate(str.maketrans("·●┤│└─", "..||+-"))
    return line
