"""Where a model is loaded already: such nodes come first; one that would have to unload a busy model is not asked."""

from collections.abc import Iterator, Mapping

from fairlead.allocation import Ledger
from fairlead.allocation.residency import Standing
from fairlead.engine.node_state import NodeState
from fairlead.load import is_saturated
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Pool
from fairlead.routing.filters import Reason, Rejection


class Residence:
    """What a fleet knows of where models are loaded."""

    def __init__(self, nodes: Mapping[str, NodeState], ledger: Ledger) -> None:
        self._nodes = nodes
        self._ledger = ledger
        self._sizes: dict[str, int] = {}
        self.is_told = False
        """Whether any node tells which models it holds."""

    def share_sizes(self, told: NodeState) -> None:
        """Let what a node tells of its models' sizes count on the others too; each node's own word goes before it."""
        residency = told.residency
        if residency is None:
            return
        self.is_told = True
        for name, model in residency.loaded.items():
            self._sizes[name] = model.memory_bytes or self._sizes.get(name, 0)
        for state in self._nodes.values():
            if state.residency is not None:
                for name, size in self._sizes.items():
                    state.residency.declare_size(name, size)

    def standing(self, candidate: Candidate, at_work: Mapping[str, Mapping[str, int]]) -> Standing:
        """Say what sending a task to a candidate does, while so many leases are out by node and model."""
        name = candidate.node.name
        residency = self._nodes[name].residency
        if residency is None:
            return Standing.LOADED  # what does not tell has its models there, as servers of one model do
        return residency.standing(candidate.model.name, at_work.get(name, {}))

    def is_cold(self, candidate: Candidate) -> bool:
        """Tell whether a task sent to a candidate will wait for its model to be loaded."""
        return self.is_told and self.standing(candidate, self._ledger.models_at_work()) is not Standing.LOADED

    def tiers(self, pool: Pool, rejected: list[Rejection]) -> Iterator[Pool]:
        """Give the pools to be tried: where the model is loaded, where it has room, where an idle one has to go.

        A tier whose nodes are all much busier than the idlest comes after the next one: loading a model once is cheaper
        than keeping everybody on one node for ever.
        """
        if not self.is_told:
            yield pool
            return
        at_work = self._ledger.models_at_work()
        by_standing: dict[Standing, list[Candidate]] = {}
        for candidate in pool.candidates:
            by_standing.setdefault(self.standing(candidate, at_work), []).append(candidate)
        rejected.extend(Rejection(one, Reason.MEMORY) for one in by_standing.pop(Standing.EVICTS_BUSY, ()))
        tiers = [Pool(pool.key, by_standing[standing]) for standing in sorted(by_standing)]
        least = min(one.in_flight for one in pool.candidates)
        busy = [tier for tier in tiers if all(is_saturated(one.account, least) for one in tier.candidates)]
        yield from (tier for tier in tiers if tier not in busy)
        yield from busy
