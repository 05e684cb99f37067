"""What safety costs, and what it is worth: `python bench/safety.py [--quick] [--json FILE]`.

Cost: the same build with rescue, hedging, health checks, polling and degradation on and off, each gateway alone
under load on one core, stub and load generator on the other; in turns, now this and now that way round, and medians of
the ratios within each round.
Worth: the share of requests that are answered completely while one of three nodes at a time fails under load, with the
faults and the checker of the chaos tests. Prints tables and writes nothing, except where `--json` says.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from peers import Proxy, first_request
from proc import PROXY_CORE, ROOT, Process, Quiet, StartError, free_ports, speed_ms, stub_running
from report import STEADY_RATIO, Figure, _show_figures, at_least, at_most
from rich.console import Console
from rich.table import Table

import gateway

NAMES = ("off", "on", "on, with state")
WAYS = {
    "off": "rescue: none\nhedging: {enabled: false}\nhealth: {check: {enabled: false}}\ndegradation: {steps: []}\n"
    "reload: false\nstate: {enabled: false}\n",
    "on": "rescue: same_model\nhedging: {enabled: true}\nstate: {enabled: false}\n",
    "on, with state": "rescue: same_model\nhedging: {enabled: true}\n",
}
"""What is not said is as usual. State is told apart: it has a price of its own, whatever else is on."""
_NODE_OFF = ", check: false, poll: false"
PHASES: dict[str, dict[str, object]] = {
    "whole answers, 64 connections": {"mode": "closed"},
    "whole answers, 150 requests/s": {"mode": "open", "rate": 150.0},
    "64 streams, an event every 5 ms": {"mode": "stream"},
}
UNARY, PACED, STREAM = PHASES
LEAST_THROUGHPUT = 0.9
MOST_ADDED_MS = 0.05
LEAST_RECOVERED = 95.0
"""Per cent: the mission's floor."""
_SHOWN = (
    ("requests/s", "rps"),
    ("CPU us", "cpu_us"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("delay p50 ms", "delay_p50_ms"),
    ("delay p99 ms", "delay_p99_ms"),
    ("MB", "rss_mb"),
    ("errors", "errors"),
    ("generator core", "generator_core"),
    ("other work on core", "other_work"),
)

Pairs = list[dict[str, dict[str, float]]]
"""For each round, what was measured of each name."""


@contextmanager
def both_running() -> Iterator[gateway.Field]:
    """Start the stub, and before it one gateway of each kind on the same core."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = free_ports(gateway.NODES)
        stub = stack.enter_context(stub_running(nodes, gateway.EVENTS, gateway.INTERVAL_MS))
        field = gateway.Field(stub, nodes[0], {}, {}, {})
        for name in NAMES:
            port = free_ports(1)[0]
            process = Process(
                [sys.executable, "-m", "fairlead", "serve", str(_written(folder, name, port, nodes))], PROXY_CORE
            )
            stack.callback(process.stop)
            first_s = process.wait_answer(port, first_request(port, "sk-bench"), 20.0)
            field.proxies[name] = Proxy(name, port, "sk-bench", process, first_s)
        yield field


def _written(folder: Path, name: str, port: int, nodes: list[int]) -> Path:
    lines = [f"listen: 127.0.0.1:{port}", WAYS[name].strip()]
    if name == "on, with state":
        lines.append(f"state: {{path: '{folder / 'state.db'}'}}")
    more = _NODE_OFF if name == "off" else ""
    lines += ["nodes:", *(f"  - {{name: s{at}, kind: openai, url: 'http://127.0.0.1:{at}/v1'{more}}}" for at in nodes)]
    path = folder / f"{NAMES.index(name)}.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


def cost(*, is_quick: bool) -> dict[str, Pairs]:
    """Measure every phase in pairs, now the one first, now the other."""
    rounds, seconds = (3, 1.5) if is_quick else (9, 3.0)
    quiet = Quiet(60.0)
    found: dict[str, Pairs] = {phase: [] for phase in PHASES}
    with both_running() as field:
        for number in range(rounds):
            for phase, options in PHASES.items():
                quiet.wait()
                order = NAMES if number % 2 == 0 else NAMES[::-1]
                found[phase].append(
                    {name: gateway.one_round(field, name, number + 1, seconds=seconds, **options) for name in order}
                )
    return found


def medians(pairs: Pairs) -> dict[str, dict[str, float]]:
    """Return the median of each figure of each name."""
    return {name: {key: median(pair[name][key] for pair in pairs) for key in pairs[0][name]} for name in NAMES}


def ratio(pairs: Pairs, key: str, name: str = "on") -> float:
    """Return the median over the pairs of what it is with safety on, relative to off."""
    return median(pair[name][key] / max(pair["off"][key], 1e-9) for pair in pairs)


def added(pairs: Pairs, key: str) -> float:
    """Return the median over the pairs of what is added with safety on; nothing where that is less."""
    return max(0.0, median(pair["on"][key] - pair["off"][key] for pair in pairs))


def recovery(*, is_quick: bool) -> dict[str, float]:
    """Measure how many are answered while one of three nodes at a time fails. Raises AssertionError if wrong."""
    sys.path.insert(0, str(ROOT / "tests" / "chaos"))
    from chaos_callers import asks_of
    from chaos_checker import Verdict
    from chaos_load import Load
    from chaos_nodes import EPISODES, episodes_of, one_after_another, places
    from chaos_shared import check_rest, check_wires, configuration, gateway_process, recovered, run

    found: dict[str, float] = {}

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with places(3, seed=1) as nodes, gateway_process(Path(folder), configuration(nodes)) as process:
                load = Load(process.port, asks_of(1, leaving=0.0), 16)
                load.start()
                plan = episodes_of(1, len(EPISODES) * (1 if is_quick else 4), 3, 50 if is_quick else 200)
                await one_after_another(nodes, load, plan, lambda: recovered(process.port))
                await load.stop()
                await check_rest(process.port, load)
                tally = load.tally
                assert not tally.wrong, tally.wrong
                told = tally.verdicts[Verdict.REFUSED] + tally.verdicts[Verdict.BROKEN]
                found.update(
                    requests=tally.judged,
                    complete=100 * tally.complete_share,
                    told=told,
                    failed_over=tally.failed_over,
                    faults=check_wires(nodes).total(),
                    p50_ms=tally.quantile_ms(0.5),
                    p99_ms=tally.quantile_ms(0.99),
                )

    run(main(), 600.0)
    return found


def recovery_figure(found: dict[str, float] | None) -> Figure:
    """Return the line of the mission's table."""
    name = "recovery from errors: answered while one of 3 nodes fails"
    if not found:
        return at_least("ceilings", name, None, LEAST_RECOVERED, "%")
    note = "{requests:,.0f} requests, {faults:.0f} faults, {told:.0f} told of an error".format(**found)
    return at_least("ceilings", name, found["complete"], LEAST_RECOVERED, "%", note)


def figures_of(pairs: dict[str, Pairs], found: dict[str, float] | None) -> list[Figure]:
    """Compare everything with its goal."""
    figures = []
    for phase in (UNARY, STREAM):
        figures.append(
            at_least("safety", f"throughput, on to off: {phase}", ratio(pairs[phase], "rps"), LEAST_THROUGHPUT, "x")
        )
        unit = "request" if phase == UNARY else "chunk"
        share = ratio(pairs[phase], "cpu_us")
        figures.append(at_most("safety", f"CPU per {unit}, on to off: {phase}", share, 1 / LEAST_THROUGHPUT, "x"))
    for phase, key in ((PACED, "p50_ms"), (STREAM, "delay_p50_ms")):
        figures.append(
            at_most("safety", f"added at the median: {phase}", added(pairs[phase], key), MOST_ADDED_MS, "ms")
        )
    errors = sum(pair[name]["errors"] for taken in pairs.values() for pair in taken for name in NAMES)
    return [*figures, at_most("safety", "errors", errors, 0, ""), recovery_figure(found)]


def show_pairs(console: Console, phase: str, pairs: Pairs) -> None:
    """Print the medians of one phase, and the ratio of each."""
    table = Table("", title=phase, title_justify="left")
    for heading, _ in _SHOWN:
        table.add_column(heading, justify="right")
    for name, taken in medians(pairs).items():
        table.add_row(name, *(f"{taken[key]:,.3g}" for _, key in _SHOWN))
    for name in NAMES[1:]:
        cells = (f"{ratio(pairs, key, name):.3f}" if pairs[0]["off"][key] else "" for _, key in _SHOWN)
        table.add_row(f"{name} / off", *cells)
    console.print(table)


def main() -> int:
    """Measure and print; 0 even where a goal is missed."""
    parser = argparse.ArgumentParser(description="What safety costs, and what it is worth.")
    parser.add_argument("--quick", action="store_true", help="few short rounds: rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=130)
    speeds = [speed_ms()]
    try:
        with console.status("measuring: what it costs ..."):
            pairs = cost(is_quick=args.quick)
    except StartError as error:
        console.print(f"[red]not measured:[/] {error}")
        return 1
    speeds.append(speed_ms())
    with console.status("measuring: what it is worth ..."):
        found = recovery(is_quick=args.quick)
    speeds.append(speed_ms())
    for phase, taken in pairs.items():
        show_pairs(console, phase, taken)
    figures = figures_of(pairs, found)
    _show_figures(console, "Safety", figures)
    if max(speeds) > min(speeds) * STEADY_RATIO:
        console.print(
            f"[yellow]the machine's own speed changed meanwhile ({min(speeds):.0f} to {max(speeds):.0f} ms)[/]"
        )
    if args.json:
        data = {"pairs": pairs, "recovery": found, "speed_ms": speeds}
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
