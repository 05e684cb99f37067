"""One pass over those who wait."""

import heapq
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from fairlead.admission.order import LEVELS, Place
from fairlead.admission.waiting import Waiting

if TYPE_CHECKING:
    from fairlead.admission.order import Order

Competes = Callable[[Hashable, Hashable], bool]


class Round:
    """Offers those who wait one after another, the most urgent first, until the lines of all have found no room.

    Costs O(lines) for a level and O(log lines) for each offer, however many wait. Who enters a level that the round has
    passed already is not offered.
    """

    __slots__ = ("_admit", "_blockers", "_closed", "_competes", "_level", "_no_room", "_order", "_tops")

    def __init__(
        self, order: "Order", competes: Competes, admit: Callable[[Waiting], None], no_room: Callable[[Waiting], bool]
    ) -> None:
        """`no_room` tells whether this one's patience is over, so that nobody less urgent may slip by."""
        self._order = order
        self._competes = competes
        self._admit = admit
        self._no_room = no_room
        self._closed: set[Hashable] = set()
        self._blockers: list[Hashable] = []
        self._level = -1
        self._tops: list[tuple[float, float, int, Hashable]] = []
        """Of each open line who goes first in this level, as a heap; brought up to date when it comes to the top."""

    def next(self) -> Waiting | None:
        """Return who is to try now, or None at the end; the same one until something is said of it."""
        if self._tops and (place := self._top()) is not None:
            return place.waiting
        levels = self._order.levels
        while self._level < LEVELS - 1:
            self._level += 1
            rows = levels[self._level]
            if not rows:
                continue
            self._tops = [(*row.first()[0], line) for line, row in rows.items() if not self._is_closed(line)]
            heapq.heapify(self._tops)
            if (place := self._top()) is not None:
                return place.waiting
        self._tops = []
        return None

    def no_room(self, waiting: Waiting) -> None:
        """It found no room, so its line need not try any more in this round."""
        self._closed.add(waiting.line)
        if self._no_room(waiting):
            self._blockers.append(waiting.line)

    def admit(self, waiting: Waiting) -> None:
        """It goes where there is room; its tenant is charged. Raises ValueError for one who does not wait."""
        self._admit(waiting)

    def _top(self) -> Place | None:
        tops = self._tops
        while tops:
            line = tops[0][3]
            row = self._order.levels[self._level].get(line)
            if row is None or self._is_closed(line):
                heapq.heappop(tops)
                continue
            key, place = row.first()
            if key == tops[0][:3]:
                return place
            heapq.heapreplace(tops, (*key, line))
        return None

    def _is_closed(self, line: Hashable) -> bool:
        if line in self._closed:
            return True
        if self._blockers and any(self._competes(blocker, line) for blocker in self._blockers):
            self._closed.add(line)
            return True
        return False
