"""What decisions read of a performance monitor: values that hold until they have moved.

Every value that was read is remembered. An outcome that moves one by more than `MOVED` makes `version` rise, so that
rankings which rest on it are worked out anew; one that nobody read, or that hardly moves, costs nothing.
"""

from typing import Any

import msgspec

from fairlead.domain import Outcome, TaskCategory
from fairlead.routing.factors import UNKNOWN
from fairlead.routing.monitor import Anomaly, PerformanceMonitor

MOVED = 0.0025
"""How far a score may drift before what rests on it is worked out anew."""
MOVED_SHARE = 0.05
"""The same for lengths of answers, as a share of them."""

SETTLED = 10.0
"""Outcomes below which each further one counts, as it changes how much is known."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """What was seen of a model in a category; where that is little, of the model over all."""

    performance: float = UNKNOWN
    """0.7 x expected success + 0.3 x speed, speed being 2 s / (2 s + latency)."""
    history: float = UNKNOWN
    """Expected share of successes over all categories."""
    weight: float = 0.0
    """Outcomes remembered, over all categories; 0 where nothing was seen."""
    latency_s: float | None = None
    """Mean time to the whole answer, of successes."""
    output_tokens: float | None = None
    cost_usd: float | None = None
    """Mean of the costs that were reported."""
    anomalies: tuple[Anomaly, ...] = ()


NOTHING = Seen()


class ExperienceBook:
    """The experience with every model. Written by its engine alone."""

    def __init__(self, monitor: PerformanceMonitor) -> None:
        self.monitor = monitor
        self.version = 0
        """Rises whenever something that decisions read has moved."""
        self._read: dict[str, dict[TaskCategory, Seen]] = {}

    def seen(self, model: str, category: TaskCategory, now_s: float) -> Seen:
        """Return what was seen of a model in a category."""
        read = self._read.setdefault(model, {})
        seen = read.get(category)
        if seen is None:
            seen = read[category] = self._look(model, category, now_s)
        return seen

    def record(self, model: str, outcome: Outcome, now_s: float, cost_usd: float | None) -> None:
        """Learn from one outcome."""
        monitor, category = self.monitor, outcome.category
        monitor.record(model, category, outcome, now_s, cost_usd)
        read = self._read.get(model)
        if not read:
            return
        seen = read.get(category)
        if seen is not None and (
            abs((monitor.performance(model, category, now_s) or UNKNOWN) - seen.performance) <= MOVED
            and abs((monitor.success(model, now_s) or 0.0) - seen.history) <= MOVED
            and seen.weight >= SETTLED
            and _is_near(seen.output_tokens, monitor.expected_output_tokens(model, category))
            and (cost_usd is None or seen.cost_usd is not None)
        ):
            return
        read.clear()
        self.version += 1

    def freshen(self) -> None:
        """Read everything anew: time has worn the evidence."""
        self._read.clear()

    def moved(self) -> None:
        """Take note that the monitor holds something else altogether."""
        self._read.clear()
        self.version += 1

    def error_rate(self, model: str, now_s: float) -> float | None:
        """Return the expected share of failures of a model; None where nothing was seen."""
        success = self.monitor.success(model, now_s)
        return None if success is None else 1.0 - success

    def _look(self, model: str, category: TaskCategory, now_s: float) -> Seen:
        monitor = self.monitor
        history = monitor.success(model, now_s)
        if history is None:
            return NOTHING
        overall, own = monitor.view(model, None, now_s), monitor.view(model, category, now_s)
        performance = monitor.performance(model, category, now_s)
        return Seen(
            UNKNOWN if performance is None else performance,
            history,
            overall.outcomes,
            monitor.expected_latency_s(model, category),
            monitor.expected_output_tokens(model, category),
            overall.cost_usd if own.cost_usd is None else own.cost_usd,
            own.anomalies,
        )


def _is_near(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(new - old) <= MOVED_SHARE * old


def told(anomalies: tuple[Any, ...]) -> str:
    """Put anomalies into words; empty where there are none."""
    words = {"success": "fails more than usual", "pace": "is slower than usual"}
    return " and ".join(words.get(one.kind, one.kind) for one in anomalies)
