"""Why nobody can take a task, for the person who reads it."""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

from fairlead.domain import Task
from fairlead.errors import NoCandidateError, NoModelError
from fairlead.routing.filters import Reason, Rejection

NAMES_TOLD = 20
NODES_TOLD = 5


def nothing_there(task: Task, known: Sequence[str], *, is_known: bool) -> NoModelError:
    """Say that nothing by the name that was asked for is served."""
    if not known:
        return NoModelError("no model is registered: register one before routing a task")
    if is_known:
        return NoModelError(f"no node serves {task.model!r} at the moment")
    near = get_close_matches(task.model, known, n=1)
    hint = f"did you mean {near[0]!r}? There are" if near else "there are"
    told = ", ".join(known[:NAMES_TOLD])
    return NoModelError(f"model {task.model!r} is not served here; {hint}: {told}")


def all_ruled_out(task: Task, rejected: Sequence[Rejection], retry_after_s: float | None) -> NoCandidateError:
    """Say what rules each candidate out, with the first few names for each reason."""
    reasons = Counter(one.reason.value for one in rejected)
    if reasons.keys() == {Reason.TOO_LARGE.value}:  # the largest node stands first
        largest = rejected[0]
        told = f"the task is larger than every node that serves {task.model!r}: {largest.detail}"
        return NoCandidateError(f"{told} on {largest.candidate.node.name}, the largest", reasons, None)
    told = ", ".join(f"{count} x {reason} ({_where(rejected, reason)})" for reason, count in sorted(reasons.items()))
    return NoCandidateError(f"no candidate for {task.model!r} can take the task now: {told}", reasons, retry_after_s)


def _where(rejected: Sequence[Rejection], reason: str) -> str:
    """Return the names of the nodes, and what the first of them lacks."""
    those = [one for one in rejected if one.reason.value == reason]
    names = ", ".join(one.candidate.node.name for one in those[:NODES_TOLD])
    detail = f": {those[0].detail}" if those[0].detail else ""
    return names + (", ..." if len(those) > NODES_TOLD else "") + detail
