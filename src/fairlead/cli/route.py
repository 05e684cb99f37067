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
@click.option("--quality", type=click.FloatRange(0, 1), help="From 0, the cheapest, to 1, the best.")
@click.option("--min-quality", type=click.FloatRange(0, 1), help="Least expected quality.")
@click.option("--max-cost-usd", type=click.FloatRange(0, min_open=True), help="Most that it may be expected to cost.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@click.argument("prompt")
def route(
    *,
    file: Path | None,
    strategy: str | None,
    model: str,
    category: str | None,
    quality: float | None,
    min_quality: float | None,
    max_cost_usd: float | None,
    as_json: bool,
    prompt: str,
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
        wishes = {"quality": quality, "min_quality": min_quality, "max_cost_usd": max_cost_usd}
        record = decide_once(config, text, model=model, category=TaskCategory(category) if category else None, **wishes)
    if as_json:
        import json

        click.echo(json.dumps(record, indent=2, ensure_ascii=False))
    else:
        show(record)


def show(record: Mapping[str, Any]) -> None:
    """Print the record of a decision."""
    from fairlead.cli.explaining import tables

    chosen = record["chosen"]
    for head, text in (
        ("category", record["category"]),
        ("asked for", record["asked_for"]),
        ("strategy", record["strategy"]),
        ("goes to", f"{chosen['model']} on {chosen['node']}"),
        ("its model", record.get("models_why")),
        ("because", record["why"]),
    ):
        if text:
            click.echo(f"{head:<11}{text}")
    tables(record, full=True)
