"""The tables: figure, goal, what was measured, and whether the goal is met."""

from dataclasses import asdict, dataclass
from typing import Any

from decisions import PEERS, SIZES
from peers import PINS
from rich.console import Console
from rich.table import Table

HELD_BACK_SHARE = 0.005
OTHER_WORK_SHARE = 0.05
SATURATED_SHARE = 0.95
STEADY_RATIO = 1.25
_FLEET_GOALS = {"random": 7.0, "least_loaded": 8.0, "performance": 15.0}
_FLAT = ("least_loaded", "random", "round_robin", "performance")


@dataclass
class Figure:
    """One line: `ratio` is how many times better than the goal (above 1 is good); `is_met` None means no goal."""

    group: str
    name: str
    goal: str
    measured: str
    ratio: float | None
    is_met: bool | None
    note: str = ""


def at_most(group: str, name: str, value: float | None, goal: float, unit: str, note: str = "") -> Figure:
    """Return the figure of a value that must not be above its goal; None is a missed figure."""
    if value is None:
        return Figure(group, name, f"≤ {goal:,.4g} {unit}", "-", None, False, note)
    ratio = goal / value if value > 0 else float("inf")
    return Figure(group, name, f"≤ {goal:,.4g} {unit}", f"{value:,.3g} {unit}", ratio, value <= goal, note)


def at_least(group: str, name: str, value: float | None, goal: float, unit: str, note: str = "") -> Figure:
    """Return the figure of a value that must not be below its goal; None is a missed figure."""
    if value is None:
        return Figure(group, name, f"≥ {goal:,.4g} {unit}", "-", None, False, note)
    return Figure(group, name, f"≥ {goal:,.4g} {unit}", f"{value:,.4g} {unit}", value / goal, value >= goal, note)


def decision_figures(results: dict[str, Any]) -> list[Figure]:
    """Compare the decisions with their goals."""
    ours, theirs = results["ours"], results["peer"]
    figures = []
    for strategy, peer in PEERS.items():
        for nodes, goal in ((10, _FLEET_GOALS[strategy]), (1000, 100.0)):
            name = f"{strategy} against {peer}, {nodes:,} nodes"
            if peer not in theirs:
                figures.append(at_least("decisions", name, None, goal, "x", results["peer_missing"]))
                continue
            mine, other = ours[strategy][nodes], theirs[peer][nodes]
            figures.append(at_least("decisions", name, other / mine, goal, "x", f"{mine:.2f} against {other:,.1f} us"))
    for strategy, by_size in ours.items():
        figures.append(at_most("decisions", f"{strategy}, 10 nodes", by_size[10], 6.0, "us"))
    for strategy in _FLAT:
        growth = ours[strategy][10_000] / ours[strategy][100]
        figures.append(at_most("decisions", f"{strategy}, 10,000 nodes against 100", growth, 2.0, "x"))
    figures.append(at_most("decisions", "category of a 1 KB prompt", results["detection_us"], 10.0, "us"))
    return figures


def gateway_figures(results: dict[str, Any]) -> list[Figure]:
    """Compare whole answers with their goals."""
    unary, paced = results["unary"], results["paced"]
    rps = {name: taken.get("rps") for name, taken in unary.items()}
    why = {name: taken["problem"] for name, taken in unary.items()}
    figures = []
    for peer, goal in (("sglang-router", 1.0), ("litellm", 150.0)):
        both = rps["fairlead"] is not None and rps[peer] is not None
        ratio = rps["fairlead"] / rps[peer] if both else None
        note = f"{rps['fairlead']:,.0f} against {rps[peer]:,.0f}" if both else why["fairlead"] or why[peer]
        figures.append(at_least("gateway", f"requests/s against {peer}", ratio, goal, "x", note))
    figures.append(at_most("gateway", "CPU per request", unary["fairlead"].get("cpu_us"), 30.0, "us", why["fairlead"]))
    added = None
    if "p50_ms" in paced["fairlead"] and "p50_ms" in paced["direct"]:
        added = max(0.0, paced["fairlead"]["p50_ms"] - paced["direct"]["p50_ms"])
    figures.append(at_most("gateway", "added median at 150 requests/s", added, 0.2, "ms", paced["fairlead"]["problem"]))
    errors = _mean_errors(unary["fairlead"], paced["fairlead"])
    figures.append(at_most("gateway", "errors", errors, 0, "", why["fairlead"]))
    peak = results["peak_rss_mb"].get("fairlead")
    figures.append(at_most("footprint", "resident memory under load", peak, 60.0, "MB", why["fairlead"]))
    return figures


def _mean_errors(*phases: dict[str, Any]) -> float | None:
    return sum(phase["errors"] for phase in phases) if all("errors" in phase for phase in phases) else None


def stream_figures(results: dict[str, Any]) -> list[Figure]:
    """Compare streams with their goals."""
    ours, peer, direct = results["fairlead"], results["vllm-router"], results["direct"]
    why = ours["problem"] or peer["problem"]
    ratio = ours["cpu_us"] / peer["cpu_us"] if "cpu_us" in ours and "cpu_us" in peer else None
    note = f"{ours['cpu_us']:.1f} against {peer['cpu_us']:.1f} us" if ratio is not None else why
    figures = [at_most("streaming", "CPU per chunk against vllm-router", ratio, 1.0, "x", note)]
    lost = ours.get("events_lost") if "errors" in ours else None
    figures.append(at_most("streaming", "events lost", lost, 0, "", ours["problem"]))
    held = None
    if "joined_share" in ours and "joined_share" in direct:
        held = max(0.0, ours["joined_share"] - direct["joined_share"]) * 100
    name = "events held back (came with a later one), over direct"
    figures.append(at_most("streaming", name, held, HELD_BACK_SHARE * 100, "%", ours["problem"]))
    return figures


def footprint_figures(results: dict[str, Any]) -> list[Figure]:
    """Compare start and size with their goals."""
    return [
        at_most("footprint", "launch to first answer", results["first_answer_s"], 0.5, "s", results["problem"]),
        at_most("footprint", "import fairlead", results["import_s"], 0.25, "s"),
        at_most("footprint", "packages of a plain install", len(results["packages"]), 15, ""),
    ]


def ceilings(results: dict[str, Any]) -> list[Figure]:
    """Return the mission's ceilings and floors with what was measured."""
    whole = results.get("gateway", {})
    paced = whole.get("paced", {}).get("fairlead", {})
    by_strategy = results.get("decisions", {}).get("ours", {})
    route_ms = max((sizes[10_000] for sizes in by_strategy.values()), default=None)
    balancing = by_strategy.get("least_loaded", {}).get(10_000)
    figures = [
        at_most("ceilings", "network: through the gateway and back, 150/s, p99", paced.get("p99_ms"), 50, "ms"),
        at_most("ceilings", "route: slowest strategy, 10,000 nodes", _ms(route_ms), 10, "ms"),
        at_most("ceilings", "allocation: choice with its lease, 10,000 nodes", _ms(balancing), 5, "ms"),
        at_most("ceilings", "memory under load", whole.get("peak_rss_mb", {}).get("fairlead"), 100, "MB"),
        at_most("ceilings", "CPU of one core at 150 requests/s", _percent(paced.get("cpu_share")), 70, "%"),
    ]
    later = (
        ("balancing", "≤ 15 ms", "bench/capacity.py"),
        ("route-cache hits", "≥ 80 %", "bench/routing.py"),
        ("routing accuracy", "≥ 95 %", "bench/specialists.py"),
        ("resource utilisation", "≥ 80 %", "bench/capacity.py"),
        ("load deviation", "< 10 %", "bench/capacity.py"),
        ("recovery from errors", "≥ 95 %", "bench/safety.py"),
    )
    return figures + [Figure("ceilings", name, goal, where, None, None) for name, goal, where in later]


def _ms(us: float | None) -> float | None:
    return None if us is None else us / 1000


def _percent(share: float | None) -> float | None:
    return None if share is None else share * 100


def figures_of(results: dict[str, Any]) -> list[Figure]:
    """Return every figure that the results allow."""
    figures: list[Figure] = []
    for part, make in (
        ("decisions", decision_figures),
        ("gateway", gateway_figures),
        ("stream", stream_figures),
        ("footprint", footprint_figures),
    ):
        if part in results:
            figures += make(results[part])
    return figures


def as_data(figures: list[Figure]) -> list[dict[str, Any]]:
    """Return figures as plain data."""
    return [asdict(figure) for figure in figures]


def show(console: Console, results: dict[str, Any], figures: list[Figure], limits: list[Figure]) -> None:
    """Print all tables."""
    if "decisions" in results:
        _show_decisions(console, results["decisions"])
    if "gateway" in results:
        _show_contenders(console, "64 connections, as fast as it goes", results["gateway"]["unary"], _UNARY)
        _show_contenders(console, "150 requests/s (LiteLLM 20)", results["gateway"]["paced"], _PACED)
    if "stream" in results:
        _show_contenders(console, "64 streams, an event every 5 ms", results["stream"], _STREAM)
    _show_figures(console, "Goals", figures)
    if "decisions" in results and "gateway" in results:
        _show_figures(console, "The mission's ceilings and floors", limits)
    console.print(f"Peers: {', '.join(PINS.values())}", markup=False)
    for line in _warnings(results):
        console.print(f"[yellow]{line}[/]")
    missed = sum(figure.is_met is False for figure in figures)
    console.print(f"{len(figures)} figures, [bold]{missed} missed[/]" if missed else f"{len(figures)} figures, all met")


def _show_decisions(console: Console, results: dict[str, Any]) -> None:
    table = Table("strategy", title="Microseconds per decision (category given)", title_justify="left")
    for nodes in SIZES:
        table.add_column(f"{nodes:,} nodes", justify="right")
    for strategy, sizes in (results["ours"] | results["peer"]).items():
        name = f"LiteLLM {strategy}" if strategy in results["peer"] else strategy
        table.add_row(name, *(f"{sizes[nodes]:,.2f}" if nodes in sizes else "" for nodes in SIZES))
    console.print(table)


_UNARY = (
    ("requests/s", "rps", 1),
    ("CPU us", "cpu_us", 1),
    ("p50 ms", "p50_ms", 1),
    ("p99 ms", "p99_ms", 1),
    ("MB", "rss_mb", 1),
)
_PACED = (("p50 ms", "p50_ms", 1), ("p99 ms", "p99_ms", 1), ("CPU us", "cpu_us", 1), ("CPU %", "cpu_share", 100))
_STREAM = (
    ("CPU us/chunk", "cpu_us", 1),
    ("delay p50 ms", "delay_p50_ms", 1),
    ("delay p99 ms", "delay_p99_ms", 1),
    ("joined %", "joined_share", 100),
    ("lost", "events_lost", 1),
)
_ALWAYS = (
    ("errors", "errors", 1),
    ("generator core %", "generator_core", 100),
    ("other work on core %", "other_work", 100),
)


def _show_contenders(
    console: Console, title: str, results: dict[str, Any], columns: tuple[tuple[str, str, int], ...]
) -> None:
    table = Table("", title=title, title_justify="left")
    for heading, _, _ in columns + _ALWAYS:
        table.add_column(heading, justify="right")
    for name, taken in results.items():
        if taken["problem"]:
            table.add_row(name, "[red]missed[/]")
            continue
        cells = [f"{taken[key] * scale:,.4g}" if key in taken else "" for _, key, scale in columns + _ALWAYS]
        table.add_row(name, *cells)
    console.print(table)


def _show_figures(console: Console, title: str, figures: list[Figure]) -> None:
    table = Table("figure", title=title, title_justify="left")
    for heading in ("goal", "measured", "times better"):
        table.add_column(heading, justify="right")
    table.add_column("")
    table.add_column("note", overflow="fold")
    for figure in figures:
        verdict = {True: "[green]met[/]", False: "[red]MISSED[/]", None: ""}[figure.is_met]
        ratio = "" if figure.ratio is None or figure.ratio == float("inf") else f"{figure.ratio:,.3g}"
        table.add_row(figure.name, figure.goal, figure.measured, ratio, verdict, figure.note[-300:])
    console.print(table)


def _warnings(results: dict[str, Any]) -> list[str]:
    whole = results.get("gateway", {})
    phases = {
        "at 64 connections": whole.get("unary", {}),
        "at 150/s": whole.get("paced", {}),
        "streaming": results.get("stream", {}),
    }
    lines = []
    for phase, contenders in phases.items():
        proxies = {name: taken for name, taken in contenders.items() if name != "direct"}
        full = [name for name, taken in proxies.items() if taken.get("generator_core", 0) > SATURATED_SHARE]
        if full:
            lines.append(f"{phase} the generator's core was full, so these are lower bounds: {', '.join(full)}")
        disturbed = [
            f"{name} {taken['other_work']:.0%}"
            for name, taken in proxies.items()
            if taken.get("other_work", 0) > OTHER_WORK_SHARE
        ]
        if disturbed:
            lines.append(f"{phase} other work took the proxy's core, measure again in quiet: {', '.join(disturbed)}")
    slowest, fastest = max(results["speed_ms"]), min(results["speed_ms"])
    if slowest > fastest * STEADY_RATIO:
        lines.append(
            f"the machine's own speed changed by a factor of {slowest / fastest:.1f} meanwhile "
            f"(a fixed loop took {fastest:.0f} to {slowest:.0f} ms): figures of different parts do not compare"
        )
    return lines
