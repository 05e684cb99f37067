"""Who waits, and what those are told who may not."""

from collections.abc import Hashable
from enum import StrEnum

import msgspec

from fairlead.domain import Task


class Waiting(msgspec.Struct, gc=False, eq=False):
    """One who waits."""

    ticket: Hashable
    """The owner's handle, unique while it waits."""
    task: Task
    line: Hashable
    """What it waits for: when one of a line finds no room, the rest of the line will not either."""
    tokens: int
    """It is expected to take; shares and waits are counted in these."""
    size_bytes: int
    since_s: float


class Why(StrEnum):
    """Why a task may not wait, or no longer."""

    DEADLINE = "deadline"
    TOO_LONG = "too_long"
    FULL = "full"
    SHED = "shed"

    __hash__ = str.__hash__  # Enum's own is written in Python


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """What a task is told that may not wait."""

    reason: Why
    message: str
    """In plain words, with numbers."""
    retry_after_s: float


class Entry(msgspec.Struct, frozen=True):
    """What became of one who wanted to wait."""

    entered: bool
    evicted: tuple[Waiting, ...] = ()
    """Less urgent ones whose place it took."""
    refusal: Refusal | None = None


ENTERED = Entry(entered=True)
