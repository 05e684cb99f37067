"""Weights and thresholds that learn: bounded, reversible, reported."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.domain import Model, Task, TaskCategory
from fairlead.errors import BadRequestError
from fairlead.rng import Draw
from fairlead.routing.capability_aware import LEAST_JUDGED, MOST_MOVE, CapabilityAwareRouter, Judged
from fairlead.routing.config import RoutingConfig, Weights
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.feedback_weights import LEAST_ROWS, Row, as_shares, re_estimate

SHARE = st.floats(0, 1)
ROWS = st.lists(st.tuples(st.tuples(SHARE, SHARE, SHARE, SHARE), SHARE), min_size=LEAST_ROWS, max_size=90)


def conforms(engine: RoutingEngine) -> CapabilityAwareRouter:
    return engine


def rows(*slopes: float, n: int = 400) -> list[Row]:
    """Outcomes that follow the factors by these slopes, with noise."""
    made: list[Row] = []
    for i in range(n):
        draw = Draw(5, i)
        values = [draw.unit() for _ in slopes]
        score = sum(slope * value for slope, value in zip(slopes, values, strict=True)) + 0.1 * draw.unit()
        made.append((values, min(max(score, 0.0), 1.0)))
    return made


@settings(deadline=None, max_examples=40)
@given(ROWS, st.booleans())
def test_each_share_stays_within_half_and_twice_the_configured_one(seen: list[Row], everything: bool) -> None:
    update = re_estimate(Weights(), Weights(), seen, () if everything else {"resource_efficiency"})
    after = as_shares(update.after)
    assert sum(after) == pytest.approx(1.0)
    for new, configured in zip(after, as_shares(Weights()), strict=True):
        assert configured / 2 - 1e-9 <= new <= configured * 2 + 1e-9
    if not everything:
        assert after[2] == pytest.approx(0.2)


def test_the_factor_that_tells_outcomes_gains_and_the_one_that_does_not_loses() -> None:
    engine = RoutingEngine()
    update = engine.update_routing_weights(rows(0.1, 0.8, 0.0, 0.0))
    assert update.has_changed
    assert engine.weights == update.after
    assert update.after.performance > 0.4
    assert update.after.capability < 0.35
    assert update.outcomes == 400
    assert update.error_before is not None
    assert update.error_after is not None
    assert update.error_after < update.error_before


def test_all_four_are_re_estimated_when_nothing_is_held() -> None:
    update = RoutingEngine().update_routing_weights(rows(0.1, 0.1, 0.7, 0.0), held=())
    assert update.after.resource_efficiency > 0.3


def test_outcomes_that_follow_the_formula_leave_it_nearly_as_it_is() -> None:
    update = RoutingEngine().update_routing_weights(rows(0.4, 0.3, 0.2, 0.1))
    assert as_shares(update.after) == pytest.approx((0.4, 0.3, 0.2, 0.1), abs=0.03)


def test_it_can_be_taken_back_and_repeating_it_does_not_drift_beyond_the_bounds() -> None:
    engine = RoutingEngine()
    for _ in range(5):
        engine.update_routing_weights(rows(0.0, 1.0, 0.0, 0.0))
    assert engine.weights.performance <= 0.6 + 1e-9
    undone = engine.reset_weights()
    assert undone.after == engine.weights == Weights()


@pytest.mark.parametrize("seen", [[], rows(1, 0, 0, 0, n=LEAST_ROWS - 1), [((0.5,) * 4, 1.0)] * 200])
def test_too_little_changes_nothing_and_says_why(seen: list[Row]) -> None:
    update = RoutingEngine().update_routing_weights(seen)
    assert not update.has_changed
    assert update.reason


def test_what_was_observed_is_what_is_fitted() -> None:
    engine = RoutingEngine()
    category = TaskCategory.CODING
    for i in range(120):
        skill = Draw(1, i).unit()
        options = engine.calculate_routes(Task("t", i, category=category), [Model("m", skill={category: skill})])
        engine.observe(options.ranked[0], skill)
    update = engine.update_routing_weights()
    assert update.outcomes == 120
    assert update.error_before == pytest.approx(0.0), (
        "the declared skill told the outcome, and no other factor differed"
    )
    assert as_shares(update.after) == pytest.approx((0.4, 0.3, 0.2, 0.1))
    with pytest.raises(BadRequestError):
        engine.observe(options.ranked[0], 2.0)


def test_a_fleet_s_choice_can_be_observed() -> None:
    engine = RoutingEngine()
    engine.observe(engine.rank_models(Task("t", 1), (Model("a"), Model("b")), 0.0, Draw(0, 1)), 1.0)
    assert list(engine.feedback.rows) == [((0.5, 0.5, 0.5, 0.5), 1.0)]


def test_answers_that_fall_short_raise_the_floor_within_bounds() -> None:
    engine = RoutingEngine(RoutingConfig(min_quality=0.6))
    update = engine.adjust_thresholds([Judged(0.9, 0.85)] * 200)
    assert update.bias == pytest.approx(0.05, abs=0.01)
    assert update.after.min_quality == pytest.approx(0.6 + update.bias)
    assert engine.thresholds == update.after
    update = engine.adjust_thresholds([Judged(1.0, 0.0)] * 500)
    assert update.after.min_quality == pytest.approx(0.6 + MOST_MOVE), "from what is configured, not from the last"
    engine.reset_thresholds()
    assert engine.thresholds.min_quality == 0.6


def test_the_floor_that_moved_is_the_one_that_rules_out() -> None:
    engine = RoutingEngine(RoutingConfig(min_quality=0.6))
    models = [Model("a", skill={TaskCategory.CODING: 0.65}), Model("b", skill={TaskCategory.CODING: 0.9})]
    task = Task("t", 1, category=TaskCategory.CODING)
    assert not engine.calculate_routes(task, models).rejected
    engine.adjust_thresholds([Judged(0.9, 0.5)] * 100)
    assert [one.model for one in engine.calculate_routes(task, models).rejected] == ["a"]


@given(st.lists(st.builds(Judged, SHARE, SHARE), max_size=60), st.floats(0, 1))
def test_thresholds_stay_in_range_and_no_floor_stays_no_floor(history: list[Judged], floor: float) -> None:
    engine = RoutingEngine(RoutingConfig(min_quality=floor))
    update = engine.adjust_thresholds(history)
    assert 0 <= update.after.min_quality <= 1
    assert abs(update.after.min_quality - floor) <= MOST_MOVE + 1e-9
    if floor == 0 or len(history) < LEAST_JUDGED:
        assert update.after.min_quality == floor


def test_incorporated_scores_count_as_much_as_a_declared_skill() -> None:
    engine = RoutingEngine()
    category = TaskCategory.CODING
    engine.incorporate_scores({"a": {category: 1.0}, "b": {category: 0.0}})
    options = engine.calculate_routes(Task("t", 1, category=category), [Model("a"), Model("b")])
    assert str(options.primary_route) == "a"
    assert options.ranked[0].quality > 0.8 > 0.2 > options.ranked[1].quality
