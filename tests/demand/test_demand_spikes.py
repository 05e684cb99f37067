"""Spikes: found within three seconds, never by chance, never a burst of one second, and over calmly."""

from collections.abc import Callable, Iterator
from math import cos, exp, log, pi, sin, sqrt

import pytest

from fairlead.demand.spikes import SpikeDetector, Stage, Surge
from fairlead.rng import Draw

DAY_S = 86_400.0
QUARTER_S = 0.25
Rate = Callable[[float], float]


def poisson(mean: float, draw: Draw) -> int:
    """Multiply draws (Knuth); beyond 30 the normal approximation is as good."""
    if mean > 30.0:
        normal = sqrt(-2.0 * log(1.0 - draw.unit())) * cos(2.0 * pi * draw.unit())
        return max(0, round(mean + sqrt(mean) * normal))
    bound, product, n = exp(-mean), draw.unit(), 0
    while product > bound:
        product *= draw.unit()
        n += 1
    return n


def watch(
    detector: SpikeDetector, rate: Rate, start_s: float, end_s: float, seed: int
) -> Iterator[tuple[float, Surge]]:
    """Let a Poisson process of this rate arrive, quarter by quarter."""
    draw = Draw(seed, round(start_s * 4))
    for quarter in range(round(start_s / QUARTER_S), round(end_s / QUARTER_S)):
        now_s = quarter * QUARTER_S
        detector.observe(poisson(rate(now_s) * QUARTER_S, draw), now_s + 0.1)
        yield now_s + QUARTER_S, detector.observe(0, now_s + QUARTER_S)


def stages(detector: SpikeDetector, rate: Rate, start_s: float, end_s: float, seed: int = 0) -> set[Stage]:
    return {surge.stage for _, surge in watch(detector, rate, start_s, end_s, seed)}


def constant(rate: float) -> Rate:
    return lambda _: rate


def first(detector: SpikeDetector, stage: Stage, rate: Rate, start_s: float, end_s: float, seed: int) -> float | None:
    seen = (at_s for at_s, surge in watch(detector, rate, start_s, end_s, seed) if surge.stage is stage)
    return next(seen, None)


@pytest.mark.parametrize("usual", [2.0, 5.0, 20.0, 500.0])
@pytest.mark.parametrize("seed", range(10))
def test_ten_times_the_usual_rate_is_found_in_three_seconds(usual: float, seed: int) -> None:
    detector = SpikeDetector()
    start_s = 300.0 + seed % 4 * QUARTER_S
    assert stages(detector, constant(usual), 0.0, start_s, seed) == {Stage.CALM}
    found_s = first(detector, Stage.SPIKE, constant(10.0 * usual), start_s, start_s + 10.0, seed)
    assert found_s is not None
    assert found_s - start_s <= 3.0


def test_arrivals_above_the_forecast_by_the_threshold_are_a_spike() -> None:
    """At 300 a second 420 are less than three times as many, but 120 more than the forecast."""
    for threshold, is_found in ((100.0, True), (200.0, False)):
        detector = SpikeDetector(threshold)
        assert stages(detector, constant(300.0), 0.0, 300.0) == {Stage.CALM}
        assert (Stage.SPIKE in stages(detector, constant(420.0), 300.0, 305.0)) == is_found


def test_a_forecast_from_outside_is_what_it_is_judged_by() -> None:
    detector, told = SpikeDetector(), SpikeDetector()
    for tick in range(1600):
        n = 5 if tick < 1200 else 50
        own = detector.observe(n, tick * QUARTER_S)
        other = told.observe(n, tick * QUARTER_S, usual_per_s=20.0 if tick < 1200 else 200.0)
        assert other.stage is Stage.CALM
        if tick == 1250:
            assert own.stage is Stage.SPIKE


@pytest.mark.parametrize("mean", [3.0, 400.0])
def test_a_smooth_day_raises_no_alarm(mean: float) -> None:
    """Six hours on the steepest slope; the soak test has whole days."""
    detector = SpikeDetector()
    assert stages(detector, season(mean), 0.0, DAY_S / 16) == {Stage.CALM}


@pytest.mark.soak
@pytest.mark.parametrize("mean", [0.3, 3.0, 30.0, 400.0, 5_000.0])
def test_whole_days_raise_no_alarm(mean: float) -> None:
    assert stages(SpikeDetector(), season(mean), 0.0, 2.0 * DAY_S) == {Stage.CALM}


def season(mean: float) -> Rate:
    """Five times as much at the height of the day as at its depth."""
    return lambda at_s: mean * (1.0 + 2.0 / 3.0 * sin(2.0 * pi * at_s / DAY_S))


@pytest.mark.parametrize("usual", [2.0, 20.0, 200.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_burst_of_one_second_is_no_spike(usual: float, seed: int) -> None:
    detector = SpikeDetector()
    start_s = 120.0 + seed * QUARTER_S

    def rate(at_s: float) -> float:
        return usual * (20.0 if start_s <= at_s < start_s + 1.0 else 1.0)

    seen = stages(detector, rate, 0.0, 150.0, seed)
    assert not seen & {Stage.SPIKE, Stage.RAMPING_DOWN}


@pytest.mark.parametrize("usual", [2.0, 20.0, 500.0])
@pytest.mark.parametrize("lasts_s", [10.0, 60.0, 240.0])
def test_half_a_minute_after_its_end_all_is_calm_and_in_between_it_eases(usual: float, lasts_s: float) -> None:
    detector = SpikeDetector()
    end_s = 300.0 + lasts_s

    def rate(at_s: float) -> float:
        return usual * (10.0 if 300.0 <= at_s < end_s else 1.0)

    seen = list(watch(detector, rate, 0.0, end_s + 60.0, 3))
    within = {surge.stage for at_s, surge in seen if 303.0 <= at_s <= end_s}
    assert within == {Stage.SPIKE}
    after = [(at_s - end_s, surge) for at_s, surge in seen if at_s > end_s]
    assert {surge.stage for late_s, surge in after if late_s >= 30.0} == {Stage.CALM}
    eased = [surge.eased for _, surge in after]
    assert eased == sorted(eased), "what was held back returns step by step"
    assert len(set(eased)) >= 4


def test_a_spike_that_comes_back_while_it_eases_is_a_spike_at_once() -> None:
    detector = SpikeDetector()
    stages(detector, constant(20.0), 0.0, 300.0)
    stages(detector, constant(200.0), 300.0, 320.0)
    ramps_s = first(detector, Stage.RAMPING_DOWN, constant(20.0), 320.0, 340.0, 1)
    assert ramps_s is not None
    again_s = first(detector, Stage.SPIKE, constant(200.0), ramps_s, ramps_s + 10.0, 2)
    assert again_s is not None
    assert again_s - ramps_s <= 3.0


def test_a_lasting_rise_is_no_spike_any_more_after_a_while() -> None:
    detector = SpikeDetector()
    stages(detector, constant(10.0), 0.0, 300.0)
    assert Stage.SPIKE in stages(detector, constant(100.0), 300.0, 310.0)
    stages(detector, constant(100.0), 310.0, 1500.0)
    assert stages(detector, constant(100.0), 1500.0, 1600.0) == {Stage.CALM}


def test_a_rise_is_told_with_its_acceleration() -> None:
    detector = SpikeDetector()
    stages(detector, constant(20.0), 0.0, 300.0)
    surges = [surge for _, surge in watch(detector, constant(400.0), 300.0, 301.5, 0)]
    rising = [surge for surge in surges if surge.stage is Stage.RISING]
    assert rising
    assert all(surge.acceleration_per_s2 > 0.0 for surge in rising)
    assert rising[-1].usual_per_s == pytest.approx(20.0, rel=0.2)


def test_a_threshold_has_to_be_above_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        SpikeDetector(0.0)
