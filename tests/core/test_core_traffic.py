"""Each strategy under traffic, in virtual time: dead nodes, flaky nodes, recovering nodes, slow nodes."""

from bisect import bisect_right

import pytest
from core_shared import STRATEGIES, task_of, virtual_fleet

from fairlead.domain import Node
from fairlead.engine.events import CircuitChanged
from fairlead.engine.fleet import FleetSettings
from fairlead.engine.retry_budget import RetryPolicy
from fairlead.errors import Fault
from fairlead.health import CircuitBreakerConfig
from fairlead.routing import make_strategy
from fairlead.testing import Behaviour, TaskRecord, VirtualFleet, always, during, sometimes

READ_EVIDENCE = ("least_loaded", "performance", "affinity", "hybrid")


def assert_nothing_is_held(fleet: VirtualFleet) -> None:
    assert all(state.account.in_flight == state.account.probes == 0 for state in fleet.fleet.nodes.values())
    assert len(fleet.fleet.ledger) == 0


def crowd(fleet: VirtualFleet, n: int, at_once: int = 64, every_s: float = 0.2) -> list[TaskRecord]:
    """`n` tasks, `at_once` of them at the same moment; some in sessions."""
    return [fleet.submit(i // at_once * every_s, task_of(i, session=f"s{i % 30}" if i % 2 else None)) for i in range(n)]


# -- a node that fails fast


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_always_fails_is_shut_out(name: str, seed: int) -> None:
    fleet = virtual_fleet(name, seed=seed)
    fleet.add("broken", Behaviour(fails=always(Fault.UNAVAILABLE)))
    fleet.add("b")
    fleet.add("c")
    fleet.stream(1000, 0.02)
    fleet.run()
    assert fleet.shares()["broken"] <= 25, "a fair share would be 333"
    assert_nothing_is_held(fleet)


@pytest.mark.parametrize("name", READ_EVIDENCE)
@pytest.mark.parametrize("seed", range(3))
def test_a_node_that_fails_half_of_its_tasks_gets_less_not_more(name: str, seed: int) -> None:
    fleet = virtual_fleet(name, seed=seed)
    fleet.add("flaky", Behaviour(fails=sometimes(0.5, Fault.UNAVAILABLE)))
    fleet.add("b")
    fleet.add("c")
    fleet.stream(1500, 0.02)
    fleet.run()
    shares = fleet.shares()
    assert shares["flaky"] < min(shares["b"], shares["c"]) / 1.5, shares


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_node_that_recovers_is_found_out(name: str) -> None:
    fleet = virtual_fleet(name)
    fleet.add("back", Behaviour(fails=during(0, 60, Fault.UNAVAILABLE)))
    fleet.add("b")
    for i in range(4_000):
        fleet.submit(i * 0.05, task_of(i))
    fleet.run()
    changes = [event.after for event in fleet.fleet.outbox if isinstance(event, CircuitChanged)]
    assert "open" not in changes or changes[-1] == "closed", changes


# -- one of two dead


@pytest.mark.parametrize("fault", [Fault.CONNECT, Fault.TRANSPORT, Fault.TIMEOUT])
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("seed", range(3))
def test_one_of_two_dead_fails_nobody(name: str, fault: Fault, seed: int) -> None:
    fleet = virtual_fleet(name, seed=seed)
    fleet.add("dead", Behaviour(fails=always(fault), failure_s=5.0 if fault is Fault.TIMEOUT else 0.001))
    fleet.add("live")
    crowd(fleet, 320)
    fleet.run()
    assert [record for record in fleet.records if not record.succeeded] == []
    assert_nothing_is_held(fleet)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("every_s", [0.0005, 0.1])
def test_one_of_two_dead_fails_nobody_when_callers_come_one_by_one(name: str, every_s: float) -> None:
    fleet = virtual_fleet(name)
    fleet.add("dead", Behaviour(fails=always(Fault.TRANSPORT), failure_s=0.0002))
    fleet.add("live")
    fleet.stream(200, every_s)
    fleet.run()
    assert [record for record in fleet.records if not record.succeeded] == []


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_node_that_dies_under_way_fails_nobody(name: str) -> None:
    fleet = virtual_fleet(name)
    fleet.add(Node("dies", slots=40), Behaviour(fails=during(1.0, 100.0, Fault.TRANSPORT)))
    fleet.add(Node("lives", slots=40))
    crowd(fleet, 640)
    fleet.run()
    assert [record for record in fleet.records if not record.succeeded] == []
    assert max(record.attempts for record in fleet.records) <= 2


# -- all dead


def repeats_and_bound(fleet: VirtualFleet, policy: RetryPolicy) -> list[tuple[int, float]]:
    """At each attempt: how many repeats were paid for so far, and how many the budget allows by then.

    Moves away from a node whose circuit is not closed are free, and so are not counted.
    """
    shut: dict[str, list[tuple[float, bool]]] = {}
    for event in fleet.fleet.outbox:
        if isinstance(event, CircuitChanged):
            shut.setdefault(event.node, []).append((event.at_s, event.after != "closed"))

    def is_shut(node: str, at_s: float) -> bool:
        history = shut.get(node, [])
        index = bisect_right(history, at_s, key=lambda change: change[0])
        return index > 0 and history[index - 1][1]

    paid = sorted(
        at_s
        for record in fleet.records
        for before, at_s in zip(record.nodes, record.sent_s[1:], strict=False)
        if not is_shut(before, at_s)
    )
    arrived = sorted(record.submitted_s for record in fleet.records)
    ahead = 5 * policy.budget_ratio
    return [
        (i + 1, ahead + policy.budget_ratio * bisect_right(arrived, at_s) + policy.min_per_second * (1 + at_s))
        for i, at_s in enumerate(paid)
    ]


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.TIMEOUT])
@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize(("n_nodes", "at_once", "every_s"), [(1, 64, 0.5), (5, 64, 0.5), (5, 1, 0.02)])
def test_an_outage_is_not_amplified(name: str, fault: Fault, n_nodes: int, at_once: int, every_s: float) -> None:
    fleet = virtual_fleet(name)
    for i in range(n_nodes):
        fleet.add(f"n{i}", Behaviour(fails=always(fault), failure_s=0.05))
    records = crowd(fleet, 600, at_once, every_s)
    fleet.run()
    assert not any(record.succeeded for record in records)
    assert all(paid <= bound for paid, bound in repeats_and_bound(fleet, RetryPolicy()))
    last_s = max(record.ended_s or 0.0 for record in records)
    assert sum(fleet.shares().values()) <= 1.2 * len(records) + 3 * (1 + last_s)
    assert_nothing_is_held(fleet)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_budget_holds_where_no_circuit_ever_opens(name: str) -> None:
    breaker = CircuitBreakerConfig(failure_threshold=10**9)
    fleet = VirtualFleet(make_strategy(name), settings=FleetSettings(breaker=breaker))
    for i in range(4):
        fleet.add(f"n{i}", Behaviour(fails=always(Fault.UNAVAILABLE), failure_s=0.02))
    records = crowd(fleet, 1000, 50, 0.5)
    fleet.run()
    sent = sorted(at_s for record in records for at_s in record.sent_s)
    arrived = sorted(record.submitted_s for record in records)
    for i, at_s in enumerate(sent):
        assert i + 1 <= 1.2 * bisect_right(arrived, at_s) + 1 + 3 * (1 + at_s)
    assert len(sent) > len(records) * 1.15, "what the budget allows is used"
    assert all(record.attempts <= 3 for record in records)


def test_refused_connections_are_moved_away_from_once_per_node() -> None:
    fleet = virtual_fleet("random")
    for i in range(5):
        fleet.add(f"n{i}", Behaviour(fails=always(Fault.CONNECT)))
    records = crowd(fleet, 300)
    fleet.run()
    assert all(len(set(record.nodes)) == record.attempts <= 5 for record in records)


# -- slots and slow nodes


@pytest.mark.parametrize("name", STRATEGIES)
def test_slots_are_never_exceeded_and_everyone_in_line_is_served(name: str) -> None:
    fleet = virtual_fleet(name)
    fleet.add(Node("a", slots=2), Behaviour(jitter=0.5))
    fleet.add(Node("b", slots=3), Behaviour(jitter=0.5))
    records = crowd(fleet, 200, at_once=50, every_s=0.3)
    fleet.run()
    assert all(record.succeeded for record in records)
    for node, slots in (("a", 2), ("b", 3)):
        spans = [(record.sent_s[0], record.ended_s or 0.0) for record in records if record.node == node]
        edges = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
        busy = 0
        for _, change in edges:
            busy += change
            assert busy <= slots
    assert_nothing_is_held(fleet)


@pytest.mark.parametrize("name", ["least_loaded", "performance", "hybrid"])
def test_a_slow_node_gets_less(name: str) -> None:
    fleet = virtual_fleet(name)
    fleet.add("slow", Behaviour(service_s=5.0))
    fleet.add("fast", Behaviour(service_s=0.1))
    fleet.stream(600, 0.05)
    fleet.run()
    assert fleet.shares()["slow"] < fleet.shares()["fast"] / 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_callers_who_hang_up_leave_nothing_behind(name: str) -> None:
    fleet = virtual_fleet(name)
    fleet.add(Node("a", slots=3), Behaviour(fails=sometimes(0.3, Fault.TRANSPORT), jitter=0.9))
    fleet.add(Node("b", slots=3), Behaviour(jitter=0.9))
    for i, record in enumerate(crowd(fleet, 400, at_once=20, every_s=0.25)):
        if i % 3 == 0:
            fleet.cancel(record.submitted_s + (i % 17) * 0.02, record)
    fleet.run()
    assert all(record.ended_s is not None for record in fleet.records)
    assert_nothing_is_held(fleet)
