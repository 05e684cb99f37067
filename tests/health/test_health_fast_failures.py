"""A node that fails fast has little in flight, and must not attract traffic by that.

Below the breaker's threshold of failures in a row nothing shuts it out. What keeps it from looking idle is that load is
divided by reliability (`pending_per_worth`): so no count of late failures is kept beside the ledger.
"""

from collections import Counter

import pytest

from fairlead.domain import Node, Task
from fairlead.errors import Fault
from fairlead.rng import Draw
from fairlead.routing import make_strategy
from fairlead.testing import VirtualFleet
from fairlead.testing.behaviour import Behaviour, FailureRule

BREAKS_S = 100.0
END_S = 200.0


def all_but_each(nth: int) -> FailureRule:
    """From `BREAKS_S` on, only each n-th attempt goes well."""
    count = 0

    def rule(_task: Task, now_s: float, _draw: Draw) -> Fault | None:
        nonlocal count
        count += now_s >= BREAKS_S
        return Fault.UNAVAILABLE if count % nth else None

    return rule


@pytest.mark.parametrize("strategy", ["least_loaded", "hybrid", "performance"])
@pytest.mark.parametrize("nth", [2, 5])
def test_a_node_that_fails_fast_gets_no_more_than_its_share(strategy: str, nth: int) -> None:
    fleet = VirtualFleet(make_strategy(strategy))
    for node in ("a", "b"):
        fleet.add(Node(node), Behaviour(service_s=1.0, jitter=0.3))
    fleet.add(Node("broken"), Behaviour(service_s=1.0, jitter=0.3, fails=all_but_each(nth)))
    fleet.stream(int(12 * END_S), 1 / 12)
    fleet.run()
    for begin_s, end_s, most in ((BREAKS_S, BREAKS_S + 10.0, 0.40), (BREAKS_S + 10.0, END_S, 0.34)):
        shares = Counter(
            node
            for record in fleet.records
            for node, sent_s in zip(record.nodes, record.sent_s, strict=True)
            if begin_s <= sent_s < end_s
        )
        assert shares["broken"] / shares.total() <= most
    assert all(record.succeeded for record in fleet.records)
