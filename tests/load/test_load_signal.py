"""Signals: each task counts once, whoever counts it, and old news counts little."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.load import PeakLatency, Report, freshness, reported, warmth

law = settings(max_examples=200, derandomize=True, deadline=None)


@law
@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=40), st.floats(0, 100), st.integers(0, 20)
)  # fmt: skip
def test_every_task_counts_once(ours: list[tuple[float, bool]], sampled_s: float, others: int) -> None:
    """A node that counts rightly: its number and the ledger's together give what is really there."""
    taken_s = [at_s for at_s, _ in ours]
    on_node = others + sum(at_s <= sampled_s for at_s in taken_s)
    report = reported(on_node, sampled_s, taken_s)
    assert report.others + len(taken_s) == others + len(ours)


def test_a_dispatch_stays_a_credit_until_a_report_that_was_sampled_after_it() -> None:
    taken_s = [10.0]
    before = reported(4, 9.9, taken_s)
    assert before.others + len(taken_s) == 5
    after = reported(5, 10.1, taken_s, before)
    assert after.others + len(taken_s) == 5


def test_an_older_sample_changes_nothing() -> None:
    last = Report(3.0, 10.0)
    assert reported(50, 9.0, [], last) is last
    assert reported(50, 10.0, [], last) is last
    assert reported(50, 10.5, [], last) == Report(50.0, 10.5)


@pytest.mark.parametrize("tasks", [-1.0, float("nan"), float("inf")])
def test_rubbish_is_refused(tasks: float) -> None:
    with pytest.raises(ValueError, match="cannot have"):
        reported(tasks, 1.0, [])


def test_a_node_that_counts_less_than_it_was_sent_has_no_others() -> None:
    assert reported(1, 10.0, [1.0, 2.0, 3.0]).others == 0.0


def test_freshness_halves() -> None:
    assert [freshness(age_s, 5.0) for age_s in (-1.0, 0.0, 5.0, 10.0)] == [1.0, 1.0, 0.5, 0.25]


@law
@given(st.lists(st.tuples(st.floats(0.001, 100), st.floats(0, 30)), min_size=1, max_size=30))
def test_a_peak_is_there_at_once_and_goes_slowly(seen: list[tuple[float, float]]) -> None:
    latency, now_s = PeakLatency(), 0.0
    for seconds, later_s in seen:
        now_s += later_s
        before, had = latency.seconds, latency.at_s >= 0.0
        latency.observe(seconds, now_s)
        assert latency.seconds >= seconds
        assert latency.seconds == seconds or (had and latency.seconds <= before)
        assert latency.at_s == now_s


def test_a_peak_is_forgotten_while_other_values_come_in() -> None:
    latency = PeakLatency()
    latency.observe(30.0, 0.0)
    latency.observe(0.5, 1.0)
    assert latency.seconds > 20.0
    for i in range(60):
        latency.observe(0.5, 2.0 + i)
    assert latency.seconds == pytest.approx(0.5, abs=0.1)


# -- slow start


@law
@given(st.floats(0, 1e6), st.floats(-10, 1e3), st.floats(0, 1e3), st.floats(0, 100))
def test_warmth_never_falls_and_is_whole_in_the_end(since_s: float, age_s: float, window_s: float, more: float) -> None:
    now = warmth(since_s, since_s + age_s, window_s)
    assert 0.0 < now <= warmth(since_s, since_s + age_s + more, window_s) <= 1.0
    assert warmth(since_s, since_s + window_s * 1.001 + 0.001, window_s) == 1.0


def test_warmth_grows_in_a_straight_line() -> None:
    assert [warmth(100.0, 100.0 + age_s, 10.0) for age_s in (0, 0.5, 5, 10)] == [0.1, 0.1, 0.5, 1.0]
    assert warmth(100.0, 100.0, 0.0) == 1.0
