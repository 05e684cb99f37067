"""Switching strategies while tasks are on their way: what was learnt and what is in flight stays.

Run it with `python examples/switch_strategy.py`.
"""

from collections import Counter

from fairlead import RoutingStrategy, StrategyChanged, TaskRouter, UnknownStrategyError


def burst(router: TaskRouter, tasks: int) -> Counter[str]:
    """Route tasks without waiting for any, and count where they went."""
    return Counter(router.route_task(f"write function number {number}") for number in range(tasks))


def main() -> None:
    """Try strategies on one router, whose nodes differ in weight."""
    router = TaskRouter(RoutingStrategy.ROUND_ROBIN, seed=3)
    router.register_model("large", weight=3)
    router.register_model("small", weight=1)
    changes: list[str] = []
    router.subscribe(StrategyChanged, lambda event: changes.append(f"{event.before} -> {event.after}"))

    for strategy in (RoutingStrategy.ROUND_ROBIN, RoutingStrategy.LEAST_LOADED, RoutingStrategy.RANDOM):
        if strategy != router.routing_strategy:
            router.set_routing_strategy(strategy)
        counts = burst(router, 40)
        print(f"{strategy:<14}large {counts['large']:>3}   small {counts['small']:>3}")
        if strategy is RoutingStrategy.LEAST_LOADED:  # evens out what round robin piled on the small one
            in_flight = {name: one.in_flight for name, one in router.all_metrics().items()}
            assert in_flight == {"large": 60, "small": 20}, in_flight

    assert changes == ["round_robin -> least_loaded", "least_loaded -> random"]
    try:
        router.set_routing_strategy("round-robbin")
    except UnknownStrategyError as error:
        print(f"\n{error}")
    assert router.routing_strategy == "random"


if __name__ == "__main__":
    main()
