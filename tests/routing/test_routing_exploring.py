"""Exploring: between a floor and a ceiling, with propensities that are true."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.domain import Model, Outcome, Price, Task, TaskCategory
from fairlead.rng import Draw
from fairlead.routing.config import RoutingConfig
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.exploration import Limits
from fairlead.routing.picker import plan

CODING = TaskCategory.CODING
RANKED = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.5)), min_size=1, max_size=8)
SHARES = st.tuples(st.floats(0, 0.3), st.floats(0, 0.3)).map(sorted)


def experienced(config: RoutingConfig | None = None) -> tuple[RoutingEngine, tuple[Model, ...]]:
    engine = RoutingEngine(config)
    models = tuple(Model(f"m{i}") for i in range(4))
    for i in range(400):
        engine.record(f"m{i % 4}", Outcome(i % 4 == 0 or i % 3 > 0, 1.0, CODING), i / 10, teaches_quality=True)
    return engine, models


@given(RANKED, SHARES, st.floats(0, 0.999999))
def test_chances_sum_to_one_and_what_is_explored_keeps_to_the_ceiling(
    ranked: list[tuple[float, float]], bounds: list[float], luck: float
) -> None:
    ranked.sort(reverse=True)
    scores = [score for score, _ in ranked]
    hopes = [min(score + spread, 1.0) for score, spread in ranked]
    near = sum(score >= scores[0] - 0.02 for score in scores)
    made = plan(scores, hopes, 1, near, 0.02, Limits(bounds[0], bounds[1]))
    chances = [made.chance(place) for place in range(len(scores))]
    assert sum(chances) == pytest.approx(1.0)
    assert all(0 <= chance <= 1 for chance in chances)
    explored = sum(chances[near:])
    assert explored <= bounds[1] + 1e-9
    if near < len(scores):
        assert explored >= bounds[0] - 1e-9
    assert chances[made.pick(luck)] > 0


def test_the_propensity_is_how_often_each_model_is_picked() -> None:
    engine, models = experienced(RoutingConfig(explore_min=0.1, explore_max=0.3))
    told: dict[str, float] = {}
    counts: Counter[str] = Counter()
    n = 5000
    for key in range(n):
        options = engine.calculate_routes(Task("t", key, category=CODING), models, 40.0)
        name = str(options.primary_route)
        counts[name] += 1
        assert told.setdefault(name, options.propensity) == options.propensity
    assert sum(told.values()) == pytest.approx(1.0)
    for name, propensity in told.items():
        assert counts[name] / n == pytest.approx(propensity, abs=4 * (propensity * (1 - propensity) / n) ** 0.5)


def test_weighting_by_propensity_values_another_policy_without_bias() -> None:
    """The mean of reward x [the other policy's pick] / propensity is what that policy would have earned."""
    engine, models = experienced(RoutingConfig(explore_min=0.2, explore_max=0.2))
    rates = {"m0": 0.9, "m1": 0.3, "m2": 0.6, "m3": 0.6}
    n, total = 20_000, 0.0
    for key in range(n):
        options = engine.calculate_routes(Task("t", key, category=CODING), models, 40.0)
        if str(options.primary_route) == "m2":
            total += (Draw(99, key).unit() < rates["m2"]) / options.propensity
    assert total / n == pytest.approx(rates["m2"], abs=0.12)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_the_explored_share_lies_between_floor_and_ceiling(seed: int) -> None:
    engine, models = experienced()
    engine.seed = seed
    n = 2000
    explored = sum(
        engine.calculate_routes(Task("t", key, category=CODING), models, 40.0).is_explored for key in range(n)
    )
    assert 0.004 < explored / n < 0.125


def test_a_fleet_is_told_who_is_tried_why_and_how_likely_that_was() -> None:
    engine, models = experienced(RoutingConfig(explore_min=0.1, explore_max=0.3))
    total: dict[str, float] = {}
    for key in range(2000):
        choice = engine.rank_models(Task("t", key, category=CODING), models, 40.0, Draw(0, key))
        assert sorted(name for tier in choice.tiers for name in tier) == ["m0", "m1", "m2", "m3"]
        assert choice.route.chain.models[0] in choice.tiers[0]
        assert choice.why.startswith("explores" if choice.is_explored else "best of 4")
        total["/".join(choice.tiers[0])] = choice.propensity
    assert len(total) > 1
    assert sum(total.values()) == pytest.approx(1.0)


def test_a_model_that_does_worse_than_usual_is_named_in_the_decision() -> None:
    engine = RoutingEngine()
    models = (Model("m"), Model("n"))
    for i in range(60):
        engine.record("m", Outcome(True, 1.0, CODING, output_tokens=50), i / 10)
        engine.record("n", Outcome(False, 1.0, CODING), i / 10)
    for i in range(60, 120):
        engine.record("m", Outcome(True, 5.0, CODING, output_tokens=50), i / 10)
    choice = engine.rank_models(Task("t", 3, category=CODING), models, 12.0, Draw(0, 3))
    assert choice.tiers[0] == ("m",)
    assert choice.why == "best of 2; m is slower than usual"
    assert [one.kind for one in choice.anomalies["m"]] == ["pace"]


def test_without_any_outcome_nothing_is_explored() -> None:
    engine = RoutingEngine()
    models = (Model("good", skill={CODING: 0.9}), Model("bad", skill={CODING: 0.2}), Model("new"))
    every = [engine.calculate_routes(Task("t", key, category=CODING), models) for key in range(300)]
    assert {str(one.primary_route) for one in every} == {"good"}
    assert {one.propensity for one in every} == {1.0}


def test_exploring_never_breaks_a_limit() -> None:
    engine, _ = experienced()
    models = tuple(Model(f"m{i}", price=Price(10.0**i, 10.0**i)) for i in range(4))
    for key in range(500):
        task = Task("t", key, category=CODING, input_tokens=500, output_tokens=500, max_cost_usd=0.011)
        assert str(engine.calculate_routes(task, models, 40.0).primary_route) in {"m0", "m1"}


def follow(seed: int) -> tuple[int, int]:
    """Route 700 tasks, one a second; return the best model's share of tasks 400 to 499 and, after it broke at 500,
    the next best ones' of the last 100."""
    engine = RoutingEngine(seed=seed)
    models = tuple(Model(f"m{i}") for i in range(5))
    order = [f"m{(3 * i + seed) % 5}" for i in range(5)]
    rates = dict(zip(order, (0.9, 0.7, 0.7, 0.5, 0.5), strict=True))
    picked = []
    for at in range(800):
        if at == 500:
            rates[order[0]] = 0.3
        options = engine.calculate_routes(Task(str(at), at + 1, category=CODING), models, float(at))
        name = str(options.primary_route)
        picked.append(name)
        success = Draw(10_000 + seed, at).unit() < rates[name]
        engine.record(name, Outcome(success, 1.0, CODING, output_tokens=50), at + 0.5, teaches_quality=True)
    return picked[400:500].count(order[0]), sum(name in order[1:3] for name in picked[700:])


def test_the_best_is_found_and_left_when_it_breaks() -> None:
    shares = [follow(seed) for seed in range(20)]
    assert sum(before >= 85 for before, _ in shares) >= 18
    assert sum(after >= 85 for _, after in shares) >= 18
