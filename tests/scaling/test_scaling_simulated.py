"""A day of a fleet in virtual time: waits, and what it costs beside a plan that knows the demand."""

import importlib
import math
import sys
from pathlib import Path
from random import Random
from types import ModuleType

import pytest

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces" / "servegen"
NAMES = ("capacity_scaling", "capacity_scaling_planners", "capacity_scaling_sim")


@pytest.fixture(scope="module")
def bench() -> dict[str, ModuleType]:
    sys.path.append(str(ROOT / "bench"))
    try:
        return {
            name.removeprefix("capacity_").removeprefix("scaling_"): importlib.import_module(name) for name in NAMES
        }
    finally:
        sys.path.remove(str(ROOT / "bench"))


def made_up(days: int, seed: int = 2) -> list[float | None]:
    """Return a daily wave with a level that wanders and jumps, in windows of ten minutes."""
    random, level, rates = Random(seed), 0.0, list[float | None]()
    for index in range(days * 144):
        level = 0.97 * level + random.gauss(0, 0.05) + (random.choice((-0.3, 0.3)) if random.random() < 0.01 else 0.0)
        rates.append(40.0 * (1.0 + 0.5 * math.sin(2 * math.pi * index / 144)) * math.exp(level))
    return rates


def test_the_wait_target_is_held_at_little_more_than_the_least_cost(bench: dict[str, ModuleType]) -> None:
    setting = bench["sim"].Setting(node_slots=8)
    results = bench["scaling"].simulate(made_up(1)[:120], 72, setting, ("clairvoyant", "fairlead"))
    ours, least = results["fairlead"], results["clairvoyant"]
    assert least.share_within > 0.99
    assert ours.share_within > 0.99
    assert ours.node_hours < 1.4 * least.node_hours
    assert ours.left == least.left == 0


def test_the_simulated_queue_is_the_one_of_theory(bench: dict[str, ModuleType]) -> None:
    from fairlead.scaling import ScalingAction, wait_tail

    sim = bench["sim"]
    setting = sim.Setting(node_slots=20)
    stay = lambda _view, _arrivals, _now_s: ScalingAction(target=1, why="stays")  # noqa: E731
    run = sim.Simulation(setting, stay, 1, 17, Random(4))
    result = run.run(list(sim.arrivals_of([2.1], 60_000.0, Random(5))))
    late = 1.0 - result.share_within
    # A step is 0.5 s, so what is counted as over 2 s is over between 1.5 and 2 s.
    assert wait_tail(16.8, 20, 2.0, 8.0) * 0.85 < late < wait_tail(16.8, 20, 1.5, 8.0) * 1.15
    assert result.node_hours == pytest.approx(60_000 / 3600, rel=1e-3)


@pytest.mark.skipif(not TRACES.is_dir(), reason="no ../shared/data beside the checkout")
def test_forecasts_of_real_demand_are_better_than_last_window_and_yesterday(bench: dict[str, ModuleType]) -> None:
    scaling = bench["scaling"]
    found = []
    for name in ("m-small", "m-large"):
        rates = scaling.read_rates(TRACES / f"{name}_client_rates.csv.gz")
        found.append(scaling.forecast_errors(rates, scaling.held_from(rates)))
    for errors in [*found, scaling.overall(found)]:
        assert errors.fairlead < errors.last_window < errors.yesterday
        assert errors.inside > 0.8


@pytest.mark.skipif(not TRACES.is_dir(), reason="no ../shared/data beside the checkout")
def test_real_demand_is_served_in_time_at_little_more_than_the_least_cost(bench: dict[str, ModuleType]) -> None:
    scaling = bench["scaling"]
    rates = scaling.read_rates(TRACES / "m-large_client_rates.csv.gz")
    begin = scaling.held_from(rates)
    results = scaling.simulate(
        rates[begin - 144 : begin + 24], 144, bench["sim"].Setting(), ("clairvoyant", "fairlead")
    )
    ours, least = results["fairlead"], results["clairvoyant"]
    assert ours.share_within >= 0.99
    assert ours.node_hours <= 1.25 * least.node_hours
