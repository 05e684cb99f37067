"""Performance: tasks go where they have lately succeeded and come back soon; what is past is forgiven.

Run it with `python examples/performance.py`.
"""

from collections import Counter

from fairlead import TaskRouter
from fairlead.testing import ManualClock

LATENCY_S = {"swift": 0.4, "steady": 1.5, "sluggish": 6.0}


def shares(router: TaskRouter, tasks: int) -> dict[str, int]:
    """Route some tasks that all go well, and count where they went."""
    chosen: Counter[str] = Counter()
    for number in range(tasks):
        model_id = router.route_task(f"write function number {number}")
        router.record_task_result(model_id, True, LATENCY_S[model_id])
        chosen[model_id] += 1
    return {model_id: chosen[model_id] for model_id in LATENCY_S}


def main() -> None:
    """Watch the fastest model win, lose its lead by failing, and win it back with time."""
    clock = ManualClock()
    router = TaskRouter("performance", half_life_s=3600, seed=7, clock=clock)
    for model_id, latency_s in LATENCY_S.items():
        router.register_model(model_id)
        for _ in range(20):  # what is known from before
            router.record_task_result(model_id, True, latency_s)

    before = shares(router, 100)
    for number in range(300):  # a bad stretch: every other task fails
        router.record_task_result("swift", number % 2 == 0, 0.4)
    during = shares(router, 100)
    clock.advance(24 * 3600)
    later = shares(router, 100)

    print(f"{'tasks to':<28}" + "".join(f"{model_id:>10}" for model_id in LATENCY_S))
    for title, counts in (("all go well", before), ("half of swift's fail", during), ("a day later", later)):
        print(f"{title:<28}" + "".join(f"{count:>10}" for count in counts.values()))

    assert before["swift"] >= 95
    assert during["steady"] >= 85
    assert later["swift"] > 80
    print("\nEvidence loses half its weight each half-life: a bad hour is not held against a model for ever.")


if __name__ == "__main__":
    main()
