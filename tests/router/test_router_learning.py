"""Feedback, a routing engine inside the router, and what is learnt over a restart."""

import json

import pytest

from fairlead import (
    FairleadError,
    Price,
    RoutingConfig,
    RoutingEngine,
    TaskCategory,
    TaskRouter,
    UnknownTaskError,
)
from fairlead.testing import ManualClock

CODE = "Write a function that parses a date"
STEADY = RoutingConfig(explore_min=0.0, explore_max=0.0)


def two_prices(clock: ManualClock) -> TaskRouter:
    router = TaskRouter(engine=RoutingEngine(STEADY), clock=clock)
    router.register_model("small", price=Price(0.1, 0.4), skill={TaskCategory.CODING: 0.6})
    router.register_model("large", price=Price(30.0, 150.0), skill={TaskCategory.CODING: 0.9})
    return router


@pytest.mark.parametrize(("quality", "taken"), [(0.0, "small"), (1.0, "large")])
def test_the_knob_goes_from_the_cheapest_to_the_best(quality: float, taken: str) -> None:
    router = two_prices(ManualClock())
    assert {router.route_task(CODE, quality=quality) for _ in range(10)} == {taken}


@pytest.mark.parametrize("engine", [None, RoutingEngine()], ids=["strategy alone", "with an engine"])
def test_feedback_outweighs_results(engine: RoutingEngine | None) -> None:
    clock = ManualClock()
    router = TaskRouter("affinity", engine=engine, clock=clock)
    router.register_model("bad")
    router.register_model("good")
    for i in range(60):
        model = router.route_task(CODE, task_id=f"t{i}")
        router.record_task_result(model, True, 0.1, task_id=f"t{i}")
        router.record_feedback(f"t{i}", 1.0 if model == "good" else 0.0)
        clock.advance(1.0)
    assert [router.route_task(CODE) for _ in range(20)].count("good") >= 18
    assert router.model_metrics("bad").failed_tasks == 0, "feedback is no result"


def test_feedback_opens_no_circuit() -> None:
    router = TaskRouter(clock=ManualClock())
    router.register_model("m")
    for i in range(20):
        router.route_task(CODE, task_id=f"t{i}")
        router.record_task_result("m", True, 0.1, task_id=f"t{i}")
        router.record_feedback(f"t{i}", 0.0)
    assert router.health_check() == {"m": True}


def test_feedback_that_makes_no_sense_is_refused() -> None:
    router = TaskRouter()
    router.register_model("m")
    router.route_task(CODE, task_id="t")
    for score in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            router.record_feedback("t", score)
    with pytest.raises(UnknownTaskError, match="'nobody' was not routed here"):
        router.record_feedback("nobody", 0.5)


def test_what_was_learnt_goes_into_another_router() -> None:
    def learnt() -> TaskRouter:
        clock = ManualClock()
        router = TaskRouter("affinity", engine=RoutingEngine(STEADY), clock=clock)
        router.register_model("bad")
        router.register_model("good")
        for _ in range(60):
            model = router.route_task(CODE)
            router.record_task_result(model, model == "good", 0.1)
            router.force_health_recovery("bad")
            clock.advance(1.0)
        return router

    kept = json.loads(json.dumps(learnt().export_state()))
    clock = ManualClock()
    clock.advance(60.0)
    router = TaskRouter("affinity", engine=RoutingEngine(STEADY), clock=clock)
    router.import_state(kept)
    router.register_model("good")
    router.register_model("bad")
    assert [router.route_task(CODE) for _ in range(10)] == ["good"] * 10


def test_a_damaged_part_is_named_and_the_rest_is_taken() -> None:
    router = two_prices(ManualClock())
    kept = router.export_state() | {"scorer": {"format": 99}}
    with pytest.raises(FairleadError, match="scorer"):
        router.import_state(kept)


def test_a_score_counts_once_and_the_last_one_stands() -> None:
    def weight(scores: list[float]) -> tuple[float, float]:
        router = TaskRouter(engine=RoutingEngine(STEADY), clock=ManualClock())
        router.register_model("m")
        router.register_model("n")
        model = router.route_task(CODE, task_id="t")
        router.record_task_result(model, True, 0.1, task_id="t")
        for score in scores:
            router.record_feedback("t", score)
        evidence = router._fleet.models[model][model].evidence
        return evidence.successes, evidence.weight

    assert weight([0.2, 0.9, 1.0]) == pytest.approx(weight([1.0]))
    assert weight([1.0] * 10) == pytest.approx(weight([1.0]))


@pytest.mark.parametrize(
    "wish", [{"quality": 5.0}, {"min_quality": float("nan")}, {"max_cost_usd": 0.0}, {"max_latency_s": -1.0}]
)
def test_a_wish_out_of_range_is_refused_whoever_is_registered(wish: dict[str, float]) -> None:
    router = TaskRouter()
    router.register_model("m")
    with pytest.raises(ValueError, match=next(iter(wish))):
        router.route_task(CODE, **wish)  # type: ignore[arg-type]


def test_a_price_or_skill_that_makes_no_sense_is_refused_at_once() -> None:
    router = TaskRouter()
    for price in (Price(-1.0, 2.0), Price(float("nan"), 2.0)):
        with pytest.raises(ValueError, match="price"):
            router.register_model("m", price=price)
    with pytest.raises(ValueError, match="skill"):
        router.register_model("m", skill={"cooking": 0.3})  # type: ignore[dict-item]
    assert router.health_check() == {}
