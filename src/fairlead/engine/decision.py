"""A decision, kept as it was made and put into words only when somebody asks."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from fairlead.allocation import Lease
from fairlead.domain import Task
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Choice
from fairlead.routing.filters import Rejection

FULL_RECORDS = 12
"""Candidates written out in a record; the rest are counted."""


class Decision(msgspec.Struct, gc=False):
    """Who was picked for an attempt at a task, among whom, and the lease that came with it."""

    task: Task
    strategy: str
    choice: Choice
    lease: Lease
    rejected: Sequence[Rejection]
    pool_size: int
    at_s: float
    attempt: int = 1

    @property
    def candidate(self) -> Candidate:
        """The candidate that was picked."""
        return self.choice.picked


def describe(decision: Decision, shown: int | None = FULL_RECORDS) -> dict[str, object]:
    """Put a decision into plain data: ranked candidates with their factors, rejections with their reasons.

    The first `shown` of each are written out and the rest counted; None writes out all.
    """
    choice = decision.choice
    order = sorted(range(len(choice.compared)), key=lambda i: -choice.scores[i])
    rejected = decision.rejected[:shown]
    return {
        "category": decision.task.category.value,
        "asked_for": decision.task.model,
        "strategy": decision.strategy,
        "chosen": {"model": choice.picked.model.name, "node": choice.picked.node.name},
        "why": choice.why,
        "candidates": [_scored(choice, index) for index in order[:shown]],
        "candidates_compared": len(choice.compared),
        "candidates_qualified": decision.pool_size,
        "rejected": [
            {
                "model": one.candidate.model.name,
                "node": one.candidate.node.name,
                "reason": one.reason.value,
                "detail": one.detail,
            }
            for one in rejected
        ],
        "rejected_by_reason": dict(Counter(one.reason.value for one in decision.rejected)),
    }


def _scored(choice: Choice, index: int) -> dict[str, object]:
    candidate = choice.compared[index]
    return {
        "model": candidate.model.name,
        "node": candidate.node.name,
        "score": round(choice.scores[index], 4),
        "factors": {name: _factor(getattr(choice.standings[index], name)) for name in choice.factors},
    }


def _factor(value: float | None) -> dict[str, object]:
    return {"value": 0.5, "known": False} if value is None else {"value": round(value, 4), "known": True}
