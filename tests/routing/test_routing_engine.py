"""The engine: filters with reasons, the knob, what is learnt, and what is refused."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.domain import Model, ModelChain, Outcome, Price, RouteOptions, Task, TaskCategory
from fairlead.errors import BadRequestError, FairleadError, Fault, NoCandidateError, NoModelError
from fairlead.rng import Draw
from fairlead.routing.config import RoutingConfig
from fairlead.routing.engine import RoutingEngine

CODING, TESTING = TaskCategory.CODING, TaskCategory.TESTING
SMALL = Model("small", frozenset(), 8_000, Price(0.1, 0.2), {CODING: 0.6})
MIDDLE = Model("middle", frozenset({"tools"}), 32_000, Price(1, 2), {CODING: 0.75})
BIG = Model("big", frozenset({"tools", "vision"}), 200_000, Price(10, 30), {CODING: 0.95})
FLEET = (SMALL, MIDDLE, BIG)


def task(**asked: object) -> Task:
    return Task("t", 7, category=CODING, input_tokens=1000, output_tokens=500, **asked)  # type: ignore[arg-type]


def first(options: RouteOptions) -> str:
    return options.primary_route.models[0]


def reasons(options: RouteOptions) -> dict[str, str]:
    return {one.model: one.reason for one in options.rejected}


def test_it_works_without_arguments_and_on_a_bare_prompt() -> None:
    options = RoutingEngine().calculate_routes("Fix the bug in this function: it crashes with a traceback", FLEET)
    assert {options.primary_route, *options.alternative_routes} == {ModelChain((one.name,)) for one in FLEET}
    assert set(options.estimated_costs) == set(options.confidence_scores) == {"small", "middle", "big"}


def test_the_cost_is_that_of_the_tokens() -> None:
    options = RoutingEngine().calculate_routes(task(), FLEET)
    assert options.estimated_costs["middle"] == pytest.approx((1000 * 1 + 500 * 2) / 1e6)


@pytest.mark.parametrize(("quality", "expected"), [(0.0, "small"), (1.0, "big")])
def test_the_knob_goes_from_the_cheapest_to_the_best(quality: float, expected: str) -> None:
    assert first(RoutingEngine().calculate_routes(task(quality=quality), FLEET)) == expected
    assert first(RoutingEngine(RoutingConfig(quality=quality)).calculate_routes(task(), FLEET)) == expected


def test_the_cheapest_that_is_good_enough() -> None:
    options = RoutingEngine().calculate_routes(task(quality=0.0, min_quality=0.7), FLEET)
    assert first(options) == "middle"
    assert reasons(options) == {"small": "expected quality too low"}


@pytest.mark.parametrize(
    ("asked", "left", "reason"),
    [
        ({"needs": frozenset({"vision"})}, {"big"}, "lacks a capability"),
        ({"max_cost_usd": 0.005}, {"small", "middle"}, "too expensive"),
        ({"min_quality": 0.9}, {"big"}, "expected quality too low"),
    ],
)
def test_filters_give_a_reason_for_each_model_they_drop(asked: dict[str, object], left: set[str], reason: str) -> None:
    options = RoutingEngine().calculate_routes(task(**asked), FLEET)
    assert {one.chain.models[0] for one in options.ranked} == left
    assert set(reasons(options)) == {one.name for one in FLEET} - left
    assert set(reasons(options).values()) == {reason}
    assert all(one.detail for one in options.rejected)


def test_a_small_context_is_a_reason() -> None:
    options = RoutingEngine().calculate_routes(Task("t", 1, input_tokens=7_900, output_tokens=500), FLEET)
    assert reasons(options) == {"small": "context too small"}


def test_a_slow_model_is_left_out_once_that_is_known() -> None:
    engine = RoutingEngine()
    for at_s in range(5):
        engine.record("big", Outcome(True, 9.0, CODING), float(at_s))
    options = engine.calculate_routes(task(max_latency_s=3.0), FLEET, 5.0)
    assert reasons(options) == {"big": "expected to take too long"}


def test_contradicting_limits_are_both_named() -> None:
    with pytest.raises(NoCandidateError) as caught:
        RoutingEngine().calculate_routes(task(min_quality=0.9, max_cost_usd=0.001), FLEET)
    assert "min_quality 0.9" in str(caught.value)
    assert "max_cost_usd 0.001" in str(caught.value)
    assert sum(caught.value.reasons.values()) == len(FLEET)


def test_a_need_that_contradicts_a_limit_is_named_with_it() -> None:
    with pytest.raises(NoCandidateError, match=r"needs vision and max_cost_usd"):
        RoutingEngine().calculate_routes(task(needs=frozenset({"vision"}), max_cost_usd=0.001), FLEET)


def test_a_limit_that_nobody_meets_is_named_alone() -> None:
    with pytest.raises(NoCandidateError, match=r"no model meets min_quality 0\.99") as caught:
        RoutingEngine().calculate_routes(task(min_quality=0.99, max_cost_usd=0.001), FLEET)
    assert "contradict" not in str(caught.value)


def test_no_models_is_an_error_of_its_own() -> None:
    with pytest.raises(NoModelError):
        RoutingEngine().calculate_routes(task(), ())


@pytest.mark.parametrize(
    "model",
    [
        Model("m", price=Price(-1.0, 0)),
        Model("m", price=Price(0, math.nan)),
        Model("m", price=Price(math.inf, 0)),
        Model("m", skill={CODING: 1.2}),
        Model("m", skill={CODING: math.nan}),
        Model("m", skill={"cooking": 0.5}),  # type: ignore[dict-item]
        Model("m", context_tokens=0),
    ],
)
def test_a_senseless_model_is_refused_by_name(model: Model) -> None:
    with pytest.raises(BadRequestError, match="'m'"):
        RoutingEngine().calculate_routes(task(), [model])


def test_a_model_given_twice_is_refused() -> None:
    with pytest.raises(BadRequestError, match="twice: small"):
        RoutingEngine().calculate_routes(task(), [SMALL, SMALL])


@pytest.mark.parametrize(
    "asked",
    [
        {"quality": 1.1},
        {"quality": math.nan},
        {"min_quality": -0.1},
        {"max_cost_usd": math.nan},
        {"max_cost_usd": -1.0},
        {"max_latency_s": 0.0},
    ],
)
def test_a_senseless_demand_is_refused(asked: dict[str, object]) -> None:
    with pytest.raises(BadRequestError):
        RoutingEngine().calculate_routes(task(**asked), FLEET)


def test_an_unknown_category_is_refused() -> None:
    engine = RoutingEngine()
    with pytest.raises(BadRequestError, match="cooking"):
        engine.calculate_routes(Task("t", 1, category="cooking"), FLEET)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match="cooking"):
        engine.record("small", Outcome(True, 1.0, "cooking"), 0.0)  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match="cooking"):
        engine.learn_score("small", "cooking", 1.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.1])
def test_a_score_out_of_range_is_refused_and_teaches_nothing(score: float) -> None:
    engine = RoutingEngine()
    with pytest.raises(BadRequestError):
        engine.learn_score("small", CODING, score, 0.0)
    with pytest.raises(BadRequestError):
        engine.incorporate_scores({"small": {CODING: 0.9}, "big": {CODING: score}})
    assert engine.scorer.estimate("small", CODING, None, 0.0).weight == 0


@pytest.mark.parametrize(("latency_s", "cost_usd"), [(math.nan, None), (-1.0, None), (1.0, math.nan)])
def test_an_outcome_that_cannot_be_is_refused(latency_s: float, cost_usd: float | None) -> None:
    with pytest.raises(BadRequestError):
        RoutingEngine().record("small", Outcome(True, latency_s, CODING), 0.0, cost_usd)


def test_scores_teach_who_is_good_at_what() -> None:
    engine = RoutingEngine(RoutingConfig(explore_min=0.0, explore_max=0.0))
    pair = (Model("a"), Model("b"))
    for i in range(20):
        engine.learn_score("a", CODING, 1.0, float(i))
        engine.learn_score("b", CODING, 0.0, float(i))
        engine.learn_score("a", TESTING, 0.0, float(i))
        engine.learn_score("b", TESTING, 1.0, float(i))
    assert first(engine.calculate_routes(Task("t", 1, category=CODING), pair, 20.0)) == "a"
    assert first(engine.calculate_routes(Task("t", 1, category=TESTING), pair, 20.0)) == "b"


def test_an_answer_that_came_says_that_the_model_works_not_that_it_is_good() -> None:
    engine = RoutingEngine()
    for i in range(20):
        engine.record("small", Outcome(True, 1.0, CODING), float(i))
    assert engine.scorer.estimate("small", CODING, None, 20.0).weight == 0
    engine.record("small", Outcome(True, 1.0, CODING), 20.0, teaches_quality=True)
    assert engine.scorer.estimate("small", CODING, None, 20.0).weight > 0


def test_the_caller_s_own_fault_is_not_held_against_a_model() -> None:
    engine = RoutingEngine()
    before = engine.calculate_routes(task(), FLEET).ranked
    engine.record("big", Outcome(False, 0.1, CODING, fault=Fault.CALLER), 1.0)
    assert engine.calculate_routes(task(), FLEET).ranked == before


def test_the_price_rests_on_the_answers_that_were_seen_in_this_category() -> None:
    engine = RoutingEngine()
    for i in range(30):
        engine.record("middle", Outcome(True, 1.0, CODING, output_tokens=40), float(i))
        engine.record("middle", Outcome(True, 1.0, TESTING, output_tokens=4000), float(i))
    cost = {
        category: engine.calculate_routes(Task("t", 1, category=category), [MIDDLE], 30.0).estimated_costs["middle"]
        for category in (CODING, TESTING)
    }
    assert cost[CODING] == pytest.approx(40 * 2 / 1e6)
    assert cost[TESTING] == pytest.approx(4000 * 2 / 1e6)
    limited = engine.calculate_routes(Task("t", 1, category=TESTING, output_tokens=100), [MIDDLE], 30.0)
    assert limited.estimated_costs["middle"] == pytest.approx(100 * 2 / 1e6)


def test_a_model_without_a_price_costs_what_was_reported() -> None:
    engine = RoutingEngine()
    engine.record("free", Outcome(True, 1.0, CODING), 0.0, cost_usd=0.25)
    assert engine.calculate_routes(task(), [Model("free")], 1.0).estimated_costs == {"free": 0.25}


def test_the_margin_is_that_of_the_best_over_the_runner_up() -> None:
    options = RoutingEngine().calculate_routes(task(), FLEET)
    assert options.margin == pytest.approx(options.ranked[0].score - options.ranked[1].score)
    assert RoutingEngine().calculate_routes(task(), [SMALL]).margin is None


def test_equals_are_dealt_evenly_among_tasks() -> None:
    engine = RoutingEngine()
    pair = (Model("a"), Model("b"))
    picked = [engine.calculate_routes(Task("t", key), pair) for key in range(400)]
    assert 150 < sum(first(one) == "a" for one in picked) < 250
    assert {one.propensity for one in picked} == {0.5}
    assert not any(one.is_explored for one in picked)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**32))
def test_the_same_seed_and_state_decide_the_same(key: int, seed: int) -> None:
    one, other = RoutingEngine(seed=seed), RoutingEngine(seed=seed)
    asked = Task("t", key, category=CODING)
    assert one.calculate_routes(asked, FLEET) == other.calculate_routes(asked, FLEET)


def test_a_fleet_gets_tiers_that_hold_every_qualifying_model_once() -> None:
    engine = RoutingEngine()
    models = (*FLEET, Model("big-2", BIG.capabilities, BIG.context_tokens, BIG.price, BIG.skill))
    choice = engine.rank_models(task(quality=1.0), models, 0.0, Draw(0, 1))
    assert choice.tiers == (("big", "big-2"), ("middle",), ("small",))
    assert choice.propensity == 1.0, "whoever of the two is picked, it is this tier that comes first"
    assert choice.cascade is None
    choice = engine.rank_models(task(needs=frozenset({"tools"})), models, 0.0, Draw(0, 1))
    assert sorted(name for tier in choice.tiers for name in tier) == ["big", "big-2", "middle"]
    assert [one.model for one in choice.rejections] == ["small"]


def test_nothing_is_to_be_ranked_where_nothing_tells_models_apart() -> None:
    engine = RoutingEngine()
    twins = (Model("a"), Model("b"))
    assert not engine.is_informed(twins)
    assert engine.is_informed(FLEET)
    assert engine.is_informed(twins, task(min_quality=0.3))
    for i in range(5):
        engine.record("a", Outcome(False, 1.0, CODING), float(i))
    assert not engine.is_informed(twins), "that a node fails is the strategies' business"
    engine.learn_score("a", CODING, 1.0, 5.0)
    assert engine.is_informed(twins)


def test_declared_skill_is_seen_though_it_was_never_learnt() -> None:
    engine = RoutingEngine()
    assert not engine.is_informed((Model("a", skill={CODING: 0.5}), Model("b", skill={CODING: 0.5})))
    assert engine.is_informed((Model("a", skill={CODING: 0.5}), Model("b", skill={CODING: 0.6})))


def test_a_snapshot_brings_back_what_was_learnt() -> None:
    engine, other = RoutingEngine(), RoutingEngine()
    for i in range(30):
        engine.record("middle", Outcome(i % 3 > 0, 1.5, CODING, output_tokens=40), float(i))
    other.restore(engine.snapshot())
    mine, its = (one.calculate_routes(Task("t", 1, category=CODING), FLEET, 30.0) for one in (engine, other))
    assert mine == its
    assert other.snapshot() == engine.snapshot()


@pytest.mark.parametrize("state", [{}, {"monitor": 3}, {"cascades": [[1]]}, [], None])
def test_a_damaged_snapshot_is_refused_and_changes_nothing(state: object) -> None:
    engine = RoutingEngine()
    engine.record("middle", Outcome(True, 1.0, CODING, output_tokens=40), 0.0)
    before = engine.snapshot()
    with pytest.raises(FairleadError):
        engine.restore({**before, **state} if isinstance(state, dict) and state else state)  # type: ignore[arg-type]
    assert engine.snapshot() == before


def test_forgetting_leaves_what_was_declared() -> None:
    engine = RoutingEngine()
    fresh = engine.calculate_routes(task(), FLEET).ranked
    for i in range(9):
        engine.record("small", Outcome(True, 0.1, CODING), float(i), teaches_quality=True)
    assert engine.calculate_routes(task(), FLEET, 9.0).ranked != fresh
    engine.forget()
    assert engine.calculate_routes(task(), FLEET, 9.0).ranked == fresh
