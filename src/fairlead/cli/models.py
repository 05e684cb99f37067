"""`fairlead models`: what is known of models: from the bundled table, and of a fleet's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fairlead.errors import UnknownModelError

if TYPE_CHECKING:
    from fairlead.cli.fleet_models import FleetModel
    from fairlead.cli.models_yaml import Entry
    from fairlead.config.known_models import KnownModel
    from fairlead.domain import Price

_MARKS = {"file": "", "node": " +", "table": " *"}


@click.command()
@click.argument("names", nargs=-1)
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="Show the models of this fleet instead.")
@click.option(
    "--yaml", "as_yaml", is_flag=True, help="A `models:` block to paste, for NAMES or for the fleet's models."
)
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def models(*, names: tuple[str, ...], file: Path | None, as_yaml: bool, as_json: bool) -> None:
    """List well-known models with their capabilities, context length and price, or what is known of a fleet's models.

    NAMES are parts of names to look for. With --yaml they are whole names, as your nodes have them; what the table
    does not know for certain is left for you to fill in.
    """
    if as_yaml and as_json:
        raise click.UsageError("--yaml and --json: choose one")
    if file is not None:
        _fleet(file, names, as_yaml=as_yaml, as_json=as_json)
    elif as_yaml:
        _paste(names)
    else:
        _table(names, as_json=as_json)


def _table(words: Sequence[str], *, as_json: bool) -> None:
    from fairlead.cli.output import print_table
    from fairlead.config.known_models import AS_OF, known_models

    rows = [row for row in known_models() if _is_sought(row, words)]
    if not rows:
        raise UnknownModelError(_nothing(words))
    if as_json:
        _print_json({"as_of": AS_OF, "models": [_plain(row) for row in rows]})
        return
    print_table(
        ("model", "maker", "context", "can", "$ in", "$ out"),
        [
            (row.name, row.maker, f"{row.context_tokens}", _words(row.capabilities), *_prices(row.price, "open"))
            for row in rows
        ],
        numbers=("context", "$ in", "$ out"),
    )
    click.echo(f"\nAs of {AS_OF}: dollars per million tokens read and written; open: weights that you run yourself.")
    click.echo("Prices change. What a configuration says under `models` goes before this table.")


def _is_sought(row: "KnownModel", words: Sequence[str]) -> bool:
    from fairlead.config.known_models import meant_by

    spelt = " ".join((row.name, row.maker, *row.also)).lower()
    return not words or any(word.lower() in spelt or row in meant_by(word) for word in words)


def _nothing(words: Sequence[str]) -> str:
    from fairlead.config.known_models import known_models
    from fairlead.config.problems import nearest

    near = nearest(words[-1].lower(), [row.name for row in known_models()])
    advice = f"did you mean {near}?" if near else "`fairlead models` lists all"
    return f"the table of known models has no {' or '.join(map(repr, words))}; {advice}"


def _paste(names: Sequence[str]) -> None:
    from fairlead.cli.models_yaml import Entry, block
    from fairlead.config.known_models import meant_by

    if not names:
        raise click.UsageError("--yaml needs names, or a configuration with -c")
    entries = []
    for name in dict.fromkeys(names):
        rows = meant_by(name)
        model = rows[0].to_model(name) if len(rows) == 1 else None
        entries.append(Entry(name, model, note=_uncertain(rows), is_open=len(rows) == 1 and rows[0].is_open))
    click.echo(block(entries), nl=False)


def _uncertain(rows: Sequence["KnownModel"]) -> str:
    if len(rows) == 1:
        return ""
    return "could be " + " or ".join(row.name for row in rows) if rows else "not in the table"


def _fleet(file: Path, words: Sequence[str], *, as_yaml: bool, as_json: bool) -> None:
    from fairlead.cli.fleet_models import of_fleet
    from fairlead.cli.models_yaml import block
    from fairlead.config import load
    from fairlead.config.known_models import AS_OF

    found, silent = of_fleet(load(file))
    found = [one for one in found if not words or any(word.lower() in one.model.name.lower() for word in words)]
    if words and not found:
        raise UnknownModelError(f"{file} has no model like {' or '.join(map(repr, words))}")
    if as_json:
        _print_json({"as_of": AS_OF, "models": [one.plain() for one in found], "silent": silent})
        return
    for name, why in silent.items():
        click.echo(f"{name} tells no models: {why}", err=True)
    if as_yaml:
        click.echo(block([_entry(one) for one in found]), nl=False)
    else:
        _show_fleet(found)


def _entry(one: "FleetModel") -> "Entry":
    from fairlead.cli.models_yaml import Entry

    from_table = one.source["context_tokens"] == "table"
    return Entry(one.model.name, one.model, one.note, is_open=one.is_open, context_from_table=from_table)


def _show_fleet(found: Sequence["FleetModel"]) -> None:
    from fairlead.cli.output import print_table
    from fairlead.config.known_models import AS_OF

    rows = [
        (
            one.model.name,
            ", ".join(one.nodes) or "no node",
            _said(str(one.model.context_tokens), one.source["context_tokens"]),
            _said(_words(one.model.capabilities or ()) or "nothing", one.source["capabilities"]),
            _said(" / ".join(_prices(one.model.price, "?")), one.source["price"]),
            one.note,
        )
        for one in found
    ]
    heads = ("model", "nodes", "context", "can", "$ in / out", "note")
    width = len(heads) if any(row[-1] for row in rows) else len(heads) - 1
    print_table(heads[:width], [row[:width] for row in rows])
    legend = f"* from the bundled table as of {AS_OF}   + as the node tells   ? unknown, which rules nothing out"
    click.echo(
        f"\n{legend}\nUS dollars per million tokens. With --yaml you get all this as a `models:` block to paste."
    )


def _said(text: str, source: str) -> str:
    return "?" if source == "unknown" else text + _MARKS[source]


def _prices(price: "Price | None", none: str) -> tuple[str, str]:
    return (none, none) if price is None else (f"{price.input_usd_per_mtok:g}", f"{price.output_usd_per_mtok:g}")


def _words(capabilities: Iterable[str]) -> str:
    return ", ".join(sorted(capabilities))


def _plain(row: "KnownModel") -> dict[str, Any]:
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(row)
    told["capabilities"] = sorted(row.capabilities)
    return told


def _print_json(told: object) -> None:
    import json

    click.echo(json.dumps(told, indent=2, ensure_ascii=False))
