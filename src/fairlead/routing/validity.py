"""Whether what was worked out earlier still holds, now that more is known, or for another prompt.

A ranking stands while the newest evidence leads to the same first choice, to the same chain being tried for what it may
be worth, and to much the same numbers: the distance of a score to the best may change by the tolerance and half of what
it was. So evidence about a model that is far from being chosen costs no rankings. Prompts share a ranking by the same
rule: their `bucket` says where to look for one.
"""

from collections.abc import Sequence
from math import log10

from fairlead.routing.evidence import SUCCESS_SHARE
from fairlead.routing.factors import DECADES, Shares
from fairlead.routing.ranking import Column, Ranking
from fairlead.routing.roster import Roster

EQUAL = 1e-12
HOPE_SPREADS = 2.0
"""How many standard deviations above its mean a score may well be."""
TYPICAL_OUTPUT_TOKENS = 500.0
"""Length of an answer of which nothing was seen and which the caller does not limit."""
MOVED_SURENESS = 0.05
"""How far what is known may grow or fade before a column is replaced."""
MOVED_SHARE = 0.1
"""The same for lengths, latencies and prices, as a share of them: 0.006 on the price scale."""
FAR_SHARE = 0.5
"""How far the distance of a score to the best may change, as a share of it, on top of the tolerance."""
ALL_MOVED = 2.0
"""How far the score of the best may move, in tolerances; what all have in common changes no choice."""
MOST_MOVED = 4.0
"""How far the distance of any score to the best may change in all, in tolerances."""
PROMPT_STEP = 0.1
"""Of the best model's expected quality: prompts in one step may share a ranking."""
BEHIND_STEP = 0.02
"""The same of how far the scores are behind the best on average."""
MOST_MOVES = 256
"""Earlier columns that a column remembers its distance to."""


def is_near(old: Column, new: Column, weights: Sequence[Shares], tolerance: float) -> bool:
    """Tell whether a column may stand for a newer one: with none of the weights a score moved by more than that."""
    return (
        old.is_newcomer == new.is_newcomer
        and old.is_known == new.is_known
        and old.anomalies == new.anomalies
        and _hold(old, new)
        and all(map(_is_near, old.output_tokens, new.output_tokens))
        and all(_scores_differ(old, new, one) <= tolerance for one in weights)
        and max(map(_differ, old.confidence, new.confidence)) <= MOVED_SURENESS
        and max(map(_differ, old.seen_spread, new.seen_spread)) <= MOVED_SURENESS
    )


def stands(ranking: Ranking, column: Column, tolerance: float, qualities: Sequence[float] | None) -> bool:
    """Tell whether a ranking may be used with a newer column, and for a prompt with these expected qualities.

    None for the qualities: those of the column. Never for cascades and limits of price and time.
    """
    old, order = ranking.column, ranking.order
    if ranking.is_strict or not (old is column or _is_alike(old, column)):
        return False
    if qualities is None:
        qualities = column.quality
    floor = ranking.min_quality
    if floor > 0.0 and any(
        (one >= floor) != (was >= floor) for one, was in zip(qualities, ranking.qualities, strict=True)
    ):
        return False
    scores = rescored(ranking, column, qualities)
    best, first = max([scores[i] for i in order]), order[0]
    former, raised = ranking.scores[first], scores[first] - ranking.scores[first]
    slack, most = tolerance + FAR_SHARE * former, MOST_MOVED * tolerance
    moves = [(abs(scores[i] - (was := ranking.scores[i]) - raised), slack - FAR_SHARE * was) for i in order]
    return (
        abs(raised) <= ALL_MOVED * tolerance
        and _is_first_the_same(ranking, scores, best)
        and all(move <= most and move <= bound for move, bound in moves)
        and (not ranking.explores or _hopeful(ranking, column, scores, best) == ranking.plan.hopeful)
    )


def rescored(ranking: Ranking, column: Column, qualities: Sequence[float]) -> list[float]:
    """Return the scores of the models of a ranking as they are with a newer column and these expected qualities."""
    a = ranking.shares[0]
    return [
        score + move + a * (one - was)
        for score, move, one, was in zip(
            ranking.scores, _moves(ranking, column), qualities, ranking.qualities, strict=True
        )
    ]


def bucket(base: Ranking, column: Column, qualities: Sequence[float]) -> tuple[int, ...]:
    """Return where a prompt belongs, given any ranking for the like of it.

    That is its best model and how good that is, how far the others are behind on average, both in steps, and which of
    them may well be the best.
    """
    scores = rescored(base, column, qualities)
    order = base.order
    first = max(order, key=scores.__getitem__)
    best = scores[first]
    behind = best - sum([scores[i] for i in order]) / len(order)
    hopeful = _hopeful(base, column, scores, best) if base.explores else None
    return (
        first,
        -1 if hopeful is None else order[hopeful],
        int(qualities[first] / PROMPT_STEP),
        int(behind / BEHIND_STEP),
    )


def raises(column: Column, shares: Shares, roster: Roster) -> list[float]:
    """Return by how much more each score may well be: two standard deviations; infinite for newcomers.

    A cascade is as uncertain as its dearest part is, and never a newcomer: its models are tried by themselves.
    """
    found = column.raises.get(shares)
    if found is None:
        of_quality, of_seen = HOPE_SPREADS * shares[0], HOPE_SPREADS * (SUCCESS_SHARE * shares[1] + shares[3])
        known = [of_quality * one + of_seen * two for one, two in zip(column.spread, column.seen_spread, strict=True)]
        found = [float("inf") if is_new else one for one, is_new in zip(known, column.is_newcomer, strict=True)]
        found = column.raises[shares] = [*found, *[known[members[-1]] for _, members in roster.cascades]]
    return found


def _is_first_the_same(ranking: Ranking, scores: Sequence[float], best: float) -> bool:
    """Tell whether those that share the first place still do, and nobody joins them."""
    order, equals, bar = ranking.order, ranking.plan.equals, best - ranking.slack
    if max([scores[i] for i in order[:equals]]) < best or min([scores[i] for i in order[:equals]]) < bar:
        return False
    if len(order) == equals or max(others := [scores[i] for i in order[equals:]]) < bar:
        return True
    price = ranking.costs[order[0]]
    return not any(
        score >= bar and _same(ranking.costs[i], price) for i, score in zip(order[equals:], others, strict=True)
    )


def _hopeful(ranking: Ranking, column: Column, scores: Sequence[float], best: float) -> int | None:
    """Return the place of the chain that would be tried for what it may well be worth; None for newcomers."""
    if any(column.is_newcomer):
        return ranking.plan.hopeful
    more, bar = raises(column, ranking.shares, ranking.roster), best - ranking.tolerance
    hopes = [scores[i] + more[i] if scores[i] < bar else -1.0 for i in ranking.order]
    hope = max(hopes)
    return hopes.index(hope) if hope >= best else None


def _moves(ranking: Ranking, column: Column) -> Sequence[float]:
    """Return how far each score has moved since the ranking's column, but for quality."""
    old, shares = ranking.column, ranking.shares
    moves = column.moves.get((old.number, shares))
    if moves is None:
        if len(column.moves) >= MOST_MOVES:
            column.moves.clear()
        _, b, c, d = shares
        c, typical = c / DECADES, TYPICAL_OUTPUT_TOKENS
        moves = column.moves[old.number, shares] = [
            b * (one - was) + d * (two - past) - c * log10((new or typical) / (length or typical))
            for one, was, two, past, new, length in zip(
                column.performance,
                old.performance,
                column.history,
                old.history,
                column.output_tokens,
                old.output_tokens,
                strict=True,
            )
        ]
    return moves


def _is_alike(old: Column, new: Column) -> bool:
    """Tell whether two columns differ in numbers alone, and not by much in those that no score shows."""
    alike = new.alike.get(old.number)
    if alike is None:
        if len(new.alike) >= MOST_MOVES:
            new.alike.clear()
        alike = new.alike[old.number] = (
            old.is_newcomer == new.is_newcomer
            and old.is_known == new.is_known
            and old.anomalies == new.anomalies
            and _hold(old, new)
        )
    return alike


def _hold(old: Column, new: Column) -> bool:
    return all(map(_is_near, old.latency_s, new.latency_s)) and all(map(_is_near, old.cost_usd, new.cost_usd))


def _scores_differ(old: Column, new: Column, weights: Shares) -> float:
    """Return by how much the score that moved most did."""
    moves = zip(
        map(_differ, old.quality, new.quality),
        map(_differ, old.performance, new.performance),
        map(_differ, old.history, new.history),
        strict=True,
    )
    return max(weights[0] * one + weights[1] * two + weights[3] * four for one, two, four in moves)


def _differ(old: float, new: float) -> float:
    return abs(old - new)


def _same(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)  # noqa: PLR0124 - only NaN is not itself


def _is_near(old: float | None, new: float | None) -> bool:
    if old is None or new is None:
        return old is new
    return abs(new - old) <= MOVED_SHARE * old
