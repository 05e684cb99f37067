"""What a caller saw, judged against what is right."""

from enum import StrEnum

import msgspec

from fairlead.drill.caller import Seen
from fairlead.testing.faults import ProviderFault, Right, Way


class Verdict(StrEnum):
    """How a fault went."""

    RESCUED = "rescued"
    """One complete and right answer."""
    CLEAN = "clean error"
    """An explicit error; or, where the provider has a reason of its own, that reason."""
    FAILED = "failed"
    """Anything else: a silent end, a wrong answer that looks complete, no end at all."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a drill."""

    fault: str
    does: str
    is_streamed: bool
    is_everyone: bool
    """Whether all nodes misbehaved, or one."""
    verdict: Verdict
    how: str
    """How it was rescued, or what the caller was told, in a word or two."""
    first_s: float | None
    total_s: float
    attempts: int
    """Requests that reached nodes."""


def judged(fault: ProviderFault, right: Right, way: Way, seen: Seen, answer: str, how: str) -> tuple[Verdict, str]:
    """Return the verdict on what a caller saw, and in a word or two how it came about.

    `answer` is what nodes say, `how` how the gateway came by a complete answer, where it did.
    """
    if seen.is_done and seen.is_whole and not seen.error:
        if seen.text != answer:
            return Verdict.FAILED, "wrong answer"
        if right is not Right.SAME:
            return Verdict.RESCUED, how
        if way.status is not None:  # somebody else answered what a provider had reason to refuse
            return (Verdict.RESCUED, how) if fault.name.startswith("context") else (Verdict.FAILED, "asked on")
        is_told = fault.reason.encode() in seen.body
        return (Verdict.CLEAN, "reason told") if is_told else (Verdict.FAILED, "reason lost")
    if not seen.status:
        return Verdict.FAILED, "no answer"
    if not seen.error or seen.is_done:
        return Verdict.FAILED, "silent end" if seen.status == 200 else f"bare {seen.status}"
    if right is Right.SAME and fault.reason not in seen.error:
        return Verdict.FAILED, "reason lost"
    return Verdict.CLEAN, "error event" if seen.status == 200 else f"{seen.status}"
