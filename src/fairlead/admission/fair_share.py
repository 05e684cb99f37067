"""How tenants share while several of them wait: start-time fair queueing, counted in tokens.

Each tenant has a tag, the virtual time at which its next task may start; the smallest goes first. A task moves its
tenant's tag on by tokens / weight, and virtual time is the tag of the last one that was let in. Who comes back after a
pause starts at virtual time, so nobody saves up what was lent to others meanwhile. Goyal, Vin, Cheng: "Start-time fair
queueing", SIGCOMM 1996. When nobody waits there is nothing to share, and everything is forgotten.

While two tenants wait, neither gets more than its share in tokens plus one task. What a task takes is only expected
when it is let in, and corrected when it ends: what those under way take beyond that comes on top.
"""

import heapq
from collections.abc import Mapping

LAG_TOKENS = 32_768
"""A tenant whose tasks found no room while others' did may catch up so much, no more: else it would shut them out."""
_LEVELS = 10


class Tenant:
    """One tenant's account, kept while it waits or is ahead of virtual time."""

    __slots__ = ("charged", "is_resting", "name", "refund", "tag", "tokens", "waiting", "weight")

    def __init__(self, name: str | None, weight: float, tag: float) -> None:
        self.name = name
        self.weight = weight
        self.tag = tag
        self.refund = 0
        """Tokens that were charged and not used; they make its next tasks cheaper, so that tags never fall."""
        self.waiting = 0
        self.tokens = [0] * _LEVELS
        """Of those of its tasks that wait, by level."""
        self.charged = 0
        """Tokens since the account was opened."""
        self.is_resting = False


class FairShare:
    """The tenants that matter at the moment. Every operation is O(log n)."""

    def __init__(self, shares: Mapping[str, float] | None = None) -> None:
        """Raises ValueError for a share that is not above 0."""
        self._shares = dict(shares or {})
        for name, share in self._shares.items():
            if not 0 < share < float("inf"):
                raise ValueError(f"the share of {name!r} must be above 0, not {share!r}")
        self.tenants: dict[str | None, Tenant] = {}
        self.weight_waiting = 0.0
        """Sum over the tenants that wait."""
        self._virtual = 0.0
        self._resting: list[tuple[float, int, Tenant]] = []
        """Accounts of those who do not wait, by tag: they are closed when virtual time has passed it."""
        self._rests = 0

    def weight_of(self, name: str | None) -> float:
        """Return a tenant's share."""
        return 1.0 if name is None else self._shares.get(name, 1.0)

    def join(self, name: str | None) -> Tenant:
        """One more task of this tenant waits."""
        tenant = self.tenants.get(name)
        if tenant is None:
            self.tenants[name] = tenant = Tenant(name, self.weight_of(name), self._virtual)
        if not tenant.waiting:
            tenant.tag = max(tenant.tag, self._virtual)
            self.weight_waiting += tenant.weight
        tenant.waiting += 1
        return tenant

    def part(self, tenant: Tenant) -> None:
        """One task of this tenant waits no more."""
        tenant.waiting -= 1
        if not tenant.waiting:
            self.weight_waiting -= tenant.weight
            self._rest(tenant)

    def charge(self, name: str | None, tokens: int) -> None:
        """Let a task count that was let in while others wait; each counts for one token at least."""
        tokens = max(tokens, 1)
        tenant = self.tenants.get(name)
        if tenant is None:
            self.tenants[name] = tenant = Tenant(name, self.weight_of(name), self._virtual)
        if tenant.waiting:
            start = max(tenant.tag, self._virtual - LAG_TOKENS)
            self._virtual = max(self._virtual, start)
        else:
            start = max(tenant.tag, self._virtual)
        tenant.charged += tokens
        spared = min(tenant.refund, tokens)
        tenant.refund -= spared
        tenant.tag = start + (tokens - spared) / tenant.weight
        if not tenant.waiting:
            self._rest(tenant)
        self._close_accounts()

    def settle(self, name: str | None, charged: int, used: int) -> None:
        """Correct what a task was charged to what it used; what was charged while nobody waited does not come back."""
        tenant = self.tenants.get(name)
        if tenant is None:
            return
        if used <= charged:
            tenant.refund += min(charged - used, tenant.charged)
        else:
            tenant.tag += (used - charged) / tenant.weight
        tenant.charged = max(tenant.charged + used - charged, 0)

    def forget(self) -> None:
        """Nobody waits: start afresh."""
        self.tenants.clear()
        self._resting.clear()
        self.weight_waiting = self._virtual = 0.0

    def _rest(self, tenant: Tenant) -> None:
        if not tenant.is_resting:
            tenant.is_resting = True
            self._rests += 1
            heapq.heappush(self._resting, (tenant.tag, self._rests, tenant))

    def _close_accounts(self) -> None:
        resting = self._resting
        while resting and resting[0][0] <= self._virtual:
            _, _, tenant = heapq.heappop(resting)
            tenant.is_resting = False
            if tenant.waiting:
                continue
            if tenant.tag <= self._virtual:
                del self.tenants[tenant.name]
            else:
                self._rest(tenant)
