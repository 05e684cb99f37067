"""Round robin: every model in turn, an order that a person can predict.

Run it with `python examples/round_robin.py`.
"""

from collections import Counter

from fairlead import RoutingStrategy, TaskRouter

PROMPTS = [
    "Write a function that reverses a list",
    "Fix the crash in the parser",
    "Refactor the duplicated branches",
    "Write unit tests for slugify",
    "Document the public API",
    "Review this pull request",
    "Implement a bounded queue",
    "Debug the memory leak",
    "Add a docstring to Pool",
]


def main() -> None:
    """Route nine tasks over three models."""
    router = TaskRouter(RoutingStrategy.ROUND_ROBIN)
    for model_id in ("anchor", "beacon", "capstan"):
        router.register_model(model_id)

    order = []
    for prompt in PROMPTS:
        model_id = router.route_task(prompt)
        order.append(model_id)
        print(f"{prompt:<40}{router.task_category(prompt):<16}{model_id}")
        router.record_task_result(model_id, True, 0.8)

    assert order == ["anchor", "beacon", "capstan"] * 3
    print("\nEach model had", set(Counter(order).values()).pop(), "tasks, in the order in which they were registered.")


if __name__ == "__main__":
    main()
