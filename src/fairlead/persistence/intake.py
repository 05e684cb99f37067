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
MAX_REMEMBERED = 4096
"""Ids of decisions that were only counted; more than a decision log in memory holds, from which they are judged."""
_STEP_BACK_S = 5
"""The wall clock may be set back; by no more than this, the second that was begun goes on."""

TallyKey = tuple[float, str, str, str, str]
"""Minute (as seconds), category, model, node, outcome."""
TallyValue = tuple[int, float, int, int, float]
"""1 for a task more or -1 for one that is stored in full after all; its latency, input tokens, output tokens, cost."""


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
        self._only_counted: dict[str, None] = {}

    def add_decision(self, row: DecisionRow) -> None:
        """Take a decision in full where the rate allows it or it is special; otherwise count it.

        One that was only counted before, and comes again to be taken in full, is taken off the count.
        """
        if row.is_special or self._allows(row.at_s):
            if len(self.rows) < self._max_rows:
                if row.is_again and row.id in self._only_counted:
                    del self._only_counted[row.id]
                    self._tally(row, -1)
                self.rows.append(row)
                return
            self.dropped += 1
        if row.is_again:
            return
        if len(self.tallies) >= MAX_TALLIES:
            self.dropped += 1
            return
        self.counted += 1
        self._tally(row, 1)
        self._only_counted[row.id] = None
        if len(self._only_counted) > MAX_REMEMBERED:
            del self._only_counted[next(iter(self._only_counted))]

    def add(self, other: Other) -> None:
        """Take anything else."""
        if len(self.others) < MAX_OTHERS:
            self.others.append(other)
        else:
            self.dropped += 1

    def _tally(self, row: DecisionRow, tasks: int) -> None:
        key = (row.at_s // 60 * 60, row.category, row.model, row.node, row.outcome)
        self.tallies.append((key, (tasks, row.latency_s, row.input_tokens, row.output_tokens, row.cost_usd or 0.0)))

    def _allows(self, at_s: float) -> bool:
        """Spread the rate over whole seconds: 200 in each, or one in every second one for a rate of 0.5."""
        second = int(at_s)
        if second > self._second or second < self._second - _STEP_BACK_S:
            self._second = second
            self._left = math.floor((second + 1) * self._rate) - math.floor(second * self._rate)
        self._left -= 1
        return self._left >= 0
