"""Cascades: expected cost and quality on equal terms with single models, and what is learnt of them."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.domain import ChainKind, Model, ModelChain, Price, Task, TaskCategory
from fairlead.errors import ConfigError
from fairlead.rng import Draw
from fairlead.routing.chains import Cascade, CascadeBook, fallback_chain
from fairlead.routing.engine import RoutingEngine

CODING = TaskCategory.CODING
CHEAP = Model("cheap", frozenset({"json"}), 8_000, Price(0.1, 0.1), {CODING: 0.7})
DEAR = Model("dear", frozenset({"json", "tools"}), 100_000, Price(10, 10), {CODING: 0.95})
LADDER = Cascade("ladder", ("cheap", "dear"))
QUALITIES = st.lists(st.floats(0, 1), min_size=2, max_size=4)


def task(**asked: object) -> Task:
    return Task("t", 3, category=CODING, input_tokens=1000, output_tokens=1000, **asked)  # type: ignore[arg-type]


def expected(engine: RoutingEngine) -> tuple[float, float]:
    """Return cost and quality of the cascade."""
    options = engine.calculate_routes(task(), (CHEAP, DEAR))
    (route,) = [one for one in options.ranked if one.chain.kind is ChainKind.CASCADE]
    assert route.cost_usd is not None
    return route.cost_usd, route.quality


@given(QUALITIES)
def test_chances_and_quality_stay_in_range_and_worth_lies_within_its_parts(qualities: list[float]) -> None:
    cascade = Cascade("c", tuple(f"m{i}" for i in range(len(qualities))))
    reach, worth = CascadeBook([cascade], 3600.0).expect(cascade, qualities)
    assert reach[0] == 1
    assert all(0 <= after <= before for before, after in pairwise(reach))
    assert min(qualities) - 1e-9 <= worth <= 1


@given(st.floats(0, 1), st.floats(0, 1), st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=30))
def test_whatever_happened_expectations_stay_in_range(
    first: float, second: float, seen: list[tuple[bool, float]]
) -> None:
    book = CascadeBook([LADDER], 3600.0)
    for at_s, (accepted, score) in enumerate(seen):
        book.record("ladder", 0, accepted, score, float(at_s))
        if not accepted:
            book.record("ladder", 1, True, score, float(at_s))
    reach, worth = book.expect(LADDER, [first, second])
    assert 0 <= reach[1] <= 1
    assert 0 <= worth <= 1


def test_until_it_is_seen_half_of_the_bad_answers_escalate() -> None:
    cost_usd, quality = expected(RoutingEngine(cascades=[LADDER]))
    escalates = 0.5 * (1 - 0.7)
    assert cost_usd == pytest.approx(2000 * 0.1 / 1e6 + escalates * 2000 * 10 / 1e6)
    assert quality == pytest.approx(0.7 + escalates * 0.95)


def test_cost_and_quality_follow_what_happened() -> None:
    engine = RoutingEngine(cascades=[LADDER])
    for i in range(400):
        accepted = i % 5 > 0
        engine.record_cascade("ladder", 0, accepted, 0.9 if accepted else None, now_s=i / 10)
        if not accepted:
            engine.record_cascade("ladder", 1, True, 0.8, now_s=i / 10)
    cost_usd, quality = expected(engine)
    assert cost_usd == pytest.approx(0.0002 + 0.2 * 0.02, rel=0.05)
    assert quality == pytest.approx(0.8 * 0.9 + 0.2 * 0.8, abs=0.02)


def test_it_competes_with_single_models_on_equal_terms() -> None:
    engine = RoutingEngine(cascades=[LADDER])
    limited = task(quality=1.0, max_cost_usd=0.01)
    assert engine.calculate_routes(limited, (CHEAP, DEAR)).primary_route == ModelChain(
        ("cheap", "dear"), ChainKind.CASCADE, "ladder"
    )
    assert str(engine.calculate_routes(task(quality=0.0), (CHEAP, DEAR)).primary_route) == "cheap"
    assert str(engine.calculate_routes(task(quality=1.0), (CHEAP, DEAR)).primary_route) == "dear"


def test_what_one_of_its_models_lacks_rules_it_out() -> None:
    options = RoutingEngine(cascades=[LADDER]).calculate_routes(task(needs=frozenset({"tools"})), (CHEAP, DEAR))
    assert {one.model: one.reason for one in options.rejected} == {
        "cheap": "lacks a capability",
        "ladder": "lacks a capability",
    }
    engine = RoutingEngine(cascades=[LADDER])
    assert [str(one.chain) for one in engine.calculate_routes(task(), [DEAR]).ranked] == ["dear"]


def test_a_fleet_is_told_that_a_cascade_was_picked_and_starts_with_its_first_model() -> None:
    choice = RoutingEngine(cascades=[LADDER]).rank_models(
        task(quality=1.0, max_cost_usd=0.01), (CHEAP, DEAR), 0.0, Draw(0, 1)
    )
    assert choice.cascade == "ladder"
    assert choice.tiers[0] == ("cheap",)


def test_what_happened_is_forgotten_at_half_life_speed() -> None:
    book = CascadeBook([LADDER], 100.0)
    for i in range(50):
        book.record("ladder", 0, False, None, float(i))
    always = book.expect(LADDER, [0.9, 0.9])[0][1]
    for i in range(20):
        book.record("ladder", 0, True, None, 2_000.0 + i)
    assert book.expect(LADDER, [0.9, 0.9])[0][1] < 0.1 < 0.8 < always


def test_a_snapshot_brings_back_what_happened() -> None:
    engine, other = RoutingEngine(cascades=[LADDER]), RoutingEngine(cascades=[LADDER])
    for i in range(40):
        engine.record_cascade("ladder", 0, i % 2 > 0, 0.9, now_s=float(i))
    other.restore(engine.snapshot())
    assert expected(other) == expected(engine) != expected(RoutingEngine(cascades=[LADDER]))


def test_what_is_no_cascade_is_refused() -> None:
    with pytest.raises(ConfigError, match="two or more"):
        Cascade("c", ("m",))
    with pytest.raises(ConfigError, match="different"):
        Cascade("c", ("m", "m"))
    with pytest.raises(ConfigError, match="name"):
        Cascade("", ("a", "b"))
    with pytest.raises(ConfigError, match="same name"):
        RoutingEngine(cascades=[LADDER, LADDER])
    engine = RoutingEngine(cascades=[LADDER])
    with pytest.raises(ConfigError, match="ladder"):
        engine.record_cascade("stairs", 0, True)
    with pytest.raises(ConfigError, match="0 to 1"):
        engine.record_cascade("ladder", 2, True)


def test_a_fallback_chain_asks_each_model_once_in_order() -> None:
    assert fallback_chain(["a", "b", "a"]) == ModelChain(("a", "b"), ChainKind.FALLBACK)
    assert fallback_chain(["a"]) == ModelChain(("a",))


def test_steps_are_learnt_as_whoever_runs_cascades_tells_them() -> None:
    engine, told = RoutingEngine(cascades=[LADDER]), RoutingEngine(cascades=[LADDER])
    for i in range(50):
        engine.record_cascade("ladder", 0, i % 2 > 0)
        told.record_step("ladder", 1, "cheap", i % 2 > 0, None if i % 2 else "refuses")
    told.record_step("stairs", 1, "cheap", True)
    told.record_step("ladder", 3, "cheap", True)
    assert expected(told) == expected(engine) != expected(RoutingEngine(cascades=[LADDER]))


def test_prompts_are_read_once_somebody_judges_answers() -> None:
    engine = RoutingEngine()
    assert engine.task_of("fix it").features is None
    engine.learn_score("cheap", CODING, 1.0, 0.0)
    assert engine.reads_prompts
    assert engine.task_of("fix it").features is not None
