"""Erlang's formulas against known values and against themselves."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fairlead.scaling.queueing import EXACT_ERLANGS, slots_needed, wait_probability, wait_tail


@pytest.mark.parametrize(
    ("erlangs", "slots", "known"),
    [(0.5, 1, 0.5), (1.0, 2, 1 / 3), (10.0, 14, 0.1741), (2.0, 3, 4 / 9), (0.0, 3, 0.0), (5.0, 5, 1.0), (7.0, 3, 1.0)],
)
def test_known_values(erlangs: float, slots: int, known: float) -> None:
    assert wait_probability(erlangs, slots) == pytest.approx(known, abs=5e-5)


@given(st.floats(0.01, 300), st.integers(1, 400))
def test_it_is_erlangs_sum(erlangs: float, slots: int) -> None:
    assume(slots > erlangs)
    logs = [n * math.log(erlangs) - math.lgamma(n + 1) for n in range(slots + 1)]
    last = math.exp(logs[slots] - max(logs)) * slots / (slots - erlangs)
    rest = sum(math.exp(log - max(logs)) for log in logs[:slots])
    assert wait_probability(erlangs, slots) == pytest.approx(last / (rest + last), rel=1e-6, abs=1e-300)


@given(st.floats(0.001, 3000), st.floats(0.01, 100), st.floats(0, 30), st.floats(0.5, 0.9999), st.floats(0.1, 5))
def test_the_answer_holds_and_one_less_does_not(
    rate: float, service_s: float, wait_s: float, share: float, variability: float
) -> None:
    assume(rate * service_s < EXACT_ERLANGS)
    n = slots_needed(rate, service_s, wait_target_s=wait_s, wait_share=share, variability=variability)
    erlangs = rate * service_s
    assert n > erlangs
    assert wait_tail(erlangs, n, wait_s, service_s, variability) <= 1 - share + 1e-12
    assert n - 1 <= erlangs or wait_tail(erlangs, n - 1, wait_s, service_s, variability) > 1 - share - 1e-12


@given(st.floats(0.1, 1e6), st.floats(1.0, 2.0))
def test_more_work_never_needs_fewer_slots(rate: float, more: float) -> None:
    few, many = (slots_needed(r, 8.0, wait_target_s=2.0, wait_share=0.99) for r in (rate, rate * more))
    assert few <= many


def test_thousands_of_slots_are_stable_and_the_two_formulas_agree() -> None:
    below, above = (
        slots_needed(erlangs / 8.0, 8.0, wait_target_s=0.0, wait_share=0.99)
        for erlangs in (EXACT_ERLANGS, EXACT_ERLANGS * 1.0001)
    )
    assert above == pytest.approx(below, rel=1e-3)
    assert slots_needed(1e5, 10.0, wait_target_s=2.0, wait_share=0.999) < 1e6 + 5_000


def test_more_variable_work_needs_more_slots() -> None:
    smooth, bursty = (slots_needed(10, 8.0, wait_target_s=2.0, wait_share=0.99, variability=v) for v in (0.5, 4.0))
    assert smooth < bursty


def test_rubbish_is_refused() -> None:
    assert slots_needed(0, 1.0, wait_target_s=2.0, wait_share=0.99) == 0
    for rate, service_s, share in ((-1, 1, 0.9), (math.inf, 1, 0.9), (math.nan, 1, 0.9), (1, 0, 0.9), (1, 1, 1.0)):
        with pytest.raises(ValueError, match="not negative"):
            slots_needed(rate, service_s, wait_target_s=2.0, wait_share=share)
    with pytest.raises(ValueError, match="variability"):
        slots_needed(1, 1, wait_target_s=2.0, wait_share=0.9, variability=0)
