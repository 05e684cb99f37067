"""What is leased on one node, against what it has."""

import sys
from math import ceil

from fairlead.allocation.rate import RateWindow
from fairlead.domain import ONE_SLOT, Capacity, Needs, Shortage
from fairlead.domain.resources import UNKNOWN_CAPACITY

TIE = 1e-9
"""What a task adds to a node's rank: too little to count beside any utilization."""
_ROUNDING = 1e-9
"""Of the product of a number of slots and a share: 0.29 of 100 is 29."""


class Account:
    """One node's part of the ledger. Only the ledger writes what is leased."""

    __slots__ = (
        "capacity",
        "gpu_memory_bytes",
        "in_flight",
        "is_metered",
        "is_rated",
        "is_roomy",
        "memory_bytes",
        "most_tokens",
        "name",
        "probe_limit",
        "probes",
        "rank",
        "rates",
        "slots",
        "tokens",
        "utilization",
        "warmth",
    )

    def __init__(self, slots: int | None = None, name: str = "", capacity: Capacity | None = None) -> None:
        self.name = name
        self.in_flight = 0
        """Slots leased."""
        self.tokens = 0
        """Tokens leased, and likewise memory."""
        self.memory_bytes = 0
        self.gpu_memory_bytes = 0
        self.probes = 0
        self.probe_limit: int | None = None
        """While the node's circuit is half open: how many leases may be out as probes."""
        self.warmth = 1.0
        """Share of its capacity in (0, 1] that may be leased while it warms up after joining or recovering."""
        self.rates: tuple[RateWindow | None, RateWindow | None] = (None, None)
        """Of requests and of tokens."""
        self.utilization = 0.0
        """Leased share of the resource that is nearest to its end; 0.0 where no capacity is known."""
        self.rank = 0.0
        """The lower, the sooner it is chosen: by utilization, where that is equal by tasks. One number, so that the
        least of a hundred is found in a few microseconds."""
        self.resize(capacity or Capacity(slots=slots))

    def resize(self, capacity: Capacity) -> None:
        """Hold the node to another capacity from now on; what is leased stays, even where it is more."""
        self.capacity = capacity
        self.slots = capacity.slots
        requests, tokens = self.rates
        self.rates = (
            _rate(requests, capacity.requests_per_minute, "requests_per_minute"),
            _rate(tokens, capacity.tokens_per_minute, "tokens_per_minute"),
        )
        self.is_roomy = capacity == UNKNOWN_CAPACITY or capacity == Capacity(usd_per_hour=capacity.usd_per_hour)
        """Whether nothing limits it."""
        self.is_metered = (capacity.tokens or capacity.tokens_per_minute or capacity.memory_bytes) is not None or (
            capacity.gpu_memory_bytes is not None
        )
        """Whether it limits more than how many tasks there are."""
        self.is_rated = self.rates != (None, None)
        """Whether it limits anything per minute."""
        self.most_tokens = min(
            (one for one in (capacity.tokens, capacity.tokens_per_minute) if one is not None), default=sys.maxsize
        )
        """Of a single task."""
        self._measure()

    def book(self, needs: Needs, sign: int = 1) -> None:
        """Add what a lease holds, or with -1 take it off."""
        if needs is ONE_SLOT:
            self.in_flight += sign
        else:
            self.in_flight += sign * needs.slots
            self.tokens += sign * (needs.input_tokens + needs.output_tokens)
            self.memory_bytes += sign * needs.memory_bytes
            self.gpu_memory_bytes += sign * needs.gpu_memory_bytes
        in_flight = self.in_flight
        if self.is_metered:
            self._measure()
        elif self.slots is None:
            self.rank = in_flight * TIE
        else:
            self.utilization = share = in_flight / self.slots
            self.rank = share + in_flight * TIE

    def _measure(self) -> None:
        """Work out the utilization: it is read for many nodes between two changes of one."""
        share = 0.0 if self.slots is None else self.in_flight / self.slots
        if self.is_metered:
            capacity = self.capacity
            if capacity.tokens is not None:
                share = max(share, self.tokens / capacity.tokens)
            if capacity.memory_bytes is not None:
                share = max(share, self.memory_bytes / capacity.memory_bytes)
            if capacity.gpu_memory_bytes is not None:
                share = max(share, self.gpu_memory_bytes / capacity.gpu_memory_bytes)
        self.utilization = share
        self.rank = share + self.in_flight * TIE

    def fits(self, needs: Needs, now_s: float, ceiling: float = 1.0) -> bool:
        """Tell whether so much can be leased now without going beyond `ceiling`, a share of the capacity."""
        limit = self.probe_limit
        if limit is not None and self.probes >= limit:
            return False
        if self.is_roomy:
            return True
        slots = self.slots
        if slots is not None and self.in_flight + needs.slots > self._allowed(slots, ceiling):
            return False
        if self.is_metered and self._stock_shortage(needs, ceiling) is not None:
            return False
        if not self.is_rated:
            return True
        requests, tokens = self.rates
        return (requests is None or requests.fits(1, now_s)) and (tokens is None or tokens.fits(needs.tokens, now_s))

    def shortage(self, needs: Needs, now_s: float, ceiling: float = 1.0) -> Shortage | None:
        """Say what there is too little of, or None.

        An idle node takes whatever it can hold at all: else a node with one slot would never work for those who must
        leave some free.
        """
        return self._stock_shortage(needs, ceiling) or self._rate_shortage(needs, now_s)

    def _stock_shortage(self, needs: Needs, ceiling: float) -> Shortage | None:
        """Say what there is too little of that comes back when others are done."""
        capacity = self.capacity
        share = min(ceiling, self.warmth) if self.in_flight else 1.0
        if self.slots is not None:
            allowed = self._allowed(self.slots, ceiling)
            if self.in_flight + needs.slots > allowed:
                return Shortage("slots", needs.slots, allowed - self.in_flight, self.slots)
        if capacity.tokens is not None and self.tokens + needs.tokens > capacity.tokens * share:
            return Shortage("tokens", needs.tokens, capacity.tokens * share - self.tokens, capacity.tokens)
        return self._memory_shortage(needs, share) if self.is_metered else None

    def _allowed(self, slots: int, ceiling: float) -> int:
        """Return how many of its slots may be leased."""
        if not self.in_flight:
            return slots
        allowed = int(slots * ceiling + _ROUNDING) if ceiling < 1.0 else slots
        return allowed if self.warmth >= 1.0 else min(allowed, ceil(slots * self.warmth - _ROUNDING))

    def _memory_shortage(self, needs: Needs, share: float) -> Shortage | None:
        capacity = self.capacity
        for name, leased, needed, there in (
            ("memory_bytes", self.memory_bytes, needs.memory_bytes, capacity.memory_bytes),
            ("gpu_memory_bytes", self.gpu_memory_bytes, needs.gpu_memory_bytes, capacity.gpu_memory_bytes),
        ):
            if there is not None and needed and leased + needed > there * share:
                return Shortage(name, needed, there * share - leased, there)
        return None

    def _rate_shortage(self, needs: Needs, now_s: float) -> Shortage | None:
        """Say which limit per minute keeps the task away for longest, or None."""
        requests, tokens = self.rates
        first = None if requests is None else requests.shortage(1, now_s)
        second = None if tokens is None else tokens.shortage(needs.tokens, now_s)
        if first is None or second is None:
            return first or second
        return max(first, second, key=lambda one: one.wait_s or 0.0)

    def can_grow(self, before: Needs, after: Needs) -> bool:
        """Tell whether a lease may hold this instead of that: of what it grows in, there has to be room.

        Neither a limit per minute nor warmth counts: the task is there already.
        """
        capacity = self.capacity
        for leased, held, wanted, there in (
            (self.in_flight, before.slots, after.slots, self.slots),
            (self.tokens, before.tokens, after.tokens, capacity.tokens),
            (self.memory_bytes, before.memory_bytes, after.memory_bytes, capacity.memory_bytes),
            (self.gpu_memory_bytes, before.gpu_memory_bytes, after.gpu_memory_bytes, capacity.gpu_memory_bytes),
        ):
            if there is not None and wanted > held and leased - held + wanted > there:
                return False
        return True

    def too_small_for(self, needs: Needs) -> Shortage | None:
        """Say which resource could not hold so much even if the node were idle, or None."""
        if self.is_roomy:
            return None
        capacity = self.capacity
        for name, needed, there in (
            ("slots", needs.slots, capacity.slots),
            ("tokens", needs.tokens, capacity.tokens),
            ("memory_bytes", needs.memory_bytes, capacity.memory_bytes),
            ("gpu_memory_bytes", needs.gpu_memory_bytes, capacity.gpu_memory_bytes),
            ("tokens_per_minute", needs.tokens, capacity.tokens_per_minute),
        ):
            if there is not None and needed > there:
                return Shortage(name, needed, there, there)
        return None


def _rate(old: RateWindow | None, limit: int | None, name: str) -> RateWindow | None:
    if limit is None:
        return None
    if old is None:
        return RateWindow(limit, name)
    old.limit = limit
    return old
