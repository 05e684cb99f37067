"""Who comes first inside a level: of the tenant that is furthest behind the one who is due first.

Of each line, level and tenant there is a heap by due time (a flow), and of each line and level a heap of its tenants (a
row). Nobody changes the row by waiting. What leaves stays in its heap until it comes to the top, or until half of the
heap is such refuse.
"""

import heapq
from collections.abc import Hashable

from fairlead.admission.ageing import LEVELS, Ageing
from fairlead.admission.fair_share import Tenant
from fairlead.admission.waiting import Waiting

_SLACK = 16
"""Heaps are cleared of refuse from this size on."""


class Place:
    """The place in the queue of one who waits."""

    __slots__ = ("due_s", "is_gone", "number", "stuck_s", "tenant", "waiting")

    def __init__(self, waiting: Waiting, number: int, due_s: float, tenant: Tenant) -> None:
        self.waiting = waiting
        self.number = number
        """In the order of coming."""
        self.due_s = due_s
        """When its wait is over."""
        self.tenant = tenant
        self.is_gone = False
        self.stuck_s: float | None = None
        """When it found no room for the first time although it was first in its line."""


Key = tuple[float, float, int]
"""Tag of the tenant, due time, number: the smallest goes first."""


class Flow:
    """Those of one tenant, line and level: who is due first goes first."""

    __slots__ = ("entry", "heap", "live", "tenant")

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.heap: list[tuple[float, int, Place]] = []
        self.live = 0
        self.entry: Entered | None = None
        """Its only valid entry in its row."""

    def first(self) -> Place:
        """Return who goes first; there is one."""
        heap = self.heap
        while heap[0][2].is_gone:
            heapq.heappop(heap)
        return heap[0][2]


Entered = tuple[float, float, int, Flow]


class Row:
    """Those of one line and level."""

    __slots__ = ("flows", "heap", "live")

    def __init__(self) -> None:
        self.flows: dict[str | None, Flow] = {}
        self.heap: list[Entered] = []
        self.live = 0

    def add(self, place: Place) -> None:
        """Take one in."""
        tenant = place.tenant
        flow = self.flows.get(tenant.name)
        if flow is None:
            self.flows[tenant.name] = flow = Flow(tenant)
        heapq.heappush(flow.heap, (place.due_s, place.number, place))
        flow.live += 1
        self.live += 1
        if flow.heap[0][2] is place:
            self._enter(flow, place)

    def remove(self, place: Place) -> None:
        """Let one go; it is marked as gone already."""
        flow = self.flows[place.tenant.name]
        self.live -= 1
        flow.live -= 1
        if not flow.live:
            del self.flows[place.tenant.name]
            flow.entry = None
        elif len(flow.heap) > 2 * flow.live + _SLACK:
            flow.heap = [entry for entry in flow.heap if not entry[2].is_gone]
            heapq.heapify(flow.heap)
        if len(self.heap) > 2 * len(self.flows) + _SLACK:
            self.heap = [entry for entry in self.heap if entry[3].entry is entry]
            heapq.heapify(self.heap)

    def first(self) -> tuple[Key, Place]:
        """Return who goes first; there is one.

        What an entry says of its flow is at most too early: tags never fall, and who is due earlier makes a new entry.
        So the top is looked at, and put back where it is wrong.
        """
        heap = self.heap
        while True:
            entry = heap[0]
            flow = entry[3]
            if flow.entry is not entry:
                heapq.heappop(heap)
                continue
            place = flow.first()
            if entry[2] == place.number and entry[0] == flow.tenant.tag:
                return entry[:3], place
            flow.entry = (flow.tenant.tag, place.due_s, place.number, flow)
            heapq.heapreplace(heap, flow.entry)

    def _enter(self, flow: Flow, place: Place) -> None:
        flow.entry = (flow.tenant.tag, place.due_s, place.number, flow)
        heapq.heappush(self.heap, flow.entry)


class Order:
    """All rows, by the level that their tasks came with."""

    def __init__(self, ageing: Ageing) -> None:
        self.levels: list[dict[Hashable, Row]] = [{} for _ in range(LEVELS)]
        self.ageing = ageing
        self._masks: dict[Hashable, int] = {}
        """Of each line the levels at which somebody waits, as bits."""

    def add(self, place: Place) -> None:
        """Take one in."""
        line, level = place.waiting.line, place.waiting.task.priority
        rows = self.levels[level]
        row = rows.get(line)
        if row is None:
            rows[line] = row = Row()
            self._masks[line] = self._masks.get(line, 0) | 1 << level
        row.add(place)

    def remove(self, place: Place) -> None:
        """Let one go."""
        line, level = place.waiting.line, place.waiting.task.priority
        place.is_gone = True
        rows = self.levels[level]
        row = rows[line]
        row.remove(place)
        if row.live:
            return
        del rows[line]
        mask = self._masks[line] & ~(1 << level)
        if mask:
            self._masks[line] = mask
        else:
            del self._masks[line]

    def level_of(self, place: Place, now_s: float) -> int:
        """Return the level that one counts as by now."""
        waiting = place.waiting
        return self.ageing.level(waiting.task.priority, now_s - waiting.since_s)

    def is_anyone(self, line: Hashable, level: int, now_s: float) -> bool:
        """Tell whether somebody of this line waits who is at least as urgent, or has become so."""
        mask = self._masks.get(line, 0)
        if not mask:
            return False
        if mask & ((2 << level) - 1):
            return True
        return any(
            self.level_of(self.levels[base][line].first()[1], now_s) <= level
            for base in range(level + 1, mask.bit_length())
            if mask >> base & 1
        )
