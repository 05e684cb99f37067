"""How a router turns expectations into choices, from "cheapest" to "best whatever it costs"."""

import numpy as np

from fairlead.evaluation.table import Floats, Ints

STEPS = 80
_DECADES = 4.0


def ranks(worth: Floats, fold: Ints, seed: int) -> Floats:
    """Return each prompt's place in (0, 1), smallest for the one most worth the strong model.

    Prompts are ranked within their fold, since scores of differently fitted routers do not compare; ties are broken by
    a seeded draw, never by position.
    """
    draw = np.random.default_rng([seed, len(worth)]).random(len(worth))
    place = np.empty(len(worth))
    for one in np.unique(fold):
        members = np.flatnonzero(fold == one)
        order = members[np.lexsort((draw[members], -worth[members]))]
        place[order] = (np.arange(len(members)) + 0.5) / len(members)
    return place


def prices(cost: Floats) -> Floats:
    """Return the prices of cost in score units to sweep over, from 0 to infinity (the last)."""
    means = cost.mean(axis=0)
    spread = float(means.max() - means.min()) or float(means.max()) or 1.0
    return np.concatenate(([0.0], np.logspace(-_DECADES, _DECADES / 2, STEPS) / spread, [np.inf]))


def choices(quality: Floats, cost: Floats, price: Floats) -> Ints:
    """Return the model chosen for each prompt (rows) at each price (columns): the most quality - price x cost.

    Equals go to the model that is cheaper on average.
    """
    by_cost = np.argsort(cost.mean(axis=0), kind="stable")
    sorted_quality, sorted_cost = quality[:, by_cost], cost[:, by_cost]
    picks = np.empty((len(quality), len(price)), dtype=np.intp)
    for j, one in enumerate(price):
        worth = -sorted_cost if np.isinf(one) else sorted_quality - one * sorted_cost
        picks[:, j] = by_cost[np.argmax(worth, axis=1)]
    return picks


def two_way(rank: Floats, strong: int, weak: int) -> Ints:
    """Return the model chosen for each prompt (rows) when 0, 1, ..., 100 % of them go to the strong one (columns)."""
    shares = np.linspace(0.0, 1.0, 101)
    return np.where(rank[:, None] < shares[None, :], strong, weak)
