"""Leases for tasks: what a task takes of a node, how far a node may be filled for it, and who has room.

A node is filled up to `max_node_utilization`; `batch` work never takes it beyond, other work only where no fitting node
is below. A task that may be cut short is cut before another node is tried.
"""

from collections.abc import Iterable
from math import ceil, floor

import msgspec

from fairlead.allocation import Account, Lease
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.allocation.shrink import cut
from fairlead.domain import ONE_SLOT, Needs, Outcome, PriorityClass, Shortage, Task, class_of
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Pool
from fairlead.routing.filters import Reason, Rejection

_RATES = ("requests_per_minute", "tokens_per_minute")


class Terms(msgspec.Struct, frozen=True):
    """On what terms a node is leased."""

    ceiling: float = 1.0
    """Share of the node that may be leased afterwards."""
    is_short: bool = False
    """Whether the answer may be cut to what there is room for."""
    is_joint: bool = False
    """Whether the ceiling holds for all nodes together too: of nodes with one slot each, some stay idle."""


FREELY = Terms()


class Lessor:
    """Takes leases on the nodes' accounts."""

    def __init__(
        self, allocator: ResourceAllocator, max_utilization: float = 1.0, *, counts_tokens: bool = False
    ) -> None:
        """`counts_tokens` says that tokens matter even on nodes that do not limit them."""
        self.allocator = allocator
        self.ledger = allocator.ledger
        self.counts_tokens = counts_tokens
        self._below = Terms(max_utilization)
        self._batch = (Terms(max_utilization, is_joint=True),) if max_utilization < 1.0 else (FREELY,)
        self._usual = (self._below, FREELY) if max_utilization < 1.0 else (FREELY,)
        self.keeps_room = False
        """Whether normal work, too, leaves a part of the nodes to interactive work, and waits instead."""

    def terms(self, task: Task) -> tuple[Terms, ...]:
        """Return the terms to try, the best first."""
        kind = class_of(task.priority)
        terms = self._batch if kind is PriorityClass.BATCH else self._usual
        if self.keeps_room and kind is PriorityClass.NORMAL:
            terms = (self._below,)
        if task.min_output_tokens is None:
            return terms
        return tuple([Terms(one.ceiling, True, one.is_joint) for one in terms])

    def needs(self, task: Task, candidate: Candidate, now_s: float) -> Needs:
        """Return what a task is expected to take of a candidate's node.

        What is expected of an answer that may be longer is a guess: it rules out no node that holds the prompt.
        """
        account = candidate.account
        if not (self.counts_tokens or account.is_metered):
            return ONE_SLOT
        needs = self.allocator.needs.estimate(task, candidate.model.name, now_s)
        if needs.tokens > account.most_tokens and needs.output_tokens != task.output_tokens:
            needs = msgspec.structs.replace(needs, output_tokens=max(account.most_tokens - needs.input_tokens, 1))
        return needs

    def take(self, task: Task, candidate: Candidate, now_s: float, ttl_s: float, terms: Terms = FREELY) -> Lease | None:
        """Lease what a task needs of a candidate's node, or return None where there is no room on these terms."""
        account, model = candidate.account, candidate.model.name
        if not (account.is_metered or self.counts_tokens):
            return self.ledger.take(account, task, now_s, ttl_s, ONE_SLOT, terms.ceiling, model)
        needs = self.needs(task, candidate, now_s)
        if terms.is_short:
            needs = self._cut(task, candidate, needs, now_s, terms) or needs
        return self.ledger.take(account, task, now_s, ttl_s, needs, terms.ceiling, model)

    def settle(self, lease: Lease, candidate: Candidate, outcome: Outcome, now_s: float) -> None:
        """Give a lease back, settle what was charged for it, and learn how long answers are."""
        used = outcome.input_tokens + outcome.output_tokens
        self.ledger.give_back(lease, used if outcome.success and used else None)
        if outcome.success and outcome.output_tokens:
            self.allocator.needs.learn(candidate.model.name, outcome.category, outcome.output_tokens, now_s)

    def adjust(self, lease: Lease, output_tokens: int) -> None:
        """Let a lease hold more where its answer is about to use it up, as far as the node has more to give."""
        needs, config = lease.needs, self.allocator.config
        lease.output_tokens = output_tokens
        if needs is not ONE_SLOT and output_tokens >= config.grow_at * needs.output_tokens:
            account, target = lease.account, ceil(output_tokens * config.growth)
            if account.capacity.tokens is not None:
                target = min(target, account.capacity.tokens - account.tokens + needs.output_tokens)
            if target <= needs.output_tokens:
                return
            self.ledger.resize(lease, self.allocator.needs.sized(lease.model, needs.input_tokens, target))

    def shortage(self, task: Task, candidate: Candidate, now_s: float, terms: Terms) -> Shortage | None:
        """Say what a candidate's node has too little of on these terms, or None."""
        account = candidate.account
        if account.is_roomy:
            return None
        needs = self.needs(task, candidate, now_s)
        if terms.is_short:
            needs = self._cut(task, candidate, needs, now_s, terms) or needs
        return account.shortage(needs, now_s, terms.ceiling)

    def would_fit(self, task: Task, candidate: Candidate, held: Lease, now_s: float) -> bool:
        """Tell whether a task would find room on a candidate's node if a lease there were given back.

        A limit per minute does not give way with it: what was charged stays charged.
        """
        account = candidate.account
        if not held.is_open:
            return False
        if account.probe_limit is not None and account.probes - held.is_probe >= account.probe_limit:
            return False
        needs = self._least(task, self.needs(task, candidate, now_s))
        account.book(held.needs, -1)  # asked as it would be, and put back
        has_room = account.shortage(needs, now_s) is None
        account.book(held.needs)
        return has_room

    def with_room(self, pool: Pool, task: Task, now_s: float, terms: Terms) -> Pool | None:
        """Narrow a pool to the candidates whose nodes have room on these terms."""
        if terms.is_joint and not is_room_in_all(pool, terms.ceiling):
            return None
        free = [one for one in pool.candidates if self._has_room(task, one, now_s, terms)]
        if len(free) == len(pool.candidates):
            return pool
        return Pool(pool.key, free) if free else None

    def rejections(
        self, candidates: Iterable[Candidate], task: Task, now_s: float, terms: Terms
    ) -> tuple[list[Rejection], float | None]:
        """Say why these have no room, the largest node first, and in how many seconds a limit gives way."""
        found: list[tuple[float, Rejection]] = []
        wait_s: float | None = None
        for candidate in candidates:
            reason, shortage = self._lacks(task, candidate, now_s, terms)
            if reason is Reason.RATE and shortage is not None and shortage.wait_s is not None:
                wait_s = min(shortage.wait_s, wait_s or shortage.wait_s)
            detail = "" if shortage is None or shortage.resource == "slots" else str(shortage)
            if shortage is not None and reason is Reason.TOO_LARGE:
                words = shortage.resource.replace("_", " ")
                detail = f"it needs {shortage.needed:,.0f} {words}, and there are {shortage.capacity:,.0f}"
            if terms.ceiling < 1.0 and reason is Reason.FULL and candidate.account.shortage(ONE_SLOT, now_s) is None:
                detail = "the rest is kept free"
            found.append((0.0 if shortage is None else shortage.capacity, Rejection(candidate, reason, detail)))
        found.sort(key=lambda one: -one[0])
        return [rejection for _, rejection in found], wait_s

    # -- inside

    def _cut(self, task: Task, candidate: Candidate, needs: Needs, now_s: float, terms: Terms) -> Needs | None:
        least = task.min_output_tokens or 1
        return cut(self.allocator.needs, candidate.account, candidate.model.name, needs, least, now_s, terms.ceiling)

    def _least(self, task: Task, needs: Needs) -> Needs:
        """Return the needs of the shortest answer that the caller allows."""
        if task.min_output_tokens is None:
            return needs
        return msgspec.structs.replace(needs, output_tokens=min(needs.output_tokens, task.min_output_tokens))

    def _has_room(self, task: Task, candidate: Candidate, now_s: float, terms: Terms) -> bool:
        account = candidate.account
        if self._counts_slots(account):
            return account.fits(ONE_SLOT, now_s, terms.ceiling)
        if account.probe_limit is not None and account.probes >= account.probe_limit:
            return False
        return account.is_roomy or self.shortage(task, candidate, now_s, terms) is None

    def _counts_slots(self, account: Account) -> bool:
        """Tell whether slots are all that a task may lack on a node, so that nothing need be estimated."""
        return not (account.is_metered or account.is_rated or account.is_roomy or self.counts_tokens)

    def _lacks(self, task: Task, candidate: Candidate, now_s: float, terms: Terms) -> tuple[Reason, Shortage | None]:
        account = candidate.account
        if self._counts_slots(account):
            return Reason.FULL, account.shortage(ONE_SLOT, now_s, terms.ceiling)
        needs = self._least(task, self.needs(task, candidate, now_s))
        hopeless = account.too_small_for(needs)
        if hopeless is not None:
            return Reason.TOO_LARGE, hopeless
        shortage = account.shortage(needs, now_s, terms.ceiling)
        if shortage is None or shortage.resource == "slots":  # or only probes are let through
            return Reason.FULL, shortage
        return (Reason.RATE if shortage.resource in _RATES else Reason.ROOM), shortage


def is_room_in_all(pool: Pool, ceiling: float) -> bool:
    """Tell whether one more task keeps a pool's nodes together below a ceiling, as far as their slots are known."""
    accounts = {one.account.name: one.account for one in pool.candidates}.values()
    slots = 0
    for account in accounts:
        if account.slots is None:
            return True
        slots += account.slots
    return sum(account.in_flight for account in accounts) < max(floor(slots * ceiling + 1e-9), 1)
