"""Listens to exchanges and events, and keeps what they tell: metrics, the decision log, the program's log."""

import logging

from fairlead.clock import wall_s
from fairlead.dialects.contract import ErrorInfo
from fairlead.engine.events import CircuitChanged, Event, PairBlocked
from fairlead.errors import Fault
from fairlead.orchestrator.exchange import Exchange
from fairlead.telemetry.decision_log import DecisionLog, DecisionRecord, Failure
from fairlead.telemetry.metrics import Metrics

logger = logging.getLogger("fairlead")


class Recorder:
    """The watcher of a gateway's exchanges."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.decisions = DecisionLog()
        self._failures: dict[Exchange, list[Failure]] = {}

    def on_attempt_failed(self, exchange: Exchange, fault: Fault, info: ErrorInfo) -> None:
        """Note why an attempt failed. The node's words may quote a prompt, so they stay out of the program's log."""
        node = exchange.decisions[-1].candidate.node.name if exchange.decisions else ""
        self.metrics.failed_attempts[node, fault.value] += 1
        failure = Failure(len(exchange.decisions), node, fault, info.message)
        self._failures.setdefault(exchange, []).append(failure)

    def on_finished(self, exchange: Exchange) -> None:
        """Count an exchange and keep its decision."""
        task = exchange.task
        fault = exchange.fault
        latency_s = (exchange.ended_s or exchange.began_s) - exchange.began_s
        decisions = exchange.decisions
        usage = exchange.usage
        first_token_s = None if exchange.first_s is None else exchange.first_s - exchange.began_s
        metrics = self.metrics
        metrics.attempts += len(decisions)
        if decisions:
            candidate = decisions[-1].choice.picked
            model, node = candidate.model.name, candidate.node.name
        else:
            model = node = ""
        metrics.requests[model, node, task.category, "success" if fault is None else fault.value] += 1
        if fault is None:
            pair = metrics.pair(model, node)
            pair.latency.observe(latency_s)
            if first_token_s is not None:
                pair.first_token.observe(first_token_s)
            if usage is not None:
                pair.input_tokens += usage.input_tokens
                pair.output_tokens += usage.output_tokens
        failures = self._failures.pop(exchange, ()) if self._failures else ()
        self.decisions.add(
            DecisionRecord(
                task,
                task.tenant,
                wall_s(),
                decisions,
                failures,
                fault,
                exchange.status,
                latency_s,
                first_token_s,
                usage,
            )
        )

    def on_event(self, event: Event) -> None:
        """Count an event, and log those that a person should see."""
        self.metrics.on_event(event)
        if isinstance(event, CircuitChanged):
            level = logging.WARNING if event.after == "open" else logging.INFO
            logger.log(level, "node %s: circuit %s -> %s (%s)", event.node, event.before, event.after, event.cause)
        elif isinstance(event, PairBlocked):
            logger.warning(
                "node %s refuses model %s (%s): not asked for it for a while", event.node, event.model, event.fault
            )
