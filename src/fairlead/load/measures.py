"""Load measures: one number for how busy a candidate is; less is better, and a full one is infinitely busy.

A measure reads the ledger and the signals, and changes nothing. The idea of keeping the measure apart from the chooser
is Finagle's. Measures that rest on signals are made for one choice: they know its time, and what is usual among those
compared. A signal counts less the older it is, and what it no longer says is taken from the ledger.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from fairlead.load.config import LoadMeasure
from fairlead.load.signal import STALE, PeakLatency, Report, freshness

REPORT_HALF_LIFE_S = 5.0
LATENCY_HALF_LIFE_S = 30.0
FULL = float("inf")


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

    @property
    def order(self) -> int:
        """A number of its own, the same for as long as it lives."""
        ...

    @property
    def tokens(self) -> int:
        """Tokens leased: uncached prompts and expected answers."""
        ...

    @property
    def latency(self) -> PeakLatency:
        """Time to the first token, as of late."""
        ...

    @property
    def report(self) -> Report | None:
        """What the node said of itself last; None where it was never asked."""
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


def tokens_per_worth(candidate: Loaded) -> float:
    """Tokens in flight per unit of weight; tasks of which no tokens are known count one each."""
    return (candidate.tokens + candidate.in_flight + 1) / candidate.worth


def latency_per_worth(candidates: Sequence[L], now_s: float) -> "Measure[L] | None":
    """Peak latency times tasks in flight, the next one included, per unit of weight; None where all of it is stale.

    The latency is taken relative to the mean of what was compared, and leans to that mean as it ages.
    """
    weights = [_latency_weight(one, now_s) for one in candidates]
    total = sum(weights)
    if max(weights) < STALE:
        return None
    usual = sum([weight * one.latency.seconds for one, weight in zip(candidates, weights, strict=True)]) / total
    if usual <= 0.0:
        return pending_per_worth

    def measure(one: L) -> float:
        weight = _latency_weight(one, now_s)
        return (one.in_flight + 1) * (weight * one.latency.seconds / usual + 1.0 - weight) / one.worth

    return measure


def reported_per_worth(candidates: Sequence[L], now_s: float) -> "Measure[L] | None":
    """Tasks in flight and what the node said it has beyond them, per unit of weight; None where all of it is stale."""
    if max(_report_weight(one, now_s) for one in candidates) < STALE:
        return None

    def measure(one: L) -> float:
        report = one.report
        others = 0.0 if report is None else report.others * _report_weight(one, now_s)
        return (one.in_flight + others + 1) / one.worth

    return measure


def measure_of(kind: LoadMeasure, candidates: Sequence[L], now_s: float) -> "Measure[L] | None":
    """Return the measure of that name for one choice; None where all that it rests on is stale.

    Then the better of two by `pending_per_worth` is the one to take: everybody sees the same stale numbers, and would
    send to the same node.
    """
    if kind is LoadMeasure.LATENCY:
        return latency_per_worth(candidates, now_s)
    if kind is LoadMeasure.POLLED:
        return reported_per_worth(candidates, now_s)
    return tokens_per_worth if kind is LoadMeasure.TOKENS else pending_per_worth


def with_room(measure: "Measure[L]") -> "Measure[L]":
    """Return the measure by which those without a free slot are infinitely busy."""
    return lambda one: FULL if one.slots is not None and one.in_flight >= one.slots else measure(one)


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


def _latency_weight(one: Loaded, now_s: float) -> float:
    at_s = one.latency.at_s
    return 0.0 if at_s < 0.0 else freshness(now_s - at_s, LATENCY_HALF_LIFE_S)


def _report_weight(one: Loaded, now_s: float) -> float:
    report = one.report
    return 0.0 if report is None else freshness(now_s - report.sampled_s, REPORT_HALF_LIFE_S)
