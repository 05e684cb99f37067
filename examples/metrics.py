"""Metrics and events: what each model has done, what is under way, and what changed.

Run it with `python examples/metrics.py`.
"""

from fairlead import Event, ModelMetrics, TaskRouter
from fairlead.testing import ManualClock


def show(metrics: dict[str, ModelMetrics]) -> None:
    """Print a table of all models."""
    print(f"{'model':<10}{'tasks':>6}{'ok':>5}{'failed':>8}{'rate':>7}{'average':>9}{'under way':>11}  circuit")
    for one in metrics.values():
        print(
            f"{one.model_id:<10}{one.total_requests:>6}{one.successful_tasks:>5}{one.failed_tasks:>8}"
            f"{one.success_rate:>7.0%}{one.average_latency_s:>7.2f} s{one.in_flight:>11}"
            f"  {'open' if one.circuit_breaker_open else 'closed'}"
        )


def main() -> None:
    """Do some work on two models and look at the figures."""
    clock = ManualClock()
    router = TaskRouter("round_robin", clock=clock)
    events: list[Event] = []
    router.subscribe(Event, events.append)
    for model_id in ("anchor", "beacon"):
        router.register_model(model_id)

    for number in range(20):
        with router.task(f"write function number {number}") as task:
            clock.advance(0.5 if task.model_id == "anchor" else 2.0)  # the work
            if number % 10 == 9:
                task.fail()
    for _ in range(3):
        router.route_task("this one takes longer")

    show(router.all_metrics())
    beacon = router.model_metrics("beacon")
    assert (beacon.total_requests, beacon.failed_tasks, beacon.average_latency_s) == (10, 2, 2.0)
    assert sum(one.in_flight for one in router.all_metrics().values()) == 3

    router.reset_metrics()  # evidence and counts go; what is under way stays
    assert router.model_metrics("anchor").total_requests == 0
    assert router.model_metrics("anchor").in_flight == 2
    print("\nevents: " + ", ".join(type(event).__name__ for event in events))


if __name__ == "__main__":
    main()
