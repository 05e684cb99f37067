"""The ledger of leases: the load in flight *is* this ledger; no other counter exists.

A lease is taken in the step that chooses a node and given back exactly once. Progress renews it; its expiry is for
owners that vanished, and giving back a lease that has expired does nothing. Every operation is O(1).
"""

from collections import OrderedDict
from collections.abc import Iterator

import msgspec

from fairlead.allocation.account import TIE, Account
from fairlead.allocation.rate import RateWindow
from fairlead.domain import ONE_SLOT, Needs
from fairlead.errors import LeaseError

NEVER_S = float("inf")
_MANY_TTLS = 16
"""Different times to live of which the empty rows are kept for the next lease."""


class Lease(msgspec.Struct, gc=False, eq=False):
    """A claim on a part of a node."""

    id: int
    account: Account
    holder: object
    ttl_s: float
    expires_s: float
    is_probe: bool = False
    is_open: bool = True
    needs: Needs = ONE_SLOT
    taken_s: float = 0.0
    model: str = ""
    charged: RateWindow | None = None
    """The limit of tokens per minute it was charged to; only that can be settled, whatever the node has by then."""
    output_tokens: int = 0
    """Of the answer so far, as its owner notes."""


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

    def __iter__(self) -> Iterator[Lease]:
        """Go through the open leases."""
        return (lease for leases in self._by_ttl.values() for lease in leases.values())

    def find(self, lease_id: int, ttl_s: float) -> Lease | None:
        """Return an open lease by its number and time to live; None where it is over."""
        leases = self._by_ttl.get(ttl_s)
        return None if leases is None else leases.get(lease_id)

    def models_at_work(self) -> dict[str, dict[str, int]]:
        """Count the open leases by node and model."""
        counts: dict[str, dict[str, int]] = {}
        for lease in self:
            of_node = counts.setdefault(lease.account.name, {})
            of_node[lease.model] = of_node.get(lease.model, 0) + 1
        return counts

    def take(
        self,
        account: Account,
        holder: object,
        now_s: float,
        ttl_s: float,
        needs: Needs = ONE_SLOT,
        ceiling: float = 1.0,
        model: str = "",
    ) -> Lease | None:
        """Lease what a task needs for `ttl_s` seconds, or return None where the node has it not to give.

        `ceiling` is the share of the node's capacity that may be leased after this; `model` is what it is leased for.
        """
        limit = account.probe_limit
        if (limit is not None or not account.is_roomy) and not account.fits(needs, now_s, ceiling):
            return None
        self._last_id = lease_id = self._last_id + 1
        lease = Lease(lease_id, account, holder, ttl_s, now_s + ttl_s, limit is not None, True, needs, now_s, model)
        if account.is_roomy and needs is ONE_SLOT:  # as `book` does: the usual case, without a call
            account.in_flight = in_flight = account.in_flight + 1
            account.rank = in_flight * TIE
        else:
            account.book(needs)
        if limit is not None:
            account.probes += 1
        if account.is_rated:
            lease.charged = _charge(account, needs, now_s)
        self.due_s = min(self.due_s, lease.expires_s)
        try:
            self._by_ttl[ttl_s][lease_id] = lease
        except KeyError:
            self._by_ttl[ttl_s] = OrderedDict({lease_id: lease})
        return lease

    def give_back(self, lease: Lease, used_tokens: int | None = None) -> bool:
        """Release a lease; False when it was released or expired before.

        `used_tokens` settles what was charged against a limit per minute; None leaves the charge as it was.
        """
        if not lease.is_open:
            return False
        lease.is_open = False
        account = lease.account
        if account.is_roomy and lease.needs is ONE_SLOT:
            account.in_flight = in_flight = account.in_flight - 1
            account.rank = in_flight * TIE
        else:
            account.book(lease.needs, -1)
        if lease.is_probe:
            account.probes -= 1
        if lease.charged is not None and used_tokens is not None:
            lease.charged.settle(lease.taken_s, lease.needs.tokens, used_tokens)
        leases = self._by_ttl[lease.ttl_s]
        del leases[lease.id]
        if not leases and len(self._by_ttl) > _MANY_TTLS:
            del self._by_ttl[lease.ttl_s]
        return True

    def resize(self, lease: Lease, needs: Needs) -> bool:
        """Let a lease hold more or less; False, and nothing changed, where the node has not so much more to give.

        Raises LeaseError for a lease that is over.
        """
        if not lease.is_open:
            raise LeaseError(f"lease {lease.id} is over: it was given back or has expired, so it cannot be changed")
        account, before = lease.account, lease.needs
        if not account.can_grow(before, needs):
            return False
        account.book(before, -1)
        account.book(needs)
        if lease.charged is not None:
            lease.charged.settle(lease.taken_s, before.tokens, needs.tokens)
        lease.needs = needs
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
        for leases in tuple(self._by_ttl.values()):
            while leases:
                lease = next(iter(leases.values()))
                if lease.expires_s > now_s:
                    self.due_s = min(self.due_s, lease.expires_s)
                    break
                self.give_back(lease)
                gone.append(lease)
        self.expired_total += len(gone)
        return gone


def _charge(account: Account, needs: Needs, now_s: float) -> RateWindow | None:
    requests, tokens = account.rates
    if requests is not None:
        requests.charge(1, now_s)
    if tokens is not None:
        tokens.charge(needs.tokens, now_s)
    return tokens
