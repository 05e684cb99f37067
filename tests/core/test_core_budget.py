"""The retry budget: a share of the traffic and a trickle, never more."""

import hypothesis.strategies as st
from hypothesis import given

from fairlead.engine.retry_budget import RetryBudget, RetryPolicy

STEPS = st.lists(st.tuples(st.sampled_from(["deposit", "withdraw"]), st.floats(0, 2)), max_size=200)


@given(STEPS, st.floats(0, 1), st.floats(0, 10))
def test_what_is_given_is_bounded_by_traffic_and_time(
    steps: list[tuple[str, float]], ratio: float, per_second: float
) -> None:
    budget = RetryBudget(RetryPolicy(budget_ratio=ratio, min_per_second=per_second))
    now_s, requests, given_out = 0.0, 0, 0
    for step, by_s in steps:
        now_s += by_s
        if step == "deposit":
            budget.deposit()
            requests += 1
        else:
            given_out += budget.withdraw(now_s)
        assert given_out <= ratio * (requests + RetryBudget.HEAD_START) + per_second * (1 + now_s) + 1e-6


def test_a_quiet_fleet_may_still_repeat_three_a_second() -> None:
    budget = RetryBudget(RetryPolicy())
    assert [budget.withdraw(0.0) for _ in range(6)] == [True] * 4 + [False] * 2, "three, and the head start"
    assert [budget.withdraw(1.0) for _ in range(4)] == [True, True, True, False]
    assert [budget.withdraw(1000.0) for _ in range(4)] == [True, True, True, False], "the trickle is not saved up"


def test_a_fifth_of_the_traffic_may_be_repeated() -> None:
    budget = RetryBudget(RetryPolicy(min_per_second=0.0))
    for _ in range(50):
        budget.deposit()
    assert sum(budget.withdraw(0.0) for _ in range(50)) in (10, 11)


def test_a_quiet_day_does_not_pay_for_a_storm() -> None:
    budget = RetryBudget(RetryPolicy(min_per_second=0.0))
    for _ in range(100_000):
        budget.deposit()
    assert sum(budget.withdraw(0.0) for _ in range(1000)) == RetryBudget.CAP
