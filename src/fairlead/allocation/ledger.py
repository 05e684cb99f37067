"""The ledger of leases: the load in flight *is* this ledger; no other counter exists.

A lease is taken in the step that chooses a node and given back exactly once. Progress renews it; its expiry is for
owners that vanished, and giving back a lease that has expired does nothing. Every operation is O(1).
"""

from collections import OrderedDict

import msgspec

NEVER_S = float("inf")


class Account:
    """What is leased on one node, against what it has."""

    __slots__ = ("in_flight", "probe_limit", "probes", "slots")

    def __init__(self, slots: int | None = None) -> None:
        self.slots = slots
        self.in_flight = 0
        self.probes = 0
        self.probe_limit: int | None = None
        """While the node's circuit is half open: how many leases may be out as probes."""


class Lease(msgspec.Struct, gc=False, eq=False):
    """A claim on one slot of a node."""

    id: int
    account: Account
    holder: object
    ttl_s: float
    expires_s: float
    is_probe: bool = False
    is_open: bool = True


class Ledger:
    """All leases of one owner; not thread-safe by itself."""

    def __init__(self) -> None:
        self._last_id = 0
        self._by_ttl: dict[float, OrderedDict[int, Lease]] = {}
        self.expired_total = 0
        self.due_s = NEVER_S
        """No lease expires before this; `expire` need not be called earlier."""

    def __len__(self) -> int:
        return sum(map(len, self._by_ttl.values()))

    def take(self, account: Account, holder: object, now_s: float, ttl_s: float) -> Lease | None:
        """Lease one slot for `ttl_s` seconds, or return None where the node has none to give."""
        slots = account.slots
        if slots is not None and account.in_flight >= slots:
            return None
        limit = account.probe_limit
        if limit is not None and account.probes >= limit:
            return None
        self._last_id = lease_id = self._last_id + 1
        lease = Lease(lease_id, account, holder, ttl_s, now_s + ttl_s, limit is not None)
        account.in_flight += 1
        if limit is not None:
            account.probes += 1
        self.due_s = min(self.due_s, lease.expires_s)
        try:
            self._by_ttl[ttl_s][lease_id] = lease
        except KeyError:
            self._by_ttl[ttl_s] = OrderedDict({lease_id: lease})
        return lease

    def give_back(self, lease: Lease) -> bool:
        """Release a lease; False when it was released or expired before."""
        if not lease.is_open:
            return False
        lease.is_open = False
        account = lease.account
        account.in_flight -= 1
        if lease.is_probe:
            account.probes -= 1
        del self._by_ttl[lease.ttl_s][lease.id]
        return True

    def renew(self, lease: Lease, now_s: float) -> None:
        """Note progress: the lease's time starts again."""
        if lease.is_open:
            lease.expires_s = now_s + lease.ttl_s
            self._by_ttl[lease.ttl_s].move_to_end(lease.id)

    def expire(self, now_s: float) -> list[Lease]:
        """Take back the leases whose owners vanished.

        Leases of one time to live stand in the order of their expiry, so only the due ones are looked at.
        """
        gone: list[Lease] = []
        self.due_s = NEVER_S
        for leases in self._by_ttl.values():
            while leases:
                lease = next(iter(leases.values()))
                if lease.expires_s > now_s:
                    self.due_s = min(self.due_s, lease.expires_s)
                    break
                self.give_back(lease)
                gone.append(lease)
        self.expired_total += len(gone)
        return gone
