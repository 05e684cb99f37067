"""Who is there: models on nodes, the names they are asked for by, and who of them stands ready."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.allocation.allocator import ResourceAllocator
from fairlead.domain import Model, Node
from fairlead.engine.events import Event, FleetChanged
from fairlead.engine.lineup import Lineup, models_of
from fairlead.engine.node_state import NodeState
from fairlead.errors import DuplicateModelError, FairleadError, UnknownModelError
from fairlead.health import CircuitBreakerConfig
from fairlead.health.config import HealthConfig
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Pool
from fairlead.routing.filters import Rejection

AUTO = "auto"


class FleetSettings(msgspec.Struct, frozen=True):
    """What a fleet is built with."""

    seed: int = 0
    half_life_s: float = 3600.0
    lease_ttl_s: float = 600.0
    probe_ttl_s: float | None = None
    """Of a lease on a half-open node; None: the breaker's own timeout."""
    breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    health: HealthConfig = HealthConfig()
    max_node_utilization: float = 1.0
    """Share of a node that `batch` work leaves free, and other work where it can."""
    counts_tokens: bool = False
    """Whether tokens are leased on every node, not on those alone that limit them."""
    slow_start_s: float = 0.0
    """How long a node that joins or recovers takes to get its whole share."""
    probes_when_needed: bool = False
    """Whether, with the circuits of all nodes of several open, one is probed before its time."""
    results_judge: bool = False
    """Whether a success says that an answer was good, as the result of a task does, or just that it came."""


class Directory:
    """The part of a fleet's state that says who may be asked. Candidates per name are kept, not filtered per task."""

    def __init__(self, settings: FleetSettings, allocator: ResourceAllocator) -> None:
        self.settings = settings
        self.allocator = allocator
        self.nodes: dict[str, NodeState] = {}
        self.outbox: list[Event] = []
        self._by_model: dict[str, dict[str, Candidate]] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._fallbacks: dict[str, tuple[str, ...]] = {}
        self._lineups: dict[str, Lineup] = {}
        self._registered = 0
        self._recalled: dict[tuple[str, str], Any] = {}
        """What was kept of pairs that have not joined yet."""
        self._on_probation: set[str] = set()
        self.is_limited = False
        """Whether any node has limits, so that tasks may have to wait."""
        self._first_joined_s: float | None = None

    @property
    def models(self) -> Mapping[str, Mapping[str, Candidate]]:
        """Model name -> node name -> candidate."""
        return self._by_model

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        """Group or alias -> the models it stands for."""
        return self._groups

    def candidates(self) -> Iterable[Candidate]:
        """Return every pair, model by model."""
        return (candidate for by_node in self._by_model.values() for candidate in by_node.values())

    def add(self, model: Model, node: Node, now_s: float) -> Candidate:
        """Register a model on a node. Raises DuplicateModelError when that pair is there already."""
        by_node = self._by_model.setdefault(model.name, {})
        if node.name in by_node:
            raise DuplicateModelError(f"model {model.name!r} is registered on node {node.name!r} already")
        state = self.nodes.get(node.name)
        is_new = state is None
        if state is None:
            state = self.nodes[node.name] = NodeState(node, self.settings.breaker, self.allocator.account(node))
        candidate = Candidate(model, node, state.account, self._registered, self.settings.half_life_s)
        self._registered += 1
        if (model.name, node.name) in self._recalled:
            candidate.take_over(self._recalled.pop((model.name, node.name)))
        by_node[node.name] = state.candidates[model.name] = candidate
        self._lineups.clear()
        self.is_limited |= not state.account.is_roomy
        self.outbox.append(FleetChanged(at_s=now_s, model=model.name, node=node.name, joined=True))
        if is_new:
            self._joined(state, now_s)
        return candidate

    def utilization(self) -> float:
        """Return the mean leased share of the nodes that have limits; 0.0 where none has."""
        if not self.is_limited:
            return 0.0
        shares = [state.account.utilization for state in self.nodes.values() if not state.account.is_roomy]
        return sum(shares) / len(shares)

    def _look_for_limits(self) -> None:
        self.is_limited = not all(state.account.is_roomy for state in self.nodes.values())

    def _joined(self, state: NodeState, now_s: float) -> None:
        """Take note of a node that was not there before."""

    def _left(self, node: str) -> None:
        """Take note of a node that serves nothing any more."""

    def remove(self, model: str, node: str, now_s: float) -> None:
        """Take a model off a node. Its leases end by themselves. Raises UnknownModelError when it is not there."""
        if node not in self._by_model.get(model, {}):
            raise UnknownModelError(f"model {model!r} is not registered on node {node!r}")
        del self._by_model[model][node]
        if not self._by_model[model]:
            del self._by_model[model]
        del self.nodes[node].candidates[model]
        if not self.nodes[node].candidates:
            del self.nodes[node]
            self.allocator.forget(node)
            self._on_probation.discard(node)
            self._left(node)
        self._lineups.clear()
        self._look_for_limits()
        self.outbox.append(FleetChanged(at_s=now_s, model=model, node=node, joined=False))

    def update(self, model: Model, node: Node, now_s: float) -> None:
        """Take over what is said of a registered model and its node now; evidence, circuit and leases stay.

        Raises UnknownModelError when that pair is not there.
        """
        del now_s  # nothing begins anew
        if node.name not in self._by_model.get(model.name, {}):
            raise UnknownModelError(f"model {model.name!r} is not registered on node {node.name!r}")
        state = self.nodes[node.name]
        self._by_model[model.name][node.name].renew(model, node)
        if state.node != node:
            state.node = node
            state.account.resize(node.capacity)
            for candidate in state.candidates.values():
                candidate.renew(candidate.model, node)
        self._lineups.clear()
        self._look_for_limits()

    def rename(self, groups: Mapping[str, Sequence[str]], fallbacks: Mapping[str, Sequence[str]]) -> None:
        """Let these names, and no others, stand for several models, and these models stand in."""
        self._groups = {name: tuple(members) for name, members in groups.items()}
        self._fallbacks = {name: tuple(models) for name, models in fallbacks.items()}
        self._lineups.clear()

    def name_group(self, name: str, members: Sequence[str]) -> None:
        """Let a name stand for several models."""
        self._groups[name] = tuple(members)
        self._lineups.clear()

    def name_fallbacks(self, name: str, models: Sequence[str]) -> None:
        """Say which models may stand in, in order, when nobody is left under a name."""
        self._fallbacks[name] = tuple(models)

    def serves(self, name: str) -> bool:
        """Tell whether a task may ask for this name."""
        return name in self._by_model or name in self._groups or (name == AUTO and bool(self._by_model))

    def members(self, name: str) -> Iterable[Candidate]:
        """Return every pair that a name stands for, fit or not."""
        if name in self._by_model:
            return self._by_model[name].values()
        if name in self._groups:
            members = dict.fromkeys(self._groups[name])
            return [one for model in members for one in self._by_model.get(model, {}).values()]
        return self.candidates() if name == AUTO else ()

    def stands_for_several(self, name: str) -> bool:
        """Tell whether a name leaves the choice among several models open."""
        return len(self.lineup(name).models) > 1

    def lineup(self, name: str) -> Lineup:
        """Return who stands ready under a name; worked out anew when something has changed."""
        return self._lineups.get(name) or self._line_up(name)

    def _line_up(self, name: str) -> Lineup:
        ready: list[Candidate] = []
        rejected: list[Rejection] = []
        for candidate in self.members(name):
            reason = self.nodes[candidate.node.name].why_not(candidate)
            if reason is None:
                ready.append(candidate)
            else:
                rejected.append(Rejection(candidate, reason))
        ready.sort(key=lambda one: one.order)
        known = [one.model.capabilities for one in ready if one.model.capabilities is not None]
        contexts = [one.model.context_tokens for one in ready if one.model.context_tokens is not None]
        lineup = Lineup(
            pool=Pool(name, tuple(ready)) if ready else None,
            rejected=tuple(rejected),
            capabilities=frozenset.intersection(*known) if known else None,
            context_tokens=min(contexts, default=float("inf")),
            models=models_of(ready),
            nodes=frozenset(one.node.name for one in ready),
            is_roomy=all(one.account.is_roomy for one in ready),
        )
        if rejected or ready:  # names nobody has are not remembered: callers could invent them without end
            self._lineups[name] = lineup
        return lineup

    def kept(self) -> list[list[object]]:
        """Return the evidence of every pair, as plain data."""
        joined = [[one.model.name, one.node.name, one.kept()] for one in self.candidates()]
        return joined + [[*pair, kept] for pair, kept in self._recalled.items()]

    def take_over(self, kept: Any) -> None:
        """Become what `kept` gave; pairs that join later find theirs. Raises FairleadError for anything else."""
        try:
            recalled = {(str(model), str(node)): Candidate.checked(own) for model, node, own in kept}
        except (TypeError, ValueError) as error:
            raise FairleadError(f"the kept evidence of nodes is damaged ({error})") from None
        for candidate in self.candidates():
            own = recalled.pop((candidate.model.name, candidate.node.name), None)
            if own is not None:
                candidate.take_over(own)
        self._recalled = recalled
