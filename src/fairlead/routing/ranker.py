"""Filters, then factors, then scores: from a task's requirements to a ranking of the chains of a roster."""

import math
from array import array
from collections.abc import Sequence

from fairlead.capability.scorer import CapabilityScorer, Estimate
from fairlead.domain import RouteRejection, TaskCategory
from fairlead.routing.chains import CascadeBook
from fairlead.routing.experience import ExperienceBook
from fairlead.routing.exploration import NEWCOMER, SURE, Limits
from fairlead.routing.factors import NEUTRAL_USD, UNKNOWN, Shares, efficiencies, efficiency
from fairlead.routing.picker import plan
from fairlead.routing.ranking import Column, Ranking, compact
from fairlead.routing.requirements import Prospect, Requirements, nobody, rejection, shortfalls
from fairlead.routing.roster import Roster
from fairlead.routing.validity import EQUAL, TYPICAL_OUTPUT_TOKENS, raises

TRIED_ALIKE = 0.5
"""Of the tolerance: models at one price that differ by no more share the first place while outcomes come back."""
TRUSTED_OUTCOMES = 3.0
"""Outcomes after which a model without a declared skill is no newcomer."""


def column_of(
    roster: Roster, category: TaskCategory, scorer: CapabilityScorer, book: ExperienceBook, now_s: float, number: int
) -> Column:
    """Look up what is known of each model in a category."""
    column = Column(number)
    for model in roster.models:
        name = model.name
        estimate = scorer.estimate(name, category, None, now_s)
        is_known, spread = _read(estimate)
        column.quality.append(estimate.quality)
        column.confidence.append(estimate.confidence)
        column.spread.append(spread)
        seen = book.seen(name, category, now_s)
        column.performance.append(seen.performance)
        column.history.append(seen.history)
        column.is_known.append((is_known, seen.weight > 0.0))
        column.seen_spread.append(_spread(seen.history, seen.weight))
        column.is_newcomer.append(not model.skill and max(seen.weight, estimate.weight) < TRUSTED_OUTCOMES)
        if seen.anomalies:
            column.anomalies[name] = seen.anomalies
        column.latency_s.append(seen.latency_s)
        column.output_tokens.append(seen.output_tokens)
        column.cost_usd.append(seen.cost_usd)
    return column


def _read(estimate: Estimate) -> tuple[bool, float]:
    """Return whether anything is known behind an estimate, and its standard deviation."""
    return estimate.weight > 0.0 or estimate.confidence > 0.0, _spread(estimate.quality, estimate.weight)


def _spread(mean: float, weight: float) -> float:
    """Return the standard deviation of a rate with one success and one failure added, so that none is certain."""
    mean = (weight * mean + 1.0) / (weight + 2.0)
    return math.sqrt(mean * (1.0 - mean) / (weight + 3.0))


def rank(
    roster: Roster,
    column: Column,
    asked: Requirements,
    shares: Shares,
    tolerance: float,
    cascades: CascadeBook,
    limits: Limits | None,
    estimates: Sequence[Estimate] | None = None,
) -> Ranking:
    """Rank the chains of a roster for a task.

    `estimates` are those for this very prompt, where there are any; `limits` those of exploring, None to leave it out.
    Raises NoCandidateError when no chain meets the requirements.
    """
    ranking = Ranking(roster, column, shares, tolerance)
    quality: list[float] = column.quality
    confidence: list[float] = column.confidence
    if estimates is not None:
        quality = [one.quality for one in estimates]
        confidence = [one.confidence for one in estimates]
    limit, typical = float(asked.output_limit or math.inf), float(asked.output_limit or TYPICAL_OUTPUT_TOKENS)
    tokens = asked.input_tokens
    costs = [
        price[0] * tokens + price[1] * (typical if output is None else min(limit, output))
        if price is not None
        else (math.nan if seen is None else seen)
        for price, output, seen in zip(roster.prices, column.output_tokens, column.cost_usd, strict=True)
    ]
    thrift = efficiencies(costs)
    ranking.qualities, ranking.confidences, ranking.costs, ranking.efficiencies = quality, confidence, costs, thrift
    ranking.performances, ranking.histories, ranking.latencies = column.performance, column.history, column.latency_s
    ranking.is_known = column.is_known
    if roster.cascades:
        _add_cascades(ranking, cascades)
    a, b, c, d = shares
    scores = [
        a * one + b * two + c * three + d * four
        for one, two, three, four in zip(
            ranking.qualities, ranking.performances, ranking.efficiencies, ranking.histories, strict=True
        )
    ]
    ranking.scores = scores
    fit = _filter(ranking, asked)
    costs = list(ranking.costs)
    ordered = sorted([(-scores[i], costs[i] if costs[i] == costs[i] else NEUTRAL_USD, i) for i in fit])
    order = [i for _, _, i in ordered]
    best, price, _ = ordered[0]
    near = equals = 1
    slack = EQUAL if limits is None else TRIED_ALIKE * tolerance + EQUAL
    for score, cost, _ in ordered[1:]:
        if score - best > tolerance + EQUAL:
            break
        if equals == near and score - best <= slack and cost == price:
            equals += 1
        near += 1
    hopes = None if limits is None else _hopes(ranking, order)
    if limits is not None or equals > 1 or near > 1:
        ranking.plan = plan([scores[i] for i in order], hopes, equals, near, tolerance, limits or Limits(), order)
    ranking.slack, ranking.explores = slack, hopes is not None and len(order) > 1
    ranking.min_quality = asked.min_quality
    ranking.is_strict = bool(roster.cascades) or asked.max_cost_usd is not None or asked.max_latency_s is not None
    ranking.order = array("H" if len(scores) < 65536 else "L", order)
    ranking.scores, ranking.costs = compact(scores), compact(costs)
    ranking.efficiencies = ()
    if ranking.qualities is not column.quality:
        ranking.qualities, ranking.confidences = compact(ranking.qualities), compact(ranking.confidences)
    return ranking


def _add_cascades(ranking: Ranking, cascades: CascadeBook) -> None:
    """Append what each cascade is expected to be worth and to cost, from what its models are."""
    qualities, confidences, costs = (list(one) for one in (ranking.qualities, ranking.confidences, ranking.costs))
    performances, histories = list(ranking.performances), list(ranking.histories)
    thrift, latencies, known = list(ranking.efficiencies), list(ranking.latencies), list(ranking.is_known)
    for cascade, members in ranking.roster.cascades:
        reach, worth = cascades.expect(cascade, [qualities[i] for i in members])
        ends = [one - after for one, after in zip(reach, (*reach[1:], 0.0), strict=True)]
        cost_usd = sum(share * costs[i] for share, i in zip(reach, members, strict=True))
        waits = [latencies[i] for i in members]
        told = [wait for wait in waits if wait is not None]
        qualities.append(worth)
        confidences.append(sum(share * confidences[i] for share, i in zip(ends, members, strict=True)))
        costs.append(cost_usd)
        thrift.append(UNKNOWN if math.isnan(cost_usd) else efficiency(cost_usd))
        performances.append(sum(share * performances[i] for share, i in zip(ends, members, strict=True)))
        histories.append(sum(share * histories[i] for share, i in zip(ends, members, strict=True)))
        latencies.append(
            sum(share * wait for share, wait in zip(reach, told, strict=True)) if len(told) == len(waits) else None
        )
        known.append((all(known[i][0] for i in members), all(known[i][1] for i in members)))
    ranking.qualities, ranking.confidences, ranking.costs = qualities, confidences, costs
    ranking.performances, ranking.histories, ranking.efficiencies = performances, histories, thrift
    ranking.latencies, ranking.is_known = latencies, known


def _filter(ranking: Ranking, asked: Requirements) -> Sequence[int]:
    """Return which chains qualify, and note why the others do not. Raises NoCandidateError when none does."""
    roster = ranking.roster
    everybody = range(len(roster.chains))
    if (
        not asked.has_limits
        and asked.context_tokens <= roster.least_context
        and (not asked.needs or roster.common is None or asked.needs <= roster.common)
    ):
        return everybody
    fit: list[int] = []
    rejected: list[RouteRejection] = []
    for i in everybody:
        prospect = prospect_of(ranking, i)
        found = shortfalls(asked, prospect)
        if found:
            rejected.append(rejection(prospect, found))
        else:
            fit.append(i)
    ranking.rejected = tuple(rejected)
    if not fit:
        raise nobody(asked, [prospect_of(ranking, i) for i in everybody])
    return fit


def prospect_of(ranking: Ranking, index: int) -> Prospect:
    """Return what is expected of one chain."""
    roster = ranking.roster
    chain = roster.chains[index]
    cost_usd = ranking.costs[index]
    if index < len(roster.models):
        members: Sequence[int] = (index,)
    else:
        members = roster.cascades[index - len(roster.models)][1]
    models = [roster.models[i] for i in members]
    able = [one.capabilities for one in models if one.capabilities is not None]
    contexts = [one.context_tokens for one in models if one.context_tokens is not None]
    return Prospect(
        chain.name or chain.models[0],
        frozenset.intersection(*able) if able else None,
        min(contexts, default=None),
        ranking.qualities[index],
        ranking.is_known[index][0],
        None if math.isnan(cost_usd) else cost_usd,
        ranking.latencies[index],
    )


def _hopes(ranking: Ranking, order: Sequence[int]) -> list[float]:
    """Return what each score may well be, in the order of the ranking; that of a newcomer is beyond any."""
    more, scores = raises(ranking.column, ranking.shares, ranking.roster), ranking.scores
    hopes = [scores[i] + more[i] for i in order]
    return [hope if hope < SURE else SURE if hope < math.inf else NEWCOMER for hope in hopes]
