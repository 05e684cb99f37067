"""TaskRouter by one thread: models, tasks, results, circuits, metrics, events."""

import tracemalloc
from collections import Counter

import pytest

from fairlead.domain import RoutingStrategy, TaskCategory
from fairlead.engine.events import CircuitChanged, Event, FleetChanged, LeasesExpired, StrategyChanged
from fairlead.errors import (
    DuplicateModelError,
    NoCandidateError,
    NoModelError,
    UnknownModelError,
    UnknownStrategyError,
)
from fairlead.health import CircuitBreakerConfig
from fairlead.router import ModelMetrics, TaskRouter
from fairlead.testing import ManualClock

PROMPT = "fix the crash in the parser"


def router_of(*models: str, strategy: str = "round_robin", clock: ManualClock | None = None) -> TaskRouter:
    router = TaskRouter(strategy, clock=clock or ManualClock())
    for model in models:
        router.register_model(model)
    return router


def fail(router: TaskRouter, model: str, times: int) -> None:
    for _ in range(times):
        router.record_task_result(model, False, 0.1)


# -- models


def test_a_model_is_registered_once() -> None:
    router = router_of("a")
    with pytest.raises(DuplicateModelError, match="'a' is registered already; unregister it first"):
        router.register_model("a")
    router.unregister_model("a")
    router.register_model("a")
    assert list(router.model_pool) == ["a"]


def test_a_strategy_that_is_not_there() -> None:
    with pytest.raises(UnknownStrategyError, match="did you mean 'round_robin'"):
        TaskRouter("roundrobin")
    router = router_of("a")
    with pytest.raises(UnknownStrategyError, match="There are: round_robin, least_loaded, random"):
        router.set_routing_strategy("nonsense")
    assert router.routing_strategy == "round_robin"


@pytest.mark.parametrize(("model", "settings", "message"), [
    ("", {}, "must not be empty"),
    ("auto", {}, "stands for any model"),
    ("m", {"weight": 0.0}, "weight must be above 0"),
    ("m", {"weight": float("nan")}, "weight must be above 0"),
    ("m", {"slots": 0}, "slots must be 1 or more"),
    ("m", {"skill": {TaskCategory.CODING: 1.5}}, "skill for coding must be between 0 and 1"),
])  # fmt: skip
def test_values_that_make_no_sense_are_refused(model: str, settings: dict[str, float], message: str) -> None:
    router = TaskRouter()
    with pytest.raises(ValueError, match=message):
        router.register_model(model, **settings)  # type: ignore[arg-type]  # the misuse is the test
    assert len(router.model_pool) == 0


def test_each_call_names_the_unknown_model_and_those_there_are() -> None:
    router = router_of("a", "b")
    calls = (
        router.unregister_model,
        router.model_metrics,
        router.circuit_breaker_open,
        router.force_health_recovery,
        router.model_pool.get_instance,
        lambda model: router.record_task_result(model, True, 0.1),
    )
    for call in calls:
        with pytest.raises(UnknownModelError, match="'c' is not registered; registered are: a, b"):
            call("c")


def test_no_model_and_no_model_left() -> None:
    router = TaskRouter()
    with pytest.raises(NoModelError, match="no model is registered"):
        router.route_task(PROMPT)
    router.register_model("a")
    router.route_task(PROMPT)
    router.unregister_model("a")
    with pytest.raises(NoModelError):
        router.route_task(PROMPT)
    assert (router.all_metrics(), router.health_check()) == ({}, {})


# -- tasks


def test_nine_tasks_over_three_models_in_turn() -> None:
    router = router_of("a", "b", "c")
    assert [router.route_task(PROMPT) for _ in range(9)] == ["a", "b", "c"] * 3


def test_thirty_tasks_over_three_idle_models_under_least_loaded() -> None:
    router = router_of("a", "b", "c", strategy="least_loaded")
    assert Counter(router.route_task(PROMPT) for _ in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_what_a_task_needs_and_its_session_are_heard() -> None:
    router = router_of(strategy="affinity")
    router.register_model("plain", capabilities=frozenset())
    router.register_model("seeing", capabilities=frozenset({"vision"}))
    assert {router.route_task(PROMPT, needs=frozenset({"vision"})) for _ in range(5)} == {"seeing"}
    first = router.route_task(PROMPT, session="s")
    assert {router.route_task(PROMPT, session="s") for _ in range(2)} == {first}


def test_slots_hold() -> None:
    router = TaskRouter("least_loaded")
    router.register_model("a", slots=2)
    router.route_task(PROMPT)
    router.route_task(PROMPT)
    with pytest.raises(NoCandidateError, match=r"1 x no free slot \(a\)"):
        router.route_task(PROMPT)
    router.record_task_result("a", True, 0.1)
    assert router.route_task(PROMPT) == "a"


def test_the_detector_can_be_replaced_and_runs_outside_the_lock() -> None:
    router = router_of("a")

    class Curious:
        def detect(self, prompt: str) -> TaskCategory:
            router.all_metrics()
            return TaskCategory.TESTING

    assert router.task_category(PROMPT) is TaskCategory.DEBUGGING
    router.set_task_category_detector(Curious())
    assert router.task_category(PROMPT) is TaskCategory.TESTING
    with router.task(PROMPT) as task:
        assert task.category is TaskCategory.TESTING
    with pytest.raises(TypeError, match=r"needs a method detect\(prompt\), str has none"):
        router.set_task_category_detector("coding")  # type: ignore[arg-type]  # the misuse is the test


def test_explaining_leaves_nothing_pending() -> None:
    router = router_of("a", "b", strategy="hybrid")
    told = router.explain(PROMPT)
    assert told["category"] == "debugging"
    assert told["candidates_qualified"] == 2
    assert all(one.in_flight == 0 for one in router.all_metrics().values())


# -- results


def test_totals_and_the_mean() -> None:
    router = router_of("a")
    for success, latency_s in ((True, 1.0), (True, 2.0), (False, 3.0)):
        router.route_task(PROMPT)
        router.record_task_result("a", success, latency_s)
    assert router.model_metrics("a") == ModelMetrics("a", 3, 2, 1, 2.0, False, 0)
    assert router.model_metrics("a").success_rate == pytest.approx(2 / 3)
    assert router_of("z").model_metrics("z").success_rate == 0.0


def test_with_nothing_pending_a_result_is_evidence_only() -> None:
    router = router_of("a")
    for _ in range(3):
        router.record_task_result("a", True, 0.1)
    assert router.model_metrics("a").in_flight == 0
    router.route_task(PROMPT)
    assert router.model_metrics("a").in_flight == 1


@pytest.mark.parametrize("latency_s", [-0.1, float("nan"), float("inf")])
def test_a_latency_that_is_none_is_refused_and_closes_nothing(latency_s: float) -> None:
    router = router_of("a")
    router.route_task(PROMPT)
    with pytest.raises(ValueError, match="latency_s must be a number of seconds"):
        router.record_task_result("a", True, latency_s)
    assert router.model_metrics("a").in_flight == 1


def test_the_oldest_closes_first_and_its_category_counts() -> None:
    router = router_of("a", strategy="affinity")
    for prompt_category in (TaskCategory.CODING, TaskCategory.TESTING):
        router.route_task(PROMPT, category=prompt_category)
    router.record_task_result("a", True, 0.1)
    candidate = router._fleet.models["a"]["a"]
    assert candidate.standing(TaskCategory.CODING).affinity is not None
    assert candidate.standing(TaskCategory.TESTING).affinity is None


def test_a_task_id_closes_exactly() -> None:
    router = router_of("a", "b")
    for task_id in ("one", "two", "three"):
        router.route_task(PROMPT, task_id=task_id)
    with pytest.raises(ValueError, match="task_id 'one' is pending already"):
        router.route_task(PROMPT, task_id="one")
    router.record_task_result("a", True, 0.1, task_id="three")
    router.record_task_result("a", True, 0.1, task_id="three")  # the second time it is only evidence
    router.record_task_result("a", True, 0.1, task_id="two")  # that one is with b
    in_flight = {model: one.in_flight for model, one in router.all_metrics().items()}
    assert in_flight == {"a": 1, "b": 1}
    assert router.model_metrics("a").total_requests == 3
    router.route_task(PROMPT, task_id="three")


def test_the_context_manager_does_both_ends() -> None:
    clock = ManualClock()
    router = router_of("a", clock=clock)
    with router.task(PROMPT) as task:
        assert (task.model_id, router.model_metrics("a").in_flight) == ("a", 1)
        clock.advance(2.0)
    with pytest.raises(RuntimeError, match="boom"), router.task(PROMPT):
        raise RuntimeError("boom")
    with router.task(PROMPT) as task:
        task.fail()
    metrics = router.model_metrics("a")
    assert (metrics.successful_tasks, metrics.failed_tasks, metrics.in_flight) == (1, 2, 0)
    assert metrics.average_latency_s == pytest.approx(2 / 3)


def test_a_model_may_leave_during_its_task() -> None:
    router = router_of("a")
    with router.task(PROMPT):
        router.unregister_model("a")
    assert router.all_metrics() == {}


# -- pending entries


def test_pending_entries_expire() -> None:
    clock, heard = ManualClock(), list[LeasesExpired]()
    router = TaskRouter("round_robin", clock=clock, pending_timeout_s=10.0)
    router.register_model("a")
    router.subscribe(LeasesExpired, heard.append)
    router.route_task(PROMPT, task_id="lost")
    clock.advance(9.0)
    router.route_task(PROMPT)
    assert router.model_metrics("a").in_flight == 2
    clock.advance(1.0)
    router.record_task_result("a", True, 0.1, task_id="lost")
    assert router.model_metrics("a").in_flight == 1
    assert [(event.node, event.count) for event in heard] == [("a", 1)]
    router.route_task(PROMPT, task_id="lost")


def test_a_forgotten_probe_expires_with_the_breakers_timeout() -> None:
    clock = ManualClock()
    router = router_of("a", clock=clock)
    fail(router, "a", 5)
    clock.advance(30.0)
    router.route_task(PROMPT)
    router.route_task(PROMPT)
    with pytest.raises(NoCandidateError):
        router.route_task(PROMPT)
    clock.advance(30.0)
    assert router.route_task(PROMPT) == "a"


# -- circuits


def test_six_failures_shut_a_model_out_and_a_person_lets_it_back() -> None:
    router = router_of("a", "b", "c")
    fail(router, "b", 6)
    assert router.circuit_breaker_open("b")
    assert router.model_metrics("b").circuit_breaker_open
    assert router.health_check() == {"a": True, "b": False, "c": True}
    assert {router.route_task(PROMPT) for _ in range(9)} == {"a", "c"}
    router.force_health_recovery("b")
    assert router.health_check() == {"a": True, "b": True, "c": True}
    assert {router.route_task(PROMPT) for _ in range(9)} == {"a", "b", "c"}


def test_all_circuits_open_says_so_and_when() -> None:
    router = router_of("a", "b")
    for model in "ab":
        fail(router, model, 5)
    with pytest.raises(NoCandidateError, match=r"2 x circuit open \(a, b\)") as caught:
        router.route_task(PROMPT)
    assert caught.value.reasons == {"circuit open": 2}
    assert caught.value.retry_after_s == 30.0


def test_a_circuit_goes_the_whole_round() -> None:
    clock, heard = ManualClock(), list[str]()
    config = CircuitBreakerConfig(failure_threshold=2, success_threshold=1, timeout_s=5.0, half_open_requests=1)
    router = TaskRouter("random", circuit_breaker=config, clock=clock)
    router.register_model("a")
    router.subscribe(CircuitChanged, lambda event: heard.append(event.after))
    fail(router, "a", 2)
    clock.advance(5.0)
    router.route_task(PROMPT)
    router.record_task_result("a", False, 0.1)
    clock.advance(5.0)
    router.route_task(PROMPT)
    router.record_task_result("a", True, 0.1)
    assert heard == ["open", "half_open", "open", "half_open", "closed"]


# -- reset, strategies, events


def test_reset_forgets_metrics_and_keeps_what_is_pending() -> None:
    router = router_of("a", "b")
    router.route_task(PROMPT)
    fail(router, "b", 5)
    router.reset_metrics()
    assert router.model_metrics("a") == ModelMetrics("a", 0, 0, 0, 0.0, False, 1)
    assert router.model_metrics("b") == ModelMetrics("b", 0, 0, 0, 0.0, True, 0)


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_strategies_change_at_run_time(strategy: RoutingStrategy) -> None:
    router, heard = router_of("a", "b"), list[StrategyChanged]()
    router.subscribe(StrategyChanged, heard.append)
    router.route_task(PROMPT)
    router.set_routing_strategy(strategy)
    assert router.routing_strategy == strategy.value
    assert [(event.before, event.after) for event in heard] == [("round_robin", strategy.value)]
    assert router.route_task(PROMPT) in {"a", "b"}
    assert sum(one.in_flight for one in router.all_metrics().values()) == 2


def test_a_subscriber_may_call_the_router() -> None:
    router, seen = router_of("a", "b"), list[dict[str, bool]]()

    def look(event: Event) -> None:
        seen.append(router.health_check())
        if isinstance(event, CircuitChanged) and event.after == "open":
            router.force_health_recovery(event.node)

    leave = router.subscribe(Event, look)
    fail(router, "a", 5)
    assert router.health_check()["a"]
    router.set_routing_strategy("random")
    router.register_model("c")
    leave()
    router.unregister_model("c")
    assert [len(one) for one in seen] == [2, 2, 2, 3]
    kinds = list[str]()
    router.subscribe(FleetChanged, lambda event: kinds.append(event.model))
    router.unregister_model("b")
    assert kinds == ["b"]


# -- memory


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_memory_does_not_grow_with_the_prompts(strategy: RoutingStrategy) -> None:
    router = router_of("a", "b", "c", strategy=strategy)

    def pass_through(first: int, n: int) -> None:
        for i in range(first, first + n):
            model = router.route_task(f"fix the crash number {i} in the parser", task_id=f"id-{i}")
            router.record_task_result(model, i % 5 > 0, 0.1, task_id=f"id-{i}")

    tracemalloc.start()
    try:
        pass_through(0, 4_000)  # the last thousand are remembered for feedback, in a table that grows in steps
        before, _ = tracemalloc.get_traced_memory()
        pass_through(4_000, 1_500)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 30_000, "20 bytes a prompt would be too much"
    assert (len(router._model_of), len(router._fleet.ledger)) == (0, 0)


def test_failures_to_route_leave_nothing_behind() -> None:
    clock = ManualClock()
    router = router_of("a", clock=clock)
    fail(router, "a", 5)
    for _ in range(200):
        clock.advance(1.0)
        try:
            router.record_task_result(router.route_task(PROMPT), False, 0.1)
        except NoCandidateError:
            continue
    assert len(router._fleet.outbox) <= 1
    assert len(router._model_of) == 0
    assert len(router._fleet._due) <= 2


def test_time_alone_lets_a_model_be_tried_again() -> None:
    clock = ManualClock()
    router = TaskRouter("round_robin", clock=clock)
    router.register_model("a")
    for _ in range(5):
        router.record_task_result("a", False, 0.1)
    assert router.health_check() == {"a": False}
    clock.advance(31)
    assert router.health_check() == {"a": True}
    assert not router.circuit_breaker_open("a")


def test_a_category_that_does_not_exist_is_refused_before_anything_is_pending() -> None:
    class Poet:
        def detect(self, prompt: str) -> TaskCategory:
            return "poetry"  # type: ignore[return-value]  # what a careless detector does

    router = TaskRouter("round_robin", detector=Poet())
    router.register_model("a")
    with pytest.raises(ValueError, match="no task category 'poetry'"):
        router.route_task("an ode")
    assert router.model_metrics("a").in_flight == 0


@pytest.mark.parametrize("wrong", [{"half_life_s": 0}, {"pending_timeout_s": -1}, {"exploration": 7}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TaskRouter("round_robin", **wrong)  # type: ignore[arg-type]  # numbers, for these keys
