"""Limits per minute and what an account says it lacks."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.allocation import Account, Ledger, RateWindow
from fairlead.domain import Capacity, Needs

LAWS = settings(max_examples=150, deadline=None, derandomize=True)
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.9, 3.0, 17.5, 59.9, 61.0]), st.integers(1, 60)), min_size=1, max_size=60
)


@LAWS
@given(steps=STEPS, limit=st.integers(1, 100))
def test_no_minute_ever_holds_more_than_the_limit(steps: list[tuple[float, int]], limit: int) -> None:
    window, now_s = RateWindow(limit), 0.0
    charged: list[tuple[float, int]] = []
    for by_s, amount in steps:
        now_s += by_s
        if window.fits(amount, now_s):
            window.charge(amount, now_s)
            charged.append((now_s, amount))
        assert sum(spent for at_s, spent in charged if at_s > now_s - 60.0) <= limit


@LAWS
@given(steps=STEPS, limit=st.integers(1, 100), amount=st.integers(1, 120))
def test_the_wait_that_is_told_is_the_shortest_that_helps(
    steps: list[tuple[float, int]], limit: int, amount: int
) -> None:
    window, now_s = RateWindow(limit), 0.0
    for by_s, spent in steps:
        now_s += by_s
        if window.fits(spent, now_s):
            window.charge(spent, now_s)
    wait_s = window.wait_s(amount, now_s)
    shortage = window.shortage(amount, now_s)
    assert (shortage is None) == (wait_s == 0.0)
    if amount > limit:
        assert wait_s == float("inf")
        assert shortage is not None
        assert shortage.is_hopeless
    elif wait_s:
        assert 0.0 < wait_s <= 61.0
        assert not window.fits(amount, now_s + wait_s - 1e-6)
        assert window.fits(amount, now_s + wait_s + 1e-6)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_cannot_be_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        RateWindow(limit, "tokens_per_minute")


def test_of_two_limits_the_one_with_the_longer_wait_is_named() -> None:
    account, ledger = Account(capacity=Capacity(requests_per_minute=1, tokens_per_minute=100)), Ledger()
    assert ledger.take(account, None, 0.5, 60.0, Needs(1, 90)) is not None
    account.resize(Capacity(requests_per_minute=2, tokens_per_minute=100))
    assert ledger.take(account, None, 20.5, 60.0, Needs(1, 5)) is not None
    by_requests = account.shortage(Needs(1, 5), 30.0)
    by_tokens = account.shortage(Needs(1, 96), 30.0)
    assert by_requests is not None
    assert by_tokens is not None
    assert (by_requests.resource, by_requests.wait_s) == ("requests_per_minute", 31.0)
    assert (by_tokens.resource, by_tokens.wait_s) == ("tokens_per_minute", 51.0)


def test_what_was_not_charged_to_a_limit_cannot_be_settled_with_it() -> None:
    account, ledger = Account(), Ledger()
    free = ledger.take(account, None, 5.0, 60.0, Needs(1, 80))
    assert free is not None
    account.resize(Capacity(tokens_per_minute=100))
    assert ledger.take(account, None, 5.0, 60.0, Needs(1, 100)) is not None
    assert ledger.give_back(free, used_tokens=0)
    assert ledger.take(account, None, 5.0, 60.0, Needs(1, 1)) is None


AMOUNTS = st.integers(0, 40)
NEEDS = st.builds(Needs, st.integers(0, 4), AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
LIMIT = st.none() | st.integers(1, 100)
CAPACITY = st.builds(
    Capacity,
    slots=st.none() | st.integers(1, 8),
    tokens=LIMIT,
    requests_per_minute=LIMIT,
    tokens_per_minute=LIMIT,
    memory_bytes=LIMIT,
    gpu_memory_bytes=LIMIT,
)


@LAWS
@given(capacity=CAPACITY, taken=st.lists(NEEDS, max_size=6), needs=NEEDS, ceiling=st.floats(0.05, 1.0))
def test_an_account_says_no_exactly_when_it_can_say_why(
    capacity: Capacity, taken: list[Needs], needs: Needs, ceiling: float
) -> None:
    account, ledger = Account(capacity=capacity), Ledger()
    assert (account.too_small_for(needs) is None) or account.shortage(needs, 0.0) is not None
    for one in taken:
        ledger.take(account, None, 0.0, 60.0, one)
    shortage = account.shortage(needs, 1.0, ceiling)
    assert account.fits(needs, 1.0, ceiling) == (shortage is None)
    assert (ledger.take(account, None, 1.0, 60.0, needs, ceiling) is None) == (shortage is not None)
    if shortage is not None:
        assert shortage.needed > shortage.free
        assert shortage.capacity == getattr(capacity, shortage.resource)


@LAWS
@given(capacity=CAPACITY, needs=NEEDS, ceiling=st.floats(0.05, 1.0), warmth=st.floats(0.05, 1.0))
def test_an_idle_node_takes_whatever_it_can_hold_at_all(
    capacity: Capacity, needs: Needs, ceiling: float, warmth: float
) -> None:
    account = Account(capacity=capacity)
    account.warmth = warmth
    assert account.fits(needs, 0.0, ceiling) == (account.too_small_for(needs) is None)


@LAWS
@given(slots=st.integers(1, 200), percent=st.integers(1, 100))
def test_a_ceiling_is_a_share_of_the_slots_and_leaves_one(slots: int, percent: int) -> None:
    account, ledger = Account(slots), Ledger()
    while ledger.take(account, None, 0.0, 60.0, ceiling=percent / 100) is not None:
        pass
    assert account.in_flight == max(1, slots * percent // 100)


def test_a_node_that_reports_less_than_nothing_lends_nothing() -> None:
    account, ledger = Account(capacity=Capacity(tokens_per_minute=100)), Ledger()
    lease = ledger.take(account, None, 0.0, 60.0, Needs(1, 60))
    assert lease is not None
    assert ledger.give_back(lease, used_tokens=-500)
    assert not account.fits(Needs(1, 101), 0.0)
    assert account.fits(Needs(1, 100), 0.0)


def test_a_lease_may_grow_in_what_there_is_though_of_something_else_there_is_too_little_by_now() -> None:
    account, ledger = Account(capacity=Capacity(slots=3, tokens=500)), Ledger()
    lease, _ = (ledger.take(account, None, 0.0, 60.0, Needs(1, 100)) for _ in range(2))
    assert lease is not None
    account.resize(Capacity(slots=1, tokens=500))
    assert account.utilization == 2.0
    assert ledger.resize(lease, Needs(1, 400))
    assert not ledger.resize(lease, Needs(1, 401))
    assert (account.tokens, lease.needs.tokens) == (500, 400)


def test_a_probe_that_is_over_makes_room_for_the_next() -> None:
    account, ledger = Account(), Ledger()
    account.probe_limit = 1
    for _ in range(3):
        probe = ledger.take(account, None, 0.0, 60.0)
        assert probe is not None
        assert ledger.take(account, None, 0.0, 60.0) is None
        assert ledger.give_back(probe)
    assert account.probes == 0
