"""The state of a fleet and the one step that decides: pure, single-owner, told the time.

Candidates per name (a model, a group, `auto`) are kept as pools that change with events, not filtered per task. The
step is: pool -> what the task rules out -> where models differ, the routing engine says which come first -> the
strategy picks -> the ledger leases; refused, the next is tried.
"""

import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from fairlead.allocation import Lease, Ledger
from fairlead.domain import Model, Node, Outcome, Task
from fairlead.engine.decision import Decision
from fairlead.engine.events import (
    CircuitChanged,
    Event,
    FleetChanged,
    LeasesExpired,
    NodeCooling,
    PairBlocked,
    StrategyChanged,
)
from fairlead.engine.lineup import Lineup, models_of, with_room
from fairlead.engine.node_state import NodeState
from fairlead.engine.refusal import all_ruled_out, nothing_there
from fairlead.errors import (
    BadRequestError,
    DuplicateModelError,
    FairleadError,
    Fault,
    NoCandidateError,
    RoutingError,
    UnknownModelError,
)
from fairlead.health import Cause, Circuit, CircuitBreakerConfig
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Choice, Pool, Strategy
from fairlead.routing.engine import ModelChoice, RoutingEngine
from fairlead.routing.filters import Reason, Rejection, split_fit

AUTO = "auto"
PROBE_SHARE = 0.1
"""Share of tasks that go to a node whose circuit is half open, while there is one."""


class FleetSettings(msgspec.Struct, frozen=True):
    """What a fleet is built with."""

    seed: int = 0
    half_life_s: float = 3600.0
    lease_ttl_s: float = 600.0
    probe_ttl_s: float | None = None
    """Of a lease on a half-open node; None: the breaker's own timeout."""
    breaker: CircuitBreakerConfig = CircuitBreakerConfig()
    results_judge: bool = False
    """Whether a success says that an answer was good, as the result of a task does, or just that it came."""


class Fleet:
    """Models on nodes, with their evidence, breakers and leases."""

    def __init__(
        self, strategy: Strategy, settings: FleetSettings | None = None, engine: RoutingEngine | None = None
    ) -> None:
        self.settings = settings or FleetSettings()
        self.strategy = strategy
        self.engine = engine
        """Says which of several models comes first; None: the strategy chooses among all."""
        self.ledger = Ledger()
        self.nodes: dict[str, NodeState] = {}
        self.outbox: list[Event] = []
        self._by_model: dict[str, dict[str, Candidate]] = {}
        self._groups: dict[str, tuple[str, ...]] = {}
        self._fallbacks: dict[str, tuple[str, ...]] = {}
        self._lineups: dict[str, Lineup] = {}
        self._due: list[tuple[float, int, NodeState]] = []
        self._registered = 0
        self._recalled: dict[tuple[str, str], Any] = {}
        """What was kept of pairs that have not joined yet."""
        self.version = 0
        """Rises with everything that is learnt."""
        self._on_probation: set[str] = set()

    # -- who is there

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
        if state is None:
            state = self.nodes[node.name] = NodeState(node, self.settings.breaker)
        candidate = Candidate(model, node, state.account, self._registered, self.settings.half_life_s)
        self._registered += 1
        if (model.name, node.name) in self._recalled:
            candidate.take_over(self._recalled.pop((model.name, node.name)))
        by_node[node.name] = state.candidates[model.name] = candidate
        self._lineups.clear()
        self.outbox.append(FleetChanged(at_s=now_s, model=model.name, node=node.name, joined=True))
        return candidate

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
            self._on_probation.discard(node)
        self._lineups.clear()
        self.outbox.append(FleetChanged(at_s=now_s, model=model, node=node, joined=False))

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
        lineup = self._lineups.get(name) or (self._line_up(name) if self.serves(name) else None)
        return lineup is not None and len(lineup.models) > 1

    def cascade_for(self, task: Task, now_s: float) -> str | None:
        """Return the cascade that the routing engine would give a task, or None for a single model.

        Raises as `decide` does, where no model meets the task's requirements.
        """
        lineup = self._lineups.get(task.model) or (self._line_up(task.model) if self.serves(task.model) else None)
        if lineup is None or len(lineup.models) < 2:
            return None
        models = self._rank(task, lineup.models, now_s, 1)
        return None if models is None else models.cascade

    # -- the step that decides

    def decide(
        self,
        task: Task,
        now_s: float,
        attempt: int = 1,
        tried: Collection[str] = (),
        min_context: int = 0,
        strategy: Strategy | None = None,
    ) -> Decision:
        """Pick a candidate and lease a slot on it, in one step.

        `tried` names nodes that are not to be asked again; `min_context` is what a context must hold at least.
        Raises NoModelError when nothing by that name is registered, NoCandidateError when every candidate is ruled out.
        """
        if self._due and self._due[0][0] <= now_s:
            self.tick(now_s)
        strategy = strategy or self.strategy
        lineup = self._lineups.get(task.model)
        if lineup is not None and lineup.pool is not None and not tried and lineup.suits(task, min_context):
            models = self._rank(task, lineup.models, now_s, attempt) if len(lineup.models) > 1 else None
            if models is None:
                decision = self._choose(strategy, task, lineup.pool, lineup.rejected, now_s, attempt)
            else:
                pool = lineup.tier(models.tiers[0]) or lineup.pool
                decision = self._choose(strategy, task, pool, lineup.rejected, now_s, attempt, models)
            if decision is not None:
                return decision
        return self._decide_narrowly(task, now_s, attempt, tried, min_context, strategy)

    def _decide_narrowly(
        self, task: Task, now_s: float, attempt: int, tried: Collection[str], min_context: int, strategy: Strategy
    ) -> Decision:
        """Decide where some of the pool is ruled out, going on to the models that may stand in."""
        rejected: list[Rejection] = []
        unmet: NoCandidateError | None = None
        for name in (task.model, *self._fallbacks.get(task.model, ())):
            lineup = self._lineups.get(name) or self._line_up(name)
            rejected.extend(lineup.rejected)
            try:
                models = self._rank(task, lineup.models, now_s, attempt) if len(lineup.models) > 1 else None
            except NoCandidateError as error:
                unmet = unmet or error
                continue
            tiers = [lineup.pool] if models is None else [lineup.tier(tier) for tier in models.tiers]
            for tier in tiers:
                pool = tier and self._qualified(tier, task, tried, min_context, rejected)
                while pool is not None:
                    decision = self._choose(strategy, task, pool, rejected, now_s, attempt, models)
                    if decision is not None:
                        return decision
                    offered, pool = pool, with_room(pool, rejected)
                    if pool is not None and len(pool.candidates) == len(offered.candidates):
                        raise RuntimeError(f"strategy {strategy.name!r} picked a candidate that it was not offered")
        raise unmet or self._refusal(task, rejected, now_s)

    def _rank(self, task: Task, models: tuple[Model, ...], now_s: float, attempt: int) -> ModelChoice | None:
        """Say which models come first, or None where nothing tells them apart. Raises as `rank_models` does."""
        engine = self.engine
        if engine is None or not engine.is_informed(models, task):
            return None
        return engine.rank_models(task, models, now_s, Draw(self.settings.seed, ~task.key, attempt))

    def _choose(
        self,
        strategy: Strategy,
        task: Task,
        pool: Pool,
        rejected: Sequence[Rejection],
        now_s: float,
        attempt: int,
        models: ModelChoice | None = None,
    ) -> Decision | None:
        """Pick from a pool and lease; None where the picked node has nothing to lease."""
        draw = Draw(self.settings.seed, task.key, attempt)
        choice = (self._probe(pool, draw) if self._on_probation else None) or strategy.choose(task, pool, now_s, draw)
        account = choice.picked.account
        settings = self.settings
        ttl_s = settings.lease_ttl_s
        if account.probe_limit is not None:
            ttl_s = settings.breaker.timeout_s if settings.probe_ttl_s is None else settings.probe_ttl_s
        lease = self.ledger.take(account, task, now_s, ttl_s)
        if lease is None:
            return None
        return Decision(task, strategy.name, choice, lease, rejected, len(pool.candidates), now_s, attempt, models)

    def _probe(self, pool: Pool, draw: Draw) -> Choice | None:
        """Send a share of the tasks to nodes on probation: by their record they would not be chosen for long."""
        if draw.unit() >= PROBE_SHARE:
            return None
        probed = [one for one in pool.candidates if one.node.name in self._on_probation]
        if not probed:
            return None
        picked = probed[draw.below(len(probed))]
        return Choice(picked, (picked,), (picked.overall.performance_score,), "probes a node on probation")

    def _qualified(
        self, pool: Pool, task: Task, tried: Collection[str], min_context: int, rejected: list[Rejection]
    ) -> Pool | None:
        """Narrow a pool to those that meet the task's requirements and were not tried yet."""
        fit, unfit = split_fit(task, pool.candidates, min_context)
        rejected.extend(unfit)
        if tried:
            rejected.extend(Rejection(one, Reason.TRIED) for one in fit if one.node.name in tried)
            fit = [one for one in fit if one.node.name not in tried]
        if len(fit) == len(pool.candidates):
            return pool
        return Pool(pool.key, fit) if fit else None

    def _line_up(self, name: str) -> Lineup:
        """Work out who stands ready under a name; kept until something changes."""
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
        )
        if rejected or ready:  # names nobody has are not remembered: callers could invent them without end
            self._lineups[name] = lineup
        return lineup

    def _refusal(self, task: Task, rejected: Sequence[Rejection], now_s: float) -> RoutingError:
        known = [*self._by_model, *self._groups, AUTO] if self._by_model else []
        if self.serves(task.model) and rejected:
            soonest_s = min((at_s for at_s, _, _ in self._due), default=None)
            return all_ruled_out(task, rejected, None if soonest_s is None else max(soonest_s - now_s, 0.0))
        return nothing_there(task, known, is_known=self.serves(task.model))

    # -- what came back

    def settle(self, lease: Lease, candidate: Candidate, outcome: Outcome | None, now_s: float) -> None:
        """Give a lease back and learn from its outcome; None where the outcome says nothing about the node."""
        self.ledger.give_back(lease)
        if outcome is not None:
            self.learn(candidate, outcome, now_s, lease)

    def learn(self, candidate: Candidate, outcome: Outcome, now_s: float, lease: Lease | None = None) -> None:
        """Let one outcome count, for the candidate's evidence and its node's circuit.

        A half-open circuit is judged by its probes: what was sent before it opened proves nothing now.
        """
        self.version += 1
        candidate.record(outcome, now_s)
        if self.engine is not None:
            model, judges = candidate.model, self.settings.results_judge
            self.engine.record(model.name, outcome, now_s, outcome.cost_usd(model.price), teaches_quality=judges)
        state = self.nodes.get(candidate.node.name)
        if state is None:  # it left the fleet meanwhile
            return
        breaker = state.breaker
        before = breaker.state
        if before is Circuit.HALF_OPEN and lease is not None and not lease.is_probe:
            return
        cause = breaker.succeeded(now_s) if outcome.success else breaker.failed(now_s)
        if cause is not None:
            self._circuit_changed(state, before, cause, now_s)

    def judge(
        self,
        task: Task,
        model: str,
        score: float,
        now_s: float,
        previous: float | None = None,
        choice: ModelChoice | None = None,
    ) -> dict[str, object]:
        """Let what an answer was worth teach the routing engine, and return what it changed.

        The score takes the place of a `previous` one; `choice` is what the answer's model was chosen by. Raises
        BadRequestError for a score outside [0, 1], and where there is no engine to learn.
        """
        engine = self.engine
        if engine is None:
            raise BadRequestError("there is no routing engine here that could learn from a score")
        self.version += 1
        category, features = task.category, task.features
        before = engine.scorer.estimate(model, category, features, now_s)
        engine.learn_score(model, category, score, now_s, features, previous=previous)
        if choice is not None and previous is None:
            engine.observe(choice, score)
        after = engine.scorer.estimate(model, category, features, now_s)
        return {
            "model": model,
            "category": category.value,
            "quality_before": round(before.quality, 4),
            "quality_after": round(after.quality, 4),
            "confidence_before": round(before.confidence, 4),
            "confidence_after": round(after.confidence, 4),
        }

    def cool(self, candidate: Candidate, until_s: float, now_s: float) -> None:
        """Leave a node alone until a time, because it asked for that."""
        state = self.nodes.get(candidate.node.name)
        if state is None or until_s <= max(now_s, state.cooling_until_s or 0.0):
            return
        state.cooling_until_s = until_s
        self._wait_for(state, until_s)
        self.outbox.append(NodeCooling(at_s=now_s, node=state.node.name, until_s=until_s))

    def block(self, candidate: Candidate, fault: Fault, until_s: float, now_s: float) -> None:
        """Keep one model away from a node that refuses it, until a time."""
        state = self.nodes.get(candidate.node.name)
        name = candidate.model.name
        if state is None or name in state.blocked:
            return
        state.blocked[name] = until_s
        self._wait_for(state, until_s)
        node = state.node.name
        self.outbox.append(PairBlocked(at_s=now_s, model=name, node=node, fault=fault.value, until_s=until_s))

    def drain(self, node: str, draining: bool = True) -> None:
        """Give a node no further tasks, or take it back into service."""
        self.nodes[node].is_draining = draining
        self._lineups.clear()

    def force_recovery(self, node: str, now_s: float) -> None:
        """Close a node's circuit and lift whatever else keeps tasks away, because a person says so."""
        state = self.nodes[node]
        state.cooling_until_s = None
        state.blocked.clear()
        before = state.breaker.state
        cause = state.breaker.force_closed(now_s)
        if cause is not None:
            self._circuit_changed(state, before, cause, now_s)
        self._lineups.clear()

    def set_strategy(self, strategy: Strategy, now_s: float) -> None:
        """Choose by another strategy from now on."""
        self.outbox.append(StrategyChanged(at_s=now_s, before=self.strategy.name, after=strategy.name))
        self.strategy = strategy

    def forget(self) -> None:
        """Drop all evidence and totals; leases and circuits stay."""
        for candidate in self.candidates():
            candidate.forget()
        self.strategy.forget()
        if self.engine is not None:
            self.engine.forget()

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

    def expire(self, now_s: float) -> list[Lease]:
        """Take back the leases whose owners vanished, and tell of them."""
        gone = self.ledger.expire(now_s)
        if gone:
            names = {id(state.account): name for name, state in self.nodes.items()}
            for name, count in Counter(names.get(id(lease.account), "a node that left") for lease in gone).items():
                self.outbox.append(LeasesExpired(at_s=now_s, node=name, count=count))
        return gone

    # -- time

    def next_due_s(self) -> float | None:
        """When a node will next be looked at again, or None."""
        return self._due[0][0] if self._due else None

    def _wait_for(self, state: NodeState, at_s: float) -> None:
        self._registered += 1
        heapq.heappush(self._due, (at_s, self._registered, state))
        self._lineups.clear()

    def tick(self, now_s: float) -> None:
        """Let time do its work: circuits become half open, and nodes that were left alone are ready again."""
        if not self._due or self._due[0][0] > now_s:
            return
        while self._due and self._due[0][0] <= now_s:
            state = heapq.heappop(self._due)[2]
            if self.nodes.get(state.node.name) is not state:  # it left the fleet meanwhile
                continue
            if state.cooling_until_s is not None and state.cooling_until_s <= now_s:
                state.cooling_until_s = None
            for model in [model for model, until_s in state.blocked.items() if until_s <= now_s]:
                del state.blocked[model]
            before = state.breaker.state
            cause = state.breaker.waited(now_s)
            if cause is not None:
                self._circuit_changed(state, before, cause, now_s)
        self._lineups.clear()

    def _circuit_changed(self, state: NodeState, before: Circuit, cause: Cause, now_s: float) -> None:
        breaker = state.breaker
        is_half_open = breaker.state is Circuit.HALF_OPEN
        state.account.probe_limit = self.settings.breaker.half_open_requests if is_half_open else None
        if is_half_open:
            self._on_probation.add(state.node.name)
        else:
            self._on_probation.discard(state.node.name)
        if breaker.state is Circuit.OPEN:
            self._wait_for(state, breaker.reopens_at_s)
        self._lineups.clear()
        self.outbox.append(
            CircuitChanged(
                at_s=now_s, node=state.node.name, before=before.value, after=breaker.state.value, cause=cause.value
            )
        )
