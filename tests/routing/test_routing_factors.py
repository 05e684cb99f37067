"""The formula: four factors on absolute scales, weighed by a knob."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.domain import Model, Price, Task, TaskCategory
from fairlead.routing.config import Weights
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.factors import NEUTRAL_USD, efficiencies, efficiency, nearness, shares

COSTS = st.floats(1e-9, 1e3)
SKILLS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=2, max_size=6)
TASK = Task("t", 1, category=TaskCategory.CODING, input_tokens=1000)


def models(told: list[tuple[float, float]]) -> list[Model]:
    return [
        Model(f"m{i}", price=Price(usd, usd), skill={TaskCategory.CODING: skill}) for i, (skill, usd) in enumerate(told)
    ]


def test_the_price_scale_has_its_ends_and_its_middle() -> None:
    assert efficiency(0.0) == efficiency(1e-6) == 1.0
    assert efficiency(10.0) == efficiency(1e9) == 0.0
    assert efficiency(NEUTRAL_USD) == pytest.approx(0.5)


@given(COSTS, COSTS)
def test_dearer_is_never_more_efficient(one: float, other: float) -> None:
    assert (efficiency(one) >= efficiency(other)) or one > other


@given(st.floats(1e-5, 0.1), st.floats(1.001, 1.02))
def test_one_per_cent_counts_far_less_than_tenfold(cost: float, ratio: float) -> None:
    assert efficiency(cost) - efficiency(cost * ratio) < 0.01 * (efficiency(cost) - efficiency(10 * cost))


@given(st.lists(st.one_of(COSTS, st.just(math.nan)), max_size=5))
def test_many_at_once_are_as_one_by_one(costs: list[float]) -> None:
    assert efficiencies(costs) == [0.5 if math.isnan(cost) else efficiency(cost) for cost in costs]


@given(st.floats(0, 1))
def test_the_weights_sum_to_one_wherever_the_knob_stands(quality: float) -> None:
    assert sum(shares(Weights(), quality)) == pytest.approx(1.0)


def test_the_knob_goes_from_the_price_alone_over_the_formula_to_the_worth_alone() -> None:
    assert shares(Weights(), 0.5) == (0.4, 0.3, 0.2, 0.1)
    assert shares(Weights(), 0.0) == (0.0, 0.0, 1.0, 0.0)
    assert shares(Weights(), 1.0) == pytest.approx((0.8, 0.0, 0.0, 0.2))


def test_a_knob_that_asks_for_what_weighs_nothing_still_decides() -> None:
    assert shares(Weights(resource_efficiency=0.0), 0.0) == (0.0, 0.0, 1.0, 0.0)
    assert shares(Weights(capability=0.0, historical_success=0.0), 1.0) == (1.0, 0.0, 0.0, 0.0)


def test_prices_are_facts_so_at_the_cheapest_nothing_counts_as_equal() -> None:
    assert nearness(0.02, 0.0) == 0.0
    assert nearness(0.02, 0.5) == nearness(0.02, 1.0) == 0.02


@given(SKILLS)
def test_a_score_is_the_sum_of_its_factors_and_stays_between_0_and_1(told: list[tuple[float, float]]) -> None:
    ranked = RoutingEngine().calculate_routes(TASK, models(told)).ranked
    for route in ranked:
        assert route.score == pytest.approx(sum(one.weight * one.value for one in route.factors))
        assert 0 <= route.score <= 1
        assert all(0 <= one.value <= 1 for one in route.factors)
    scores = [one.score for one in ranked]
    assert scores == sorted(scores, reverse=True)


@given(SKILLS)
def test_nothing_is_measured_against_the_other_candidates(told: list[tuple[float, float]]) -> None:
    everybody = models(told)
    together = {str(one.chain): one for one in RoutingEngine().calculate_routes(TASK, everybody).ranked}
    for model in everybody:
        alone = RoutingEngine().calculate_routes(TASK, [model]).ranked[0]
        assert alone == together[model.name]


def test_what_is_unknown_scores_a_half_and_says_so() -> None:
    (route,) = RoutingEngine().calculate_routes(TASK, [Model("m")]).ranked
    assert [(one.value, one.is_known) for one in route.factors] == [(0.5, False)] * 4
    assert route.cost_usd is None
    assert route.latency_s is None
    assert route.confidence == 0
