"""The decisions of the recent past, bounded; no prompt and no answer is kept."""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from fairlead.dialects.contract import Usage
from fairlead.domain import Task
from fairlead.engine.decision import FULL_RECORDS, Decision, describe
from fairlead.errors import Fault

MAX_RECORD_BYTES = 4096


class Failure(msgspec.Struct, gc=False):
    """An attempt that failed."""

    attempt: int
    node: str
    fault: Fault
    message: str


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


def render(record: DecisionRecord) -> dict[str, object]:
    """Put a record into plain data, below 4 KB."""
    usage = record.usage
    told: dict[str, object] = {
        "id": record.task.id,
        "at": round(record.at_s, 3),
        "outcome": "success" if record.fault is None else record.fault.value,
        "status": record.status,
        "attempts": len(record.decisions),
        "latency_ms": round(record.latency_s * 1000, 2),
        "first_token_ms": None if record.first_token_s is None else round(record.first_token_s * 1000, 2),
        "usage": None if usage is None else msgspec.to_builtins(usage),
        "failures": [
            {"attempt": one.attempt, "node": one.node, "fault": one.fault.value, "message": one.message[:200]}
            for one in record.failures[:8]
        ],
        "decision": None,
    }
    for shown in (FULL_RECORDS, 6, 3, 1):
        told["decision"] = describe(record.decisions[-1], shown) if record.decisions else None
        if len(msgspec.json.encode(told)) <= MAX_RECORD_BYTES:
            break
    return told
