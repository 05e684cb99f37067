"""A node that fails fast has little in flight, and must not attract traffic by that.

Below the breaker's threshold of failures in a row nothing shuts it out. What keeps it from looking idle is that load is
divided by reliability (`pending_per_worth`): so no count of late failures is kept beside the ledger.
"""

from collections import Counter

import pytest

from fairlead.domain import Node, Task
from fairlead.errors import Fault
from fairlead.rng import Draw
from fairlead.routing import Choice, Pool, make_strategy
from fairlead.routing.contract import Strategy
from fairlead.testing import VirtualFleet
from fairlead.testing.behaviour import Behaviour, FailureRule

BREAKS_S = 50.0
END_S = 100.0


def all_but_each(nth: int) -> FailureRule:
    """From `BREAKS_S` on, only each n-th attempt goes well."""
    count = 0

    def rule(_task: Task, now_s: float, _draw: Draw) -> Fault | None:
        nonlocal count
        count += now_s >= BREAKS_S
        return Fault.UNAVAILABLE if count % nth else None

    return rule


class InFlightOnly:
    """Takes the node with the least in flight, however much it fails."""

    name = "in_flight_only"

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        loads = [one.account.in_flight for one in pool.candidates]
        tied = [one for one, load in zip(pool.candidates, loads, strict=True) if load == min(loads)]
        return Choice(tied[draw.below(len(tied))], pool.candidates, [1.0 / (load + 1) for load in loads], "least")

    def forget(self) -> None:
        pass


def share_of_broken(strategy: Strategy, nth: int, begin_s: float, end_s: float) -> float:
    """Of the attempts between two times, how many went to the node that breaks."""
    fleet = VirtualFleet(strategy)
    for node in ("a", "b"):
        fleet.add(Node(node), Behaviour(service_s=1.0, jitter=0.3))
    fleet.add(Node("broken"), Behaviour(service_s=1.0, jitter=0.3, fails=all_but_each(nth)))
    fleet.stream(int(12 * end_s), 1 / 12)
    records = fleet.run()
    assert all(record.succeeded for record in records)
    sent = [
        node
        for record in records
        for node, sent_s in zip(record.nodes, record.sent_s, strict=True)
        if begin_s <= sent_s < end_s
    ]
    return Counter(sent)["broken"] / len(sent)


@pytest.mark.parametrize("nth", [2, 5])
@pytest.mark.parametrize("strategy", ["least_loaded", "hybrid", "performance"])
def test_a_node_that_fails_fast_gets_no_more_than_its_share(strategy: str, nth: int) -> None:
    assert share_of_broken(make_strategy(strategy), nth, BREAKS_S, BREAKS_S + 10.0) <= 0.40
    assert share_of_broken(make_strategy(strategy), nth, BREAKS_S + 10.0, END_S) <= 0.34


def test_by_what_is_in_flight_alone_it_would_get_more() -> None:
    assert share_of_broken(InFlightOnly(), 2, BREAKS_S, BREAKS_S + 10.0) > 0.40
    assert share_of_broken(InFlightOnly(), 2, BREAKS_S + 10.0, END_S) > 0.40
