"""Rankings of models, remembered: never a node, and never the draw that explores.

Rankings are dropped when they are older than the time to live, when what they rest on has moved (the owner clears the
cache, or rejects what it finds: `validity.py`), and where there is no room: then the least used go, found by going
round (the CLOCK of Corbato, 1968, with counts): the oldest entry goes where nobody used it since it was last passed,
else its uses are halved and it is passed.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T")
PASSES = 16
"""Most entries that are passed to make room for one, so that its cost is bounded."""
MOST_USES = 15


class _Entry(Generic[T]):
    __slots__ = ("until_s", "uses", "value")

    def __init__(self, value: T, until_s: float) -> None:
        self.value = value
        self.until_s = until_s
        self.uses = 0


class RouteCache(Generic[T]):
    """A bounded memory of values, with counts of hits and misses."""

    def __init__(self, capacity: int, ttl_s: float) -> None:
        self.capacity = capacity
        self._ttl_s = ttl_s
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()  # a dict's front is slow to pop
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.invalidations = 0
        """How often everything was dropped because it could be wrong."""

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def hit_rate(self) -> float:
        """Hits as a share of all look-ups; 0.0 before the first."""
        return self.hits / (self.hits + self.misses) if self.hits else 0.0

    def get(self, key: Hashable, now_s: float) -> T | None:
        """Return what is remembered under a key, or None."""
        entry = self._entries.get(key)
        if entry is None or entry.until_s < now_s:
            self.misses += 1
            return None
        self.hits += 1
        entry.uses += 1
        return entry.value

    def peek(self, key: Hashable, now_s: float) -> T | None:
        """Return the same without counting a look-up."""
        entry = self._entries.get(key)
        if entry is None or entry.until_s < now_s:
            return None
        entry.uses += 1
        return entry.value

    def recover(self) -> None:
        """Count the last miss as a hit: what was remembered for the like of it serves."""
        self.hits += 1
        self.misses -= 1

    def reject(self) -> None:
        """Count the last hit as a miss: what was found rests on evidence that has moved."""
        self.hits -= 1
        self.misses += 1

    def put(self, key: Hashable, value: T, now_s: float) -> None:
        """Remember a value, making room where there is none."""
        if self.capacity <= 0:
            return
        entries = self._entries
        if key not in entries and len(entries) >= self.capacity:
            self._evict(now_s)
        entries[key] = _Entry(value, now_s + self._ttl_s)

    def clear(self) -> None:
        """Drop everything, because it could be wrong."""
        if self._entries:
            self._entries.clear()
            self.invalidations += 1

    def _evict(self, now_s: float) -> None:
        entries = self._entries
        for _ in range(PASSES):
            key, entry = entries.popitem(last=False)
            if not entry.uses or entry.until_s < now_s:
                break
            entry.uses = min(entry.uses, MOST_USES) // 2
            entries[key] = entry
        else:
            entries.popitem(last=False)
        self.evictions += 1
