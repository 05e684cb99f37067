"""What was reserved for a task, what stood in the way, and how much of it is used."""

import msgspec

from fairlead.domain.resources import Needs, Shortage
from fairlead.domain.task import TaskCategory


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """A lease on a part of one node, as it was when this was returned."""

    lease_id: int
    model: str
    node: str
    needs: Needs
    """What is reserved."""
    priority: int
    """From 0, first, to 9, last."""
    ttl_s: float
    """Seconds without progress after which it is taken back."""
    taken_s: float
    category: TaskCategory = TaskCategory.UNKNOWN
    output_limit: int = 0
    """To how many tokens the caller limits the answer; 0: to none."""
    is_cut: bool = False
    """Whether fewer tokens are reserved than are expected: the answer has to be limited to `needs.output_tokens`."""


class Constraint(msgspec.Struct, frozen=True, gc=False):
    """What one node has too little of for one model."""

    model: str
    node: str
    shortage: Shortage

    def __str__(self) -> str:
        return f"{self.model} on {self.node}: {self.shortage}"


class AllocationResult(msgspec.Struct, frozen=True):
    """What was allocated, or why nothing was."""

    allocated: Allocation | None
    constraints: tuple[Constraint, ...] = ()
    """Of every model and node that was asked in vain, for the smallest reservation that the caller allows."""
    priority: int = 4
    timeout_ms: float = 600_000.0
    """The time without progress after which the lease is taken back."""
    victims: tuple[int, ...] = ()
    """Leases of batch work not begun that have to make room for this, or have done so where it was allocated."""

    @property
    def waiting_helps(self) -> bool:
        """Whether nothing was allocated, but a node that was asked is large enough."""
        return self.allocated is None and any(not one.shortage.is_hopeless for one in self.constraints)

    @property
    def wait_s(self) -> float | None:
        """Seconds until a limit per minute gives way; None where none does, or all depends on others' work."""
        waits = [one.shortage.wait_s for one in self.constraints if not one.shortage.is_hopeless]
        return None if self.allocated is not None else min((wait for wait in waits if wait is not None), default=None)

    @property
    def reason(self) -> str | None:
        """Why nothing was allocated, in a sentence; None where something was."""
        if self.allocated is not None:
            return None
        if not self.waiting_helps:
            return f"no node is large enough for this task: {self._largest()}"
        if self.victims:
            return f"every node is full; {len(self.victims)} leases of batch work not begun could make room"
        wait_s = self.wait_s
        until = "others are done" if wait_s is None else f"others are done, or for {wait_s:.1f} s"
        return f"every node that could take it is full: wait until {until}"

    def _largest(self) -> str:
        best: dict[str, Constraint] = {}
        for one in self.constraints:
            known = best.get(one.shortage.resource)
            if known is None or known.shortage.capacity < one.shortage.capacity:
                best[one.shortage.resource] = one
        return "; ".join(
            f"it needs {one.shortage.needed:,.0f} {resource.replace('_', ' ')}, "
            f"the largest such node is {one.node} with {one.shortage.capacity:,.0f}"
            for resource, one in best.items()
        )


class ResourceMetrics(msgspec.Struct, frozen=True, gc=False):
    """What an allocation uses of what is reserved for it."""

    allocation: Allocation
    output_tokens: int
    """Of the answer so far."""
    used_share: float
    """Of the reserved output tokens; above 1 where the answer is longer than was expected."""
    age_s: float
    left_s: float
    """Until it is taken back, unless there is progress."""
    node_utilization: float
    """Leased share of the node's resource that is nearest to its end."""

    @property
    def used_tokens(self) -> int:
        """Return the tokens held so far: the prompt's and the answer's."""
        return self.allocation.needs.input_tokens + self.output_tokens
