"""Which candidates cannot do a task, each with its reason, from a closed list."""

import math
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from fairlead.domain import Task
from fairlead.routing.candidate import Candidate


class Reason(StrEnum):
    """Why a candidate is ruled out."""

    CIRCUIT_OPEN = "circuit open"
    COOLING = "asked to be left alone"
    DRAINING = "draining"
    DOWN = "does not answer"
    EJECTED = "fails more than its peers"
    BLOCKED = "refuses this model"
    TRIED = "tried already"
    FULL = "no free slot"
    ROOM = "too little room"
    RATE = "limit per minute reached"
    TOO_LARGE = "larger than the node"
    MEMORY = "would unload a busy model"
    CAPABILITY = "lacks a capability"
    CONTEXT = "context too small"
    COST = "too expensive"


WAITING_HELPS = frozenset((Reason.FULL, Reason.ROOM, Reason.RATE, Reason.MEMORY))
"""What others' work, once it ends, does away with."""


class Rejection(msgspec.Struct, frozen=True, gc=False):
    """A candidate that was ruled out, and why."""

    candidate: Candidate
    reason: Reason
    detail: str = ""


def unfit(task: Task, candidate: Candidate, min_context: int = 0) -> Rejection | None:
    """Say why a candidate cannot meet the task's requirements, or None; what is unknown rules nothing out."""
    model = candidate.model
    if task.needs and model.capabilities is not None and not task.needs <= model.capabilities:
        missing = ", ".join(sorted(task.needs - model.capabilities))
        return Rejection(candidate, Reason.CAPABILITY, missing)
    needed = max(task.input_tokens + task.output_tokens, min_context)
    if model.context_tokens is not None and needed > model.context_tokens:
        return Rejection(candidate, Reason.CONTEXT, f"{needed} tokens needed, {model.context_tokens} there")
    if task.max_cost_usd is not None and model.price is not None:
        cost_usd = model.price.cost_usd(task.input_tokens, task.output_tokens)
        if cost_usd > task.max_cost_usd:
            return Rejection(candidate, Reason.COST, too_dear(cost_usd, task.max_cost_usd))
    return None


def too_dear(cost_usd: float, max_cost_usd: float) -> str:
    """Say what a task would cost, and what it may."""
    return f"about ${_plain(cost_usd)}, at most ${_plain(max_cost_usd)} allowed"


def _plain(amount: float) -> str:
    """Write six decimals, or as many as it takes for three significant digits, without zeros at the end."""
    if 0.0 < amount < 1e-12:  # a price for a test at best
        return f"{amount:.3g}"
    decimals = 6 if amount <= 0.0 else max(6, 2 - math.floor(math.log10(amount)))
    return f"{amount:.{decimals}f}".rstrip("0").rstrip(".")


def split_fit(
    task: Task, candidates: Sequence[Candidate], min_context: int = 0
) -> tuple[list[Candidate], list[Rejection]]:
    """Part the candidates into those that meet the task's requirements and those that do not."""
    fit: list[Candidate] = []
    rejected: list[Rejection] = []
    for candidate in candidates:
        rejection = unfit(task, candidate, min_context)
        if rejection is None:
            fit.append(candidate)
        else:
            rejected.append(rejection)
    return fit, rejected
