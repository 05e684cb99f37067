"""A workflow: collect history with round robin, which is fair to all, then let performance use it.

Run it with `python examples/learn_then_perform.py`.
"""

import random

from fairlead import RoutingStrategy, TaskRouter
from fairlead.testing import ManualClock

FLEET = {"anchor": (0.70, 1.0), "beacon": (0.97, 2.0), "capstan": (0.85, 4.0)}
"""Share of tasks that go well, and the seconds that one takes: the truth that the router has to find out."""


def work(router: TaskRouter, clock: ManualClock, tasks: int, dice: random.Random) -> float:
    """Run some tasks and return the share that went well."""
    went_well = 0
    for number in range(tasks):
        with router.task(f"implement feature number {number}") as task:
            chance, duration_s = FLEET[task.model_id]
            clock.advance(duration_s)
            if dice.random() < chance:
                went_well += 1
            else:
                task.fail()
    return went_well / tasks


def main() -> None:
    """Learn for 90 tasks, then perform for 200."""
    clock, dice = ManualClock(), random.Random(11)
    router = TaskRouter(RoutingStrategy.ROUND_ROBIN, clock=clock)
    for model_id in FLEET:
        router.register_model(model_id)

    learning = work(router, clock, 90, dice)
    print(f"round robin: {learning:.0%} of the tasks went well")
    for model_id, one in router.all_metrics().items():
        print(
            f"  {model_id:<10}{one.total_requests:>4} tasks  {one.success_rate:>4.0%} well  {one.average_latency_s} s"
        )

    router.set_routing_strategy(RoutingStrategy.PERFORMANCE)
    performing = work(router, clock, 200, dice)
    print(f"performance: {performing:.0%} of the tasks went well")
    for model_id, one in router.all_metrics().items():
        print(f"  {model_id:<10}{one.total_requests:>4} tasks")

    assert all(one.total_requests >= 30 for one in router.all_metrics().values())
    assert performing > learning + 0.05
    assert router.model_metrics("beacon").total_requests > 200


if __name__ == "__main__":
    main()
