"""The ladder of degradation: up at once, down slowly, and never another step than those there are."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.errors import ConfigError
from fairlead.health import STEPS, DegradationConfig, Ladder, Step

CONFIG = DegradationConfig(begin_at=0.5)
HOLD_S = CONFIG.hold_s


def levels(ladder: Ladder) -> int:
    return len(ladder.given_up)


def test_the_default_ladder_is_the_closed_list_in_its_order() -> None:
    assert DegradationConfig().steps == STEPS


@pytest.mark.parametrize(
    ("pressure", "wanted"),
    [(0.0, 0), (0.49, 0), (0.5, 1), (0.59, 1), (0.6, 2), (0.75, 3), (0.8, 4), (0.95, 5), (0.99, 5), (1.0, 6)],
)
def test_steps_are_spread_evenly_from_begin_to_one(pressure: float, wanted: int) -> None:
    ladder = Ladder(CONFIG)
    ladder.climb(pressure, 0.0)
    assert ladder.given_up == STEPS[:wanted]
    assert all(ladder.is_given_up(step) == (i < wanted) for i, step in enumerate(STEPS))


@given(st.floats(0, 1), st.integers(1, len(STEPS)))
@settings(derandomize=True, deadline=None)
def test_the_last_step_is_taken_at_one_wherever_it_begins(begin_at: float, n: int) -> None:
    ladder = Ladder(DegradationConfig(begin_at=begin_at, steps=tuple(STEPS[:n])))
    ladder.climb(1.0, 0.0)
    assert levels(ladder) == n
    first = Ladder(DegradationConfig(begin_at=begin_at, steps=tuple(STEPS[:n])))
    first.climb(begin_at, 0.0)
    assert levels(first) >= 1


def test_a_change_is_told_from_and_to_which_step() -> None:
    ladder = Ladder(CONFIG)
    up = ladder.climb(0.7, 0.0)
    assert up is not None
    assert (up.before, up.after, up.is_up) == ("nothing", "cheaper_model", True)
    assert up.why == "the pressure is 0.70"
    assert ladder.climb(0.7, 1.0) is None
    assert ladder.climb(0.1, 2.0) is None
    down = ladder.climb(0.1, 2.0 + HOLD_S)
    assert down is not None
    assert (down.before, down.after, down.is_up) == ("cheaper_model", "exploration", False)
    ladder.climb(0.1, 2.0 + 2 * HOLD_S)
    last = ladder.climb(0.1, 2.0 + 3 * HOLD_S)
    assert last is not None
    assert (last.before, last.after) == ("hedging", "nothing")
    assert ladder.climb(0.1, 1e6) is None


def test_pressure_that_returns_meanwhile_begins_the_wait_anew() -> None:
    ladder = Ladder(CONFIG)
    ladder.climb(0.55, 0.0)
    ladder.climb(0.1, 1.0)
    ladder.climb(0.55, HOLD_S)
    assert ladder.climb(0.1, HOLD_S + 1.0) is None
    assert ladder.climb(0.1, 2 * HOLD_S + 0.9) is None
    assert ladder.climb(0.1, 2 * HOLD_S + 1.0) is not None


HISTORY = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 15)), max_size=60)


@given(HISTORY)
@settings(derandomize=True, deadline=None)
def test_up_at_once_and_down_one_step_in_each_hold(history: list[tuple[float, float]]) -> None:
    ladder, now_s, changed_s = Ladder(CONFIG), 0.0, 0.0
    for pressure, by_s in history:
        now_s += by_s
        before = levels(ladder)
        change = ladder.climb(pressure, now_s)
        after, wanted = levels(ladder), Ladder(CONFIG)
        wanted.climb(pressure, 0.0)
        assert after >= levels(wanted)
        assert (change is not None) == (after != before)
        if after > before:
            assert after == levels(wanted)
        if after < before:
            assert after == before - 1
            assert now_s - changed_s >= HOLD_S - 1e-9
        if after != before:
            changed_s = now_s


@given(HISTORY, st.floats(0, 1))
@settings(derandomize=True, deadline=None)
def test_more_pressure_never_gives_up_less(history: list[tuple[float, float]], more: float) -> None:
    low, high, now_s = Ladder(CONFIG), Ladder(CONFIG), 0.0
    for pressure, by_s in history:
        now_s += by_s
        low.climb(pressure, now_s)
        high.climb(max(pressure, more), now_s)
        assert levels(low) <= levels(high)


def test_no_steps_no_ladder() -> None:
    ladder = Ladder(DegradationConfig(steps=()))
    assert ladder.climb(1.0, 0.0) is None
    assert ladder.given_up == ()


def test_a_step_that_is_not_in_the_configuration_is_never_given_up() -> None:
    ladder = Ladder(DegradationConfig(steps=(Step.REFUSE, Step.HEDGING)))
    ladder.climb(1.0, 0.0)
    assert ladder.given_up == (Step.REFUSE, Step.HEDGING)
    assert not ladder.is_given_up(Step.QUEUE)


def test_unknown_steps_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'shorter' is no step; there are hedging, .*, refuse"):
        Ladder(DegradationConfig(steps=("hedging", "shorter")))  # type: ignore[arg-type]  # as a program may
    with pytest.raises(ConfigError, match="names a step twice: queue, queue"):
        Ladder(DegradationConfig(steps=(Step.QUEUE, Step.QUEUE)))


@pytest.mark.parametrize("pressure", [-0.1, 1.1, float("nan")])
def test_what_is_no_pressure_is_refused(pressure: float) -> None:
    with pytest.raises(ValueError, match="pressure must be within 0 and 1"):
        Ladder().climb(pressure, 0.0)
