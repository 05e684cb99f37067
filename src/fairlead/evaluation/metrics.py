"""What is measured of a router, as plain functions of numbers.

Strong calls: with two models, a router is an order of the prompts, the ones most worth the strong model first. Sending
the first share `s` of them to the strong model recovers some part of the gap between the weak model's mean score and
the strong one's. APGR is the mean of that part over s = 0, 10, ..., 100 % (trapezoid), so a random order has 0.500 in
expectation; CPT(x) is the least s that recovers x % (Ong et al., "RouteLLM", arXiv 2406.18665).

Trade-off: with any number of models, a router is a curve of (mean cost, mean score) points. Between two of its points a
mixture of both is available, which gives its non-decreasing convex hull; AIQ is the area under that, divided by the
range of costs (Hu et al., "RouterBench", arXiv 2403.12031). The range goes from the cheapest single model to the best
one, where the hull of single models ends: beyond it nothing is left to trade, and dear bad models would only dilute.
"""

import numpy as np

from fairlead.evaluation.table import Floats

SHARES: Floats = np.linspace(0.0, 1.0, 11)
"""The shares of strong calls that APGR and CPT look at."""


def area(heights: Floats, at: Floats) -> float:
    """Return the area under straight lines between points (`numpy.trapezoid`, which older ones lack)."""
    return float(((heights[1:] + heights[:-1]) * np.diff(at)).sum() / 2)


def recovered(rank: Floats, gain: Floats, weight: Floats | None = None) -> Floats:
    """Return the part of the gap recovered at each of `SHARES`; NaN where there is no gap.

    `rank` orders the prompts (smallest first to the strong model), `gain` is the strong model's score less the weak
    one's, `weight` how often each prompt counts.
    """
    order = np.argsort(rank, kind="stable")
    return recovered_in_order(gain[order], np.ones(len(gain)) if weight is None else weight[order])


def recovered_in_order(gain: Floats, weight: Floats) -> Floats:
    """Return the same for prompts that are sorted already."""
    called = np.concatenate(([0.0], np.cumsum(weight)))
    gained = np.concatenate(([0.0], np.cumsum(weight * gain)))
    if gained[-1] <= 0.0:
        return np.full(len(SHARES), np.nan)
    at: Floats = np.interp(SHARES * called[-1], called, gained) / gained[-1]
    return at


def apgr(curve: Floats) -> float:
    """Return the average performance gap recovered of a curve over `SHARES`."""
    return area(curve, SHARES)


def cpt(curve: Floats, part: float) -> float:
    """Return the least share of strong calls in [0, 1] at which `part` of the gap is recovered; NaN without a gap."""
    above = np.flatnonzero(curve >= part)
    if not len(above):
        return float("nan")
    i = int(above[0])
    if i == 0:
        return 0.0
    low, high = float(curve[i - 1]), float(curve[i])
    return float(SHARES[i - 1] + (SHARES[i] - SHARES[i - 1]) * (part - low) / (high - low))


def hull(cost: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Return the corners of the non-decreasing convex hull of points, from (0, 0) on, cost strictly rising.

    (0, 0) stands for not answering at all, which every router may do; RouterBench extends curves to the left by it.
    """
    order = np.lexsort((-score, cost))
    xs, ys = [0.0], [0.0]
    for x, y in zip(cost[order].tolist(), score[order].tolist(), strict=True):
        if y <= ys[-1]:
            continue
        while len(xs) > 1 and (y - ys[-2]) * (xs[-1] - xs[-2]) >= (ys[-1] - ys[-2]) * (x - xs[-2]):
            xs.pop()
            ys.pop()
        if x <= xs[-1]:  # free of charge
            ys[-1] = y
        else:
            xs.append(x)
            ys.append(y)
    return np.array(xs), np.array(ys)


def answered(corners: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    """Return the corners of a hull without the one that stands for not answering."""
    xs, ys = corners
    return (xs, ys) if ys[0] > 0.0 or len(xs) == 1 else (xs[1:], ys[1:])


def score_at(cost: float, corners: tuple[Floats, Floats]) -> float:
    """Return the mean score that a hull reaches at a mean cost."""
    return float(np.interp(cost, *corners))


def cost_for(score: float, corners: tuple[Floats, Floats]) -> float:
    """Return the least mean cost at which a hull reaches a mean score; NaN where it never does."""
    xs, ys = corners
    if score > ys[-1]:
        return float("nan")
    return float(np.interp(score, ys, xs))


def aiq(corners: tuple[Floats, Floats], low: float, high: float) -> float:
    """Return the mean height of a hull between two costs (average improvement in quality)."""
    if high <= low:
        return float("nan")
    xs, ys = corners
    inside = xs[(xs > low) & (xs < high)]
    grid = np.concatenate(([low], inside, [high]))
    return area(np.interp(grid, xs, ys), grid) / (high - low)
