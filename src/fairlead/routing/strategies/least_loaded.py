"""Least loaded: the candidate that is least busy, counted at the choice.

Intent: even queues whatever the tasks cost; the right default for equal servers. The load of a candidate is
(in flight + 1) / (weight x reliability), so that a node which fails fast does not look idle; its score is 1 / load.
Where the slots of all are known and differ, it is the leased share: (in flight + 1/2) / (slots x weight x reliability).
`load_measure` puts tokens in flight, latency or what nodes report in the place of requests (`load.measures`).
Up to 64 candidates all are compared; beyond, and where a measure rests on nothing but stale signals, the better of two
drawn at random: the cost stays flat, nothing herds.
Wrong choice: when nodes differ in speed or skill more than in load.
Reference: Mitzenmacher, "The power of two choices in randomized load balancing", IEEE TPDS 2001.
"""

from fairlead.domain import Task
from fairlead.load import LoadMeasure, Measure, least, measure_of, pending_per_worth, power_of_two, with_room
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate
from fairlead.routing.contract import WIDE, Choice, Pool, RoutingSettings, shortlist

WHY = {
    LoadMeasure.TOKENS: "fewest tokens in flight",
    LoadMeasure.LATENCY: "lowest latency for what is in flight",
    LoadMeasure.POLLED: "least busy by what nodes report",
}


class LeastLoaded:
    """Takes the candidate with the least in flight per unit of reliable weight."""

    name = "least_loaded"

    def __init__(self, settings: RoutingSettings) -> None:
        self._measure = settings.load_measure
        self._is_plain = settings.load_measure is LoadMeasure.REQUESTS

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick the least loaded; ties break at random."""
        del task
        candidates = pool.candidates
        if not self._is_plain:
            return self._measured(pool, now_s, draw)
        if len(candidates) > WIDE:
            return _better_of_two(pool, now_s, draw)
        pool.freshen(now_s)
        if pool.is_sized:
            scores = [one.worth * (one.account.slots or 1) / (one.account.in_flight + 0.5) for one in candidates]
        else:
            scores = [one.worth / (one.account.in_flight + 1) for one in candidates]
        top = max(scores)
        if scores.count(top) == 1:
            picked = candidates[scores.index(top)]
        else:
            tied = [one for one, score in zip(candidates, scores, strict=True) if score == top]
            picked = tied[draw.below(len(tied))]
        return Choice(picked, candidates, scores, "fewest in flight")

    def forget(self) -> None:
        """Nothing is kept."""

    def _measured(self, pool: Pool, now_s: float, draw: Draw) -> Choice:
        compared = shortlist(pool, now_s, draw)
        measure: Measure[Candidate] | None = measure_of(self._measure, compared, now_s)
        if measure is None:
            return _better_of_two(pool, now_s, draw)
        scores = [1.0 / load for load in map(with_room(measure), compared)]
        picked = compared[least(compared, with_room(measure), draw)]
        return Choice(picked, compared, scores, WHY[self._measure])


def _better_of_two(pool: Pool, now_s: float, draw: Draw) -> Choice:
    def load(one: Candidate) -> float:
        one.catch_up(now_s)
        return pending_per_worth(one)

    picked = pool.candidates[power_of_two(pool.candidates, load, draw)]
    return Choice(picked, (picked,), (1 / load(picked),), "less in flight of two at random")
