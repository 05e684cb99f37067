"""Autoscaling on real demand: `python bench/capacity_scaling.py FOLDER [--only NAME] [--json FILE]`.

FOLDER holds `*_client_rates.csv.gz` (ServeGen: client, t_s, rate_rps), request rates of each client in windows of ten
minutes; a file's demand is the sum over its clients. The last day is held out: everything is told in order, and only
that day counts. A file of less than two days has no day to hold out; its second half is shown beside, without a goal.

Forecast: the next window's rate, ten minutes ahead, as weighted MAPE (sum of errors over sum of rates), beside "same as
the last window" and "same as yesterday". Windows that the file lacks are neither told nor counted.

Fleet: requests arrive by Poisson at the held-out day's rates (a window that is missing repeats the one before) at nodes
of `node_slots` slots, each request takes an exponential time of mean `service_s`, a node serves `cold_start_s` after
its start, and a request should wait at most `wait_target_s` (the figures are in `Setting`). The policy has watched the
days before, and is told arrivals and the mean service time, no rates. The clairvoyant knows every rate; it uses the
same queueing formula with no head room, but does not try to spend the 1 % of requests that may wait longer.
"""

import argparse
import csv
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from capacity_scaling_planners import by_policy, clairvoyant, learnt_policy, nodes_for, utilisation_target
from capacity_scaling_sim import Planner, Result, Setting, Simulation, arrivals_of
from rich.console import Console
from rich.table import Table

from fairlead.demand.forecast import DemandForecaster

WINDOW_S = 600.0
DAY = 144
ARRIVALS_SEED, HISTORY_SEED, SERVICE_SEED = 7, 3, 11
MOST_NODE_HOURS, LEAST_WITHIN = 1.25, 0.99

Rates = list[float | None]


@dataclass
class Errors:
    """Weighted MAPE of each forecast over the held-out windows."""

    windows: int
    fairlead: float
    last_window: float
    yesterday: float | None
    inside: float
    """Share of windows inside the 90 % interval."""
    weight: float
    """Sum of the rates."""


def read_rates(path: Path) -> Rates:
    """Return the sum of the clients' rates for each window from time 0; None for windows that the file lacks."""
    rates: dict[int, float] = defaultdict(float)
    with gzip.open(path, "rt", newline="") as file:
        for row in csv.DictReader(file):
            rates[round(float(row["t_s"]) / WINDOW_S)] += float(row["rate_rps"] or 0.0)
    return [rates.get(index) for index in range(max(rates) + 1)]


def held_from(rates: Rates) -> int:
    """Return the first held-out window: a day before the end, or half-way through what is shorter than two days."""
    return len(rates) - DAY if len(rates) >= 2 * DAY else len(rates) // 2


def forecast_errors(rates: Rates, begin: int) -> Errors:
    """Forecast each window from `begin` on when the one before it is over."""
    forecaster = DemandForecaster(WINDOW_S)
    ours = last_off = yesterday_off = weight = yesterday_weight = 0.0
    windows = inside = 0
    last = 0.0
    for index, rate in enumerate(rates):
        if rate is None:
            continue
        if index >= begin:
            forecast = forecaster.forecast()
            ours += abs(forecast.mean - rate)
            last_off += abs(last - rate)
            inside += forecast.low <= rate <= forecast.high
            windows, weight = windows + 1, weight + rate
            before = rates[index - DAY] if index >= DAY else None
            if before is not None:
                yesterday_off, yesterday_weight = yesterday_off + abs(before - rate), yesterday_weight + rate
        forecaster.observe(index * WINDOW_S, rate)
        last = rate
    yesterday = yesterday_off / yesterday_weight if yesterday_weight else None
    return Errors(windows, ours / weight, last_off / weight, yesterday, inside / windows, weight)


def filled(rates: Rates) -> list[float]:
    """Return the rates, what is missing repeated from the window before."""
    whole: list[float] = []
    for rate in rates:
        whole.append(rate if rate is not None else whole[-1] if whole else 0.0)
    return whole


def simulate(rates: Rates, begin: int, setting: Setting, planners: Sequence[str] | None = None) -> dict[str, Result]:
    """Serve the windows from `begin` on with each planner; all meet the same arrivals."""
    day = filled(rates)[begin:]
    arrivals = list(arrivals_of(day, WINDOW_S, Random(ARRIVALS_SEED)))
    policy = learnt_policy(setting, rates[:begin], WINDOW_S, Random(HISTORY_SEED))
    makers: dict[str, Planner] = {
        "clairvoyant": clairvoyant(day, WINDOW_S, setting),
        "fairlead": by_policy(policy),
        "utilisation 70 %": utilisation_target(),
    }
    first = nodes_for(day[0], setting), round(day[0] * setting.service_s)
    return {
        name: Simulation(setting, planner, *first, Random(SERVICE_SEED)).run(arrivals)
        for name, planner in makers.items()
        if planners is None or name in planners
    }


def as_data(results: dict[str, Result]) -> dict[str, Any]:
    """Return plain data for JSON."""
    base = results["clairvoyant"].node_hours
    return {
        name: {
            "node_hours": result.node_hours,
            "ratio": result.node_hours / base,
            "within": result.share_within,
            "p99_wait_s": result.wait_quantile(0.99),
            "max_wait_s": max(result.waits, default=0.0),
            "requests": result.requests,
            "starts": result.starts,
            "stops": result.stops,
            "peak_nodes": result.peak,
        }
        for name, result in results.items()
    }


def show_forecasts(console: Console, found: dict[str, Errors]) -> None:
    """Print the errors, per file and over all files."""
    table = Table("file", title="Forecast ten minutes ahead: weighted MAPE, held-out windows", title_justify="left")
    for heading in ("windows", "fairlead", "last window", "yesterday", "in 90 % interval", ""):
        table.add_column(heading, justify="right")
    for name, errors in (*found.items(), ("all", overall(list(found.values())))):
        yesterday = "" if errors.yesterday is None else f"{errors.yesterday:.4f}"
        is_met = errors.fairlead < min(errors.last_window, errors.yesterday or errors.last_window)
        row = (f"{errors.fairlead:.4f}", f"{errors.last_window:.4f}", yesterday, f"{errors.inside:.0%}")
        table.add_row(name, str(errors.windows), *row, verdict(is_met))
    console.print(table)


def overall(found: Sequence[Errors]) -> Errors:
    """Return the errors over all files, each weighing as much as its windows (a sum of rates would be one file)."""
    windows = sum(errors.windows for errors in found)

    def mean(values: Sequence[tuple[float, int]]) -> float:
        return sum(value * n for value, n in values) / sum(n for _, n in values)

    dated = [(errors.yesterday, errors.windows) for errors in found if errors.yesterday is not None]
    return Errors(
        windows,
        mean([(errors.fairlead, errors.windows) for errors in found]),
        mean([(errors.last_window, errors.windows) for errors in found]),
        mean(dated) if dated else None,
        mean([(errors.inside, errors.windows) for errors in found]),
        sum(errors.weight for errors in found),
    )


def show_fleets(console: Console, name: str, data: dict[str, Any], *, has_goal: bool) -> None:
    """Print what each planner came to."""
    title = f"{name}: {data['clairvoyant']['requests']:,} requests" + ("" if has_goal else " (half a day; no goal)")
    table = Table("planner", title=title, title_justify="left")
    for heading in ("node-hours", "of clairvoyant", "within target", "p99 wait", "longest", "starts", "peak", ""):
        table.add_column(heading, justify="right")
    for planner, row in data.items():
        is_met = row["ratio"] <= MOST_NODE_HOURS and row["within"] >= LEAST_WITHIN
        table.add_row(
            planner,
            f"{row['node_hours']:,.0f}",
            f"{row['ratio']:.3f}",
            f"{row['within']:.2%}",
            f"{row['p99_wait_s']:g} s",
            f"{row['max_wait_s']:g} s",
            f"{row['starts']:,}",
            f"{row['peak_nodes']:,}",
            verdict(is_met) if has_goal and planner == "fairlead" else "",
        )
    console.print(table)


def verdict(is_met: bool) -> str:
    """Return the word for a goal."""
    return "[green]met[/]" if is_met else "[red]MISSED[/]"


def main() -> int:
    """Measure every file of the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", help="files whose name begins so")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    paths = sorted(args.folder.glob(f"{args.only or ''}*_client_rates.csv.gz"))
    if not paths:
        parser.error(f"there is no *_client_rates.csv.gz in {args.folder}")
    console, setting = Console(width=120), Setting()
    traces = {path.name.removesuffix("_client_rates.csv.gz"): read_rates(path) for path in paths}
    found = {name: forecast_errors(rates, held_from(rates)) for name, rates in traces.items()}
    show_forecasts(console, found)
    fleets = {}
    for name, rates in traces.items():
        fleets[name] = as_data(simulate(rates, held_from(rates), setting))
        show_fleets(console, name, fleets[name], has_goal=len(rates) >= 2 * DAY)
    console.print(f"{setting}; goal: at most {MOST_NODE_HOURS} of clairvoyant, {LEAST_WITHIN:.0%} within the target")
    if args.json:
        forecasts = {name: asdict(errors) for name, errors in found.items()}
        args.json.write_text(json.dumps({"forecast": forecasts, "fleet": fleets}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
