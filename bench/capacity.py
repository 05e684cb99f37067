"""Everything about capacity that has a goal, in one table: `python bench/capacity.py [--quick] [--json FILE]`.

What an allocation, a placement and the queue cost; then the simulations in virtual time over the real engine; then the
replays of recorded traffic, where `../shared/data/traces` is there. `--quick` simulates for a shorter time and leaves
the recorded traffic out. Takes some minutes otherwise.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "capacity"))

import capacity_allocation
import capacity_balancing
from capacity_scenes import balance, beside, spike, tenants
from capacity_worlds import SLOTS
from rich.console import Console
from rich.table import Table

from fairlead.routing.catalog import BUILT_IN

TRACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces"
EVEN, HALF, FEW, ONES = (16,) * 4, (4, 8, 16, 32), (2,) * 24, (1,) * 32


class Figure(NamedTuple):
    """One figure beside its goal; `met` is None where it has none."""

    what: str
    goal: str
    measured: str
    value: float
    met: bool | None


Part = Callable[[bool], Iterator[Figure]]


def at_most(what: str, value: float, goal: float, form: str = "{:.1f}") -> Figure:
    """Return a figure that should not be higher."""
    return Figure(what, "<= " + form.format(goal), form.format(value), value, value <= goal)


def at_least(what: str, value: float, goal: float, form: str = "{:.1%}") -> Figure:
    """Return a figure that should not be lower."""
    return Figure(what, ">= " + form.format(goal), form.format(value), value, value >= goal)


def beside_it(what: str, value: float, form: str = "{:.1%}") -> Figure:
    """Return a figure without a goal."""
    return Figure(what, "", form.format(value), value, None)


def costs(is_quick: bool) -> Iterator[Figure]:
    """What single steps cost."""
    yield at_most("allocation, 100 nodes, us", capacity_allocation.allocation_us(), 20.0)
    yield beside_it(
        "the same, all but one node out of tokens per minute, us", capacity_allocation.worst_allocation_us(), "{:.1f}"
    )
    yield at_most("placement, 100 nodes, us", capacity_balancing.placement_us(), 30.0)
    yield at_most("distribute_load, 10,000 tasks, 1,000 nodes, s", capacity_balancing.distribute_s(), 1.0, "{:.3f}")
    few, many = capacity_allocation.bytes_per_lease(2_000), capacity_allocation.bytes_per_lease(20_000)
    yield beside_it("bytes for each live lease", many, "{:.0f}")
    yield at_most("the same, 20,000 leases to 2,000", many / few, 1.1, "{:.2f}")
    del is_quick


def queueing(is_quick: bool) -> Iterator[Figure]:
    """What the queue costs."""
    import capacity_admission

    for what, value in capacity_admission.measure().items():
        yield beside_it(f"queue: {what}, us", value, "{:.1f}")
    del is_quick


def balances(is_quick: bool) -> Iterator[Figure]:
    """Mixed `normal` tasks over eight unequal nodes."""
    worlds = [("slots", 700, 1.2), ("tokens", 300, 0.6)]
    strategies = ("hybrid",) if is_quick else sorted(BUILT_IN)
    for strategy, (short, tokens, share) in ((one, world) for one in strategies for world in worlds):
        seen = balance(strategy, share, 60.0 if is_quick else 300.0, tokens_per_slot=tokens)
        what = f"{strategy}, {short} short"
        yield at_most(f"{what}: deviation of load while work waits", seen.deviation, 0.10, "{:.1%}")
        yield at_least(f"{what}: load while work waits", seen.load, 0.80)
        yield at_most(f"{what}: fullest node ever", seen.highest, 1.0, "{:.1%}")
        yield at_most(f"{what}: leases left, tasks lost", seen.left + seen.lost, 0, "{:.0f}")
    for strategy in ("hybrid", "least_loaded"):
        seen = balance(strategy, 0.5, 60.0 if is_quick else 300.0)
        yield at_most(f"{strategy}: deviation at {seen.load:.0%} load", seen.deviation, 0.10, "{:.1%}")


def priorities(is_quick: bool) -> Iterator[Figure]:
    """Interactive work beside endless batch."""
    for slots in (EVEN, HALF, FEW, ONES):
        seen = beside(slots, 300.0 if is_quick else 3600.0)
        name = f"{len(slots)} nodes of {min(slots)}" + (f" to {max(slots)}" if len(set(slots)) > 1 else "") + " slots"
        yield at_most(f"{name}: p95 of first token with batch to without", seen.ratio, 1.1, "{:.3f}")
        yield at_most(f"{name}: interactive lost", seen.lost, 0, "{:.0f}")
        yield beside_it(f"{name}: slots held by interactive", seen.interactive_share)
        yield beside_it(f"{name}: slots held by batch", seen.batch_share)


def sharing(is_quick: bool) -> Iterator[Figure]:
    """Two tenants that both would fill the fleet."""
    seconds = 120.0 if is_quick else 900.0
    for weight in (1.0, 3.0, 10.0):
        seen = tenants(weight, seconds)
        what = f"tenants {weight:g}:1"
        yield at_most(f"{what}: tokens beyond the share, in tasks", seen.beyond, 1.0, "{:.2f}")
        yield beside_it(f"{what}: share of the first", seen.share)
        yield at_least(f"{what}: load while one is alone", seen.lent, 0.95)
        yield at_most(f"{what}: longest wait, s", seen.longest_wait_s, 60.5)
        learnt = tenants(weight, seconds, is_foreseen=False)
        yield beside_it(f"{what}: beyond the share where lengths are learnt, in tasks", learnt.beyond, "{:.2f}")
        yield beside_it(f"{what}: share of the first there", learnt.share)


def spikes(is_quick: bool) -> Iterator[Figure]:
    """A tenfold spike for a minute."""
    slots, before_s, seconds = ((8, 8, 16, 16), 180.0, 420.0) if is_quick else (SLOTS, 300.0, 1200.0)
    seen = spike(slots, before_s, seconds)
    yield at_most(f"spike of {seen.interactive} interactive tasks: lost", seen.interactive_lost, 0, "{:.0f}")
    yield at_least(f"Retry-After right, of {seen.refused} refused", seen.right, 0.9)
    yield at_least("let in when they came again", seen.admitted, 0.9)
    yield at_most("p95 of first token 30 s after it, all, s", seen.after_s, 1.1 * seen.before_s, "{:.3f}")
    yield at_most("the same, interactive, s", seen.urgent_after_s, 1.1 * seen.urgent_before_s, "{:.3f}")
    yield beside_it("p95 of first token within it, interactive, s", seen.urgent_within_s, "{:.3f}")


def prefixes(is_quick: bool) -> Iterator[Figure]:
    """Hits on the Mooncake traces."""
    if is_quick:
        return
    import capacity_prefix

    for row in capacity_prefix.measure(TRACES):
        what = "{trace}, {kv_blocks} blocks, {strategy}".format(**row)
        is_ours = row["strategy"] == "hybrid" and row["kv_blocks"] == 4 * capacity_prefix.KV_BLOCKS
        hits, sent = float(str(row["hits"])), float(str(row["sent"]))
        yield at_least(f"{what}: hits of the reusable", hits, 0.9) if is_ours else beside_it(f"{what}: hits", hits)
        deviation = f"{what}: deviation of tokens over 60 s"
        yield at_most(deviation, sent, 0.2, "{:.1%}") if is_ours else beside_it(deviation, sent)


def scaling(is_quick: bool) -> Iterator[Figure]:
    """Forecasts and fleets on the ServeGen demand."""
    if is_quick:
        return
    import capacity_scaling as on_demand

    for path in sorted((TRACES / "servegen").glob("*_client_rates.csv.gz")):
        name, rates = path.name.removesuffix("_client_rates.csv.gz"), on_demand.read_rates(path)
        begin = on_demand.held_from(rates)
        errors = on_demand.forecast_errors(rates, begin)
        goal = min(errors.last_window, errors.yesterday or errors.last_window)
        yield at_most(f"{name}: error of the forecast (the better naive one)", errors.fairlead, goal, "{:.4f}")
        ours = on_demand.as_data(on_demand.simulate(rates, begin, on_demand.Setting()))["fairlead"]
        if len(rates) < 2 * on_demand.DAY:  # half a day to learn from, and half a day to serve
            yield beside_it(f"{name}: node-hours to clairvoyant", ours["ratio"], "{:.3f}")
            continue
        yield at_most(f"{name}: node-hours to clairvoyant", ours["ratio"], on_demand.MOST_NODE_HOURS, "{:.3f}")
        yield at_least(f"{name}: within the wait target", ours["within"], on_demand.LEAST_WITHIN, "{:.2%}")


PARTS: tuple[Part, ...] = (costs, queueing, balances, priorities, sharing, spikes, prefixes, scaling)


def main() -> int:
    """Measure and print; 0 even where a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=130)
    table = Table("figure", "goal", "measured", "", title="Capacity", title_justify="left")
    found: list[Figure] = []
    for part in PARTS:
        if args.only not in (None, part.__name__):
            continue
        try:
            with console.status(f"measuring: {part.__name__} ..."):
                figures = list(part(args.quick))
        except (OSError, ImportError) as error:
            table.add_row(part.__name__, "", f"not measured: {error}", "")
            continue
        found.extend(figures)
        for one in figures:
            word = "" if one.met is None else "[green]met[/]" if one.met else "[red]MISSED[/]"
            table.add_row(one.what, one.goal, one.measured, word)
        table.add_section()
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps([one._asdict() for one in found], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
