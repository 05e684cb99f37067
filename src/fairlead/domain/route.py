"""Where a task could go: chains of models with what they are expected to cost and to be worth."""

from enum import StrEnum

import msgspec


class ChainKind(StrEnum):
    """How the models of a chain follow each other."""

    SINGLE = "single"
    FALLBACK = "fallback"
    """The next is asked when one cannot answer."""
    CASCADE = "cascade"
    """The next is asked when an answer fails a check: cheap first, escalating."""


class ModelChain(msgspec.Struct, frozen=True):
    """Models to try in order."""

    models: tuple[str, ...]
    kind: ChainKind = ChainKind.SINGLE
    name: str = ""
    """Of a cascade, as configured."""

    def __str__(self) -> str:
        return self.name or (" > " if self.kind is ChainKind.CASCADE else ", ").join(self.models)


class Factor(msgspec.Struct, frozen=True, gc=False):
    """One part of a score."""

    name: str
    weight: float
    value: float
    """In [0, 1], on an absolute scale; 0.5 where nothing is known."""
    is_known: bool = True


class RankedRoute(msgspec.Struct, frozen=True):
    """A chain with everything that its rank rests on."""

    chain: ModelChain
    score: float
    """Sum of weight x value over the factors, in [0, 1]."""
    factors: tuple[Factor, ...]
    quality: float
    """Expected quality of the answer, in [0, 1]."""
    confidence: float
    """In [0, 1]: how much is known behind `quality`."""
    cost_usd: float | None = None
    """Expected; None where no price is known."""
    latency_s: float | None = None
    """Expected; None where nothing was seen."""


class RouteRejection(msgspec.Struct, frozen=True):
    """A model that does not qualify, and why."""

    model: str
    reason: str
    detail: str = ""


class RouteOptions(msgspec.Struct, frozen=True):
    """Every chain that qualifies for a task, best first."""

    primary_route: ModelChain
    alternative_routes: tuple[ModelChain, ...]
    estimated_costs: dict[str, float]
    """Chain (as text) -> US dollars; chains without a known price are left out."""
    confidence_scores: dict[str, float]
    """Chain (as text) -> confidence in [0, 1]."""
    ranked: tuple[RankedRoute, ...] = ()
    rejected: tuple[RouteRejection, ...] = ()
    propensity: float = 1.0
    """The chance that the primary had of being chosen, for off-policy estimates."""
    is_explored: bool = False
    """Whether the primary is not the best score, but was chosen to learn about it."""
    margin: float | None = None
    """Score of the best less that of the runner-up; None with a single chain."""


class RoutingMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """How routing went."""

    routing_latency: float = 0.0
    """Seconds that the decision took; 0 where it was not measured."""
    resource_utilization: float = 0.0
    load_distribution: dict[str, float] = {}
    """Node -> leased share of its slots; of nodes whose slots are unknown, tasks in flight."""
    error_rates: dict[str, float] = {}
    """Model -> decayed share of failures."""


class OptimizedRoute(msgspec.Struct, frozen=True):
    """The chain to take, and what stands in for it, in another failure domain where there is one."""

    primary: ModelChain
    fallbacks: tuple[ModelChain, ...]
    metrics: RoutingMetrics
    options: RouteOptions | None = None
    """What it was made from."""
