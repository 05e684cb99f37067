"""Metrics in Prometheus' text format, written when they are asked for."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from fairlead.admission.state import QueueState
from fairlead.domain import Capacity
from fairlead.domain.health import SystemHealth, Verdict
from fairlead.engine.fleet import Fleet
from fairlead.persistence.rows import StoreCounters
from fairlead.routing.engine import RoutingEngine
from fairlead.telemetry.metrics import LATENCY_BOUNDS_S, Histogram, MetricsCollector

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_HELD = ("slots", "tokens", "memory_bytes", "gpu_memory_bytes")
_CIRCUIT_LEVELS = {"closed": 0, "half_open": 1, "open": 2}


class _Collector(Collector):
    def __init__(
        self,
        metrics: MetricsCollector,
        fleet: Fleet,
        state: StoreCounters | None,
        queue: QueueState | None,
        health: SystemHealth | None,
        degradation_step: int,
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._degradation_step = degradation_step
        self._fleet = fleet
        self._state = state
        self._queue = queue

    def collect(self) -> Iterable[Metric]:
        """Yield every family."""
        yield from self._traffic()
        yield from self._distributions()
        yield from self._fleet_state()
        yield from _troubles(self._metrics)
        if self._health is not None:
            yield from _health(self._health, self._degradation_step)
        yield from _capacity(self._fleet)
        if self._queue is not None:
            yield from _queued(self._queue)
        if self._fleet.engine is not None:
            yield from _routing(self._fleet.engine)
        if self._state is not None:
            yield from _kept(self._state)

    def _traffic(self) -> Iterable[Metric]:
        metrics = self._metrics
        labels = ["model", "node", "category", "outcome"]
        requests = CounterMetricFamily("fairlead_requests", "Exchanges that are over", labels=labels)
        for key, count in metrics.requests.items():
            requests.add_metric(list(key), count)
        yield requests
        failed = CounterMetricFamily("fairlead_failed_attempts", "Attempts that failed", labels=["node", "fault"])
        for pair, count in metrics.failed_attempts.items():
            failed.add_metric(list(pair), count)
        yield failed
        refused = CounterMetricFamily("fairlead_refused", "Requests refused at the door", labels=["status"])
        for status, count in metrics.refused.items():
            refused.add_metric([status], count)
        yield refused
        events = CounterMetricFamily(
            "fairlead_events", "Circuit, lease and strategy events", labels=["event", "subject"]
        )
        for pair, count in metrics.events.items():
            events.add_metric(list(pair), count)
        yield events
        yield CounterMetricFamily("fairlead_attempts", "Requests sent to nodes", value=metrics.attempts)

    def _distributions(self) -> Iterable[Metric]:
        labels = ["model", "node"]
        latency = HistogramMetricFamily("fairlead_latency_seconds", "Whole answers", labels=labels)
        first = HistogramMetricFamily("fairlead_first_token_seconds", "Streams, to the first piece", labels=labels)
        tokens = CounterMetricFamily("fairlead_tokens", "Tokens", labels=[*labels, "direction"])
        for (model, node), pair in self._metrics.pairs.items():
            latency.add_metric([model, node], _buckets(pair.latency), pair.latency.total)
            first.add_metric([model, node], _buckets(pair.first_token), pair.first_token.total)
            tokens.add_metric([model, node, "input"], pair.input_tokens)
            tokens.add_metric([model, node, "output"], pair.output_tokens)
        yield latency
        yield first
        yield tokens

    def _fleet_state(self) -> Iterable[Metric]:
        in_flight = GaugeMetricFamily("fairlead_in_flight", "Leases out", labels=["node"])
        circuit = GaugeMetricFamily("fairlead_circuit", "0 closed, 1 half open, 2 open", labels=["node"])
        for name, state in self._fleet.nodes.items():
            in_flight.add_metric([name], state.account.in_flight)
            circuit.add_metric([name], _CIRCUIT_LEVELS[state.breaker.state.value])
        yield in_flight
        yield circuit


def _troubles(metrics: MetricsCollector) -> Iterable[Metric]:
    """Yield what was done about nodes and answers that failed. Won or lost is told of a hedge, not both of one task."""
    failovers = CounterMetricFamily("fairlead_failovers", "Tasks sent to another node", labels=["node", "fault"])
    for pair, count in metrics.failovers.items():
        failovers.add_metric(list(pair), count)
    yield failovers
    rescues = CounterMetricFamily("fairlead_rescues", "Broken answers that another node finished", labels=["how"])
    for how, count in metrics.rescues.items():
        rescues.add_metric([how], count)
    yield rescues
    yield CounterMetricFamily("fairlead_rescues_failed", "Broken answers left broken", value=metrics.rescues_failed)
    hedges = CounterMetricFamily("fairlead_hedges", "Tasks for which a second node was asked", labels=["won"])
    for won in (True, False):
        hedges.add_metric([str(won).lower()], metrics.hedges[won])
    yield hedges
    ejections = CounterMetricFamily("fairlead_ejections", "Times a node was left out as an outlier", labels=["node"])
    for node, count in metrics.ejections.items():
        ejections.add_metric([node], count)
    yield ejections
    reloads = CounterMetricFamily("fairlead_config_reloads", "Readings of the configuration", labels=["result"])
    for result, count in metrics.config_reloads.items():
        reloads.add_metric([result], count)
    yield reloads


def _health(health: SystemHealth, degradation_step: int) -> Iterable[Metric]:
    fares = GaugeMetricFamily("fairlead_node_health", "1 for the verdict that holds", labels=["node", "verdict"])
    for name, report in health.nodes.items():
        for verdict in Verdict:
            fares.add_metric([name, verdict.value], int(report.verdict is verdict))
    yield fares
    yield GaugeMetricFamily("fairlead_pressure", "How hard things are, from 0 to 1", health.pressure)
    taken = "Steps of the ladder of degradation that are taken"
    yield GaugeMetricFamily("fairlead_degradation_step", taken, degradation_step)


def _capacity(fleet: Fleet) -> Iterable[Metric]:
    share = GaugeMetricFamily("fairlead_leased_share", "Of what a node has least left of", labels=["node"])
    warmth = GaugeMetricFamily("fairlead_warmth", "Share that may be leased while a node warms up", labels=["node"])
    labels = ["node", "resource"]
    leased = GaugeMetricFamily("fairlead_leased", "What tasks hold of a node", labels=labels)
    capacity = GaugeMetricFamily("fairlead_capacity", "What a node has, as far as that is known", labels=labels)
    for name, state in fleet.nodes.items():
        account = state.account
        share.add_metric([name], account.utilization)
        warmth.add_metric([name], account.warmth)
        held = (account.in_flight, account.tokens, account.memory_bytes, account.gpu_memory_bytes)
        for resource, amount in zip(_HELD, held, strict=True):
            leased.add_metric([name, resource], amount)
        for resource in Capacity.__struct_fields__:
            amount = getattr(account.capacity, resource)
            if amount is not None:
                capacity.add_metric([name, resource], amount)
    yield from (share, warmth, leased, capacity)
    yield CounterMetricFamily("fairlead_leases_expired", "Their owners had vanished", value=fleet.ledger.expired_total)


def _queued(queue: QueueState) -> Iterable[Metric]:
    labels = ["class"]
    waiting = GaugeMetricFamily("fairlead_waiting", "Tasks that wait for room", labels=labels)
    size = GaugeMetricFamily("fairlead_waiting_bytes", "Of requests that are kept meanwhile", labels=labels)
    oldest = GaugeMetricFamily("fairlead_oldest_wait_seconds", "Of those who wait", labels=labels)
    expected = GaugeMetricFamily("fairlead_expected_wait_seconds", "Of one more task", labels=labels)
    for kind, one in queue.classes.items():
        waiting.add_metric([kind.value], one.waiting)
        size.add_metric([kind.value], one.size_bytes)
        oldest.add_metric([kind.value], one.oldest_wait_s)
        expected.add_metric([kind.value], one.expected_wait_s)
    yield from (waiting, size, oldest, expected)
    left = CounterMetricFamily("fairlead_waited", "Tasks that waited, by what came of it", labels=["fate"])
    for fate in ("admitted", "expired", "evicted"):
        left.add_metric([fate], getattr(queue, f"{fate}_total"))
    yield left
    refused = CounterMetricFamily("fairlead_queue_refused", "Tasks that might not wait", labels=["reason"])
    for reason, count in queue.refused.items():
        refused.add_metric([reason], count)
    yield refused


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    bounds = [*(str(bound) for bound in LATENCY_BOUNDS_S), "+Inf"]
    running = 0
    buckets: list[tuple[str, float]] = []
    for bound, count in zip(bounds, histogram.counts, strict=True):
        running += count
        buckets.append((bound, running))
    return buckets


def _routing(engine: RoutingEngine) -> Iterable[Metric]:
    rankings = CounterMetricFamily("fairlead_rankings", "Rankings of models, by where they came from", labels=["from"])
    rankings.add_metric(["cache"], engine.cache.hits)
    rankings.add_metric(["new"], engine.cache.misses)
    yield rankings


def _kept(state: StoreCounters) -> Iterable[Metric]:
    rows = CounterMetricFamily("fairlead_state_rows", "Rows for the state file, by their fate", labels=["fate"])
    for fate in ("written", "counted", "dropped", "aged_out"):
        rows.add_metric([fate], getattr(state, f"rows_{fate}"))
    yield rows
    yield GaugeMetricFamily("fairlead_state_failing", "1 while the state file cannot be written", state.is_failing)
    yield GaugeMetricFamily("fairlead_state_bytes", "Size of the state file", state.file_bytes)


def exposition(
    metrics: MetricsCollector,
    fleet: Fleet,
    state: StoreCounters | None = None,
    queue: QueueState | None = None,
    *,
    health: SystemHealth | None = None,
    degradation_step: int = 0,
) -> bytes:
    """Return everything in Prometheus' text format.

    Where they are given: how the state file fares, the queue stands and the nodes are, and how many steps of the
    ladder of degradation are taken.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, fleet, state, queue, health, degradation_step))
    return generate_latest(registry)
