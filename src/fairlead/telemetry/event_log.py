"""What happened lately: every event, bounded, with a running number and the time of day.

Two rings, so that a storm about single tasks never pushes out what a person looks for: when a circuit opened, who was
drained, what a reload changed. An event is kept as it is and put into words only when somebody reads, so keeping one
costs about a microsecond.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, NamedTuple

import msgspec

from fairlead.engine.events import Event
from fairlead.telemetry.event_words import WORDS

SIZE = 2000
"""Events that are kept, half of them about the fleet and half about single tasks."""
MOST_LISTED = 1000
_CLOCKED = ("at_s", "until_s")
"""Fields on the fleet's own clock, which mean nothing to others."""
_LETTERS = 300
_SEVERAL = 50


class Wanted(NamedTuple):
    """Which events somebody wants to see."""

    after: int | None = None
    """Only those with a greater number, the oldest first; None: the newest."""
    limit: int = 100
    node: str | None = None
    """Only those in which this node has a part."""
    kind: str | None = None


ALL = Wanted()
"""The newest of all."""


class _Kept(NamedTuple):
    number: int
    at_s: float
    event: Event


class EventLog:
    """The last events, numbered from 1 in the order in which they came."""

    def __init__(self, started_s: float, size: int = SIZE) -> None:
        """`started_s` is the time of day, by which readers know that the numbers began anew."""
        self.started_s = started_s
        self.last = 0
        """The number given last."""
        self._rare: deque[_Kept] = deque(maxlen=size - size // 2)
        self._frequent: deque[_Kept] = deque(maxlen=size // 2)

    def __len__(self) -> int:
        return len(self._rare) + len(self._frequent)

    def add(self, event: Event, wall_s: float) -> None:
        """Keep an event, and drop the oldest of its ring beyond the ring's size."""
        words = WORDS.get(type(event))
        if words is not None:
            self.last += 1
            ring = self._frequent if words.is_frequent(event) else self._rare
            ring.append(_Kept(self.last, wall_s, event))

    def knows(self, node: str) -> bool:
        """Tell whether any event that is kept has to do with a node."""
        return any(node in _nodes(kept.event) for kept in (*self._rare, *self._frequent))

    def read(self, wanted: Wanted = ALL) -> dict[str, Any]:
        """Return events as plain data, the oldest first, and what to ask `after` for those that follow.

        An `after` beyond the last number is from before a restart: everything is told.
        """
        after = wanted.after
        if after is None:
            newest = deque(self._matching(0, wanted), maxlen=wanted.limit)
            return self._told(newest, self.last)
        found: list[_Kept] = []
        if after == self.last:  # who follows asks again and again
            return self._told(found, after)
        for kept in self._matching(after if after <= self.last else 0, wanted):
            if len(found) == wanted.limit:
                return self._told(found, found[-1].number)
            found.append(kept)
        return self._told(found, self.last)

    def _told(self, found: Iterable[_Kept], next_number: int) -> dict[str, Any]:
        return {"events": [told(*kept) for kept in found], "next": next_number, "started": round(self.started_s, 3)}

    def _matching(self, after: int, wanted: Wanted) -> Iterator[_Kept]:
        for kept in merge(self._rare, self._frequent):
            event = kept.event
            if (
                kept.number > after
                and (wanted.kind is None or WORDS[type(event)].kind == wanted.kind)
                and (wanted.node is None or wanted.node in _nodes(event))
            ):
                yield kept


def told(number: int, wall_s: float, event: Event) -> dict[str, Any]:
    """Return an event as plain data: number, time of day, kind, severity, node, task, a sentence, and its own fields.

    The event's type must be in `WORDS`.
    """
    words = WORDS[type(event)]
    fields = msgspec.structs.asdict(event)
    detail = {name: _short(value) for name, value in fields.items() if name not in _CLOCKED}
    if "until_s" in fields:
        detail["for_s"] = round(fields["until_s"] - event.at_s, 3)
    return {
        "number": number,
        "at": round(wall_s, 3),
        "kind": words.kind,
        "severity": words.weigh(event).value,
        "node": fields.get("node"),
        "task": fields.get("task"),
        "text": words.say(event),
        "detail": detail,
    }


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LETTERS]
    return [one[:_LETTERS] for one in value[:_SEVERAL]] if isinstance(value, tuple) else value


def _nodes(event: Event) -> tuple[str, ...]:
    """Return the nodes that have a part in an event; the subject of a recovery may be one."""
    return tuple(getattr(event, name) for name in ("node", "to_node", "subject") if hasattr(event, name))
