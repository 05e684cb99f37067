"""What is to happen when, for places in the queue; what concerns those who left is passed over."""

import heapq

from fairlead.admission.order import Place

_SLACK = 64


class Timetable:
    """At most one moment for each place. Every operation is O(log n)."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Place]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, at_s: float, place: Place) -> None:
        """Note a moment."""
        heapq.heappush(self._heap, (at_s, place.number, place))

    def next_s(self) -> float | None:
        """Return the next moment, or None."""
        heap = self._heap
        while heap and heap[0][2].is_gone:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop(self, now_s: float) -> Place | None:
        """Return the place whose moment has come, the earliest first, or None."""
        next_s = self.next_s()
        return None if next_s is None or next_s > now_s else heapq.heappop(self._heap)[2]

    def tidy(self, live: int) -> None:
        """Forget those who left, once they are more than those who stayed."""
        if not live:
            self._heap.clear()
        elif len(self._heap) > 2 * live + _SLACK:
            self._heap = [entry for entry in self._heap if not entry[2].is_gone]
            heapq.heapify(self._heap)
