"""One pass over those who wait."""

import heapq
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from fairlead.admission.order import Key, Place
from fairlead.admission.waiting import Waiting

if TYPE_CHECKING:
    from fairlead.admission.order import Order, Row

Competes = Callable[[Hashable, Hashable], bool]
Top = tuple[float, float, int, Hashable]
"""The key of who goes first in a row, and the line."""


class Round:
    """Offers those who wait one after another, the most urgent first, until the lines of all have found no room.

    Of each level that tasks come with, fair share tells who goes first; among these first ones the level that they
    count as by now decides, then fair share once more. Costs O(lines) at the beginning and O(log lines) for each offer,
    however many wait. Who makes a new row while the round lasts is not offered.
    """

    __slots__ = ("_admit", "_blockers", "_closed", "_competes", "_heaps", "_no_room", "_now_s", "_order")

    def __init__(
        self,
        order: "Order",
        now_s: float,
        competes: Competes,
        admit: Callable[[Waiting], None],
        no_room: Callable[[Waiting], bool],
    ) -> None:
        """`no_room` tells whether this one's patience is over, so that nobody less urgent may slip by."""
        self._order = order
        self._now_s = now_s
        self._competes = competes
        self._admit = admit
        self._no_room = no_room
        self._closed: set[Hashable] = set()
        self._blockers: list[Hashable] = []
        self._heaps = [(level, _tops(rows)) for level, rows in enumerate(order.levels) if rows]
        """Who goes first in each row, by level; brought up to date when it comes to the top."""

    def next(self) -> Waiting | None:
        """Return who is to try now, or None at the end; the same one until something is said of it."""
        best: tuple[int, Key] | None = None
        first: Place | None = None
        for level, tops in self._heaps:
            found = self._top(level, tops)
            if found is None:
                continue
            key, place = found
            rank = (self._order.level_of(place, self._now_s), key)
            if best is None or rank < best:
                best, first = rank, place
        return None if first is None else first.waiting

    def no_room(self, waiting: Waiting) -> None:
        """It found no room, so its line need not try any more in this round."""
        self._closed.add(waiting.line)
        if self._no_room(waiting):
            self._blockers.append(waiting.line)

    def admit(self, waiting: Waiting) -> None:
        """It goes where there is room; its tenant is charged. Raises ValueError for one who does not wait."""
        self._admit(waiting)

    def _top(self, level: int, tops: list[Top]) -> tuple[Key, Place] | None:
        rows = self._order.levels[level]
        while tops:
            line = tops[0][3]
            row = rows.get(line)
            if row is None or self._is_closed(line):
                heapq.heappop(tops)
                continue
            key, place = row.first()
            if key == tops[0][:3]:
                return key, place
            heapq.heapreplace(tops, (*key, line))
        return None

    def _is_closed(self, line: Hashable) -> bool:
        if line in self._closed:
            return True
        if self._blockers and any(self._competes(blocker, line) for blocker in self._blockers):
            self._closed.add(line)
            return True
        return False


def _tops(rows: "dict[Hashable, Row]") -> list[Top]:
    tops: list[Top] = [(*row.first()[0], line) for line, row in rows.items()]
    heapq.heapify(tops)
    return tops
