"""Reserving: the least utilized node that fits, and a smaller reservation where the caller allows one."""

import msgspec

from fairlead.allocation.account import Account
from fairlead.allocation.ledger import Ledger
from fairlead.allocation.needs import NeedsEstimator
from fairlead.allocation.places import BY_LOAD
from fairlead.allocation.shrink import cut
from fairlead.domain import Needs, Task
from fairlead.domain.allocation import Allocation


class Request(msgspec.Struct, frozen=True):
    """What is asked for, on which terms."""

    task: Task
    models: tuple[str, ...]
    priority: int
    ttl_s: float
    now_s: float
    ceilings: tuple[float, ...]
    """Shares of a node up to which it may be filled: the preferred one first, last the hard limit."""


class Reserver:
    """Leases on one node of several."""

    def __init__(self, ledger: Ledger, estimator: NeedsEstimator) -> None:
        self._ledger = ledger
        self._estimator = estimator

    def reserve(self, request: Request, model: str, nodes: list[Account], needs: Needs) -> Allocation | None:
        """Lease on the least utilized node that fits; None where none does.

        That node is found in one pass without a call for each, and usually fits. Only where it does not are the others
        asked, in the order of their utilization: first each for what there is room for below the preferred ceiling,
        then the first that has room beyond it.
        """
        preferred, furthest = request.ceilings[0], request.ceilings[-1]
        allocated = self._take(request, model, min(nodes, key=BY_LOAD), needs, preferred)
        if allocated is not None:
            return allocated
        beyond: tuple[Account, Needs] | None = None
        for account in sorted(nodes, key=BY_LOAD):
            fitting = self._fitting(request, model, account, needs)
            if fitting is None:
                continue
            allocated = self._take(request, model, account, fitting, preferred, is_cut=fitting is not needs)
            if allocated is not None:
                return allocated
            beyond = beyond or (account, fitting)
        if beyond is None:
            return None
        account, fitting = beyond
        return self._take(request, model, account, fitting, furthest, is_cut=fitting is not needs)

    def _fitting(self, request: Request, model: str, account: Account, needs: Needs) -> Needs | None:
        """Return the needs, or what of them there is room for; None where that is less than the caller allows.

        Nothing is cut only to keep some of the node free.
        """
        now_s, furthest, least = request.now_s, request.ceilings[-1], request.task.min_output_tokens
        if account.fits(needs, now_s, furthest):
            return needs
        return None if least is None else cut(self._estimator, account, model, needs, least, now_s, furthest)

    def _take(
        self, request: Request, model: str, account: Account, needs: Needs, ceiling: float, *, is_cut: bool = False
    ) -> Allocation | None:
        task, ttl_s, now_s = request.task, request.ttl_s, request.now_s
        lease = self._ledger.take(account, task, now_s, ttl_s, needs, ceiling, model)
        if lease is None:
            return None
        lease.holder = allocation = Allocation(
            lease.id,
            model,
            account.name,
            needs,
            request.priority,
            ttl_s,
            now_s,
            task.category,
            task.output_tokens,
            is_cut,
        )
        return allocation
