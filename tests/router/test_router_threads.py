"""TaskRouter by eight threads at once, switched between every microsecond: no count is lost."""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from fairlead.domain import RoutingStrategy
from fairlead.engine.events import Event
from fairlead.errors import NoCandidateError, NoModelError
from fairlead.health import CircuitBreakerConfig
from fairlead.router import TaskRouter

THREADS = 8
EACH = 250
PROMPT = "write tests for the login form"
TOUGH = CircuitBreakerConfig(failure_threshold=10**9)


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], None]) -> None:
    """Run `work` in eight threads at once; what one of them raises is raised here."""
    raised: list[Exception] = []
    ready = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            ready.wait(10)
            work(number)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised below
            raised.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a deadlock"
    if raised:
        raise raised[0]


@pytest.mark.parametrize("strategy", list(RoutingStrategy))
def test_no_count_is_lost(strategy: RoutingStrategy) -> None:
    router = TaskRouter(strategy, circuit_breaker=TOUGH)
    for model in "abc":
        router.register_model(model)
    routed: list[Counter[str]] = [Counter() for _ in range(THREADS)]

    def work(number: int) -> None:
        for i in range(EACH):
            model = router.route_task(PROMPT)
            routed[number][model] += 1
            if i % 5:  # each fifth stays pending
                router.record_task_result(model, i % 2 == 0, 0.001)

    together(work)
    metrics = router.all_metrics().values()
    left = THREADS * EACH // 5
    assert sum(one.total_requests for one in metrics) == THREADS * EACH - left
    assert sum(one.successful_tasks for one in metrics) == THREADS * (EACH // 5) * 2
    assert sum(one.in_flight for one in metrics) == left == len(router._model_of) == len(router._fleet.ledger)
    totals = sum(routed, Counter())
    assert {one.model_id: one.total_requests + one.in_flight for one in metrics} == totals


def test_round_robin_stays_exact() -> None:
    router = TaskRouter("round_robin")
    for model in "abcd":
        router.register_model(model)

    def work(_: int) -> None:
        for _ in range(100):
            router.route_task(PROMPT)

    together(work)
    assert {one.in_flight for one in router.all_metrics().values()} == {THREADS * 100 // 4}


def test_models_strategies_and_subscribers_may_change_meanwhile() -> None:
    router, heard = TaskRouter("hybrid"), list[Event]()
    router.register_model("steady")
    router.subscribe(Event, heard.append)

    def look(_: Event) -> None:
        router.health_check()

    router.subscribe(Event, look)

    def work(number: int) -> None:
        for i in range(60):
            if number == 0:
                router.register_model(f"guest-{i}")
                router.unregister_model(f"guest-{i}")
            elif number == 1:
                router.set_routing_strategy(list(RoutingStrategy)[i % 6])
            elif number == 2:
                router.explain(PROMPT)
                router.reset_metrics()
            else:
                try:
                    with router.task(PROMPT, session=f"s{number}") as task:
                        if i % 3 == 0:
                            task.fail()
                except (NoModelError, NoCandidateError):
                    router.force_health_recovery("steady")

    together(work)
    assert router.model_metrics("steady").in_flight == 0
    assert len(router._model_of) == 0
    assert len(heard) >= 60 * 3
