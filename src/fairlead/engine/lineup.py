"""Who stands ready under one name: worked out when something changes, not for every task."""

from collections.abc import Collection, Sequence

import msgspec

from fairlead.domain import Model, Task
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Pool
from fairlead.routing.filters import Rejection

MOST_TIERS = 256


class Lineup(msgspec.Struct):
    """Who stands ready under one name, and what keeps the others away."""

    pool: Pool | None
    rejected: tuple[Rejection, ...]
    capabilities: frozenset[str] | None
    """What every candidate can do; None where all are unknown."""
    context_tokens: float
    """The smallest context of the pool; infinite where none is known."""
    models: tuple[Model, ...] = ()
    """The models of the pool, each once, in the order in which they were registered."""
    is_roomy: bool = False
    """Whether no node of the pool has limits."""
    nodes: frozenset[str] = frozenset()
    """Where the pool's models are served."""
    _tiers: dict[tuple[str, ...], Pool | None] = {}

    def tier(self, names: tuple[str, ...]) -> Pool | None:
        """Return the part of the pool that serves these models; kept, since the same few are asked for again."""
        if names not in self._tiers:
            if len(self._tiers) >= MOST_TIERS:
                self._tiers.clear()
            self._tiers[names] = None if self.pool is None else with_models(self.pool, names)
        return self._tiers[names]

    def suits(self, task: Task, min_context: int) -> bool:
        """Tell whether a task's requirements rule out nobody here, so that nobody need be looked at."""
        return (
            task.max_cost_usd is None
            and self.context_tokens >= task.input_tokens + task.output_tokens
            and self.context_tokens >= min_context
            and (not task.needs or self.capabilities is None or task.needs <= self.capabilities)
        )


def with_models(pool: Pool, names: Collection[str]) -> Pool | None:
    """Narrow a pool to some models; None where none of its candidates serves any."""
    if len(pool.candidates) == 1:
        return pool if pool.candidates[0].model.name in names else None
    wanted = [one for one in pool.candidates if one.model.name in names]
    if len(wanted) == len(pool.candidates):
        return pool
    return Pool(pool.key, wanted) if wanted else None


def models_of(candidates: Sequence[Candidate]) -> tuple[Model, ...]:
    """Return the models of some candidates, each once."""
    return tuple({one.model.name: one.model for one in candidates}.values())
