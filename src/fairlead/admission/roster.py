"""Who waits, by the level they came with, and who has to go when there are too many."""

from collections import OrderedDict
from collections.abc import Hashable, Mapping

from fairlead.admission.ageing import LEVELS
from fairlead.admission.fair_share import FairShare, Tenant
from fairlead.admission.order import Place
from fairlead.admission.waiting import Waiting


class Roster:
    """All places within bounds of number and bytes; those of one level in the order of their coming."""

    def __init__(self, max_waiting: int, max_bytes: int) -> None:
        self._max_waiting = max_waiting
        self._max_bytes = max_bytes
        self.places: dict[Hashable, Place] = {}
        self.size_bytes = 0
        self.tokens_at = [0] * LEVELS
        self._levels: list[OrderedDict[Hashable, Place]] = [OrderedDict() for _ in range(LEVELS)]
        self._bytes = [0] * LEVELS

    def add(self, place: Place, *, is_back: bool = False) -> None:
        """Write one down; who `is_back` comes before all of its level, as one who was there before."""
        waiting = place.waiting
        level = waiting.task.priority
        self.places[waiting.ticket] = self._levels[level][waiting.ticket] = place
        if is_back:
            self._levels[level].move_to_end(waiting.ticket, last=False)
        self.tokens_at[level] += waiting.tokens
        self._bytes[level] += waiting.size_bytes
        self.size_bytes += waiting.size_bytes

    def remove(self, place: Place) -> None:
        """Strike one off."""
        waiting = place.waiting
        level = waiting.task.priority
        del self.places[waiting.ticket]
        del self._levels[level][waiting.ticket]
        self.tokens_at[level] -= waiting.tokens
        self._bytes[level] -= waiting.size_bytes
        self.size_bytes -= waiting.size_bytes

    def at(self, level: int) -> Mapping[Hashable, Place]:
        """Return those who came with this level, the oldest first."""
        return self._levels[level]

    def oldest_s(self, level: int, now_s: float) -> float:
        """Return how long the oldest of this level has waited, or 0.0."""
        oldest = next(iter(self._levels[level].values()), None)
        return 0.0 if oldest is None else now_s - oldest.waiting.since_s

    def bytes_at(self, level: int) -> int:
        """Return the bytes of those who came with this level."""
        return self._bytes[level]

    def victims(self, newcomer: Waiting, shares: FairShare, *, is_back: bool = False) -> list[Place] | None:
        """Return who has to go for one more, or None where nobody has to go who would do.

        The least urgent go first, of these the latest. Among equals, one whose tenant takes more than its share of the
        queue goes for one whose tenant takes less; and any for one that `is_back`.
        """
        number = len(self.places) + 1 - self._max_waiting
        excess = self.size_bytes + newcomer.size_bytes - self._max_bytes
        if number <= 0 and excess <= 0:
            return []
        level = newcomer.task.priority
        first = level if is_back else level + 1
        if number <= sum(map(len, self._levels[first:])) and excess <= sum(self._bytes[first:]):
            return self._latest(first, number, excess)
        equal = None if is_back else self._greedy(level, newcomer.task.tenant, shares)
        return None if equal is None or number > 1 or excess > equal.waiting.size_bytes else [equal]

    def _latest(self, first: int, number: int, excess: int) -> list[Place]:
        victims: list[Place] = []
        for one in range(LEVELS - 1, first - 1, -1):
            for place in reversed(self._levels[one].values()):
                if number <= 0 and excess <= 0:
                    return victims
                victims.append(place)
                number -= 1
                excess -= place.waiting.size_bytes
        return victims

    def _greedy(self, level: int, name: str | None, shares: FairShare) -> Place | None:
        """Return the latest of that level whose tenant is furthest beyond its share, if that is not the newcomer's."""
        if not shares.tenants:
            return None
        most = max(shares.tenants.values(), key=_greed)
        own = shares.tenants.get(name)
        own_next = ((own.waiting if own else 0) + 1) / shares.weight_of(name)
        if most.name == name or own_next >= _greed(most):
            return None
        return next((place for place in reversed(self._levels[level].values()) if place.tenant is most), None)


def _greed(tenant: Tenant) -> float:
    return tenant.waiting / tenant.weight
