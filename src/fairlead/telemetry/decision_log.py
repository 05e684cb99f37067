"""The decisions of the recent past, bounded; a prompt is kept only where the store is asked to keep prompts."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from fairlead.dialects.contract import Usage
from fairlead.domain import Task, TaskCategory
from fairlead.engine.decision import FULL_RECORDS, Decision, describe
from fairlead.errors import Fault, NoCandidateError, RoutingError
from fairlead.orchestrator.steps import HedgeStep, RescueStep, Step
from fairlead.persistence.rows import DecisionRow, StoredDecision, learnt_from
from fairlead.routing.candidate import Standing

MAX_RECORD_BYTES = 4096
_ERROR_LETTERS = 800
_RESCUES = 4
"""That are told of one task."""
_SIZES = ((FULL_RECORDS, None), (6, None), (3, None), (1, None), (1, 500))
"""(candidates in full, letters of a comment), tried in turn until a record is small enough; None is all there are."""


class Failure(msgspec.Struct, gc=False):
    """An attempt that failed."""

    attempt: int
    node: str
    fault: Fault
    message: str


class Feedback(msgspec.Struct, frozen=True):
    """What somebody said of an answer."""

    score: float
    """In [0, 1]."""
    comment: str | None = None
    at_s: float = 0.0
    """Wall clock."""


class DecisionRecord(msgspec.Struct):
    """What became of one task."""

    task: Task
    tenant: str | None
    at_s: float
    """Wall clock."""
    decisions: Sequence[Decision]
    failures: Sequence[Failure] = ()
    fault: Fault | None = None
    status: int = 0
    latency_s: float = 0.0
    first_token_s: float | None = None
    usage: Usage | None = None
    prompt: str | None = None
    """None unless the store keeps prompts."""
    feedback: Feedback | None = None
    """The newest."""
    error: RoutingError | None = None
    """Why routing gave up, where it did."""
    step: Step | None = None
    """Which step of a cascade it was; None where it was no part of one."""
    queued_s: float = 0.0
    """How long it waited for room."""
    after: Standing | None = None
    """How the candidate stood once its outcome was learnt."""
    learnt: dict[str, Any] | None = None
    """What feedback taught, as plain data."""
    rescues: Sequence[RescueStep] = ()
    """By whom an answer that broke in the middle was taken over, in order."""
    hedge: HedgeStep | None = None
    stored: StoredDecision | None = None
    """Where it was read from the store, which keeps what was told, not the decisions themselves."""

    @property
    def model(self) -> str:
        """The model that was asked last; empty where none was."""
        if self.decisions:
            return self.decisions[-1].candidate.model.name
        return "" if self.stored is None else self.stored.model


class DecisionLog:
    """A ring of records, by task id."""

    def __init__(self, size: int = 1000) -> None:
        self._size = size
        self._records: OrderedDict[str, DecisionRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: DecisionRecord) -> None:
        """Keep a record, and drop the oldest beyond the ring's size."""
        self._records[record.task.id] = record
        if len(self._records) > self._size:
            self._records.popitem(last=False)

    def find(self, decision_id: str, tenant: str | None, *, is_admin: bool) -> DecisionRecord | None:
        """Return a record to the one whose key made it, or to an admin; None for everybody else."""
        record = self._records.get(decision_id)
        if record is None or not (is_admin or record.tenant == tenant):
            return None
        return record


def render(record: DecisionRecord, *, with_messages: bool = True, full: bool = False) -> dict[str, Any]:
    """Put a record into plain data, below 4 KB, or with `full` however long.

    What nodes and plugins said of errors may be left out, as it may quote a prompt.
    """
    if record.stored is not None:
        stored: dict[str, object] = record.stored.told()
        if record.feedback is not None:
            stored |= {"feedback": _said(record.feedback), "learnt": learnt_from(stored, record.learnt)}
        return stored
    usage = record.usage
    told: dict[str, object] = {
        "id": record.task.id,
        "at": round(record.at_s, 3),
        "outcome": "success" if record.fault is None else record.fault.value,
        "status": record.status,
        "attempts": len(record.decisions),
        "latency_ms": round(record.latency_s * 1000, 2),
        "first_token_ms": None if record.first_token_s is None else round(record.first_token_s * 1000, 2),
        "queued_ms": round(record.queued_s * 1000, 2),
        "priority": record.task.priority,
        "usage": None if usage is None else msgspec.to_builtins(usage),
        "failures": [
            {
                "attempt": one.attempt,
                "node": one.node,
                "fault": one.fault.value,
                "message": one.message[:200] if with_messages else "",
            }
            for one in record.failures[:8]
        ],
        "rescues": [msgspec.structs.asdict(one) for one in record.rescues[:_RESCUES]],
        "hedge": None if record.hedge is None else msgspec.structs.asdict(record.hedge),
        "feedback": None,
        "learnt": [*_from_outcome(record), *([] if record.learnt is None else [record.learnt])],
        "decision": None,
    }
    if record.error is not None:
        told["error"] = str(record.error)[:_ERROR_LETTERS]
        told["ruled_out"] = record.error.reasons if isinstance(record.error, NoCandidateError) else {}
    if record.step is not None:
        reason = record.step.reason if with_messages else record.step.outline
        told["cascade"] = {"step": str(record.step), "not_taken_because": reason and reason[:200]}
    for shown, letters in ((None, None),) if full else _SIZES:
        told["feedback"] = _said(record.feedback, letters)
        told["decision"] = decision = describe(record.decisions[-1], shown) if record.decisions else None
        if decision is not None and record.step is not None:
            decision["asked_for"] = record.step.asked_for
        if len(msgspec.json.encode(told)) <= MAX_RECORD_BYTES:
            break
    return told


def _from_outcome(record: DecisionRecord) -> list[dict[str, object]]:
    """Tell how the outcome moved the candidate's performance; nothing where it said nothing about the node."""
    if record.after is None or not record.decisions:
        return []
    choice = record.decisions[-1].choice
    place = next((i for i, one in enumerate(choice.compared) if one is choice.picked), None)
    before = choice.standings[place] if place is not None and len(choice.standings) > place else None
    score = before.performance if isinstance(before, Standing) else None
    return [
        {
            "from": "outcome",
            "model": choice.picked.model.name,
            "node": choice.picked.node.name,
            "performance_before": None if score is None else round(score, 4),
            "performance_after": None if record.after.performance is None else round(record.after.performance, 4),
        }
    ]


def to_row(record: DecisionRecord, *, with_messages: bool = False) -> DecisionRow:
    """Put a record into a row for the store, which tells it in its own thread later: the parts of a record stay."""
    usage, fault, price, propensity = record.usage, record.fault, None, None
    model = node = ""
    if record.decisions:
        decision = record.decisions[-1]
        candidate = decision.choice.picked
        model, node, price = candidate.model.name, candidate.node.name, candidate.model.price
        propensity = partial(_propensity, decision)
    input_tokens, output_tokens = (0, 0) if usage is None else (usage.input_tokens, usage.output_tokens)
    return DecisionRow(  # by position: by name it would take four times as long
        record.task.id,
        record.at_s,
        record.task.category,
        model,
        node,
        "success" if fault is None else fault.value,
        record.latency_s,
        record.tenant,
        record.first_token_s,
        input_tokens,
        output_tokens,
        None if price is None or usage is None else price.cost_usd(input_tokens, output_tokens),
        propensity,
        record.prompt,
        partial(render, record, with_messages=with_messages),
        fault is not None or bool(record.failures or record.rescues) or record.feedback is not None,
    )


def from_store(stored: StoredDecision) -> DecisionRecord:
    """Put what the store kept of a decision into a record, to be shown and judged; its task is only known in part."""
    category = TaskCategory(stored.category) if stored.category in set(TaskCategory) else TaskCategory.UNKNOWN
    task = Task(stored.id, 0, category, tenant=stored.tenant)
    return DecisionRecord(task, stored.tenant, stored.at_s, (), latency_s=stored.latency_s, stored=stored)


def _propensity(decision: Decision) -> float | None:
    return decision.propensity


def _said(feedback: Feedback | None, letters: int | None = None) -> dict[str, object] | None:
    if feedback is None:
        return None
    comment = None if feedback.comment is None else feedback.comment[:letters]
    return {"score": feedback.score, "comment": comment, "at": round(feedback.at_s, 3)}
