"""Measures and choosers: the smallest wins, ties are shared evenly, weights are honoured."""

from itertools import accumulate

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.allocation import Account
from fairlead.domain import Model, Node, Outcome
from fairlead.load import is_saturated, least, pending, pending_per_worth, power_of_two, typical_pending, weighted
from fairlead.rng import Draw
from fairlead.routing import Candidate

LOADS = st.lists(st.integers(0, 50), min_size=1, max_size=80)
KEYS = st.integers(0, 2**40)


def loaded(loads: list[int], slots: int | None = None, weight: float = 1.0) -> list[Candidate]:
    built = [Candidate(Model("m"), Node(str(i), weight), Account(slots), i, 60.0) for i in range(len(loads))]
    for one, load in zip(built, loads, strict=True):
        one.account.in_flight = load
    return built


@given(LOADS, KEYS)
def test_least_returns_one_of_the_smallest(loads: list[int], key: int) -> None:
    assert loads[least(loaded(loads), pending, Draw(0, key))] == min(loads)


def test_least_breaks_ties_evenly() -> None:
    candidates = loaded([3, 1, 1, 5, 1])
    found = [least(candidates, pending, Draw(0, key)) for key in range(3000)]
    assert set(found) == {1, 2, 4}
    assert all(900 < found.count(index) < 1100 for index in (1, 2, 4))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=80), KEYS)
def test_power_of_two_never_returns_the_single_worst(loads: list[int], key: int) -> None:
    index = power_of_two(loaded(loads), pending, Draw(0, key))
    assert 0 <= index < len(loads)
    if loads.count(max(loads)) == 1:
        assert loads[index] != max(loads)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=50), KEYS)
def test_weighted_stays_in_range(weights: list[float], key: int) -> None:
    assert 0 <= weighted(list(accumulate(weights)), Draw(0, key)) < len(weights)


def test_load_is_shared_by_weight_and_by_reliability() -> None:
    plain, heavy = loaded([3])[0], loaded([7], weight=2.0)[0]
    assert pending_per_worth(plain) == pending_per_worth(heavy) == 4.0
    idle = loaded([0])[0]
    assert pending_per_worth(idle) == 1.0
    for _ in range(10):
        idle.record(Outcome(False, 0.001), 0.0)
    assert pending_per_worth(idle) > pending_per_worth(plain), "what fails fast must not look idle"


@given(LOADS)
def test_the_typical_load_is_a_median(loads: list[int]) -> None:
    typical = typical_pending(loaded(loads))
    assert sum(load <= typical for load in loads) >= len(loads) / 2
    assert sum(load >= typical for load in loads) >= len(loads) / 2


@pytest.mark.parametrize(("in_flight", "slots", "typical", "expected"), [
    (3, 4, 0, False),
    (4, 4, 100, True),
    (8, None, 3, False),
    (9, None, 3, True),
    (2, None, 0, False),
    (3, None, 0, True),
])  # fmt: skip
def test_saturated(in_flight: int, slots: int | None, typical: int, expected: bool) -> None:
    assert is_saturated(loaded([in_flight], slots)[0], typical) is expected
