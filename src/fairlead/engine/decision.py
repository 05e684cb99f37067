"""A decision, kept as it was made and put into words only when somebody asks."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from fairlead.allocation import Lease
from fairlead.domain import Needs, RankedRoute, Task
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import Choice
from fairlead.routing.engine import ModelChoice
from fairlead.routing.filters import Rejection

FULL_RECORDS = 12
"""Candidates written out in a record; the rest are counted."""


class Decision(msgspec.Struct, gc=False):
    """Who was picked for an attempt at a task, among whom, and the lease that came with it."""

    task: Task
    strategy: str
    choice: Choice
    lease: Lease
    rejected: Sequence[Rejection]
    pool_size: int
    at_s: float
    attempt: int = 1
    models: ModelChoice | None = None
    """How the models were ranked; None where nothing told them apart, and the strategy chose among all."""
    max_output_tokens: int | None = None
    """To what the answer is cut, because there was no room for more; None: it is not."""

    is_cold: bool = False
    """Whether the node has to load the model first."""

    @property
    def candidate(self) -> Candidate:
        """The candidate that was picked."""
        return self.choice.picked

    @property
    def propensity(self) -> float | None:
        """The chance that this candidate had, for off-policy estimates; None where it is not known.

        The chance that its models came first, times that of being picked among their nodes, load being as it was and no
        node on probation.
        """
        among_nodes = self.choice.propensity
        if self.models is None or among_nodes is None:
            return among_nodes
        return self.models.propensity * among_nodes

    @property
    def is_explored(self) -> bool:
        """Whether it was chosen to learn about it, though another is the best."""
        return self.choice.is_explored if self.models is None else self.models.is_explored


def describe(decision: Decision, shown: int | None = FULL_RECORDS) -> dict[str, object]:
    """Put a decision into plain data: ranked candidates with their factors, rejections with their reasons.

    The first `shown` of each are written out and the rest counted; None writes out all.
    """
    choice, models = decision.choice, decision.models
    order = sorted(range(len(choice.compared)), key=lambda i: -choice.scores[i])
    rejected = [*_unfit_models(models), *[_rejected(one) for one in decision.rejected]]
    told: dict[str, object] = {
        "category": decision.task.category.value,
        "asked_for": decision.task.model,
        "strategy": decision.strategy,
        "chosen": {"model": choice.picked.model.name, "node": choice.picked.node.name},
        "why": choice.why,
        "candidates": [_scored(choice, index) for index in order[:shown]],
        "candidates_compared": len(choice.compared),
        "candidates_qualified": decision.pool_size,
        "rejected": rejected[:shown],
        "rejected_by_reason": dict(Counter(one["reason"] for one in rejected)),
        "leased": leased(decision.lease.needs),
        "loads_model": decision.is_cold,
        "propensity": None if decision.propensity is None else round(decision.propensity, 4),
        "explored": decision.is_explored,
    }
    if models is not None:
        told |= _ranked(models, shown)
    elif len(order) > 1:
        told |= _margin([str(choice.compared[i].node.name) for i in order], [choice.scores[i] for i in order])
    return told


def leased(needs: Needs) -> dict[str, int]:
    """Tell what a lease holds, without what it holds nothing of."""
    return {name: amount for name, amount in msgspec.structs.asdict(needs).items() if amount}


def _ranked(models: ModelChoice, shown: int | None) -> dict[str, object]:
    """Tell how the models were ranked, and why the one came first."""
    routes = models.ranking.routes()
    told: dict[str, object] = {"models_why": models.why, "models": [_route(route) for route in routes[:shown]]}
    if models.anomalies:
        told["anomalies"] = [
            {"model": name, "kind": one.kind, "since": round(one.since_s), "before": one.before, "after": one.after}
            for name, several in models.anomalies.items()
            for one in several
        ]
    if len(routes) > 1:
        told |= _margin([str(route.chain) for route in routes], [route.score for route in routes])
    return told


def _margin(names: Sequence[str], scores: Sequence[float]) -> dict[str, object]:
    return {"runner_up": names[1], "margin": round(scores[0] - scores[1], 4)}


def _route(route: RankedRoute) -> dict[str, object]:
    return {
        "model": str(route.chain),
        "score": round(route.score, 4),
        "quality": round(route.quality, 4),
        "confidence": round(route.confidence, 4),
        "cost_usd": None if route.cost_usd is None else float(f"{route.cost_usd:.3g}"),
        "latency_s": None if route.latency_s is None else round(route.latency_s, 3),
        "factors": {
            one.name: {"weight": round(one.weight, 4), "value": round(one.value, 4), "known": one.is_known}
            for one in route.factors
        },
    }


def _rejected(one: Rejection) -> dict[str, str]:
    candidate = one.candidate
    return {
        "model": candidate.model.name,
        "node": candidate.node.name,
        "reason": one.reason.value,
        "detail": one.detail,
    }


def _unfit_models(models: ModelChoice | None) -> list[dict[str, str]]:
    """Tell which models did not qualify on any node."""
    if models is None:
        return []
    return [
        {"model": one.model, "node": "", "reason": str(one.reason), "detail": one.detail} for one in models.rejections
    ]


def _scored(choice: Choice, index: int) -> dict[str, object]:
    candidate = choice.compared[index]
    return {
        "model": candidate.model.name,
        "node": candidate.node.name,
        "score": round(choice.scores[index], 4),
        "factors": {name: _factor(getattr(choice.standings[index], name)) for name in choice.factors},
    }


def _factor(value: float | None) -> dict[str, object]:
    return {"value": 0.5, "known": False} if value is None else {"value": round(value, 4), "known": True}
