"""The side of the store that requests touch: appends to queues, and is done. Nothing here waits, locks or raises.

`deque.append` and `deque.popleft` are atomic, so the writer's thread needs no lock against the threads that add.
"""

import math
from collections import deque

import msgspec

from fairlead.persistence.rows import DecisionRow, FeedbackRow

MAX_ROWS = 4096
MAX_TALLIES = 65_536
MAX_OTHERS = 4096
_STEP_BACK_S = 5
"""The wall clock may be set back; by no more than this, the second that was begun goes on."""

TallyKey = tuple[float, str, str, str, str]
"""Minute (as seconds), category, model, node, outcome."""
TallyValue = tuple[float, int, int, float]
"""Latency, input tokens, output tokens, cost."""


class Document(msgspec.Struct):
    """Evidence under a name."""

    name: str
    content: object


class MetricsRow(msgspec.Struct):
    """Metrics at a moment."""

    at_s: float
    content: object


class Aside(msgspec.Struct):
    """A document that cannot be used: it gets another name."""

    name: str
    new_name: str


Other = Document | MetricsRow | FeedbackRow | Aside


class Intake:
    """Bounded queues, and the rate at which decisions are taken in full."""

    def __init__(self, decisions_per_s: float, max_rows: int = MAX_ROWS) -> None:
        self.rows: deque[DecisionRow] = deque()
        self.tallies: deque[tuple[TallyKey, TallyValue]] = deque()
        self.others: deque[Other] = deque()
        self.counted = 0
        self.dropped = 0
        self._rate = decisions_per_s
        self._max_rows = max_rows
        self._second = -1
        self._left = 0

    def add_decision(self, row: DecisionRow) -> None:
        """Take a decision in full where the rate allows it or it is special; otherwise count it."""
        if row.is_special or self._allows(row.at_s):
            if len(self.rows) < self._max_rows:
                self.rows.append(row)
                return
            self.dropped += 1
        if len(self.tallies) >= MAX_TALLIES:
            self.dropped += 1
            return
        self.counted += 1
        key = (row.at_s // 60 * 60, row.category, row.model, row.node, row.outcome)
        self.tallies.append((key, (row.latency_s, row.input_tokens, row.output_tokens, row.cost_usd or 0.0)))

    def add(self, other: Other) -> None:
        """Take anything else."""
        if len(self.others) < MAX_OTHERS:
            self.others.append(other)
        else:
            self.dropped += 1

    def _allows(self, at_s: float) -> bool:
        """Spread the rate over whole seconds: 200 in each, or one in every second one for a rate of 0.5."""
        second = int(at_s)
        if second > self._second or second < self._second - _STEP_BACK_S:
            self._second = second
            self._left = math.floor((second + 1) * self._rate) - math.floor(second * self._rate)
        self._left -= 1
        return self._left >= 0
