"""What the strategies that score have in common: exploring, stepping round saturated nodes, breaking ties.

Ties go to the least loaded by the measure that the settings name. Where that measure rests on signals and all of them
are stale, the ledger's own counts decide, all of them compared: so the chance of each pick stays known.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter

from fairlead.load import LoadMeasure, Measure, is_saturated, measure_of, typical_pending, with_room
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate, Standing
from fairlead.routing.contract import Choice, RoutingSettings
from fairlead.routing.exploration import Limits, most_owed, owed, propensity

_outcomes = attrgetter("outcomes")
RIVAL_SHARE = 0.1
"""Share of the exploration that goes to a well known candidate which may be as good as the best."""
Picked = tuple[Candidate, str | None, int]
"""Who was picked, why where it is not for the best score, and among how many equals (0: not one of the best)."""


Find = Callable[[Sequence[Candidate], Sequence[float], float], Sequence[Candidate]]
"""Returns those among which the best is drawn, given candidates, scores and tolerance."""
Lightest = Callable[[Sequence[Candidate]], Sequence[Candidate]]
"""Returns the least loaded."""


class Explorer:
    """Picks the best score that is not saturated or, for a share of the tasks, one of which too little is known."""

    def __init__(self, settings: RoutingSettings, tolerance: float, hope: str = "hope") -> None:
        """Build one that reads `hope`, an attribute of standings: what the score may well be."""
        ceiling = settings.exploration
        self._limits = Limits(min(settings.exploration_floor, ceiling), ceiling, RIVAL_SHARE * ceiling)
        self._most = most_owed(self._limits) if ceiling > 0.0 else 0.0
        self._tolerance = tolerance
        self._hope = attrgetter(hope)
        self._measure = settings.load_measure
        self._find = best if settings.load_measure is LoadMeasure.REQUESTS else None

    def pick(
        self,
        compared: Sequence[Candidate],
        standings: Sequence[Standing],
        scores: Sequence[float],
        now_s: float,
        draw: Draw,
        find: Find | None = None,
    ) -> Picked:
        """Pick one. What is owed to whom is only looked at where the draw may lead there.

        `find` says among whom the best is drawn; None: the least loaded of those with the best scores.
        """
        find = find or self._find or by_measure(self._measure, compared, now_s)
        luck = draw.unit() if self._most else 1.0
        if luck < self._limits.ceiling or (luck < self._most and not min(map(_outcomes, standings))):
            for turn in owed(scores, list(map(self._hope, standings)), self._tolerance, self._limits):
                luck -= turn.share
                if luck < 0.0:
                    picked = compared[turn.indices[draw.below(len(turn.indices))]]
                    tied = find(compared, scores, self._tolerance)
                    return picked, turn.why, len(tied) if picked in tied else 0
        tied = find(compared, scores, self._tolerance)
        if len(tied) == 1:
            return tied[0], None, 1
        return tied[draw.below(len(tied))], None, len(tied)

    def propensity(self, choice: Choice) -> float:
        """Return how likely a choice was that this explorer made."""
        turns = owed(choice.scores, list(map(self._hope, choice.standings)), self._tolerance, self._limits)
        return propensity(turns, list(choice.compared).index(choice.picked), choice.equals)


def fewest(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates with the least in flight for their worth."""
    if len(candidates) == 1:
        return candidates
    loads = [(one.account.in_flight + 1) / one.worth for one in candidates]
    least = min(loads)
    count = loads.count(least)
    if count == 1:
        return (candidates[loads.index(least)],)
    if count == len(loads):
        return candidates
    return [candidates[i] for i, load in enumerate(loads) if load == least]


def best(
    compared: Sequence[Candidate], scores: Sequence[float], tolerance: float, lightest: Lightest = fewest
) -> Sequence[Candidate]:
    """Return the highest scores that are not saturated: the least loaded of all within `tolerance` of the highest.

    With every candidate saturated, scores no longer matter and the least loaded are returned.
    """
    bar = max(scores) - tolerance
    if min(scores) >= bar:  # equals, the usual case: the least loaded of all is not busier than its peers
        return lightest(compared)
    tied = lightest([compared[i] for i, score in enumerate(scores) if score >= bar])
    account = tied[0].account
    if account.in_flight <= 2 and account.slots is None:  # cannot be saturated: spare the median
        return tied
    typical = typical_pending([one.account for one in compared])
    if not is_saturated(account, typical):
        return tied
    free = [i for i, one in enumerate(compared) if not is_saturated(one.account, typical)]
    if not free:
        return lightest(compared)
    bar = max([scores[i] for i in free]) - tolerance
    return lightest([compared[i] for i in free if scores[i] >= bar])


def smallest(candidates: Sequence[Candidate], numbers: Sequence[float]) -> Sequence[Candidate]:
    """Return the candidates with the smallest of the numbers, one for each."""
    least = min(numbers)
    if numbers.count(least) == 1:
        return (candidates[numbers.index(least)],)
    return [one for one, number in zip(candidates, numbers, strict=True) if number == least]


def by_measure(kind: LoadMeasure, compared: Sequence[Candidate], now_s: float) -> Find:
    """Return what `best` does, with the load measured otherwise than by requests."""
    found: Measure[Candidate] | None = measure_of(kind, compared, now_s)
    if found is None:
        return best
    measure = with_room(found)

    def lightest(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        return smallest(candidates, [measure(one) for one in candidates])

    return lambda candidates, scores, tolerance: best(candidates, scores, tolerance, lightest)
