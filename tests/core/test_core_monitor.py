"""The performance monitor: moving averages, and anomalies that are rarely false."""

import csv
import gzip
import json
import random
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from math import log
from pathlib import Path

import pytest

from fairlead.capability.posterior import Posterior
from fairlead.domain import Outcome, TaskCategory
from fairlead.errors import FairleadError
from fairlead.routing.monitor import PerformanceMonitor, View

CODING, TESTING = TaskCategory.CODING, TaskCategory.TESTING
DATA = Path(__file__).parents[2].parent / "shared" / "data"
TRACES = ("azure2023_conv.csv.gz", "mooncake_conversation.jsonl.gz", "mooncake_synthetic.jsonl.gz")


def answer(
    latency_s: float, output_tokens: int = 0, *, success: bool = True, category: TaskCategory = CODING
) -> Outcome:
    return Outcome(success, latency_s, category, output_tokens=output_tokens)


def fed(n: int, rate: float = 0.9, pace_s: float = 0.03, seed: int = 0) -> PerformanceMonitor:
    monitor, luck = PerformanceMonitor(), random.Random(seed)
    feed(monitor, n, rate, pace_s, luck)
    return monitor


def feed(
    monitor: PerformanceMonitor, n: int, rate: float, pace_s: float, luck: random.Random, from_s: float = 0.0
) -> None:
    for i in range(n):
        tokens = int(luck.lognormvariate(5, 1)) + 1
        latency_s = (tokens + 1) * pace_s * luck.lognormvariate(0, 0.3)
        monitor.record("m", CODING, answer(latency_s, tokens, success=luck.random() < rate), from_s + i)


def kinds(view: View) -> list[str]:
    return [one.kind for one in view.anomalies]


def test_what_was_not_seen_is_not_known() -> None:
    monitor = PerformanceMonitor()
    assert monitor.view("m", CODING, 0.0) == View()
    assert monitor.performance("m", CODING, 0.0) is None
    assert monitor.success("m", 0.0) is None
    assert monitor.expected_output_tokens("m", CODING) is None
    assert monitor.expected_latency_s("m", CODING) is None
    monitor.record("m", CODING, answer(1.0, success=False), 0.0)
    view = monitor.view("m", CODING, 0.0)
    assert (view.latency_s, view.first_token_s, view.output_tokens, view.cost_usd) == (None, None, None, None)
    assert monitor.expected_latency_s("m", CODING) is None, "a failure says nothing of how long an answer takes"


def test_averages_are_of_the_successes_and_forget() -> None:
    monitor = PerformanceMonitor(half_life_s=100.0)
    for latency_s, at_s, cost_usd in ((2.0, 0.0, 0.01), (4.0, 100.0, None)):
        outcome = Outcome(True, latency_s, CODING, latency_s / 4, input_tokens=100, output_tokens=int(latency_s * 10))
        monitor.record("m", CODING, outcome, at_s, cost_usd)
    monitor.record("m", CODING, answer(0.001, 1, success=False), 100.0)
    view = monitor.view("m", CODING, 100.0)
    assert view.outcomes == pytest.approx(2.5)
    assert view.latency_s == pytest.approx((2.0 / 2 + 4.0) / 1.5)
    assert view.first_token_s == pytest.approx((0.5 / 2 + 1.0) / 1.5)
    assert view.output_tokens == pytest.approx((20 / 2 + 40) / 1.5)
    assert view.input_tokens == pytest.approx(100)
    assert view.cost_usd == pytest.approx(0.01)
    assert 0.5 < (view.success or 0) < 0.6
    assert monitor.view("m", CODING, 5_000.0) == View()


def test_a_category_speaks_for_itself_once_it_is_known() -> None:
    monitor = PerformanceMonitor()
    for _ in range(10):
        monitor.record("m", CODING, answer(1.0, 100), 0.0)
    monitor.record("m", TESTING, answer(9.0, 900, category=TESTING), 0.0)
    assert monitor.expected_output_tokens("m", TESTING) == pytest.approx(1900 / 11), "one answer is not enough"
    for _ in range(3):
        monitor.record("m", TESTING, answer(9.0, 900, category=TESTING), 0.0)
    assert monitor.expected_output_tokens("m", TESTING) == pytest.approx(900)
    assert monitor.expected_latency_s("m", TESTING) == pytest.approx(9.0)
    assert monitor.expected_latency_s("m", TaskCategory.DEBUGGING) == pytest.approx((10 * 1.0 + 4 * 9.0) / 14)
    slow, fast = monitor.performance("m", TESTING, 0.0), monitor.performance("m", CODING, 0.0)
    assert slow is not None
    assert fast is not None
    assert 0 < slow < fast < 1


def test_a_model_that_slows_down_is_told_and_so_is_its_recovery() -> None:
    monitor, luck = fed(300), random.Random(1)
    assert monitor.view("m", CODING, 300.0).anomalies == ()
    feed(monitor, 40, 0.9, 0.09, luck, 300.0)
    (slow,) = monitor.view("m", CODING, 340.0).anomalies
    assert slow.kind == "pace"
    assert 295.0 <= slow.since_s < 320.0
    assert slow.before == pytest.approx(0.03, rel=0.25)
    assert slow.after == pytest.approx(0.09, rel=0.35)
    assert kinds(monitor.view("m", None, 340.0)) == ["pace"], "over all, every category's are told"
    feed(monitor, 60, 0.9, 0.03, luck, 340.0)
    assert monitor.view("m", CODING, 400.0).anomalies == ()


def test_a_model_that_begins_to_fail_is_told_and_the_sum_learns_of_it_at_once() -> None:
    monitor, luck = fed(300), random.Random(1)
    feed(monitor, 30, 0.1, 0.03, luck, 300.0)
    (failing,) = [one for one in monitor.view("m", CODING, 330.0).anomalies if one.kind == "success"]
    assert failing.before > 0.8
    assert failing.after < 0.6
    assert (monitor.success("m", 330.0) or 1.0) < 0.4
    feed(monitor, 60, 0.95, 0.03, luck, 330.0)
    assert "success" not in kinds(monitor.view("m", CODING, 390.0))


def test_what_lasts_for_a_half_life_is_usual() -> None:
    monitor = fed(300)
    feed(monitor, 40, 0.9, 0.09, random.Random(1), 300.0)
    assert monitor.view("m", CODING, 340.0).anomalies
    assert monitor.view("m", CODING, 340.0 + 3600.0).anomalies == ()


def test_outliers_are_no_anomaly() -> None:
    monitor, luck = fed(300), random.Random(2)
    for i in range(200):
        slow = 50.0 if i % 10 == 0 else 1.0
        tokens = 100
        monitor.record("m", CODING, answer(slow * 3.0 * luck.lognormvariate(0, 0.3), tokens), 300.0 + i)
        assert monitor.view("m", CODING, 300.0 + i).anomalies == ()


def test_false_alarms_are_rare_with_long_tails() -> None:
    alarms = set[tuple[int, str, float]]()
    for seed in range(10):
        luck, monitor = random.Random(seed), PerformanceMonitor()
        for i in range(2_000):
            latency_s = luck.lognormvariate(0, 0.8) * (20.0 if luck.random() < 0.02 else 1.0)
            monitor.record("m", CODING, answer(latency_s, success=luck.random() < 0.9), float(i))
            alarms |= {(seed, one.kind, one.since_s) for one in monitor.view("m", CODING, float(i)).anomalies}
    assert len(alarms) / 20_000 < 1 / 2_000


def service_times() -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """(prompt tokens, prefill s) and (batch, s per step) of llama2-70b on eight H100s, as measured."""
    with (DATA / "latency_profiles" / "splitwise_measured.csv").open() as file:
        rows = [
            row
            for row in csv.DictReader(file)
            if (row["model"], row["gpu"], row["tensor_parallel"]) == ("llama2-70b", "h100-80gb", "8")
        ]
    prefill = {float(r["prompt_tokens"]): float(r["prefill_ms"]) / 1e3 for r in rows if r["batch_size"] == "1"}
    step = {float(r["batch_size"]): float(r["decode_ms_per_step"]) / 1e3 for r in rows if r["prompt_tokens"] == "512"}
    return sorted(prefill.items()), sorted(step.items())


def between(points: list[tuple[float, float]], at: float) -> float:
    for (x0, y0), (x1, y1) in pairwise(points):
        if at <= x1:
            return y0 + (y1 - y0) * max(at - x0, 0.0) / (x1 - x0)
    return points[-1][1] * at / points[-1][0]


def trace(name: str) -> Iterator[tuple[float, int, int]]:
    with gzip.open(DATA / "traces" / name, "rt") as file:
        if name.endswith(".csv.gz"):
            for row in csv.DictReader(file):
                yield float(row["t_s"]), int(row["input_tokens"]), int(row["output_tokens"])
        else:
            for line in file:
                one = json.loads(line)
                yield one["timestamp"] / 1e3, one["input_length"], one["output_length"]


def replay(name: str, slow_from: int | None = None) -> tuple[int, dict[tuple[str, float], int]]:
    """Return how many answers there were, and each anomaly with the number of the answer that told it.

    Recorded arrivals and lengths with measured service times; batches are what is in flight, over four nodes. From
    answer `slow_from` on, answers take twice as long.
    """
    prefill, step = service_times()
    monitor, luck, ends = PerformanceMonitor(), random.Random(0), list[float]()
    told, n = dict[tuple[str, float], int](), 0
    for at_s, read, written in trace(name):
        ends = [end for end in ends if end > at_s]
        batch = min(max(1.0, len(ends) / 4), 64.0)
        latency_s = (between(prefill, read) + written * between(step, batch)) * luck.lognormvariate(0, 0.1)
        ends.append(at_s + latency_s)
        latency_s *= 2.0 if slow_from is not None and n >= slow_from else 1.0
        monitor.record("m", CODING, Outcome(True, latency_s, CODING, None, read, written), at_s)
        for one in monitor.view("m", CODING, at_s).anomalies:
            told.setdefault((one.kind, one.since_s), n)
        n += 1
    return n, told


@pytest.mark.skipif(not DATA.exists(), reason=f"the recorded traces are not at {DATA}")
@pytest.mark.parametrize("name", TRACES)
def test_false_alarms_are_rare_on_recorded_traffic(name: str) -> None:
    n, told = replay(name)
    sys.stdout.write(f"{name}: {len(told)} alarms in {n} answers\n")
    assert n > 2_000
    assert len(told) / n <= 1 / 2_000


@pytest.mark.skipif(not DATA.exists(), reason=f"the recorded traces are not at {DATA}")
@pytest.mark.parametrize("name", TRACES)
def test_a_slow_down_is_told_on_recorded_traffic(name: str) -> None:
    _, told = replay(name, slow_from=1_500)
    sys.stdout.write(f"{name}: told after {[at - 1_500 for at in told.values()]} answers\n")
    assert any(kind == "pace" and 1_500 <= at < 1_550 for (kind, _), at in told.items())


def test_a_thousand_models_fit_into_twenty_megabytes() -> None:
    outcome = answer(1.0, 100)
    tracemalloc.start()
    monitor = PerformanceMonitor()
    posteriors = []
    for i in range(1_000):
        for category in TaskCategory:
            monitor.record(f"model-{i}", category, outcome, float(i), 0.01 + i)
            posterior = Posterior(3600.0)
            posterior.add(1.0, float(i))
            posteriors.append(posterior)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sys.stdout.write(f"{used / 1e6:.1f} MB\n")
    assert used < 20e6, f"{used / 1e6:.1f} MB"


def test_what_is_kept_comes_back() -> None:
    one, other = fed(300), PerformanceMonitor()
    feed(one, 40, 0.9, 0.09, random.Random(1), 300.0)
    other.restore(json.loads(json.dumps(one.snapshot())))
    assert other.view("m", CODING, 400.0) == one.view("m", CODING, 400.0)
    assert other.performance("m", CODING, 400.0) == one.performance("m", CODING, 400.0)
    assert other.view("m", CODING, 400.0).anomalies
    for monitor in (one, other):
        feed(monitor, 60, 0.9, 0.03, random.Random(3), 400.0)
    assert other.view("m", CODING, 460.0) == one.view("m", CODING, 460.0)


@pytest.mark.parametrize(
    "kept",
    [
        {"m": 1},
        {"m": {}},
        {"m": {"": [1, 2]}},
        {"m": {"": None, "coding": None}},
        {"m": {"": [[1, 1, 0, None], -1.0, [0, 0, 0, 0], [0, 0, 0, 0], None, []]}},
        {"m": {"": [[1, 1, 0, None], 1.0, [0, 0], [0, 0, 0, 0], None, []]}},
        {"m": {"": [[1, float("nan"), 0, None], 1.0, [0, 0, 0, 0], [0, 0, 0, 0], None, []]}},
        {"m": {"": [[1, 1, 0, None], 1.0, [0, 0, 0, 0], [0, 0, 0, 0], None, []], "cooking": []}},
        {"m": {"": [[1, 1, 0, None], 1.0, [0, 0, 0, 0], [0, 0, 0, 0], None, [["pace", "x", 1, 1]]]}},
    ],
)
def test_a_damaged_state_is_refused_and_nothing_changes(kept: dict[str, object]) -> None:
    monitor = fed(10)
    before = monitor.snapshot()
    with pytest.raises(FairleadError, match="damaged"):
        monitor.restore(kept)
    assert monitor.snapshot() == before


def test_forgetting_clears_all() -> None:
    monitor = fed(10)
    monitor.forget()
    assert monitor.view("m", CODING, 10.0) == View()


def test_a_half_life_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="half_life_s"):
        PerformanceMonitor(0.0)


def test_the_smallest_change_that_is_told_is_half_as_slow_again() -> None:
    monitor = fed(300)
    feed(monitor, 300, 0.9, 0.03 * 1.2, random.Random(1), 300.0)
    assert log(1.2) < log(1.5)
    assert "pace" not in kinds(monitor.view("m", CODING, 600.0))
