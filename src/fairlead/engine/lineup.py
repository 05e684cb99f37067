"""Who stands ready under one name: worked out when something changes, not for every task."""

import msgspec

from fairlead.domain import Task
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Pool
from fairlead.routing.filters import Reason, Rejection


class Lineup(msgspec.Struct):
    """Who stands ready under one name, and what keeps the others away."""

    pool: Pool | None
    rejected: tuple[Rejection, ...]
    capabilities: frozenset[str] | None
    """What every candidate can do; None where all are unknown."""
    context_tokens: float
    """The smallest context of the pool; infinite where none is known."""

    def suits(self, task: Task, min_context: int) -> bool:
        """Tell whether a task's requirements rule out nobody here, so that nobody need be looked at."""
        return (
            task.max_cost_usd is None
            and self.context_tokens >= task.input_tokens + task.output_tokens
            and self.context_tokens >= min_context
            and (not task.needs or self.capabilities is None or task.needs <= self.capabilities)
        )


def with_room(pool: Pool, rejected: list[Rejection]) -> Pool | None:
    """Narrow a pool to the candidates whose nodes have something to lease."""
    free: list[Candidate] = []
    for candidate in pool.candidates:
        account = candidate.account
        is_full = account.slots is not None and account.in_flight >= account.slots
        if is_full or (account.probe_limit is not None and account.probes >= account.probe_limit):
            rejected.append(Rejection(candidate, Reason.FULL))
        else:
            free.append(candidate)
    return Pool(pool.key, free) if free else None
