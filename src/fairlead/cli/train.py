"""`fairlead train`: a detector of task categories from labelled prompts."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fairlead.categories.labelled import Labelled
    from fairlead.categories.measure import Measured
    from fairlead.categories.training import TrainingSettings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Where to write the weights.")
@click.option(
    "--hold-out",
    type=click.FloatRange(0, 0.9),
    default=0.2,
    show_default=True,
    help="Share of the rows to measure on first; 0 to measure nothing.",
)
@click.option(
    "--least",
    type=click.FloatRange(0, 1),
    default=None,
    help="Say `unknown` below this probability.  [default: 0.35]",
)
def train(file: Path, out: Path, hold_out: float, least: float | None) -> None:
    """Train a detector of task categories on FILE and write its weights.

    FILE has one JSON object a line with `text` and `label`, a task category. Use the weights with `detector:
    trained:WEIGHTS` in a configuration.
    """
    from fairlead.categories.training import TrainingSettings
    from fairlead.categories.training import train as fit
    from fairlead.categories.weights import dump

    _check_writable(out)
    settings = TrainingSettings() if least is None else TrainingSettings(least=least)
    rows = _read(file)
    if hold_out:
        _measure(rows, hold_out, settings)
    content = dump(fit(rows, settings))
    _write(out, content)
    click.echo(f"{out}: {len(content) / 1000:.0f} kB of weights from {len(rows)} rows. In a configuration:\n")
    click.echo(f"detector: trained:{out}")


def _read(file: Path) -> "list[Labelled]":
    import gzip

    from fairlead.categories.labelled import parse_rows
    from fairlead.errors import FairleadError

    try:
        content = file.read_bytes()
        if file.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise FairleadError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return parse_rows(content)
    except FairleadError as error:
        raise FairleadError(f"{file}, {error}") from None


def _measure(rows: "list[Labelled]", share: float, settings: "TrainingSettings") -> None:
    from fairlead.categories.labelled import split
    from fairlead.categories.measure import measure
    from fairlead.categories.rules import RuleDetector
    from fairlead.categories.trained import TrainedDetector
    from fairlead.categories.training import train as fit
    from fairlead.cli.output import print_table

    learnt, held = split(rows, share)
    if not held:
        return
    found = {
        "trained": measure(TrainedDetector(fit(learnt, settings)), held, 1),
        "rules": measure(RuleDetector(), held, 1),
    }
    click.echo(f"On {len(held)} rows held out, after training on {len(learnt)}:\n")
    heads = ("detector", "accuracy", "macro-F1", "coverage")
    print_table(heads, [_row(name, each) for name, each in found.items()], numbers=heads[1:])
    click.echo()
    labels = tuple(found["trained"].confusion)
    print_table(
        ("F1 of", *labels),
        [(name, *(f"{each.f1.get(label, 0):.2f}" for label in labels)) for name, each in found.items()],
        numbers=labels,
    )
    click.echo()


def _row(name: str, measured: "Measured") -> tuple[str, ...]:
    return name, f"{measured.accuracy:.3f}", f"{measured.macro_f1:.3f}", f"{measured.coverage:.3f}"


def _beside(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _check_writable(out: Path) -> None:
    """Find out before the work whether its result can be kept."""
    from fairlead.errors import FairleadError

    if out.is_dir():
        raise FairleadError(f"{out} cannot be written: it is a folder; name a file in it")
    try:
        _beside(out).touch()
        _beside(out).unlink()
    except OSError as error:
        raise FairleadError(f"{out} cannot be written: {error.strerror or error}") from None


def _write(out: Path, content: bytes) -> None:
    """Write beside the target and rename, so that a gateway never reads half a file."""
    from fairlead.errors import FairleadError

    beside = _beside(out)
    try:
        beside.write_bytes(content)
        beside.replace(out)
    except OSError as error:
        raise FairleadError(f"{out} cannot be written: {error.strerror or error}") from None
