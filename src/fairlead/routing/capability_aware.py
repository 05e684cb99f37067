"""What a router does with scores and outcomes: the contract, the thresholds that move, and the history they move by."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from fairlead.domain import TaskCategory
from fairlead.errors import BadRequestError
from fairlead.routing.feedback_weights import WeightsUpdate

LEAST_JUDGED = 20
"""Answers below which thresholds stay as they are."""
MOST_MOVE = 0.1
"""How far a threshold may move from the configured one, up or down."""
PRIOR_JUDGED = 20.0
"""How many answers without a bias the configured thresholds are worth."""

Scores = Mapping[str, Mapping[TaskCategory, float]]
"""Model -> category -> score in [0, 1]."""


class Judged(msgspec.Struct, frozen=True, gc=False):
    """An answer that was judged: what it was expected to be worth, and what it was."""

    expected: float
    score: float

    def __post_init__(self) -> None:
        if not (0.0 <= self.expected <= 1.0 and 0.0 <= self.score <= 1.0):
            raise BadRequestError(f"expected and score must be between 0 and 1, not {self.expected}, {self.score}")


class Thresholds(msgspec.Struct, frozen=True):
    """What an answer must be worth."""

    min_quality: float
    """Least expected quality of a model that may do a task."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_quality <= 1.0:
            raise BadRequestError(f"min_quality must be between 0 and 1, not {self.min_quality}")


class ThresholdsUpdate(msgspec.Struct, frozen=True):
    """What became of the thresholds, and why."""

    before: Thresholds
    after: Thresholds
    judged: int
    bias: float = 0.0
    """By how much answers fell short of what was expected, on average; below 0: by how much they were better."""
    reason: str = ""


def adjusted(configured: Thresholds, current: Thresholds, history: Sequence[Judged]) -> ThresholdsUpdate:
    """Return the thresholds that make up for expectations which were too high or too low.

    With answers that fall short by 0.05, a model must be expected to be worth 0.05 more to reach the floor that was
    configured. The mean is shrunk to 0 as if by `PRIOR_JUDGED` more answers, and bounded by `MOST_MOVE`. A floor of 0
    stays: it means that there is none.
    """
    n = len(history)
    if n < LEAST_JUDGED:
        reason = f"{n} judged answers are too few, {LEAST_JUDGED} are needed"
        return ThresholdsUpdate(current, current, n, reason=reason)
    bias = _bias(history)
    floor = _moved(configured.min_quality, bias) if configured.min_quality > 0.0 else 0.0
    reason = "answers fell short" if bias > 0.0 else "answers were as expected"
    return ThresholdsUpdate(current, Thresholds(floor), n, bias, reason)


def _bias(history: Sequence[Judged]) -> float:
    return sum(one.expected - one.score for one in history) / (len(history) + PRIOR_JUDGED)


def _moved(configured: float, bias: float) -> float:
    return min(max(configured + min(max(bias, -MOST_MOVE), MOST_MOVE), 0.0), 1.0)


class CapabilityAwareRouter(Protocol):
    """A router that learns who is good at what."""

    def incorporate_scores(self, scores: Scores, now_s: float = 0.0) -> None:
        """Let scores from elsewhere count, such as those of a benchmark."""
        ...

    def update_routing_weights(self) -> WeightsUpdate:
        """Re-estimate the weights of the factors from outcomes, within bounds."""
        ...

    def adjust_thresholds(self, history: Sequence[Judged]) -> ThresholdsUpdate:
        """Move what an answer must be worth by what answers were worth, within bounds."""
        ...
