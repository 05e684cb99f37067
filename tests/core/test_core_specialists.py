"""Specialists are found from nothing: each category ends up with the model that is best at it."""

import random

import pytest

from fairlead import CircuitBreakerConfig, TaskCategory, TaskRouter
from fairlead.testing import ManualClock

CATEGORIES = (TaskCategory.CODING, TaskCategory.TESTING, TaskCategory.DEBUGGING)
RUNS, TASKS, LAST = 30, 600, 120


def finds_all(strategy: str, others_succeed: float, seed: int) -> bool:
    """Tell whether, of the last tasks of each category, most went to its specialist, which succeeds 9 times of 10."""
    luck = random.Random(seed)
    breaker = CircuitBreakerConfig(failure_threshold=TASKS)
    router = TaskRouter(strategy, seed=seed, circuit_breaker=breaker, clock=ManualClock())
    for index in range(len(CATEGORIES)):
        router.register_model(f"m{index}")
    hits = [0] * len(CATEGORIES)
    for number in range(TASKS):
        turn = number % len(CATEGORIES)
        model = router.route_task("", category=CATEGORIES[turn])
        is_right = model == f"m{turn}"
        router.record_task_result(model, luck.random() < (0.9 if is_right else others_succeed), 1.0)
        hits[turn] += is_right and number >= TASKS - LAST
    return min(hits) > 0.6 * LAST / len(CATEGORIES)


@pytest.mark.parametrize(
    ("strategy", "others_succeed", "at_least"),
    [("affinity", 0.4, 25), ("affinity", 0.6, 20), ("hybrid", 0.4, 25), ("hybrid", 0.6, 17)],
)
def test_specialists_are_found(strategy: str, others_succeed: float, at_least: int) -> None:
    found = sum(finds_all(strategy, others_succeed, seed) for seed in range(RUNS))
    assert found >= at_least, f"found in {found} of {RUNS} runs"
