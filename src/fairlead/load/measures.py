"""Load measures: one number for how busy a candidate is; less is better.

A measure reads the ledger and nothing else. The idea of keeping the measure apart from the chooser is Finagle's.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Leasable(Protocol):
    """What is out on a node, against what it has."""

    @property
    def in_flight(self) -> int:
        """Leases taken and not yet given back."""
        ...

    @property
    def slots(self) -> int | None:
        """How many tasks the node works on at once; None where unknown."""
        ...


class Loaded(Leasable, Protocol):
    """What a measure may look at."""

    @property
    def worth(self) -> float:
        """Weight relative to its peers times reliability: one less the decayed share of failures."""
        ...


L = TypeVar("L", bound=Loaded)

Measure = Callable[[L], float]


def pending(candidate: Loaded) -> float:
    """Tasks in flight."""
    return candidate.in_flight


def pending_per_worth(candidate: Loaded) -> float:
    """Tasks in flight, the next one included, per unit of weight that can be relied on.

    A node that fails fast has little in flight and would look idle (Prequal calls this sinkholing): dividing by its
    reliability makes a node that fails half its tasks count as twice as busy.
    """
    return (candidate.in_flight + 1) / candidate.worth


def typical_pending(accounts: Sequence[Leasable]) -> int:
    """Return the median of what is in flight: the measure for "busier than its peers"."""
    return sorted([account.in_flight for account in accounts])[len(accounts) // 2]


def is_saturated(account: Leasable, typical: int) -> bool:
    """Tell whether a node should get no more by preference.

    True when its slots are full or, where they are unknown, when it has more than twice its peers' median in flight
    plus two.
    """
    slots = account.slots
    if slots is not None:
        return account.in_flight >= slots
    return account.in_flight > 2 * typical + 2
