"""`fairlead drill`: what a fleet of this shape survives, and what its callers see when it does not."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fairlead.config import Config
    from fairlead.drill import Score, Shape

_TIMES = 3  # decimal places of seconds, where they are read by programs


@click.command()
@click.option("-c", "--config", "file", type=click.Path(path_type=Path), help="The fleet whose shape is drilled.")
@click.option("--only", "names", multiple=True, metavar="NAME", help="Only this fault; may be given several times.")
@click.option("--list", "is_list", is_flag=True, help="List the faults, and do nothing.")
@click.option("--node", "node", metavar="NAME", help="Instead of a drill, ask this real node gently what it can do.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for programs.")
@click.pass_context
def drill(
    ctx: click.Context, file: Path | None, names: tuple[str, ...], is_list: bool, node: str | None, as_json: bool
) -> None:
    """Let every known fault happen to a fleet of your shape, and show what its callers would see.

    A real gateway is run with your nodes' names, models, weights and limits, but each node is a stand-in on this
    machine, and time runs faster: none of your nodes is contacted and nothing is spent. The exit code is 1 where an
    answer ended in silence or was wrong, 0 otherwise.
    """
    from fairlead.testing.faults import FAULTS

    if is_list:
        _list()
        return
    if node is not None:
        if file is None:
            raise click.UsageError("say with -c in which file the node stands", ctx)
        from fairlead.cli.drill_node import probe

        ctx.exit(probe(file, node, as_json=as_json))
    for name in names:
        if name not in FAULTS:
            raise click.BadParameter(_unknown(name, list(FAULTS)), ctx, param_hint="--only")
    shape, origin = _shape(file)
    logger = logging.getLogger("fairlead")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # every complaint is about a fault made on purpose
    try:
        scores = _run(shape, names or tuple(FAULTS))
    finally:
        logger.setLevel(level)
    if as_json:
        _print_json(shape, origin, scores)
    else:
        from fairlead.cli.drill_card import show

        show(shape, origin, scores)
    ctx.exit(1 if any(score.verdict == "failed" for score in scores) else 0)


def _unknown(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f"no fault is called {name!r}; " + (f"did you mean {near[0]!r}?" if near else "--list shows them")


def _list() -> None:
    from fairlead.cli.output import print_table
    from fairlead.testing.faults import FAULTS

    rows = []
    for fault in FAULTS.values():
        ways = [word for word, way in (("streamed", fault.streamed), ("whole", fault.whole)) if way is not None]
        rows.append((fault.name, fault.does, ", ".join(ways), ", ".join(fault.dialects)))
    print_table(("fault", "what a node does", "answers", "node speaks"), rows)


def _shape(file: Path | None) -> "tuple[Shape, str]":
    """Return what is drilled, and where it comes from: a file, this machine, or nowhere."""
    from fairlead.config import load
    from fairlead.drill import BUILT_IN, shape_of

    if file is not None:
        return shape_of(load(file)), str(file)
    found = _found()
    if found is not None:
        return shape_of(found), "what serves on this machine"
    return shape_of(BUILT_IN), "three nodes, for want of a configuration (-c FILE)"


def _found() -> "Config | None":
    """Return the model servers of this machine, as `fairlead serve` finds them; None where there are none."""
    from fairlead.config import Config, NodeConfig, NodeKind, ServedModel
    from fairlead.discovery import discover

    usable = [one for one in asyncio.run(discover()) if one.usable]
    nodes = tuple(
        NodeConfig(
            name=one.name,
            url=one.url,
            kind=NodeKind(one.kind),
            models=tuple(ServedModel(name=model.name) for model in one.models),
        )
        for one in usable
    )
    return Config(nodes=nodes) if nodes else None


def _run(shape: "Shape", names: Sequence[str]) -> "list[Score]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from fairlead.cli.output import console
    from fairlead.drill import run_drill, scenes_of

    scenes = scenes_of(shape, names)
    out = console(err=True)
    columns = (TextColumn("drill"), BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        bar = progress.add_task("", total=len(scenes))

        def tell(score: "Score") -> None:
            progress.update(bar, advance=1, description=score.does)

        return asyncio.run(run_drill(shape, scenes, tell))


def _print_json(shape: "Shape", origin: str, scores: "Sequence[Score]") -> None:
    import json
    from collections import Counter

    import msgspec

    def told(score: "Score") -> dict[str, object]:
        fields = msgspec.structs.asdict(score)
        return {name: round(value, _TIMES) if isinstance(value, float) else value for name, value in fields.items()}

    counts = Counter(score.verdict.value for score in scores)
    summary = {name: counts[name] for name in ("rescued", "clean error", "failed")}
    fleet = {"of": origin, "model": shape.model, "nodes": list(shape.nodes)}
    click.echo(json.dumps({"fleet": fleet, "summary": summary, "scores": [told(score) for score in scores]}, indent=2))
