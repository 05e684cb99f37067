"""`fairlead route`: where a prompt would go, and why."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fairlead.domain.task import TaskCategory


@click.command()
@click.option(
    "-c", "--config", "file", type=click.Path(path_type=Path), help="The fleet. [default: what is found here]"
)
@click.option("--strategy", metavar="NAME", help="Decide by another strategy.")
@click.option("--model", default="auto", show_default=True, help="A model, a group or an alias.")
@click.option("--category", type=click.Choice([str(one) for one in TaskCategory]), help="Instead of the detected one.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.argument("prompt")
def route(
    *, file: Path | None, strategy: str | None, model: str, category: str | None, as_json: bool, prompt: str
) -> None:
    """Show where PROMPT (- for standard input) would go, with every score and every rejection; nothing is sent."""
    from fairlead.cli.deciding import decide_once
    from fairlead.cli.fleet import fleet
    from fairlead.cli.serve import changed

    text = sys.stdin.read() if prompt == "-" else prompt
    if not text.strip():
        raise click.BadParameter("the prompt is empty", param_hint="PROMPT")
    with fleet(file) as written:
        config = changed(written, listen=None, strategy=strategy)
        record = decide_once(config, text, model=model, category=TaskCategory(category) if category else None)
    if as_json:
        import json

        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        show(record)


def show(record: Mapping[str, Any]) -> None:
    """Print the record of a decision."""
    from fairlead.cli.output import print_table

    chosen = record["chosen"]
    for head, text in (
        ("category", record["category"]),
        ("asked for", record["asked_for"]),
        ("strategy", record["strategy"]),
        ("goes to", f"{chosen['model']} on {chosen['node']}"),
        ("because", record["why"]),
    ):
        click.echo(f"{head:<11}{text}")
    click.echo()
    rows = [_row(candidate, chosen) for candidate in record["candidates"]]
    print_table(("", "model", "node", "score", "factors"), rows, numbers=("score",))
    if any("?" in row[-1] for row in rows):
        click.echo("\n? nothing is known yet, which counts as 0.50")
    if record["rejected"]:
        click.echo()
        rejected = [(one["model"], one["node"], _reason(one)) for one in record["rejected"]]
        print_table(("ruled out", "node", "why"), rejected)


def _row(candidate: Mapping[str, Any], chosen: Mapping[str, Any]) -> tuple[str, ...]:
    is_chosen = (candidate["model"], candidate["node"]) == (chosen["model"], chosen["node"])
    factors = ", ".join(f"{name} {_factor(factor)}" for name, factor in candidate["factors"].items())
    return (">" if is_chosen else "", candidate["model"], candidate["node"], f"{candidate['score']:.3f}", factors)


def _factor(factor: Mapping[str, Any]) -> str:
    return f"{factor['value']:.2f}" + ("" if factor["known"] else "?")


def _reason(rejection: Mapping[str, Any]) -> str:
    detail = rejection["detail"]
    return f"{rejection['reason']}: {detail}" if detail else str(rejection["reason"])
