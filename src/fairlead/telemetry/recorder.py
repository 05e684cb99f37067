"""Listens to exchanges and events, and keeps what they tell: metrics, the decision log, the program's log."""

import logging
from typing import Any, Protocol

from fairlead.clock import wall_s
from fairlead.dialects.contract import ErrorInfo
from fairlead.engine.decision import Decision
from fairlead.engine.events import ConfigChanged, Event
from fairlead.errors import Fault
from fairlead.orchestrator.exchange import Exchange
from fairlead.persistence.rows import DecisionRow, FeedbackRow, StoreCounters, StoredDecision
from fairlead.telemetry.decision_log import DecisionLog, DecisionRecord, Failure, Feedback, from_store, to_row
from fairlead.telemetry.event_log import EventLog
from fairlead.telemetry.event_words import WORDS, Severity
from fairlead.telemetry.metrics import MetricsCollector

logger = logging.getLogger("fairlead")
_LEVELS = {
    Severity.GOOD: logging.INFO,
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.BAD: logging.WARNING,
}


class DecisionStore(Protocol):
    """Where decisions outlive the ring. Adding must neither wait nor raise."""

    @property
    def keeps_prompts(self) -> bool:
        """Whether anything of a prompt is stored."""
        ...

    @property
    def keeps_messages(self) -> bool:
        """Whether what nodes say of errors is stored: it may quote a prompt."""
        ...

    @property
    def counters(self) -> StoreCounters:
        """How it fares."""
        ...

    def add_decision(self, row: DecisionRow) -> None:
        """Log a decision."""
        ...

    def add_feedback(self, row: FeedbackRow) -> None:
        """Log what was said of an answer."""
        ...

    def find_decision(self, decision_id: str) -> StoredDecision | None:
        """Return a decision that was stored in full."""
        ...


class Recorder:
    """The watcher of a gateway's exchanges; with a store, they are logged there too."""

    def __init__(self, store: DecisionStore | None = None) -> None:
        self.metrics = MetricsCollector()
        self.decisions = DecisionLog()
        self.events = EventLog(wall_s())
        self._store = store
        self._keeps_prompts = store is not None and store.keeps_prompts
        self._keeps_messages = store is not None and store.keeps_messages
        self._failures: dict[Exchange, list[Failure]] = {}
        self._last_read: StoredDecision | None = None
        """What was read from the store last, until it is used or somebody judges: most questions come in pairs."""

    @property
    def state(self) -> StoreCounters | None:
        """How the store fares; None without one."""
        return None if self._store is None else self._store.counters

    def on_attempt_failed(self, exchange: Exchange, decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        """Note why an attempt failed. The node's words may quote a prompt, so they stay out of the program's log."""
        node = decision.candidate.node.name
        self.metrics.failed_attempts[node, fault.value] += 1
        failure = Failure(decision.attempt, node, fault, info.message)
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
        if exchange.hedge is not None:
            metrics.hedges[exchange.hedge.won] += 1
        failures = self._failures.pop(exchange, ()) if self._failures else ()
        record = DecisionRecord(
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
            exchange.call.prompt if self._keeps_prompts else None,
            error=exchange.error,
            step=exchange.step,
            queued_s=exchange.dispatch.queued_s,
            after=candidate.overall if decisions else None,
            rescues=exchange.rescues,
            hedge=exchange.hedge,
        )
        self.decisions.add(record)
        if self._store is not None:
            self._store.add_decision(to_row(record, with_messages=self._keeps_messages))

    def on_feedback(self, record: DecisionRecord, feedback: Feedback, learnt: dict[str, Any] | None = None) -> None:
        """Keep what was said of an answer and what it changed; a decision that somebody judged is always stored."""
        record.feedback = feedback
        if learnt is not None:
            record.learnt = learnt
        if self._store is None:
            return
        self._last_read = None
        if record.stored is None:
            row = to_row(record, with_messages=self._keeps_messages)
            row.is_again = True
            self._store.add_decision(row)
        score, comment, at_s = feedback.score, feedback.comment, feedback.at_s
        self._store.add_feedback(FeedbackRow(record.task.id, at_s, score, comment, learnt))

    def find(self, decision_id: str, tenant: str | None, *, is_admin: bool) -> DecisionRecord | None:
        """Return the record of a decision to the one whose key made it, or to an admin; None for everybody else.

        What has left the ring is read from the store, where it was stored in full.
        """
        record = self.decisions.find(decision_id, tenant, is_admin=is_admin)
        if record is not None or self._store is None:
            return record
        stored = self._last_read = self._store.find_decision(decision_id)
        return None if stored is None or not (is_admin or stored.tenant == tenant) else from_store(stored)

    def given(self, decision_id: str) -> FeedbackRow | None:
        """Return the newest feedback on an answer: from the ring, or from the store for what has left it."""
        record = self.decisions.find(decision_id, None, is_admin=True)
        if record is not None:
            said = record.feedback
            if said is None:
                return None
            return FeedbackRow(decision_id, said.at_s, said.score, said.comment, record.learnt)
        stored, self._last_read = self._last_read, None
        if self._store is not None and (stored is None or stored.id != decision_id):
            stored = self._store.find_decision(decision_id)
        return stored.feedback[-1] if stored is not None and stored.feedback else None

    def on_event(self, event: Event) -> None:
        """Count an event, keep it, and log it; what concerns single tasks is only logged for those who debug."""
        self.metrics.on_event(event)
        words = WORDS.get(type(event))
        if words is None:
            return
        self.events.add(event, wall_s())
        if isinstance(event, ConfigChanged):  # who changes it logs it line by line
            return
        level = logging.DEBUG if words.is_frequent(event) else _LEVELS[words.weigh(event)]
        if logger.isEnabledFor(level):
            logger.log(level, "%s", words.say(event))
