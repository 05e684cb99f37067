"""A router on the measured rows: its order of prompts, its choices along the trade-off and for quality alone."""

from dataclasses import dataclass

import numpy as np

from fairlead.evaluation.expectation import Expectations
from fairlead.evaluation.table import Floats, Ints, Table
from fairlead.evaluation.tradeoff import choices, prices, ranks, two_way

ROUTERS = ("ours", "random", "best_single", "length", "task_table", "oracle")
_NEARLY_FREE = 1e-9


@dataclass(frozen=True)
class Yardstick:
    """What all routers of one evaluation are measured with."""

    table: Table
    """The measured rows only."""
    fold: Ints
    strong: int
    """The model with the best mean score."""
    weak: int
    """With two models the other one; with more the cheapest, or where costs are unknown the one of least score."""
    paid: Floats | None
    """What each model took for each prompt (n x m) along the axis; None where it is not known."""
    expected_cost: Floats | None
    price: Floats | None
    """The prices of the axis that are swept over; None where it is not known."""
    seed: int
    is_latency: bool = False
    """Whether what is paid is seconds."""

    @property
    def is_two_way(self) -> bool:
        """Whether there are just two models."""
        return len(self.table.models) == 2

    @property
    def gain(self) -> Floats:
        """How much better the strong model did than the weak one, by prompt."""
        score = self.table.score
        difference: Floats = score[:, self.strong] - score[:, self.weak]
        return difference


@dataclass(frozen=True)
class Contender:
    """One router. Matrices have a row per prompt and a column per point of the trade-off."""

    name: str
    rank: Floats | None
    """Its order of prompts for the strong model; None where it has none."""
    best: Ints
    """The model it chooses when only quality counts."""
    picks: Ints | None
    """The model it chooses, along the trade-off."""

    def score(self, table: Table) -> Floats:
        """Return what its choices for quality alone scored, by prompt."""
        return taken(table.score, self.best)


def taken(values: Floats, picks: Ints) -> Floats:
    """Return the value (n x m) of the model picked, for one pick or several per prompt."""
    rows = np.arange(len(values))
    found: Floats = values[rows if picks.ndim == 1 else rows[:, None], picks]
    return found


def make_yardstick(table: Table, expected: Expectations, paid: Floats | None, seed: int) -> Yardstick:
    """Return the yardstick of a table."""
    means = table.score.mean(axis=0)
    strong = int(np.argmax(means))
    order = means if paid is None else paid.mean(axis=0)
    weak = 1 - strong if len(means) == 2 else int(np.argmin(order))
    price = None if expected.cost is None else prices(expected.cost)
    return Yardstick(table, expected.fold, strong, weak, paid, expected.cost, price, seed)


def contenders(yard: Yardstick, expected: Expectations) -> list[Contender]:
    """Return all routers, in the order of `ROUTERS`; without categories there is no per-task table."""
    made = {name: _expecting(name, quality, yard) for name, quality in expected.quality.items()}
    made |= {one.name: one for one in (_random(yard), _best_single(yard), _oracle(yard))}
    return [made[name] for name in ROUTERS if name in made]


def quality_choice(quality: Floats, yard: Yardstick) -> Ints:
    """Return the model with the most expected quality; equals go to the cheaper one."""
    cost = np.zeros_like(quality) if yard.expected_cost is None else yard.expected_cost
    return choices(quality, cost, np.zeros(1))[:, 0]


def _expecting(name: str, quality: Floats, yard: Yardstick) -> Contender:
    rank = ranks(quality[:, yard.strong] - quality[:, yard.weak], yard.fold, yard.seed)
    picks = None
    if yard.is_two_way:
        picks = two_way(rank, yard.strong, yard.weak)
    elif yard.expected_cost is not None and yard.price is not None:
        picks = choices(quality, yard.expected_cost, yard.price)
    return Contender(name, rank, quality_choice(quality, yard), picks)


def _random(yard: Yardstick) -> Contender:
    n, m = yard.table.score.shape
    rank = ranks(np.zeros(n), yard.fold, yard.seed + 1)
    best = np.random.default_rng([yard.seed, n, m]).integers(0, m, size=(n,))
    has_curve = yard.is_two_way or yard.paid is not None
    return Contender("random", rank, best, two_way(rank, yard.strong, yard.weak) if has_curve else None)


def _best_single(yard: Yardstick) -> Contender:
    return Contender("best_single", None, np.full(len(yard.table.prompts), yard.strong, dtype=np.intp), None)


def _oracle(yard: Yardstick) -> Contender:
    """What knowing every outcome beforehand would reach: a bound, not a router."""
    score = yard.table.score
    rank = ranks(yard.gain, np.zeros_like(yard.fold), yard.seed)
    cost = np.zeros_like(score) if yard.paid is None else yard.paid
    least = _NEARLY_FREE / (float(cost.max()) or 1.0)
    best = choices(score, cost, np.array([least]))[:, 0]
    picks = None
    if yard.is_two_way:
        picks = two_way(rank, yard.strong, yard.weak)
    elif yard.price is not None:
        picks = choices(score, cost, np.maximum(yard.price, least))
    return Contender("oracle", rank, best, picks)
