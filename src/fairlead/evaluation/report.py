"""What an evaluation says, as plain data: the same for people, for machines (`--json`) and for the plot."""

import msgspec

Interval = tuple[float, float]
"""The middle 95 % of the figure on prompts drawn again."""


class RouterFigures(msgspec.Struct, frozen=True):
    """One router; None where a figure is not defined for it."""

    apgr: float | None = None
    """Average performance gap recovered, over 0 to 100 % strong calls; 0.5 for a random router, in expectation."""
    cpt50: float | None = None
    """Least share of strong calls, in [0, 1], that recovers half of the gap."""
    cpt80: float | None = None
    aiq: float | None = None
    """Mean height of the hull of its points over the range of the single models' costs."""
    accuracy: float | None = None
    """Mean score when only quality counts."""
    cost_usd: float | None = None
    """Mean cost of a prompt, likewise."""
    latency_s: float | None = None
    accuracy_at_equal_cost: float | None = None
    """What its hull reaches at the best single model's mean cost (or latency)."""
    cost_at_equal_accuracy: float | None = None
    """Least mean cost (or latency) at which its hull reaches the best single model's score."""
    saved: float | None = None
    """The share of the best single model's cost that this saves; 0 where the score is not reached."""
    intervals: dict[str, Interval | None] = {}


class Difference(msgspec.Struct, frozen=True):
    """A figure of ours less the same of something else, on the same prompts."""

    value: float | None
    interval: Interval | None


class OperatingPoint(msgspec.Struct, frozen=True):
    """What a router reaches at a setting that was chosen on other folds."""

    router: str
    margin: float
    """How far below the best single model's mean score the setting may lie on those folds."""
    accuracy: float
    accuracy_less_best_single: float
    accuracy_interval: Interval | None
    """Of `accuracy_less_best_single`."""
    cost: float
    """Mean, along the axis."""
    cost_ratio: float | None
    """Mean over the best single model's mean."""
    cost_ratio_interval: Interval | None
    median_ratio: float | None
    """Median over the best single model's median."""


class Calibration(msgspec.Struct, frozen=True):
    """How well ours' expectations hold on prompts it was not fitted on."""

    ece: float | None
    brier: float | None
    brier_skill: float | None
    """Over each model's base rate in the category that the detector names."""
    brier_skill_over_labels: float | None
    """Over each model's base rate in the category that the file names, which ours does not see."""
    intervals: dict[str, Interval | None]
    bins: list[dict[str, float]]


class Curve(msgspec.Struct, frozen=True):
    """Points of a trade-off: mean cost along the axis, mean score, median cost."""

    cost: list[float]
    score: list[float]
    median: list[float] = []
    """Empty for the hull of single models, whose corners are models."""


class Band(msgspec.Struct, frozen=True):
    """Where ours' curve lies in 95 % of draws, cost by cost."""

    cost: list[float]
    low: list[float]
    high: list[float]


class Flips(msgspec.Struct, frozen=True):
    """The share of decisions that change when prompts are reworded by a rule."""

    rule: str
    best_quality: float
    """Where only quality counts."""
    half_way: float
    """Half-way between the cheapest and the best: half strong calls, or half of the cost between them."""
    changed_prompts: float
    """The share of prompts that the rule changes at all."""


class Single(msgspec.Struct, frozen=True):
    """A model on its own."""

    model: str
    score: float
    cost: float | None
    """Mean, along the axis."""
    median: float | None = None


class Report(msgspec.Struct, frozen=True):
    """An evaluation."""

    table: str
    prompts: int
    """How many were measured on."""
    design: str
    axis: str
    """`cost_usd` or `latency_s`; `strong_calls` where two models have no costs, `none` where more have none."""
    strong: str
    weak: str
    routers: dict[str, RouterFigures]
    hull: RouterFigures
    """The hull of single models: what a mixture of models, blind to the prompt, reaches."""
    differences: dict[str, Difference]
    calibration: Calibration
    operating_points: list[OperatingPoint]
    robustness: list[Flips]
    singles: list[Single]
    curves: dict[str, Curve]
    band: Band | None
    seed: int
    draws: int
    notes: list[str]
