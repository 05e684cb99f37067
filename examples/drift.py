"""A fleet that changes: the best model breaks after 500 tasks, and the router leaves it for the next best.

Prints the cumulative regret (successes lost against always asking whoever is best at the time) of three strategies
beside `random`, as a table and as a line of bars. Run it with `python examples/drift.py`.
"""

import random

from fairlead import CircuitBreakerConfig, TaskRouter
from fairlead.testing import ManualClock

SUCCESS = {"a": 0.9, "b": 0.7, "c": 0.7, "d": 0.5, "e": 0.5}
BROKEN = SUCCESS | {"a": 0.3}
BREAKS, TASKS, STEP, SEEDS = 500, 1000, 100, 5
BARS = " ▁▂▃▄▅▆▇█"


def regret(strategy: str, seed: int) -> list[float]:
    """Return the regret summed up after each hundred tasks, one task a second."""
    luck, clock, lost, course = random.Random(seed), ManualClock(), 0.0, []
    patient = CircuitBreakerConfig(failure_threshold=TASKS)  # so that what is seen is what the strategy learns
    router = TaskRouter(strategy, seed=seed, clock=clock, circuit_breaker=patient)
    for model in SUCCESS:
        router.register_model(model)
    for number in range(TASKS):
        success = SUCCESS if number < BREAKS else BROKEN
        clock.advance(1.0)
        model = router.route_task("Fix the failing test")
        router.record_task_result(model, luck.random() < success[model], 0.5)
        lost += max(success.values()) - success[model]
        if (number + 1) % STEP == 0:
            course.append(lost)
    return course


def main() -> None:
    """Compare the strategies, averaged over a few seeds."""
    strategies = ("hybrid", "affinity", "performance", "random")
    courses = {}
    for strategy in strategies:
        runs = [regret(strategy, seed) for seed in range(SEEDS)]
        courses[strategy] = [sum(values) / SEEDS for values in zip(*runs, strict=True)]
    print("tasks       " + "".join(f"{STEP * (i + 1):>7}" for i in range(TASKS // STEP)))
    for strategy, course in courses.items():
        print(f"{strategy:<12}" + "".join(f"{value:>7.1f}" for value in course))
    print(f"\nlost per {STEP} tasks; the best model breaks after {BREAKS}")
    for strategy, course in courses.items():
        steps = [after - before for before, after in zip([0.0, *course], course, strict=False)]
        bars = "".join(BARS[min(int(step / 3.0) + 1, len(BARS) - 1)] for step in steps)
        print(f"{strategy:<12} {bars}")
    assert courses["hybrid"][-1] < courses["random"][-1] / 2
    before_break = courses["hybrid"][BREAKS // STEP - 1] - courses["hybrid"][BREAKS // STEP - 2]
    assert before_break < 5, "by then nearly all tasks go to the best"


if __name__ == "__main__":
    main()
