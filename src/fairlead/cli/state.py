"""`fairlead state`: what a gateway keeps over a restart."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fairlead.capability.scorer import CapabilityScorer
    from fairlead.persistence.overview import ModelSeen, Overview

Command = Callable[..., None]
_DEFAULT_PORT = 8400
_SCORER = "scorer"
_AGES = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_CHUNK = 2**20


@click.group()
def state() -> None:
    """Show, export, import or reset what a gateway has learnt and decided.

    Each command works on the state of the gateway on port 8400, unless --path or --config says otherwise.
    """


def _on_a_state(command: Command) -> Command:
    """Add the options that say which state is meant."""
    path = click.option("--path", type=click.Path(path_type=Path), help="The state file itself.")
    config = click.option(
        "--config", "-c", type=click.Path(path_type=Path), help="A configuration: the state of its gateway."
    )
    return path(config(command))


@state.command()
@_on_a_state
def show(path: Path | None, config: Path | None) -> None:
    """Show what is kept, and what was learnt."""
    from fairlead.persistence.overview import overview

    file = _found(path, config)
    seen = overview(file)
    for head, text in _facts(file, seen):
        click.echo(f"{head:<10}{text}")
    _show_models(seen)
    _show_learnt(file)


@state.command()
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@_on_a_state
def export(target: Path, path: Path | None, config: Path | None, *, force: bool) -> None:
    """Copy the state into FILE.

    FILE may be - for standard output. A gateway may use the state meanwhile: the copy shows it as it stood at one
    moment.
    """
    from fairlead.persistence.copies import export_state

    file = _found(path, config)
    if str(target) == "-":
        _to_stdout(file)
        return
    if target.exists() and not force:
        raise click.UsageError(f"{target} exists: say --force to replace it, or choose another name")
    export_state(file, target)
    click.echo(f"{file} was copied to {target} ({_size(target.stat().st_size)}).", err=True)


@state.command("import")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, allow_dash=True))
@_on_a_state
def import_(source: Path, path: Path | None, config: Path | None) -> None:
    """Put a copy of FILE in place of the state.

    FILE may be - for standard input. What is kept now is put aside, not deleted. No gateway may use it.
    """
    from fairlead.persistence.copies import import_state

    file = _meant(path, config)
    kept = _from_stdin(file) if str(source) == "-" else import_state(source, file)
    click.echo(f"{source if str(source) != '-' else 'standard input'} is now the state at {file}.", err=True)
    if kept is not None:
        click.echo(f"What was there is kept as {kept}.", err=True)


@state.command()
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_on_a_state
def reset(path: Path | None, config: Path | None, *, yes: bool) -> None:
    """Delete the state: all that was learnt.

    That is evidence, metrics and the decision log. No gateway may use it.
    """
    from fairlead.persistence.copies import reset_state
    from fairlead.persistence.overview import user_of
    from fairlead.persistence.problems import StateInUseError

    file = _found(path, config)
    user = user_of(file)
    if user is not None:
        raise StateInUseError(file, user)
    if not yes:
        try:
            click.confirm(f"Delete {file} and all that was learnt?", abort=True, err=True)
        except click.Abort:
            click.echo("\nnothing was changed", err=True)
            raise
    reset_state(file)
    click.echo(f"{file} was deleted.", err=True)


def _meant(path: Path | None, config: Path | None) -> Path:
    """Return which state file is meant."""
    from fairlead.persistence.paths import default_path

    if path is not None and config is not None:
        raise click.UsageError("say --path or --config, not both")
    if path is not None:
        return path
    if config is None:
        return default_path(_DEFAULT_PORT)
    from fairlead.config import load

    said = load(config)
    return default_path(said.port) if said.state.path is None else Path(said.state.path).expanduser()


def _found(path: Path | None, config: Path | None) -> Path:
    """Return which state file is meant; raises StateError, naming those there are, where it is not there."""
    from fairlead.persistence.paths import state_folder
    from fairlead.persistence.problems import StateError

    file = _meant(path, config)
    if not file.is_file():
        others = [] if path or config else sorted(state_folder().glob("state-*.db"))
        hint = "\nthere are: " + ", ".join(str(one) for one in others) + " (--path)" if others else ""
        raise StateError(
            f"there is no state at {file}: `fairlead serve` makes one, unless `state.enabled` is off{hint}"
        )
    return file


def _to_stdout(file: Path) -> None:
    import tempfile

    from fairlead.persistence.copies import export_state

    if sys.stdout.isatty():
        raise click.UsageError("the copy is no text: say a file, or send it on with | or >")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "state.db"
        export_state(file, work)
        with work.open("rb") as copy:
            _pour(copy, sys.stdout.buffer)


def _from_stdin(file: Path) -> Path | None:
    import tempfile

    from fairlead.persistence.copies import import_state
    from fairlead.persistence.problems import StateError, StateInUseError

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "state.db"
        with work.open("wb") as copy:
            _pour(sys.stdin.buffer, copy)
        try:
            return import_state(work, file)
        except StateInUseError:
            raise
        except StateError as error:
            raise StateError(str(error).replace(str(work), "standard input")) from None


def _pour(source: IO[bytes], target: IO[bytes]) -> None:
    while piece := source.read(_CHUNK):
        target.write(piece)
    target.flush()


def _facts(file: Path, seen: "Overview") -> list[tuple[str, str]]:
    from fairlead.clock import wall_s

    now_s = wall_s()
    counted = f", {_count(seen.counted, 'further one')} only counted" if seen.counted else ""
    facts = [
        ("state", str(file)),
        ("size", f"{_size(seen.size_bytes)}, {f'in use by {seen.used_by}' if seen.used_by else 'not in use'}"),
        ("log", f"{_count(seen.decisions, 'decision')} in full{counted}; {seen.feedback:,} judged"),
    ]
    if seen.first_at_s is not None and seen.last_at_s is not None:
        facts.append(("from", f"{_ago(now_s - seen.first_at_s)} to {_ago(now_s - seen.last_at_s)}"))
    if seen.metrics:
        facts.append(("metrics", f"of {_count(seen.metrics, 'moment')}"))
    kept = [f"{one.name}, {_size(one.size_bytes)}, written {_ago(now_s - one.at_s)}" for one in seen.documents]
    return [*facts, *(("evidence", text) for text in kept or ["none yet"])]


def _show_models(seen: "Overview") -> None:
    from fairlead.cli.output import print_table

    if seen.models:
        click.echo()
        heads = ("model", "tasks", "succeeded", "seconds", "cost $", "judged", "mean score")
        print_table(heads, [_model_row(one) for one in seen.models], numbers=heads[1:])


def _model_row(one: "ModelSeen") -> tuple[str, ...]:
    ended = one.tasks - one.cancelled
    return (
        one.model or "(none was asked)",
        f"{one.tasks:,}",
        f"{one.succeeded / ended:.1%}" if ended else "-",
        f"{one.latency_s:.2f}" if one.succeeded else "-",
        f"{one.cost_usd:.4f}" if one.cost_usd else "-",
        f"{one.judged:,}" if one.judged else "-",
        "-" if one.score is None else f"{one.score:.2f}",
    )


def _show_learnt(file: Path) -> None:
    """Show the estimates of each model in each category."""
    from fairlead.capability.scorer import CapabilityScorer
    from fairlead.cli.output import print_table
    from fairlead.errors import FairleadError
    from fairlead.persistence.overview import document_in

    document: Any = document_in(file, _SCORER)
    if document is None:
        return
    scorer = CapabilityScorer()
    try:
        scorer.restore(document)
        rows = _learnt_rows(scorer, document)
    except (FairleadError, TypeError) as error:
        click.echo(f"\nwhat was learnt of models cannot be read: {error}")
        return
    if rows:
        click.echo()
        heads = ("learnt of", "category", "quality", "confidence", "outcomes")
        print_table(heads, rows, numbers=heads[2:])


def _learnt_rows(scorer: "CapabilityScorer", document: dict[str, Any]) -> list[tuple[str, ...]]:
    from fairlead.clock import steady_s
    from fairlead.domain import TaskCategory

    now_s = steady_s()
    rows: list[tuple[str, ...]] = []
    for model in sorted(document["models"]):
        for category in TaskCategory:
            if category.value in document["models"][model]["posteriors"]:
                one = scorer.estimate(model, category, None, now_s)
                numbers = (f"{one.quality:.3f}", f"{one.confidence:.2f}", f"{one.weight:.1f}")
                rows.append((model, category.value, *numbers))
    return rows


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _size(n_bytes: int) -> str:
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    return f"{n_bytes / 1024:.0f} KB" if n_bytes < 1024**2 else f"{n_bytes / 1024**2:.1f} MB"


def _ago(age_s: float) -> str:
    for size_s, word in _AGES:
        if age_s >= size_s:
            return f"{_count(int(age_s // size_s), word)} ago"
    return "just now"
