"""The state of a fleet and the one step that decides: pure, single-owner, told the time.

Candidates per name (a model, a group, `auto`) are kept as pools that change with events, not filtered per task. The
step is: pool -> what the task rules out -> where models differ, the routing engine says which come first -> the
strategy picks -> the ledger leases; refused, the next is tried.
"""

from collections import Counter
from collections.abc import Collection, Sequence

from fairlead.allocation import Lease
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.domain import ONE_SLOT, Capacity, Model, Outcome, Task
from fairlead.domain.report import NodeReport
from fairlead.engine.decision import Decision
from fairlead.engine.directory import AUTO, FleetSettings
from fairlead.engine.events import (
    LeasesExpired,
    StrategyChanged,
)
from fairlead.engine.lessor import FREELY, Lessor, Terms, is_room_in_all
from fairlead.engine.node_state import NodeState
from fairlead.engine.readiness import Readiness
from fairlead.engine.refusal import all_ruled_out, nothing_there
from fairlead.engine.residence import Residence
from fairlead.errors import (
    BadRequestError,
    NoCandidateError,
    RoutingError,
)
from fairlead.load.prefix import Holder
from fairlead.load.signal import reported
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import WIDE, Choice, Pool, Strategy
from fairlead.routing.engine import ModelChoice, RoutingEngine
from fairlead.routing.filters import Reason, Rejection, split_fit

__all__ = ["AUTO", "PROBE_SHARE", "Fleet", "FleetSettings"]

PROBE_SHARE = 0.1
"""Share of tasks that go to a node whose circuit is half open, while there is one."""


class Fleet(Readiness):
    """Models on nodes, with their evidence, breakers and leases."""

    def __init__(
        self,
        strategy: Strategy,
        settings: FleetSettings | None = None,
        engine: RoutingEngine | None = None,
        allocator: ResourceAllocator | None = None,
    ) -> None:
        super().__init__(settings or FleetSettings(), allocator or ResourceAllocator())
        self.strategy = strategy
        self.engine = engine
        """Says which of several models comes first; None: the strategy chooses among all."""
        self.ledger = self.allocator.ledger
        settings = self.settings
        self.lessor = Lessor(self.allocator, settings.max_node_utilization, counts_tokens=settings.counts_tokens)
        self._residence = Residence(self.nodes, self.ledger)
        self.version = 0
        """Rises with everything that is learnt."""

    # -- the step that decides

    def model_choice(self, task: Task, now_s: float) -> ModelChoice | None:
        """Return how the routing engine ranks the models for a task; None where nothing tells them apart.

        Raises as `decide` does, where no model meets the task's requirements.
        """
        lineup = self.lineup(task.model)
        if len(lineup.models) < 2:
            return None
        return self._rank(task, lineup.models, now_s, 1)

    def decide(
        self,
        task: Task,
        now_s: float,
        attempt: int = 1,
        tried: Collection[str | Holder] = (),
        min_context: int = 0,
        strategy: Strategy | None = None,
        only: str | None = None,
    ) -> Decision:
        """Pick a candidate and lease a slot on it, in one step.

        `tried` names nodes, or models on nodes, that are not to be asked again, and those that share their fate come
        last; `min_context` is what a context must hold at least; `only` is the one model that may do it, whatever was
        asked for. Raises NoModelError when nothing by that name is registered, NoCandidateError when every candidate is
        ruled out.
        """
        if self._due and self._due[0][0] <= now_s:
            self.tick(now_s)
        strategy = strategy or self.strategy
        lineup = self._lineups.get(task.model)
        is_usual = not tried and only is None and not self._residence.is_told
        if lineup is not None and lineup.pool is not None and is_usual and lineup.suits(task, min_context):
            models = self._rank(task, lineup.models, now_s, attempt) if len(lineup.models) > 1 else None
            pool = lineup.pool if models is None else lineup.tier(models.tiers[0]) or lineup.pool
            terms = FREELY if lineup.is_roomy else self.lessor.terms(task)[0]
            if not terms.is_joint or is_room_in_all(pool, terms.ceiling):
                decision = self._choose(strategy, task, pool, lineup.rejected, now_s, attempt, models, terms)
                if decision is not None:
                    return decision
        names = (task.model, *self._fallbacks.get(task.model, ())) if only is None else (only,)
        return self._decide_narrowly(names, task, now_s, attempt, tried, min_context, strategy)

    def of_unknown_context(self, model: str) -> list[Holder]:
        """Return where a model is served whose context nobody knows: what was too long for one node is for all."""
        return [one.holder for one in self._by_model.get(model, {}).values() if one.model.context_tokens is None]

    def holders_on(self, node: str) -> list[Holder]:
        """Return the models on a node, each with it; none where it is not there."""
        state = self.nodes.get(node)
        return [] if state is None else [one.holder for one in state.candidates.values()]

    def would_fit(self, task: Task, lease: Lease, now_s: float, min_context: int = 0) -> bool:
        """Tell whether a task would find room on a lease's node if that were given back."""
        pool = self.lineup(task.model).pool
        there = [one for one in pool.candidates if one.account is lease.account] if pool is not None else []
        fit, _ = split_fit(task, there, min_context)
        return any(self.lessor.would_fit(task, one, lease, now_s) for one in fit)

    def usual_s(self, name: str) -> float | None:
        """Return how long those who stand ready under a name take on average; None where nobody knows."""
        pool = self.lineup(name).pool
        known = [one.evidence for one in pool.candidates[:WIDE] if one.evidence.successes] if pool else []
        count = sum(one.successes for one in known)
        return sum(one.latency_sum_s for one in known) / count if count else None

    def service_s(self) -> float | None:
        """Return how long answers have taken of late, over all nodes; None while none has come."""
        known = [one.evidence for one in self.candidates() if one.evidence.successes]
        count = sum(one.successes for one in known)
        return sum(one.latency_sum_s for one in known) / count if count else None

    def _decide_narrowly(
        self,
        names: Sequence[str],
        task: Task,
        now_s: float,
        attempt: int,
        tried: Collection[str | Holder],
        min_context: int,
        strategy: Strategy,
    ) -> Decision:
        """Decide where some of the pool is ruled out, going on to the models that may stand in."""
        rejected: list[Rejection] = []
        unmet: NoCandidateError | None = None
        waits: list[float] = []
        for name in names:
            lineup = self.lineup(name)
            rejected.extend(lineup.rejected)
            try:
                models = self._rank(task, lineup.models, now_s, attempt) if len(lineup.models) > 1 else None
            except NoCandidateError as error:
                unmet = unmet or error.with_traceback(None)
                continue
            tiers = [lineup.pool] if models is None else [lineup.tier(tier) for tier in models.tiers]
            for tier in tiers:
                pool = tier and self._qualified(tier, task, tried, min_context, rejected)
                if pool is None:
                    continue
                apart = self._apart(pool, tried) if tried else [pool]
                if self._on_probation and (probe := self._probe(pool, Draw(self.settings.seed, task.key, attempt))):
                    apart = [Pool(pool.key, probe.compared), *apart]  # whatever it has in memory
                for part in [one for each in apart for one in self._residence.tiers(each, rejected)]:
                    decision = self._place(strategy, task, part, rejected, now_s, attempt, models)
                    if decision is not None:
                        return decision
                    full, wait_s = self.lessor.rejections(part.candidates, task, now_s, self.lessor.terms(task)[-1])
                    rejected.extend(full)
                    if wait_s is not None:
                        waits.append(wait_s)
        if unmet is None and self.settings.probes_when_needed and self._let_probe(names, tried, now_s):
            return self._decide_narrowly(names, task, now_s, attempt, tried, min_context, strategy)
        raise unmet or self._refusal(task, rejected, now_s, waits)

    def _let_probe(self, names: Sequence[str], tried: Collection[str | Holder], now_s: float) -> bool:
        """Where circuits are all that keeps everybody away, let the one be probed that has been open the longest."""
        rejected = [one for name in names for one in self.lineup(name).rejected]
        if any(self.lineup(name).pool is not None for name in names):
            return False
        is_open = [one.candidate for one in rejected if one.reason is Reason.CIRCUIT_OPEN]
        states = [self.nodes[one.node.name] for one in is_open if one.node.name not in tried]
        if not states or len({one.candidate.node.name for one in rejected}) < 2:
            return False
        state = min(states, key=lambda one: one.breaker.opened_at_s)
        before = state.breaker.state
        cause = state.breaker.needed(now_s)
        if cause is None:
            return False
        self._circuit_changed(state, before, cause, now_s)
        return True

    def _place(
        self,
        strategy: Strategy,
        task: Task,
        pool: Pool,
        rejected: list[Rejection],
        now_s: float,
        attempt: int,
        models: ModelChoice | None,
    ) -> Decision | None:
        """Pick among those of a pool that have room, on the best terms on which anybody has."""
        for terms in self.lessor.terms(task):
            roomy = self.lessor.with_room(pool, task, now_s, terms)
            if roomy is None:
                continue
            if roomy is not pool:
                free = set(map(id, roomy.candidates))
                full = [one for one in pool.candidates if id(one) not in free]
                rejected.extend(self.lessor.rejections(full, task, now_s, terms)[0])
            decision = self._choose(strategy, task, roomy, rejected, now_s, attempt, models, terms)
            if decision is None:
                raise RuntimeError(f"strategy {strategy.name!r} picked a candidate that it was not offered")
            return decision
        return None

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
        terms: Terms = FREELY,
    ) -> Decision | None:
        """Pick from a pool and lease; None where the picked node has nothing to lease on these terms."""
        draw = Draw(self.settings.seed, task.key, attempt)
        choice = (self._probe(pool, draw) if self._on_probation else None) or strategy.choose(task, pool, now_s, draw)
        account = choice.picked.account
        settings = self.settings
        ttl_s = settings.lease_ttl_s
        if account.probe_limit is not None:
            ttl_s = settings.breaker.timeout_s if settings.probe_ttl_s is None else settings.probe_ttl_s
        cold = self._residence.is_told and self._residence.is_cold(choice.picked)
        lease = self.lessor.take(task, choice.picked, now_s, ttl_s, terms)
        if lease is None:
            return None
        decision = Decision(task, strategy.name, choice, lease, rejected, len(pool.candidates), now_s, attempt, models)
        if terms.is_short and lease.needs is not ONE_SLOT:
            wanted = self.lessor.needs(task, choice.picked, now_s).output_tokens
            if lease.needs.output_tokens < wanted:
                decision.max_output_tokens = lease.needs.output_tokens
        if cold:
            decision.is_cold = True
        return decision

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
        self, pool: Pool, task: Task, tried: Collection[str | Holder], min_context: int, rejected: list[Rejection]
    ) -> Pool | None:
        """Narrow a pool to those that meet the task's requirements and were not tried yet."""
        fit, unfit = split_fit(task, pool.candidates, min_context)
        rejected.extend(unfit)
        if tried:
            again = [one for one in fit if one.node.name in tried or one.holder in tried]
            rejected.extend(Rejection(one, Reason.TRIED) for one in again)
            fit = [one for one in fit if one not in again]
        if len(fit) == len(pool.candidates):
            return pool
        return Pool(pool.key, fit) if fit else None

    def _apart(self, pool: Pool, tried: Collection[str | Holder]) -> list[Pool]:
        """Part a pool by how little its nodes share with those that failed: a host counts for more than a region."""
        failed = [self.nodes[name].node for name in tried if isinstance(name, str) and name in self.nodes]
        fates = {node.fate for node in failed}
        regions = {node.region for node in failed} - {None}
        shares = [(one.node.fate in fates, one.node.region in regions) for one in pool.candidates]
        kinds = sorted(set(shares))
        if len(kinds) == 1:
            return [pool]
        parts = [[one for one, share in zip(pool.candidates, shares, strict=True) if share == kind] for kind in kinds]
        return [Pool(pool.key, part) for part in parts]

    def _refusal(
        self, task: Task, rejected: Sequence[Rejection], now_s: float, waits: Sequence[float] = ()
    ) -> RoutingError:
        known = [*self._by_model, *self._groups, AUTO] if self._by_model else []
        if self.serves(task.model) and rejected:
            soonest_s = min((*waits, *(max(at_s - now_s, 0.0) for at_s, _, _ in self._due)), default=None)
            return all_ruled_out(task, rejected, soonest_s)
        return nothing_there(task, known, is_known=self.serves(task.model))

    # -- what came back

    def settle(self, lease: Lease, candidate: Candidate, outcome: Outcome | None, now_s: float) -> None:
        """Give a lease back and learn from its outcome; None where the outcome says nothing about the node."""
        if outcome is None:
            self.ledger.give_back(lease)
            return
        if self.is_limited or lease.needs is not ONE_SLOT:
            self.lessor.settle(lease, candidate, outcome, now_s)
        else:
            self.ledger.give_back(lease)
        self.learn(candidate, outcome, now_s, lease)

    def learn(self, candidate: Candidate, outcome: Outcome, now_s: float, lease: Lease | None = None) -> None:
        """Let one outcome count, for the candidate's evidence and its node's circuit."""
        self.version += 1
        candidate.record(outcome, now_s)
        if self.engine is not None and len(self._by_model) > 1:  # a single model is never compared
            model, judges = candidate.model, self.settings.results_judge
            self.engine.record(model.name, outcome, now_s, outcome.cost_usd(model.price), teaches_quality=judges)
        self._judge_node(candidate, outcome, now_s, lease)

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

    def hear(self, report: NodeReport, capacity: Capacity) -> None:
        """Take note of what a node told of itself, and of the capacity that follows from it."""
        state = self.nodes.get(report.node)
        if state is None:
            return
        state.hear(report)
        if report.running is not None:
            self._weigh(state, report, report.running + (report.waiting or 0))
        self._residence.share_sizes(state)
        if capacity != state.account.capacity:
            state.account.resize(capacity)
            self._lineups.clear()
            self._look_for_limits()

    def _weigh(self, state: NodeState, report: NodeReport, tasks: int) -> None:
        """Let a report say how busy a node is beside what was sent from here."""
        taken_s = [lease.taken_s for lease in self.ledger if lease.account is state.account]
        last = next((one.report for one in state.candidates.values()), None)
        heard = reported(tasks, report.sampled_at_s, taken_s, last)
        for candidate in state.candidates.values():
            candidate.report = heard

    def loaded(self, candidate: Candidate, took_s: float) -> None:
        """Learn how long a node took to load a model."""
        state = self.nodes.get(candidate.node.name)
        if state is not None and state.residency is not None:
            state.residency.learn_load(candidate.model.name, took_s)

    def set_strategy(self, strategy: Strategy, now_s: float) -> None:
        """Choose by another strategy from now on."""
        self.outbox.append(StrategyChanged(at_s=now_s, before=self.strategy.name, after=strategy.name))
        self.strategy = strategy

    def forget(self) -> None:
        """Drop all evidence and totals, of those too that have not joined yet; leases and circuits stay."""
        self.version += 1
        self._recalled.clear()
        for candidate in self.candidates():
            candidate.forget()
        self.strategy.forget()
        if self.engine is not None:
            self.engine.forget()

    def expire(self, now_s: float) -> list[Lease]:
        """Take back the leases whose owners vanished, and tell of them."""
        gone = self.ledger.expire(now_s)
        if gone:
            names = {id(state.account): name for name, state in self.nodes.items()}
            for name, count in Counter(names.get(id(lease.account), "a node that left") for lease in gone).items():
                self.outbox.append(LeasesExpired(at_s=now_s, node=name, count=count))
        return gone
