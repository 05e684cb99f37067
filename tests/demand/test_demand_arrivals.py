"""Arrivals: the counts are exact, their memory is bounded, and what is usual follows the traffic and the day."""

from collections import Counter
from math import pi, sin

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.demand.arrivals import Arrivals, Ring

DAY_S = 86_400.0


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(0, 5)), min_size=1, max_size=60))
def test_a_ring_counts_what_it_still_keeps_and_nothing_else(steps: list[tuple[float, int]]) -> None:
    ring, now_s, counted = Ring(2.0, 8), 100.0, Counter[int]()
    for by_s, n in steps:
        now_s += by_s
        ring.add(n, now_s)
        counted[int(now_s // 2.0)] += n
    for start in range(ring.head - 10, ring.head + 3):
        for end in range(start, ring.head + 3):
            is_kept = ring.first is not None and max(ring.first, ring.head - 7) <= start and end <= ring.head + 1
            assert ring.count(start, end) == (sum(counted[b] for b in range(start, end)) if is_kept else None)


def test_an_arrival_before_the_newest_bucket_counts_as_in_it() -> None:
    ring = Ring(1.0, 10)
    ring.add(1, 5.0)
    ring.add(2, 3.0)
    assert ring.count(5, 6) == 3


def fill(arrivals: Arrivals, start_s: float, end_s: float, rate: float) -> None:
    for second in range(int(start_s), int(end_s)):
        arrivals.add(round(rate), second + 0.5)


def test_nothing_is_usual_before_half_a_minute() -> None:
    arrivals = Arrivals()
    fill(arrivals, 0, 29, 10)
    assert arrivals.usual_per_s is None
    fill(arrivals, 29, 31, 10)
    assert arrivals.usual_per_s == pytest.approx(10.0)


def test_a_smooth_day_is_followed_without_lag() -> None:
    arrivals, worst = Arrivals(), 0.0
    for second in range(0, int(DAY_S), 10):
        rate = 300.0 * (1.0 + 2.0 / 3.0 * sin(2.0 * pi * second / DAY_S))
        usual = arrivals.usual_per_s
        if usual is not None and second > 1800:
            worst = max(worst, abs(usual / rate - 1.0))
        arrivals.add(round(rate * 10.0), second + 5.0)
    assert worst < 0.02


def test_a_minute_ten_times_as_busy_does_not_become_usual_but_a_lasting_rise_does() -> None:
    arrivals = Arrivals()
    fill(arrivals, 0, 1800, 10)
    fill(arrivals, 1800, 1860, 100)
    arrivals.advance(1860.5)
    assert arrivals.usual_per_s is not None
    assert arrivals.usual_per_s < 15.0
    fill(arrivals, 1860, 3600, 100)
    assert arrivals.usual_per_s == pytest.approx(100.0, rel=0.1)


def test_a_fleet_that_was_idle_gets_used_to_traffic() -> None:
    arrivals = Arrivals()
    fill(arrivals, 0, 600, 0)
    fill(arrivals, 600, 3000, 20)
    assert arrivals.usual_per_s == pytest.approx(20.0, rel=0.1)


def test_what_came_at_this_time_yesterday_is_usual_today() -> None:
    arrivals = Arrivals()
    for day in range(2):
        start_s = day * DAY_S
        for ten in range(0, int(DAY_S), 10):
            if day == 1 and ten >= 9 * 3600:
                break
            arrivals.add(500 if 9 * 3600 <= ten < 18 * 3600 else 50, start_s + ten + 5.0)
    arrivals.advance(DAY_S + 9 * 3600 + 1.0)
    assert arrivals.usual_per_s == pytest.approx(50.0)
    arrivals.advance(DAY_S + 20 * 3600)
    assert arrivals.usual_per_s is not None
    assert arrivals.usual_per_s < 1.0, "yesterday says nothing of a day on which nobody comes"


def test_a_long_silence_takes_no_long_step() -> None:
    arrivals = Arrivals()
    fill(arrivals, 0, 100, 10)
    arrivals.advance(1e9)
    assert arrivals.usual_per_s == pytest.approx(0.0, abs=0.6)
    assert arrivals.ticks.count(int(1e9 * 4) - 4, int(1e9 * 4)) == 0


def test_fewer_than_no_arrivals_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer than none"):
        Arrivals().add(-1, 0.0)
