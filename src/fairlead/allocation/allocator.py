"""ResourceAllocator: what a task needs, reserved on one node in the step that chooses it, and always given back.

The node is the least utilized one that fits: of the resource that is nearest to its end on each, the smallest leased
share. A node is filled up to `max_node_utilization`; beyond that `batch` work never goes, and other work only where no
fitting node is below. Where a node has too little, these are tried in order:

1. a smaller reservation, where the task says how few tokens of answer would do;
2. another node;
3. another model of the route;
4. waiting: the result says so, and for how long where a limit per minute tells;
5. pre-empting batch work that has not begun: the result names the leases, and gives them back when asked to;
6. refusing: the result says what is missing on each node.

One owner calls it, without locks. An engine that chooses nodes itself uses `account`, `ledger` and `needs` alone.
"""

from collections.abc import Sequence
from math import ceil, inf

import msgspec

from fairlead.allocation.account import Account
from fairlead.allocation.config import AllocationConfig
from fairlead.allocation.ledger import Lease, Ledger
from fairlead.allocation.needs import NeedsEstimator
from fairlead.allocation.places import Places, Route, models_of
from fairlead.allocation.preemption import MayPreempt, by_account, enough
from fairlead.allocation.reserving import Request, Reserver
from fairlead.allocation.shrink import bounded, smallest
from fairlead.domain import Needs, Node, PriorityClass, Shortage, Task, class_of, read_priority
from fairlead.domain.allocation import Allocation, AllocationResult, Constraint, ResourceMetrics
from fairlead.errors import BadRequestError, LeaseError, NoModelError

_ANY_TASK = Task(id="", key=0)


class ResourceAllocator:
    """Owner of the ledger, of the nodes' accounts and of what is known of tasks' needs."""

    def __init__(self, config: AllocationConfig | None = None, may_preempt: MayPreempt | None = None) -> None:
        """`may_preempt` tells of an open lease whether it may make room; without it none may (`is_batch_not_begun`)."""
        self.config = config or AllocationConfig()
        self.ledger = Ledger()
        self.needs = NeedsEstimator(self.config)
        self.may_preempt = may_preempt
        self._places = Places()
        self._reserver = Reserver(self.ledger, self.needs)
        share = self.config.max_node_utilization
        self._batch_ceilings = (share,)
        self._ceilings = (share, 1.0) if share < 1.0 else (1.0,)

    @property
    def accounts(self) -> dict[str, Account]:
        """What is leased on each node, by its name."""
        return self._places.accounts

    # -- nodes

    def account(self, node: Node) -> Account:
        """Return a node's account, made where there is none."""
        return self._places.account(node)

    def forget(self, node_name: str) -> bool:
        """Let a node go; False where there is none by that name. What is leased on it stays so until given back."""
        return self._places.forget(node_name)

    def add_node(self, node: Node, models: Sequence[str] = ()) -> None:
        """Let `allocate_resources` use a node, for these models or, where none is named, for all.

        A node that is there already takes over the new capacity and models.
        """
        self._places.serve(node, models)

    def remove_node(self, node_name: str) -> bool:
        """Take a node away, as `forget` does."""
        return self._places.forget(node_name)

    # -- the life of an allocation

    def allocate_resources(
        self,
        route: Route,
        task: Task | None = None,
        *,
        priority: int | str | None = None,
        timeout_ms: float | None = None,
        now_s: float = 0.0,
        preempt: bool = False,
    ) -> AllocationResult:
        """Reserve what a task needs for the first model of a route that a node has room for.

        `priority` is a level or a class's name, the task's own where None; `timeout_ms` is the time without progress
        after which the lease is taken back. With `preempt` the leases that would have to make room are given back and
        the allocation is made; their owners have to be told (`victims`).

        Raises NoModelError where no node serves any of the models, ValueError for a priority or timeout out of range.
        """
        request = self._request(route, task or _ANY_TASK, priority, timeout_ms, now_s)
        if self.ledger.due_s <= now_s:
            self.reclaim(now_s)
        short: list[tuple[str, Account, Needs]] = []
        for model in request.models:
            nodes = self._places.of(model)
            if not nodes:
                continue
            allocated, needs = self._reserve(request, model, nodes)
            if allocated is not None:
                return self._result(request, allocated, short)
            least = smallest(self.needs, model, needs, request.task.min_output_tokens)
            short.extend((model, account, least) for account in nodes)
        if not short:
            raise NoModelError(f"no node serves {', '.join(request.models)}: add one with add_node(node, models)")
        return self._make_room(request, short, preempt=preempt)

    def note_progress(self, allocation: Allocation, output_tokens: int, now_s: float) -> None:
        """Note how long the answer is so far; the lease's time starts again. Raises LeaseError where it is over."""
        lease = self._lease(allocation, now_s)
        lease.output_tokens = max(lease.output_tokens, output_tokens)
        self.ledger.renew(lease, now_s)

    def monitor_usage(self, allocation: Allocation, now_s: float) -> ResourceMetrics:
        """Return what is used of what is reserved. Raises LeaseError where the lease is over."""
        lease = self._lease(allocation, now_s)
        used, needs = lease.output_tokens, lease.needs
        share = used / needs.output_tokens if needs.output_tokens else 0.0
        current = msgspec.structs.replace(allocation, needs=needs)
        return ResourceMetrics(
            current, used, share, now_s - lease.taken_s, lease.expires_s - now_s, lease.account.utilization
        )

    def adjust_allocation(self, of: Allocation | ResourceMetrics, now_s: float) -> Allocation:
        """Fit a reservation to what is known by now, and let the lease's time start again.

        It grows where the answer is about to use it up, and shrinks where much less is expected now. Where the node
        has no room to grow it stays as it is. Raises LeaseError where the lease is over.
        """
        allocation = of.allocation if isinstance(of, ResourceMetrics) else of
        lease = self._lease(allocation, now_s)
        self.ledger.renew(lease, now_s)
        target = self._target(allocation, lease)
        if target != lease.needs.output_tokens:
            self.ledger.resize(lease, self.needs.sized(allocation.model, lease.needs.input_tokens, target))
        return msgspec.structs.replace(allocation, needs=lease.needs)

    def release_resources(self, allocation: Allocation, used_tokens: int | None = None) -> bool:
        """Give an allocation back; False where it was given back or has expired before, and then nothing changes.

        `used_tokens`, of prompt and answer, settles what was charged against a limit per minute; None leaves it as
        charged. Raises ValueError for less than nothing.
        """
        if used_tokens is not None and used_tokens < 0:
            raise ValueError(f"a task cannot have used {used_tokens!r} tokens")
        lease = self.ledger.find(allocation.lease_id, allocation.ttl_s)
        return lease is not None and self.ledger.give_back(lease, used_tokens)

    def reclaim(self, now_s: float) -> list[Lease]:
        """Take back the leases whose owners vanished; `ledger.expired_total` counts them."""
        return self.ledger.expire(now_s)

    def victims(self, account: Account, needs: Needs, now_s: float) -> list[Lease]:
        """Return leases that would have to be given back for these needs to fit on a node; none where that is vain."""
        if self.may_preempt is None or account.too_small_for(needs) is not None:
            return []
        return enough(account, by_account(self.ledger, self.may_preempt).get(account, ()), needs, now_s)

    # -- inside

    def _request(
        self, route: Route, task: Task, priority: int | str | None, timeout_ms: float | None, now_s: float
    ) -> Request:
        level = task.priority if priority is None else priority
        if isinstance(level, str):
            level = read_priority(level)
        if not isinstance(level, int):
            raise BadRequestError(f"a priority is a class's name or a level from 0 to 9, not {level!r}", "priority")
        batch = class_of(level) is PriorityClass.BATCH
        timeout_ms = self.config.timeout_ms if timeout_ms is None else timeout_ms
        if not 0 < timeout_ms < inf:
            raise ValueError(f"timeout_ms must be above 0, not {timeout_ms!r}")
        ceilings = self._batch_ceilings if batch else self._ceilings
        return Request(task, models_of(route), level, timeout_ms / 1000.0, now_s, ceilings)

    def _reserve(self, request: Request, model: str, nodes: list[Account]) -> tuple[Allocation | None, Needs]:
        """Lease what is expected to be needed; where every node is too small for that, what the largest can hold."""
        needs = self.needs.estimate(request.task, model, request.now_s)
        allocated = self._reserver.reserve(request, model, nodes, needs)
        if allocated is None:
            expected, needs = needs, bounded(self.needs, model, needs, request.task.output_tokens, nodes)
            if needs is not expected:
                allocated = self._reserver.reserve(request, model, nodes, needs)
        return allocated, needs

    def _make_room(
        self, request: Request, short: list[tuple[str, Account, Needs]], *, preempt: bool
    ) -> AllocationResult:
        """Find what could make room, and let it where that is asked for."""
        result = self._result(request, None, short)
        if self.may_preempt is None or class_of(request.priority) is PriorityClass.BATCH:
            return result
        found = by_account(self.ledger, self.may_preempt)
        fewest: list[Lease] = []
        place = short[0]
        for one in short:
            _, account, needs = one
            some = enough(account, found.get(account, ()), needs, request.now_s)
            if some and (not fewest or len(some) < len(fewest)):
                fewest, place = some, one
        if not fewest:
            return result
        allocated = None
        if preempt:
            for lease in fewest:
                self.ledger.give_back(lease)
            model, account, _ = place
            allocated, _ = self._reserve(request, model, [account])
        ids = tuple(lease.id for lease in fewest)
        return msgspec.structs.replace(result, allocated=allocated, victims=ids)

    def _result(
        self, request: Request, allocated: Allocation | None, short: list[tuple[str, Account, Needs]]
    ) -> AllocationResult:
        now_s, ceiling = request.now_s, request.ceilings[-1]
        constraints = tuple(
            Constraint(model, account.name, _lacking(account, needs, now_s, ceiling)) for model, account, needs in short
        )
        return AllocationResult(allocated, constraints, request.priority, request.ttl_s * 1000.0)

    def _target(self, allocation: Allocation, lease: Lease) -> int:
        """Return how many output tokens to reserve from now on."""
        config, used, reserved = self.config, lease.output_tokens, lease.needs.output_tokens
        limit = allocation.output_limit or inf
        if used >= reserved * config.grow_at:
            return reserved if allocation.is_cut else int(max(reserved, min(ceil(used * config.growth), limit)))
        expected = min(self.needs.expected_output(allocation.model, allocation.category), limit)
        target = int(max(expected, ceil(used * config.growth), 1))
        return target if target < reserved * config.shrink_at else reserved

    def _lease(self, allocation: Allocation, now_s: float) -> Lease:
        if self.ledger.due_s <= now_s:
            self.reclaim(now_s)
        lease = self.ledger.find(allocation.lease_id, allocation.ttl_s)
        if lease is None:
            raise LeaseError(
                f"the allocation of {allocation.model!r} on {allocation.node!r} is over: it was given back, or expired "
                f"after {allocation.ttl_s:g} s without progress; allocate anew"
            )
        return lease


def _lacking(account: Account, needs: Needs, now_s: float, ceiling: float) -> Shortage:
    """Say what keeps a node from taking so much: first what it will never have, then what it has not now."""
    shortage = account.too_small_for(needs) or account.shortage(needs, now_s, ceiling)
    if shortage is None:  # its circuit is half open, and as many probes are out as may be
        return Shortage("probes", 1, 0, account.probe_limit or 1)
    return shortage
