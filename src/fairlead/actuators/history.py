"""What scaling did lately, for people to read."""

from collections import deque

import msgspec

KEPT = 256
"""Entries kept; the oldest are dropped."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was done, or failed."""

    at_s: float
    """On the autoscaler's clock."""
    what: str
    """`plan`, `start`, `stop` or `trouble`."""
    node: str = ""
    """The node it was done to; empty for a plan."""
    target: int = 0
    """For a plan: nodes there will be."""
    change: int = 0
    """For a plan: nodes more, or fewer."""
    said: str
    """One sentence."""


class History:
    """The last entries."""

    def __init__(self, kept: int = KEPT) -> None:
        self._entries: deque[Entry] = deque(maxlen=kept)

    def add(self, entry: Entry) -> None:
        """Keep one more."""
        self._entries.append(entry)

    def entries(self) -> tuple[Entry, ...]:
        """Return what is kept, the oldest first."""
        return tuple(self._entries)
