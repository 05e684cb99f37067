"""A (model, node) pair that could take a task, with what has been seen of it."""

from collections.abc import Mapping, Sequence

import msgspec

from fairlead.allocation import Account
from fairlead.capability.posterior import doubt_of
from fairlead.domain import Model, Node, Outcome, TaskCategory
from fairlead.load import PeakLatency, Report
from fairlead.load.prefix_affinity import Keeps
from fairlead.routing.evidence import MIXING_WEIGHT, SUCCESS_SHARE, Evidence, performance_of
from fairlead.routing.exploration import LITTLE_KNOWN, NEWCOMER, UNTRIED

NEUTRAL = 0.5
"""The score of a factor of which nothing is known."""
TRUSTED_OUTCOMES = 3.0
"""Remembered outcomes from which on a candidate is no newcomer."""
SETTLED_OUTCOMES = 12.0
"""Remembered outcomes from which on it is well known."""


class Standing(msgspec.Struct, gc=False):
    """How a candidate stands in a category, as of its last outcome: a value, so that a decision can keep it."""

    affinity: float | None = None
    """Expected share of successes in this category; None where nothing is known."""
    performance: float | None = None
    """0.7 x expected success + 0.3 x speed over all categories; None where nothing is known."""
    affinity_score: float = NEUTRAL
    performance_score: float = NEUTRAL
    mixed_score: float = NEUTRAL
    """Affinity and performance, mixed by how much is known of the category."""
    outcomes: float = 0.0
    """How many are remembered: in the category, or in all where it stands for all."""
    known: float = 0.0
    """The same with what a declared skill is worth."""
    success: float = NEUTRAL
    """Expected share of successes in all categories."""
    total: float = 0.0
    """How many outcomes are remembered in all."""
    has_changed: bool = False
    """Whether older evidence was dropped because the success rate had changed."""
    _hope: float | None = None
    _affinity_hope: float | None = None

    @property
    def hope(self) -> float:
        """What the score in a category (mixed), or in all where it stands for all, may well be."""
        hope = self._hope
        if hope is None:  # worked out when it is first asked for: most decisions do not explore
            unsettled = self._unsettled()
            if unsettled is not None:
                return unsettled
            hope = self._hope = self._hoped()
        return hope

    @property
    def affinity_hope(self) -> float:
        """What the affinity may well be."""
        hope = self._affinity_hope
        if hope is None:
            unsettled = self._unsettled()
            if unsettled is not None:
                return unsettled
            hope = self._affinity_hope = self.affinity_score + doubt_of(self.affinity_score, self.known)
        return hope

    def _unsettled(self) -> float | None:
        """Return the hope of one that is not well known; a model that has changed is no newcomer to be got to know."""
        if self.outcomes < TRUSTED_OUTCOMES:
            return NEWCOMER if self.total else UNTRIED
        return LITTLE_KNOWN if self.outcomes < SETTLED_OUTCOMES and not self.has_changed else None

    def _hoped(self) -> float:
        doubt = SUCCESS_SHARE * doubt_of(self.success, self.total)
        if self.affinity is None:
            return self.performance_score + doubt
        trust = self.known / (self.known + MIXING_WEIGHT)
        return self.mixed_score + doubt + trust * (doubt_of(self.affinity_score, self.known) - doubt)


UNKNOWN = Standing()


class Totals:
    """Plain counts since the last reset; they do not decay."""

    __slots__ = ("failed", "input_tokens", "latency_s", "output_tokens", "succeeded")

    def __init__(self) -> None:
        self.succeeded = 0
        self.failed = 0
        self.latency_s = 0.0
        self.input_tokens = 0
        self.output_tokens = 0


class Candidate:
    """One model on one node: the unit that strategies compare. Written by its fleet alone."""

    __slots__ = (
        "_by_category",
        "_half_life_s",
        "_settled_worth",
        "account",
        "evidence",
        "holder",
        "latency",
        "model",
        "node",
        "order",
        "overall",
        "refresh_at_s",
        "report",
        "standings",
        "totals",
        "weight",
        "worth",
    )

    def __init__(self, model: Model, node: Node, account: Account, order: int, half_life_s: float) -> None:
        self.model = model
        self.node = node
        self.account = account
        self.order = order
        self.holder = (model.name, node.name)
        """By what it is known which prompts it was sent."""
        self.report: Report | None = None
        """What its node said of itself last, where it is asked."""
        self._half_life_s = half_life_s
        self.forget()
        self.reweigh()

    def __repr__(self) -> str:
        return f"<Candidate {self.model.name} on {self.node.name}>"

    @property
    def in_flight(self) -> int:
        """Leases out on the node."""
        return self.account.in_flight

    @property
    def slots(self) -> int | None:
        """What the node can work on at once."""
        return self.account.slots

    @property
    def tokens(self) -> int:
        """Tokens leased on the node."""
        return self.account.tokens

    @property
    def kv_tokens(self) -> int | None:
        """Tokens that the node can hold at once; None where unknown."""
        return self.account.capacity.tokens

    def reweigh(self) -> None:
        """Let it count as much as its node has warmed up: `account.warmth` has changed."""
        warmth = self.account.warmth
        self.weight = self.node.weight * warmth
        self.worth = self._settled_worth * warmth

    def renew(self, model: Model, node: Node) -> None:
        """Take over what is said of its model and its node now; what was seen of them stays."""
        for category, declared in model.skill.items():
            own = self._by_category.get(category)
            if own is None or not own.weight:
                self._by_category[category] = Evidence(self._half_life_s, declared)
        self.model, self.node = model, node
        self._refresh(self.evidence.at_s)
        self.reweigh()

    def standing(self, category: TaskCategory) -> Standing:
        """Return how it stands in a category; worked out when it is first asked for after an outcome."""
        standing = self.standings.get(category)
        if standing is None:
            standing = self.standings[category] = self._stand(category)
        return standing

    def forget(self) -> None:
        """Drop all evidence and totals; declared skill stays."""
        self.evidence = Evidence(self._half_life_s, is_watched=False)  # categories may differ: their mix is no change
        self.totals = Totals()
        self.latency = PeakLatency()
        self.standings: dict[TaskCategory, Standing] = {}
        self._by_category: dict[TaskCategory, Evidence] = {
            category: Evidence(self._half_life_s, declared) for category, declared in self.model.skill.items()
        }
        self._refresh(0.0)

    def record(self, outcome: Outcome, now_s: float) -> None:
        """Learn from one outcome."""
        success, latency_s = outcome.success, outcome.latency_s
        totals = self.totals
        if success:
            totals.succeeded += 1
            first_token_s = outcome.first_token_s
            self.latency.observe(latency_s if first_token_s is None else first_token_s, now_s)
        else:
            totals.failed += 1
        totals.latency_s += latency_s
        totals.input_tokens += outcome.input_tokens
        totals.output_tokens += outcome.output_tokens
        self.evidence.add(success, latency_s, now_s)
        own = self._by_category.get(outcome.category)
        if own is None:
            own = self._by_category[outcome.category] = Evidence(self._half_life_s)
        if own.add(success, latency_s, now_s):
            self.evidence.sum_up(self._by_category.values(), now_s)
        self._refresh(now_s)

    def judge(self, category: TaskCategory, score: float, now_s: float, previous: float | None = None) -> None:
        """Learn from what an answer was worth, in [0, 1]; the counts of tasks stay as they are.

        The score takes the place of a `previous` one of the same answer.
        """
        own = self._by_category.get(category)
        if own is None:
            own = self._by_category[category] = Evidence(self._half_life_s)
        self.evidence.judge(score, now_s, previous)
        if own.judge(score, now_s, previous):
            self.evidence.sum_up(self._by_category.values(), now_s)
        self._refresh(now_s)

    def catch_up(self, now_s: float) -> None:
        """Let time wear the evidence away, once that makes a difference."""
        if self.refresh_at_s < now_s:
            self.evidence.decay(now_s)
            for own in self._by_category.values():
                own.decay(now_s)
            self._refresh(now_s)

    def kept(self) -> dict[str, list[float | None]]:
        """Return the evidence of each category, as plain data; what it is over all follows from that."""
        return {category.value: own.kept() for category, own in self._by_category.items() if own.weight > 0.0}

    @staticmethod
    def checked(kept: object) -> dict[str, list[float | None]]:
        """Return what `kept` gave, once it is known to be that. Raises TypeError or ValueError else."""
        if not isinstance(kept, Mapping):
            raise TypeError(f"the evidence of a pair is kept by category, not as {type(kept).__name__}")
        scratch = Evidence(1.0)
        for category, values in kept.items():
            TaskCategory(category)
            scratch.take_over(values)
        return {str(category): list(values) for category, values in kept.items()}

    def take_over(self, kept: Mapping[str, Sequence[float | None]]) -> None:
        """Take over what `kept` gave, category by category; totals are not evidence and stay."""
        at_s = 0.0
        for name, values in kept.items():
            category = TaskCategory(name)
            own = self._by_category.setdefault(category, Evidence(self._half_life_s))
            own.take_over(values)
            at_s = max(at_s, own.at_s)
        self.evidence.sum_up(self._by_category.values(), at_s)
        self._refresh(at_s)

    def _refresh(self, now_s: float) -> None:
        """Work out anew what every decision reads."""
        self.standings.clear()
        evidence = self.evidence
        weight = evidence.successes + evidence.failures
        if weight > 0.0:
            success = evidence.mean
            performance = performance_of(
                success, evidence.latency_sum_s / evidence.successes if evidence.successes else None
            )
            changed = evidence.drifted_at_s is not None
            self.overall = Standing(
                None, performance, NEUTRAL, performance, performance, weight, weight, success, weight, changed
            )
            self._settled_worth = self.node.weight * (1.0 - evidence.failures / (weight + 1.0))
        else:
            self.overall = UNKNOWN
            self._settled_worth = self.node.weight
        self.worth = self._settled_worth * self.account.warmth
        self.refresh_at_s = now_s + self._half_life_s / 64

    def _stand(self, category: TaskCategory) -> Standing:
        own = self._by_category.get(category)
        overall = self.overall
        performance, success, total = overall.performance_score, overall.success, overall.total
        if own is None:
            return Standing(None, overall.performance, NEUTRAL, performance, performance, 0.0, 0.0, success, total)
        affinity, weight = own.mean, own.successes + own.failures
        known = weight + own.declared_weight
        mixed = performance + known / (known + MIXING_WEIGHT) * (affinity - performance)
        changed = own.drifted_at_s is not None
        return Standing(
            affinity, overall.performance, affinity, performance, mixed, weight, known, success, total, changed
        )


def _conforms(candidate: Candidate) -> Keeps:
    """Let the type checker prove that a candidate can be measured, and priced by what it holds of a prompt."""
    return candidate
