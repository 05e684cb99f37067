"""The forecast: no worse than what it blends, an interval that holds, bounded memory, and rubbish refused."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.demand.forecast import DemandForecaster, Forecast
from fairlead.rng import Draw

DAY_S = 86_400.0
WINDOW_S = 600.0
PER_DAY = 144

rates = st.floats(0, 1e6)


def noise(draw: Draw) -> float:
    """Return about a standard normal draw."""
    return sum(draw.unit() for _ in range(12)) - 6.0


def days(n: int, seed: int = 1, *, wander: float = 0.0, spread: float = 0.03) -> list[float]:
    """Return a daily wave, with noise, and a level that wanders."""
    draw, level, made = Draw(seed, 0), 0.0, []
    for index in range(n * PER_DAY):
        level += wander * noise(draw)
        wave = 1.0 + 0.6 * math.sin(2 * math.pi * index / PER_DAY)
        made.append(max(0.0, 100.0 * wave * math.exp(level + spread * noise(draw))))
    return made


def told(series: list[float], **settings: float) -> tuple[DemandForecaster, list[tuple[Forecast, float]]]:
    forecaster = DemandForecaster(WINDOW_S, **settings)
    pairs = []
    for index, rate in enumerate(series):
        pairs.append((forecaster.forecast(), rate))
        forecaster.observe(index * WINDOW_S, rate)
    return forecaster, pairs


def wmape(pairs: list[tuple[float, float]]) -> float:
    return sum(abs(a - b) for a, b in pairs) / sum(b for _, b in pairs)


@pytest.mark.parametrize(("wander", "spread"), [(0.0, 0.03), (0.0, 0.2), (0.05, 0.02), (0.02, 0.1)])
def test_it_beats_last_window_and_yesterday(wander: float, spread: float) -> None:
    series = days(6, wander=wander, spread=spread)
    _, pairs = told(series)
    held = range(5 * PER_DAY, 6 * PER_DAY)
    ours = wmape([(pairs[i][0].mean, series[i]) for i in held])
    assert ours < wmape([(series[i - 1], series[i]) for i in held])
    assert ours < wmape([(series[i - PER_DAY], series[i]) for i in held])


def test_the_interval_holds_as_often_as_asked_for() -> None:
    _, pairs = told(days(8, wander=0.05), share=0.8)
    inside = [forecast.low <= rate <= forecast.high for forecast, rate in pairs[2 * PER_DAY :]]
    assert 0.75 < sum(inside) / len(inside) < 0.9


def test_a_wider_share_is_a_wider_interval_and_so_is_a_longer_way() -> None:
    series = days(3)
    narrow, wide = (told(series, share=share)[0] for share in (0.5, 0.98))
    assert wide.forecast().low < narrow.forecast().low <= narrow.forecast().mean
    assert narrow.forecast().mean <= narrow.forecast().high < wide.forecast().high
    near, far = narrow.forecast(WINDOW_S), narrow.forecast(9 * WINDOW_S)
    assert near == narrow.forecast()
    assert far.high / far.mean == pytest.approx((near.high / near.mean) ** 3, rel=1e-3)


def test_one_outlier_and_missing_windows_do_little() -> None:
    series = days(4, spread=0.01)
    clean, spoilt = DemandForecaster(WINDOW_S), DemandForecaster(WINDOW_S)
    for index, rate in enumerate(series):
        clean.observe(index * WINDOW_S, rate)
        if index % PER_DAY not in (20, 21, 22):
            spoilt.observe(index * WINDOW_S, rate * 20 if index == len(series) - 40 else rate)
    assert spoilt.forecast().mean == pytest.approx(clean.forecast().mean, rel=0.05)


def test_a_season_is_foreseen_several_windows_ahead() -> None:
    series = days(5, spread=0.005)
    forecaster = DemandForecaster(WINDOW_S, ahead_s=6 * WINDOW_S)
    off, still = 0.0, 0.0
    for index, rate in enumerate(series[:-6]):
        forecaster.observe(index * WINDOW_S, rate)
        if index > 3 * PER_DAY:
            off += abs(forecaster.forecast().mean - series[index + 6])
            still += abs(rate - series[index + 6])
    assert off < 0.5 * still


def test_counts_say_the_same_as_rates() -> None:
    by_rate, by_count = DemandForecaster(60.0), DemandForecaster(60.0)
    by_count.add(0, 0.0)
    for window in range(50):
        by_rate.observe(window * 60.0, 2.0)
        for part in (15.0, 30.0, 45.0, 60.0):
            by_count.add(30, window * 60.0 + part)
    assert by_count.forecast().mean == pytest.approx(by_rate.forecast().mean)
    assert by_count.rate == pytest.approx(2.0)


def test_a_count_over_several_windows_is_spread_over_them_and_silence_is_no_demand_of_zero() -> None:
    forecaster = DemandForecaster(60.0)
    forecaster.add(0, 30.0)
    forecaster.add(300, 330.0)
    assert forecaster.forecast().windows == 4  # of the first window only half was seen
    assert forecaster.rate == pytest.approx(1.0)
    forecaster.add(5, 330.0 + 11 * 60.0)  # nobody was looking
    forecaster.add(0, 330.0 + 11 * 60.0 + 30.0)
    assert forecaster.forecast().windows == 4
    assert forecaster.forecast().mean == pytest.approx(1.0)
    forecaster.add(0, 330.0 + 11 * 60.0 + 90.0)
    assert forecaster.rate == 0.0


@given(st.lists(rates, max_size=60), st.sampled_from([0.1, 0.9, 0.99]))
def test_forecasts_are_ordered_finite_and_not_negative(series: list[float], share: float) -> None:
    forecaster, pairs = told(series, share=share)
    for forecast in [*(forecast for forecast, _ in pairs), forecaster.forecast(3600.0)]:
        assert 0 <= forecast.low <= forecast.mean <= forecast.high < math.inf


@given(st.lists(rates, min_size=1, max_size=80), st.lists(rates, max_size=20))
def test_a_snapshot_goes_on_as_the_original(before: list[float], after: list[float]) -> None:
    original, _ = told(before, season_s=20 * WINDOW_S, ahead_s=3 * WINDOW_S)
    restored = DemandForecaster(WINDOW_S, 20 * WINDOW_S, ahead_s=3 * WINDOW_S)
    restored.restore(json.loads(json.dumps(original.snapshot())))
    for index, rate in enumerate(after, len(before)):
        original.observe(index * WINDOW_S, rate)
        restored.observe(index * WINDOW_S, rate)
    assert restored.forecast() == original.forecast()


def test_memory_is_bounded() -> None:
    forecaster, _ = told(days(3))
    once = len(json.dumps(forecaster.snapshot()))
    forecaster, _ = told(days(30))
    assert len(json.dumps(forecaster.snapshot())) < 1.5 * once < 30_000


def test_nothing_told_nothing_known() -> None:
    assert DemandForecaster().forecast() == Forecast(0.0, 0.0, 0.0, 0)


def test_rubbish_is_refused() -> None:
    forecaster = DemandForecaster(60.0)
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="at least 0"):
            forecaster.observe(0.0, bad)
        with pytest.raises(ValueError, match="at least 0"):
            forecaster.add(bad, 0.0)
    with pytest.raises(ValueError, match="the time"):
        forecaster.observe(math.nan, 1.0)
    for window_s, season_s, share in (
        (0.0, DAY_S, 0.9),
        (DAY_S, DAY_S, 0.9),
        (60.0, math.inf, 0.9),
        (9.0, DAY_S, 1.0),
    ):
        with pytest.raises(ValueError, match="times are positive"):
            DemandForecaster(window_s, season_s, share=share)
    with pytest.raises(ValueError, match="slots"):
        forecaster.restore(DemandForecaster(3600.0).snapshot())


def test_the_past_is_not_told_twice() -> None:
    forecaster = DemandForecaster(60.0)
    forecaster.observe(600.0, 5.0)
    forecaster.observe(601.0, 50.0)
    forecaster.observe(0.0, 50.0)
    assert (forecaster.rate, forecaster.forecast().windows) == (5.0, 1)
