"""Choosers: given a measure, which candidate? Ties break at random, from the task's own draw.

Every chooser takes every measure. One whose measure is infinite is full, and is chosen only where all are.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import log

from fairlead.load.measures import FULL, L, Measure
from fairlead.rng import Draw, mix64

_TO_UNIT = 2.0**-52


def least(candidates: Sequence[L], measure: "Measure[L]", draw: Draw) -> int:
    """Return the index of a candidate with the smallest measure, every one of the tied equally likely."""
    loads = [measure(candidate) for candidate in candidates]
    smallest = min(loads)
    if loads.count(smallest) == 1:
        return loads.index(smallest)
    tied = [index for index, load in enumerate(loads) if load == smallest]
    return tied[draw.below(len(tied))]


def power_of_two(candidates: Sequence[L], measure: "Measure[L]", draw: Draw) -> int:
    """Return the better of two candidates drawn at random: nearly as even as `least`, at a cost that stays flat.

    Mitzenmacher: "The power of two choices in randomized load balancing", IEEE TPDS 2001.
    """
    if len(candidates) == 1:
        return 0
    first = draw.below(len(candidates))
    second = draw.below(len(candidates) - 1)
    second += second >= first
    one, other = measure(candidates[first]), measure(candidates[second])
    if one == other == FULL:
        return least(candidates, measure, draw)
    return second if other < one else first


def weighted(cumulative: Sequence[float], draw: Draw) -> int:
    """Return an index drawn in proportion to the weights whose running sums are given."""
    return min(bisect_right(cumulative, draw.unit() * cumulative[-1]), len(cumulative) - 1)


def in_proportion(candidates: Sequence[L], measure: "Measure[L]", draw: Draw) -> int:
    """Return an index drawn in proportion to 1 / measure: twice as busy, half as likely. The measure is above 0."""
    shares = [1.0 / measure(candidate) for candidate in candidates]
    if not any(shares):
        return draw.below(len(candidates))
    return weighted(list(accumulate(shares)), draw)


def rendezvous(candidates: Sequence[L], measure: "Measure[L]", draw: Draw) -> int:
    """Return the index of the highest -w / ln(h): w is 1 / measure, h a hash in (0, 1) of the draw and the candidate.

    The same draw meets the same candidate whoever else comes or goes and whatever the order, and shares follow the
    weights: with a draw made of a session's key, that session stays. Thaler and Ravishankar, "Using name-based mappings
    to increase hit rates", IEEE/ACM ToN 1998; weights as in the IETF's draft-ietf-bess-weighted-hrw.
    """
    key = draw.bits()
    scores = [log(((mix64(key ^ mix64(one.order)) >> 12) + 0.5) * _TO_UNIT) * measure(one) for one in candidates]
    highest = max(scores)
    if highest == -FULL:
        return max(range(len(scores)), key=lambda index: mix64(key ^ mix64(candidates[index].order)))
    return scores.index(highest)
