"""Circuit breaker: a model that fails again and again is left alone, probed, and taken back.

Run it with `python examples/circuit_breaker.py`. The clock is moved by hand, so nothing is waited for.
"""

from fairlead import CircuitBreakerConfig, CircuitChanged, NoCandidateError, TaskRouter
from fairlead.testing import ManualClock


def main() -> None:
    """Trip a circuit, wait, probe, recover; then close one by hand."""
    clock = ManualClock()
    breaker = CircuitBreakerConfig(failure_threshold=5, success_threshold=3, timeout_s=30, half_open_requests=2)
    router = TaskRouter("round_robin", circuit_breaker=breaker, clock=clock)
    router.register_model("anchor")
    seen: list[str] = []

    def tell(event: CircuitChanged) -> None:
        seen.append(event.after)
        print(f"{event.at_s:5.0f} s  {event.node}: {event.before} -> {event.after} ({event.cause})")

    router.subscribe(CircuitChanged, tell)

    for _ in range(6):
        router.record_task_result("anchor", False, 0.1)
    assert router.circuit_breaker_open("anchor")
    assert router.health_check() == {"anchor": False}
    try:
        router.route_task("anything")
    except NoCandidateError as error:
        print(f"{clock():5.0f} s  {error}")

    clock.advance(30)
    for _ in range(3):  # probes, one after the other
        router.record_task_result(router.route_task("is it well again?"), True, 0.2)
    assert seen == ["open", "half_open", "closed"]

    for _ in range(5):
        router.record_task_result("anchor", False, 0.1)
    router.force_health_recovery("anchor")
    assert router.health_check() == {"anchor": True}
    assert seen[3:] == ["open", "closed"]
    print("\nanchor is back in service.")


if __name__ == "__main__":
    main()
