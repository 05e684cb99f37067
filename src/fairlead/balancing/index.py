"""Finds the least loaded node that fits, without a look at every node.

Nodes that serve the same models share a lane. In a lane nodes of about the same size (within a factor of two) stand in
order of their level. The level of a node is a lower bound of what it would be with a task more, so a search takes the
first few of each size that fit, and stops at the first whose level is no better than what was found.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable

from fairlead.balancing.projection import Projection
from fairlead.domain import Needs
from fairlead.domain.load import NodeHealth

LOOK = 3
"""Nodes of one size that are compared once they fit; between them a task makes at most a factor of two."""

_NO_ROOM = (0.0, 0.0, 0.0, 0.0)
_Entry = tuple[float, int, Projection]


class Row:
    """Nodes of about one size, the least loaded first."""

    __slots__ = ("_entries", "_rooms")

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._rooms: dict[float, tuple[float, ...]] = {}
        """Per ceiling: at most how much any node has that has a slot free; valid as long as nothing becomes free."""

    @property
    def first(self) -> _Entry | None:
        """Return the least loaded node."""
        return self._entries[0] if self._entries else None

    def take_out(self, node: Projection) -> None:
        """Drop a node, before its level changes."""
        del self._entries[bisect_left(self._entries, (node.level, node.order))]  # a shorter tuple is less

    def put_in(self, node: Projection, *, has_more_room: bool) -> None:
        """Sort a node in, with the level that it has now."""
        insort(self._entries, (node.level, node.order, node))
        if has_more_room:
            self._rooms.clear()

    def best(self, needs: Needs, ceiling: float | None, below: float) -> tuple[Projection | None, float]:
        """Return the node that is least loaded with so much more, and that level, if it is below another."""
        if ceiling is not None and needs.slots and self._is_full(needs, ceiling):
            return None, below
        best, looked = None, 0
        for level, _, node in self._entries:
            if level >= below:
                return best, below
            after = node.level_with(needs)
            if after < below:
                if not node.can_take(needs, ceiling, after):
                    continue
                best, below = node, after
            looked += 1
            if looked == LOOK:
                return best, below
        if not looked and ceiling is not None:
            self._rooms[ceiling] = _largest_rooms(self._entries, ceiling)
        return best, below

    def _is_full(self, needs: Needs, ceiling: float) -> bool:
        room = self._rooms.get(ceiling)
        return room is not None and (
            needs.slots > room[0]
            or needs.tokens > room[1]
            or needs.memory_bytes > room[2]
            or needs.gpu_memory_bytes > room[3]
        )


class Lane:
    """The nodes that serve the same models, none of them unhealthy."""

    __slots__ = ("_rows", "members")

    def __init__(self, members: list[Projection]) -> None:
        self.members = {node.order: node for node in members}
        self._rows: dict[int, Row] = {}
        for node in members:
            self.put_in(node, has_more_room=False)

    def take_out(self, node: Projection) -> None:
        """Drop a node, before its level changes."""
        self._rows[node.size.bit_length()].take_out(node)

    def put_in(self, node: Projection, *, has_more_room: bool) -> None:
        """Put a node where it belongs, with the level that it has now."""
        self.members[node.order] = node
        size = node.size.bit_length()
        row = self._rows.get(size)
        if row is None:
            row = self._rows[size] = Row()
        row.put_in(node, has_more_room=has_more_room)

    def least(self) -> Projection | None:
        """Return the least loaded node."""
        firsts = [row.first for row in self._rows.values() if row.first is not None]
        return min(firsts)[2] if firsts else None

    def best(self, needs: Needs, ceiling: float | None) -> Projection | None:
        """Return the node that is least loaded with so much more, among those that can take it."""
        best, level = None, float("inf")
        for row in self._rows.values():
            found, level = row.best(needs, ceiling, level)
            best = found or best
        return best


def _largest_rooms(entries: list[_Entry], ceiling: float) -> tuple[float, ...]:
    rooms = [room for *_, node in entries if (room := node.room(ceiling))[0] >= 1.0]
    return tuple(max(amounts) for amounts in zip(*rooms, strict=True)) if rooms else _NO_ROOM


class Index:
    """Every node, and the lanes that were asked for."""

    __slots__ = ("_lanes", "_lanes_of", "_models", "nodes")

    def __init__(self, nodes: Iterable[Projection] = ()) -> None:
        """Raises ValueError for two nodes of one name."""
        self.nodes: dict[str, Projection] = {}
        for node in nodes:
            if node.name in self.nodes:
                raise ValueError(f"two nodes are called {node.name!r}: give each a name of its own")
            self.nodes[node.name] = node
        self._forget_lanes()

    def _forget_lanes(self) -> None:
        self._models: dict[str | None, Lane] = {}
        self._lanes: dict[tuple[int, ...], Lane] = {}
        self._lanes_of: dict[int, list[Lane]] = {}

    @property
    def serving(self) -> list[Projection]:
        """Return the nodes that are not unhealthy."""
        return [node for node in self.nodes.values() if node.health is not NodeHealth.UNHEALTHY]

    def lane(self, model: str | None) -> Lane:
        """Return the nodes that serve a model; None: all."""
        lane = self._models.get(model)
        if lane is None:
            lane = self._models[model] = self._make(model)
        return lane

    def _make(self, model: str | None) -> Lane:
        members = [node for node in self.serving if serves(node, model)]
        key = tuple(node.order for node in members)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(members)
            for node in members:
                self._lanes_of.setdefault(node.order, []).append(lane)
        return lane

    def put(self, node: Projection, needs: Needs, sign: int = 1) -> None:
        """Count a task on a node, or with `sign` -1 count it no more."""
        lanes = self._lanes_of.get(node.order, ())
        for lane in lanes:
            lane.take_out(node)
        node.put(needs, sign)
        for lane in lanes:
            lane.put_in(node, has_more_room=sign < 0)

    def replace(self, node: Projection) -> None:
        """Add a node, or put it in the place of the one that has its name."""
        old = self.nodes.get(node.name)
        self.nodes[node.name] = node
        if old is None or old.models != node.models or _is_out(old) != _is_out(node):
            self._forget_lanes()
            return
        for lane in self._lanes_of.get(node.order, ()):
            lane.take_out(old)
            lane.put_in(node, has_more_room=True)

    def remove(self, name: str) -> None:
        """Drop a node. Raises KeyError for one that is not there."""
        del self.nodes[name]
        self._forget_lanes()


def serves(node: Projection, model: str | None) -> bool:
    """Tell whether a node serves a model."""
    return model is None or not node.models or model in node.models


def _is_out(node: Projection) -> bool:
    return node.health is NodeHealth.UNHEALTHY
