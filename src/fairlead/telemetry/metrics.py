"""Counts and distributions of what the gateway does: plain integers on the hot path, Prometheus only when asked."""

from bisect import bisect_left
from collections import Counter

from fairlead.domain.health import Verdict
from fairlead.engine.events import (
    CircuitChanged,
    ConfigChanged,
    Event,
    FailedOver,
    HealthChanged,
    LeasesExpired,
    LoadStageChanged,
    Rescued,
    RescueFailed,
    StrategyChanged,
)

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Histogram:
    """Counts of values in fixed buckets; recording is O(log buckets), and there are few."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Record one value."""
        self.counts[bisect_left(LATENCY_BOUNDS_S, value)] += 1
        self.total += value


class PairMetrics:
    """What one model on one node has done."""

    __slots__ = ("first_token", "input_tokens", "latency", "output_tokens")

    def __init__(self) -> None:
        self.latency = Histogram()
        self.first_token = Histogram()
        self.input_tokens = 0
        self.output_tokens = 0


class MetricsCollector:
    """All counts of one gateway. Labels come from the configuration and from closed lists, so they are bounded."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str, str]] = Counter()
        """(model, node, category, outcome) -> exchanges."""
        self.failed_attempts: Counter[tuple[str, str]] = Counter()
        """(node, fault) -> attempts."""
        self.refused: Counter[str] = Counter()
        """Status -> requests that never became a task."""
        self.events: Counter[tuple[str, str]] = Counter()
        self.attempts = 0
        self.failovers: Counter[tuple[str, str]] = Counter()
        """(node that failed, fault) -> tasks that were sent to another node."""
        self.rescues: Counter[str] = Counter()
        """How -> answers that broke in the middle and were finished by another node."""
        self.rescues_failed = 0
        self.hedges: Counter[bool] = Counter()
        """Whether the second node was the first to answer -> tasks for which a second one was asked."""
        self.ejections: Counter[str] = Counter()
        self.config_reloads: Counter[str] = Counter()
        """`applied`, `unchanged` or `refused` -> readings of the configuration."""
        self.pairs: dict[tuple[str, str], PairMetrics] = {}

    def pair(self, model: str, node: str) -> PairMetrics:
        """Return the metrics of a model on a node."""
        found = self.pairs.get((model, node))
        if found is None:
            found = self.pairs[model, node] = PairMetrics()
        return found

    def on_event(self, event: Event) -> None:
        """Count what the fleet tells."""
        if isinstance(event, FailedOver):
            self.failovers[event.node, event.fault] += 1
        elif isinstance(event, Rescued):
            self.rescues[event.how] += 1
        elif isinstance(event, RescueFailed):
            self.rescues_failed += 1
        else:
            self._count_change(event)

    def _count_change(self, event: Event) -> None:
        """Count what befell a node or the fleet, not a single task."""
        if isinstance(event, CircuitChanged):
            self.events[f"circuit_{event.after}", event.node] += 1
        elif isinstance(event, HealthChanged):
            if event.after == Verdict.EJECTED:
                self.ejections[event.node] += 1
        elif isinstance(event, ConfigChanged):
            self.config_reloads["refused" if event.refused else "applied" if event.changes else "unchanged"] += 1
        elif isinstance(event, LeasesExpired):
            self.events["leases_expired", event.node] += event.count
        elif isinstance(event, StrategyChanged):
            self.events["strategy_changed", event.after] += 1
        elif isinstance(event, LoadStageChanged):
            self.events["load_stage", event.after] += 1

    def told(self) -> dict[str, object]:
        """Return the counts as plain data, to be kept."""
        return {
            "requests": [[*key, count] for key, count in self.requests.items()],
            "failed_attempts": [[*key, count] for key, count in self.failed_attempts.items()],
            "refused": dict(self.refused),
            "events": [[*key, count] for key, count in self.events.items()],
            "attempts": self.attempts,
            "failovers": [[*key, count] for key, count in self.failovers.items()],
            "rescues": dict(self.rescues),
            "rescues_failed": self.rescues_failed,
            "hedges": {"won": self.hedges[True], "lost": self.hedges[False]},
            "ejections": dict(self.ejections),
            "config_reloads": dict(self.config_reloads),
            "tokens": [[*key, one.input_tokens, one.output_tokens] for key, one in self.pairs.items()],
        }

    def clear(self) -> None:
        """Begin anew."""
        self.__init__()  # type: ignore[misc]  # the same object stays subscribed
