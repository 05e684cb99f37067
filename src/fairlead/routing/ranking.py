"""Chains in the order of their scores: numbers first, words only when somebody asks for them."""

from array import array
from collections.abc import Sequence

import msgspec

from fairlead.domain import Factor, Price, RankedRoute, RouteOptions, RouteRejection
from fairlead.routing.experience import told
from fairlead.routing.factors import NAMES, Shares, efficiencies
from fairlead.routing.monitor import Anomaly
from fairlead.routing.picker import Plan
from fairlead.routing.roster import Roster


class Column:
    """What is known of each model of a roster in one category, as of a moment. Never changed but for its stamp."""

    __slots__ = (
        "alike",
        "anomalies",
        "confidence",
        "cost_usd",
        "factors",
        "history",
        "is_known",
        "is_newcomer",
        "latency_s",
        "moves",
        "number",
        "output_tokens",
        "performance",
        "quality",
        "raises",
        "seen_spread",
        "spread",
        "stamp",
    )

    def __init__(self, number: int = 0) -> None:
        self.number = number
        """Tells columns of a category apart; a number is never used twice."""
        self.stamp = -1
        """The version of the evidence at which it was last found to hold."""
        self.quality: list[float] = []
        self.confidence: list[float] = []
        self.is_known: list[tuple[bool, bool]] = []
        """Whether capability is known, and whether outcomes are."""
        self.spread: list[float] = []
        """Standard deviation of `quality`."""
        self.performance: list[float] = []
        self.history: list[float] = []
        self.seen_spread: list[float] = []
        """Standard deviation of the share of successes behind `performance` and `history`."""
        self.is_newcomer: list[bool] = []
        """Whether too little was seen to score it, and no skill is declared."""
        self.latency_s: list[float | None] = []
        self.output_tokens: list[float | None] = []
        self.cost_usd: list[float | None] = []
        """Mean cost that was reported, for models without a price."""
        self.anomalies: dict[str, tuple[Anomaly, ...]] = {}
        """Model -> what is out of the ordinary with it, where something is."""
        self.factors: dict[Shares, list[tuple[Factor, Factor]]] = {}
        """Performance and history in words, for each set of weights, once somebody asked."""
        self.moves: dict[tuple[int, Shares], list[float]] = {}
        """Earlier column and weights -> how far each score has moved since, but for quality."""
        self.alike: dict[int, bool] = {}
        """Earlier column -> whether what is no number is the same."""
        self.raises: dict[Shares, list[float]] = {}
        """By how much more each score may well be, for each set of weights; infinite for newcomers."""


class Held:
    """What the cache holds: a ranking, and what it was last found to stand with."""

    __slots__ = ("column", "ranking", "version")

    ranking: "Ranking"

    def __init__(self, column: Column, version: int) -> None:
        self.column = column
        self.version = version
        """Of the scorer, where what the prompt says was asked of it; else 0."""


class IssuedOptions(RouteOptions, frozen=True):
    """Route options that remember what they rest on, so that they can be found wrong later."""

    prices: dict[str, Price | None] = {}
    """Model -> its price when the routes were worked out."""
    tolerance: float = 0.0
    """Scores that differ by no more count as equal."""


class ModelChoice(msgspec.Struct, frozen=True):
    """Which models a task should be offered to, in which order."""

    tiers: tuple[tuple[str, ...], ...]
    """Models that count as equal, best first; inside a tier load decides. A cascade stands as its first model."""
    ranking: "Ranking"
    place: int
    """Where what was picked stands in the ranking."""
    propensity: float
    """The chance that this first tier had of being the first; who inside it is picked is the caller's choice."""
    is_explored: bool
    why: str
    cascade: str | None = None
    """The cascade that was picked, if it was one."""

    @property
    def route(self) -> RankedRoute:
        """What was picked, in words."""
        return self.ranking.routes()[self.place]

    @property
    def anomalies(self) -> dict[str, tuple[Anomaly, ...]]:
        """Models that do worse than they used to, and since when; their averages are what the ranking rests on."""
        return self.ranking.column.anomalies

    @property
    def rejections(self) -> tuple[RouteRejection, ...]:
        """Models that do not qualify, each with its reason."""
        return self.ranking.rejected


class Ranking:
    """The chains that qualify for a task, best first. Holds numbers; `options` and `choice` put them into words."""

    __slots__ = (
        "_choices",
        "_options",
        "column",
        "confidences",
        "costs",
        "efficiencies",
        "explores",
        "histories",
        "is_known",
        "is_strict",
        "latencies",
        "min_quality",
        "order",
        "performances",
        "plan",
        "qualities",
        "rejected",
        "roster",
        "scores",
        "shares",
        "slack",
        "tolerance",
    )

    def __init__(self, roster: Roster, column: Column, shares: Shares, tolerance: float) -> None:
        """Begin empty; whoever ranks fills it in once."""
        self.roster = roster
        self.column = column
        self.shares = shares
        """Weight of each factor, summing to 1."""
        self.tolerance = tolerance
        self.order: Sequence[int] = ()
        """Which chains of the roster, best first."""
        self.scores: Sequence[float] = ()
        """One for each chain of the roster, as is all of the following."""
        self.qualities: Sequence[float] = ()
        self.performances: Sequence[float] = ()
        self.efficiencies: Sequence[float] = ()
        """While it is ranked; they follow from the costs."""
        self.histories: Sequence[float] = ()
        self.confidences: Sequence[float] = ()
        self.costs: Sequence[float] = ()
        """NaN where unknown."""
        self.latencies: Sequence[float | None] = ()
        self.is_known: Sequence[tuple[bool, bool]] = ()
        """As in the column."""
        self.rejected: tuple[RouteRejection, ...] = ()
        self.plan = Plan()
        self.slack = 0.0
        """By how much those that share the first place may differ."""
        self.explores = False
        """Whether others than the best are tried."""
        self.min_quality = 0.0
        self.is_strict = False
        """Whether it rests on more than what `validity` looks at."""
        self._options: dict[int, IssuedOptions] | None = None
        self._choices: dict[int, ModelChoice] | None = None

    @property
    def margin(self) -> float | None:
        """Score of the best less that of the runner-up; None where it stands alone."""
        order = self.order
        return self.scores[order[0]] - self.scores[order[1]] if len(order) > 1 else None

    def routes(self) -> tuple[RankedRoute, ...]:
        """Put all of it into words, best first."""
        known = self.column.factors.get(self.shares)
        if known is None or self.roster.cascades:
            known = self.column.factors[self.shares] = self._seen_factors()
        capability, _, efficiency, _ = self.shares
        chains, scores, costs, confidences = self.roster.chains, self.scores, self.costs, self.confidences
        qualities, thrift, latencies, is_known = self.qualities, efficiencies(costs), self.latencies, self.is_known
        return tuple(
            [
                RankedRoute(
                    chains[i],
                    scores[i],
                    (
                        Factor("capability", capability, quality := qualities[i], is_known[i][0]),
                        known[i][0],
                        Factor("resource_efficiency", efficiency, thrift[i], has_cost := (cost := costs[i]) == cost),
                        known[i][1],
                    ),
                    quality,
                    confidences[i],
                    cost if has_cost else None,
                    latencies[i],
                )
                for i in self.order
            ]
        )

    def _seen_factors(self) -> list[tuple[Factor, Factor]]:
        """Put into words what does not depend on the task, once for all rankings of a column."""
        _, performance, _, history = self.shares
        return [
            (Factor(NAMES[1], performance, at, is_seen), Factor(NAMES[3], history, past, is_seen))
            for at, past, (_, is_seen) in zip(self.performances, self.histories, self.is_known, strict=True)
        ]

    def options(self, place: int = 0) -> IssuedOptions:
        """Return the ranking as route options, with the chain at `place` as the one that was picked."""
        known = self._options
        if known is None:
            known = self._options = {}
        options = known.get(place)
        if options is None:
            options = known[place] = self._issue(place)
        return options

    @property
    def has_options(self) -> bool:
        """Whether words were made and are held."""
        return self._options is not None

    def drop_options(self) -> None:
        """Let go of the words, for their memory; they are made anew when asked for."""
        self._options = None

    def _issue(self, place: int) -> IssuedOptions:
        order, ranked = self.order, self.routes()
        if place:
            order = (order[place], *order[:place], *order[place + 1 :])
            ranked = (ranked[place], *ranked[:place], *ranked[place + 1 :])
        labels, chains, costs, confidences = self.roster.labels, self.roster.chains, self.costs, self.confidences
        return IssuedOptions(
            chains[order[0]],
            tuple([chains[i] for i in order[1:]]),
            {labels[i]: cost for i in order if (cost := costs[i]) == cost},
            {labels[i]: confidences[i] for i in order},
            ranked,
            self.rejected,
            self.plan.chance(place),
            place >= self.plan.near,
            self.margin,
            self.roster.price_of,
            self.tolerance,
        )

    def choice(self, place: int = 0) -> ModelChoice:
        """Return the ranking as tiers of models, with the chain at `place` as the one that was picked."""
        known = self._choices
        if known is None:
            known = self._choices = {}
        choice = known.get(place)
        if choice is None:
            choice = known[place] = self._choose(place)
        return choice

    def _choose(self, place: int) -> ModelChoice:
        chains, order, plan = self.roster.chains, self.order, self.plan
        near = plan.near
        picked = chains[order[place]]
        is_explored, is_cascade = place >= near, len(picked.models) > 1
        equal = tuple([chains[i].models[0] for i in order[:near] if len(chains[i].models) == 1])
        tiers = [equal, *[chains[i].models for i in order[near:] if len(chains[i].models) == 1]]
        if is_explored or is_cascade:
            led = picked.models[0]
            tiers = [(led,), *[tuple([name for name in tier if name != led]) for tier in tiers]]
            propensity = plan.chance(place)
        else:
            propensity = sum([plan.chance(at) for at in range(near) if len(chains[order[at]].models) == 1])
        tiers = [tier for tier in tiers if tier]
        why = plan.why(place) if is_explored else f"best of {len(order)}"
        if not is_explored and near > 1:
            why += f", {near} of them equal"
        for name, found in self.column.anomalies.items():
            if name in tiers[0]:
                why += f"; {name} {told(found)}"
        return ModelChoice(tuple(tiers), self, place, propensity, is_explored, why, picked.name if is_cascade else None)


def compact(values: Sequence[float]) -> "array[float]":
    """Return numbers in an eighth of the memory."""
    return array("d", values)
