"""Affinity: specialists emerge from outcomes, and a conversation stays where its cache is warm.

Run it with `python examples/affinity.py`. The first tasks go round in turn, so that something is known of each;
later at most one task of ten goes to a model that does not look best, to learn more of it.
"""

from collections import Counter

from fairlead import RoutingStrategy, TaskCategory, TaskRouter

CATEGORIES = (TaskCategory.CODING, TaskCategory.TESTING, TaskCategory.DOCUMENTATION)
TRUTH = dict(zip(("turner", "wright", "weaver"), CATEGORIES, strict=True))
"""What each model is really good at; the router is not told."""


def succeeds(model_id: str, category: TaskCategory, times: int) -> bool:
    """In a model's own trade nine tasks of ten go well, elsewhere every other."""
    return times % 10 != 0 if TRUTH[model_id] is category else times % 2 == 0


def main() -> None:
    """Let the router find out who is good at what, then count where tasks of each category go."""
    router = TaskRouter(RoutingStrategy.ROUND_ROBIN, seed=1)
    for model_id in TRUTH:
        router.register_model(model_id)

    done: Counter[tuple[TaskCategory, str]] = Counter()
    for number in range(360):
        if number == 90:
            router.set_routing_strategy(RoutingStrategy.AFFINITY)
            done.clear()
        category = CATEGORIES[number // 3 % 3]
        with router.task("the work itself", category=category) as task:
            done[category, task.model_id] += 1
            if not succeeds(task.model_id, category, done[category, task.model_id]):
                task.fail()

    print(f"{'270 tasks of':<20}" + "".join(f"{model_id:>10}" for model_id in TRUTH))
    for category in CATEGORIES:
        print(f"{category:<20}" + "".join(f"{done[category, model_id]:>10}" for model_id in TRUTH))
    assert all(done[category, model_id] > 75 for model_id, category in TRUTH.items())

    homes = {router.route_task("and the edge cases?", session="ada") for _ in range(3)}
    assert len(homes) == 1
    print(f"\nEach found its trade. The conversation 'ada' stays on {homes.pop()}.")


if __name__ == "__main__":
    main()
