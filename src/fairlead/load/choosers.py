"""Choosers: given a measure, which candidate? Ties break at random, from the task's own draw."""

from bisect import bisect_right
from collections.abc import Sequence

from fairlead.load.measures import L, Measure
from fairlead.rng import Draw


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
    first = draw.below(len(candidates))
    second = draw.below(len(candidates) - 1)
    second += second >= first
    return second if measure(candidates[second]) < measure(candidates[first]) else first


def weighted(cumulative: Sequence[float], draw: Draw) -> int:
    """Return an index drawn in proportion to the weights whose running sums are given."""
    return min(bisect_right(cumulative, draw.unit() * cumulative[-1]), len(cumulative) - 1)
