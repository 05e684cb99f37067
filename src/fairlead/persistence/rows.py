"""What the decision log keeps: of a task, of what was said about its answer, and of the many that are only counted."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class DecisionRow(msgspec.Struct, gc=False):
    """What became of one task, on its way into the log."""

    id: str
    at_s: float
    """Wall clock."""
    category: str
    model: str
    node: str
    outcome: str
    """`success`, or the fault that ended it."""
    latency_s: float
    tenant: str | None = None
    first_token_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None
    """None where no price is known."""
    propensity: Callable[[], float | None] | None = None
    """Gives the chance that this choice had, for off-policy estimates; called later, like `tell`."""
    prompt: str | None = None
    """As the caller wrote it: what is stored of it is up to `log_prompts`."""
    tell: Callable[[], object] | None = None
    """Gives everything that was compared, as plain data; called later and elsewhere, so of values that stay."""
    is_special: bool = False
    """Stored in full whatever the rate: an error, a rescue, or one with feedback."""
    is_again: bool = False
    """Added before, and told anew: it is the same task, so it is not counted once more."""


class FeedbackRow(msgspec.Struct, frozen=True):
    """What somebody said of an answer."""

    decision_id: str
    at_s: float
    """Wall clock."""
    score: float
    """In [0, 1]."""
    comment: str | None = None
    learnt: dict[str, Any] | None = None
    """What it changed, as plain data."""


class StoredDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it stands in the log."""

    id: str
    at_s: float
    tenant: str | None
    category: str
    model: str
    node: str
    outcome: str
    latency_s: float
    first_token_s: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    propensity: float | None
    """The chance that this choice had; None where it is not known."""
    prompt: str | None
    """What `log_prompts` left of it."""
    factors: dict[str, Any]
    """Everything that was compared, as it was told when the task was over."""
    feedback: tuple[FeedbackRow, ...] = ()
    """Oldest first."""

    def told(self) -> dict[str, Any]:
        """Return everything as plain data: what was compared, with the newest feedback and what came of it."""
        told = dict(self.factors)
        if self.feedback:
            last = self.feedback[-1]
            told["feedback"] = {"score": last.score, "comment": last.comment, "at": round(last.at_s, 3)}
            told["learnt"] = learnt_from(told, last.learnt)
        return told


def learnt_from(told: Mapping[str, Any], feedback: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return what the outcome taught, as told when the task was over, and what feedback taught since."""
    outcome = [one for one in told.get("learnt") or () if one.get("from") == "outcome"]
    return outcome if feedback is None else [*outcome, feedback]


class StoreCounters(msgspec.Struct, frozen=True, kw_only=True):
    """How the store fares; counts are since it was opened."""

    rows_written: int = 0
    rows_counted: int = 0
    """Decisions beyond the rate: only their number was kept."""
    rows_dropped: int = 0
    """Rows lost, because the disk did not take them in time."""
    rows_aged_out: int = 0
    """Old rows removed for `max_mb` or `keep_days`."""
    documents_written: int = 0
    writes_failed: int = 0
    is_failing: bool = False
    """Whether the last write failed; it is tried again."""
    file_bytes: int = 0
