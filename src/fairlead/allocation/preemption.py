"""Leases that could make room for more urgent work: of batch work that has not begun to answer."""

from collections.abc import Callable, Iterable

from fairlead.allocation.account import Account
from fairlead.allocation.ledger import Lease
from fairlead.domain import Needs, PriorityClass, class_of
from fairlead.domain.priority import NORMAL

MayPreempt = Callable[[Lease], bool]


def is_batch_not_begun(lease: Lease) -> bool:
    """Tell whether a lease is of `batch` work of which no token has come: the usual rule."""
    priority = getattr(lease.holder, "priority", NORMAL)
    return lease.output_tokens == 0 and class_of(priority) is PriorityClass.BATCH


def by_account(leases: Iterable[Lease], may_preempt: MayPreempt) -> dict[Account, list[Lease]]:
    """Return the leases that may be pre-empted on each account, the newest first: the least is lost with these."""
    found: dict[Account, list[Lease]] = {}
    for lease in leases:
        if may_preempt(lease):
            found.setdefault(lease.account, []).append(lease)
    for some in found.values():
        some.sort(key=lambda lease: (-lease.taken_s, -lease.id))
    return found


def enough(account: Account, leases: Iterable[Lease], needs: Needs, now_s: float) -> list[Lease]:
    """Return the first of these leases without which the needs would fit; none where all would not do."""
    chosen: list[Lease] = []
    try:
        for lease in leases:
            account.book(lease.needs, -1)
            account.probes -= lease.is_probe
            chosen.append(lease)
            if account.fits(needs, now_s):
                return list(chosen)
        return []
    finally:
        for lease in chosen:
            account.book(lease.needs)
            account.probes += lease.is_probe
