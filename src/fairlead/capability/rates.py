"""How well one model does in each category: posteriors that forget, and what stands where they know little.

A category's prior is, in this order: what a fit found there, the skill declared for it, or the rate of the model's
other categories. It is worth `DECLARED_WEIGHT` outcomes; where nothing at all is known, 0.5 worth `PRIOR_WEIGHT`.
"""

from math import log, sqrt
from typing import Any

import msgspec

from fairlead.capability.posterior import DECLARED_WEIGHT, PRIOR_WEIGHT, UNIFORM_SPREAD, Posterior
from fairlead.domain.task import TaskCategory
from fairlead.errors import BadRequestError

BASE_WEIGHT = 2.0
"""Outcomes that the mean of the seeds is worth in a rate over several categories."""
POOLED_WEIGHT = 1000.0
"""Outcomes that the rate of all categories is worth where prompts are compared, rather than categories.

A category of 20 prompts in which one model did better by luck would otherwise outweigh all that prompts say.
"""
_EDGE = 0.002
"""Rates are kept this far from 0 and 1 before their log-odds are taken."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """What a category's posterior says."""

    mean: float
    confidence: float
    weight: float
    """Outcomes remembered."""
    drifted_at_s: float | None


class ModelRates:
    """The posteriors of one model."""

    __slots__ = ("_declared", "_fitted", "_half_life_s", "_leans", "_posteriors")

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self._declared: dict[TaskCategory, float] = {}
        self._fitted: dict[TaskCategory, float] = {}
        self._leans: dict[TaskCategory, float] = {}
        self._posteriors: dict[TaskCategory, Posterior] = {}

    def declare(self, skill: dict[TaskCategory, float]) -> bool:
        """Take over declared skills; tell whether they are others than before."""
        is_new = skill != self._declared
        self._declared = skill
        return is_new

    def add(self, category: TaskCategory, score: float, now_s: float, weight: float) -> None:
        """Record one outcome."""
        posterior = self._posteriors.get(category)
        if posterior is None:
            posterior = self._posteriors[category] = Posterior(self._half_life_s)
        posterior.add(score, now_s, weight)

    def exchange(self, category: TaskCategory, previous: float, score: float, now_s: float) -> None:
        """Let a score take the place of one that was added before."""
        self._posteriors.setdefault(category, Posterior(self._half_life_s)).exchange(previous, score, now_s)

    def add_batch(self, category: TaskCategory, successes: float, failures: float, now_s: float) -> None:
        """Record many outcomes of one moment; their order means nothing, so no change is looked for in it."""
        posterior = self._posteriors.setdefault(category, Posterior(self._half_life_s))
        posterior.decay(now_s)
        posterior.successes += successes
        posterior.failures += failures

    def settle(self, now_s: float) -> None:
        """Remember the rates as they are now, as seeds that do not wear away, with what prompts are compared to."""
        for posterior in self._posteriors.values():
            posterior.decay(now_s)
        weight = sum(posterior.weight for posterior in self._posteriors.values())
        overall = self.overall(now_s)
        for category, posterior in self._posteriors.items():
            if posterior.weight < 1.0:
                continue
            rest = weight - posterior.weight
            pooled = min(POOLED_WEIGHT, rest)
            mean = (posterior.successes + pooled * overall) / (posterior.weight + pooled)
            rate = self.rate(category, now_s).mean
            self._fitted[category] = rate
            self._leans[category] = logit(mean) - logit(rate)

    def lean(self, category: TaskCategory) -> float:
        """Return what to add to the log-odds of a category's rate where prompts are compared."""
        return self._leans.get(category, 0.0)

    def rate(self, category: TaskCategory, now_s: float) -> Rate:
        """Return what is known of a category."""
        prior = self._prior(category, now_s)
        prior_weight = PRIOR_WEIGHT if prior is None else DECLARED_WEIGHT
        won = prior_weight * (0.5 if prior is None else prior)
        posterior = self._posteriors.get(category)
        if posterior is None:
            return _rate(won, prior_weight, 0.0, prior is not None, None)
        posterior.decay(now_s)
        return _rate(
            won + posterior.successes, prior_weight, posterior.weight, prior is not None, posterior.drifted_at_s
        )

    def posterior(self, category: TaskCategory, now_s: float) -> Posterior:
        """Return a copy of a category's posterior with its prior, as `rate` reads it."""
        copy = Posterior(self._half_life_s, self._prior(category, now_s))
        posterior = self._posteriors.get(category)
        if posterior is not None:
            posterior.decay(now_s)
            copy.restore(posterior.snapshot())
        return copy

    def overall(self, now_s: float, but: TaskCategory | None = None) -> float:
        """Return the rate over all categories (but one), with the mean of fitted rates worth `BASE_WEIGHT` outcomes.

        Declared skills stay with their category: who names a specialist for one says nothing of the others.
        """
        fitted = self._fitted.values()
        base = sum(fitted) / len(fitted) if fitted else 0.5
        successes, weight = BASE_WEIGHT * base, BASE_WEIGHT
        for category, posterior in self._posteriors.items():
            if category is not but:
                posterior.decay(now_s)
                successes += posterior.successes
                weight += posterior.successes + posterior.failures
        return successes / weight

    def state(self) -> dict[str, Any]:
        """Return what `restored` takes."""
        return {
            "declared": _plain(self._declared),
            "fitted": _plain(self._fitted),
            "leans": _plain(self._leans),
            "posteriors": {category.value: list(one.snapshot()) for category, one in self._posteriors.items()},
        }

    @classmethod
    def restored(cls, state: dict[str, Any], half_life_s: float) -> "ModelRates":
        """Return rates as they were. Raises KeyError, TypeError, ValueError or AttributeError for damaged data."""
        rates = cls(half_life_s)
        rates._declared = {category_of(key): share_of(value, "skill") for key, value in state["declared"].items()}
        rates._fitted = {category_of(key): share_of(value, "rate") for key, value in state["fitted"].items()}
        for key, value in state["leans"].items():
            if not -20.0 <= value <= 20.0:
                raise ValueError(f"{value!r} is not a difference of log-odds")
            rates._leans[category_of(key)] = float(value)
        for key, kept in state["posteriors"].items():
            posterior = rates._posteriors[category_of(key)] = Posterior(half_life_s)
            posterior.restore(kept)
        return rates

    def _prior(self, category: TaskCategory, now_s: float) -> float | None:
        prior = self._fitted.get(category)
        if prior is None:
            prior = self._declared.get(category)
        if prior is None and category is TaskCategory.UNKNOWN and self._declared:
            prior = sum(self._declared.values()) / len(self._declared)
        if prior is None and (self._fitted or len(self._posteriors) > (category in self._posteriors)):
            prior = self.overall(now_s, category)
        return prior


def _rate(won: float, prior_weight: float, weight: float, is_seeded: bool, drifted_at_s: float | None) -> Rate:
    """Return a rate; its confidence is that of `Posterior.confidence`, which says why one of each is added."""
    mean = won / (weight + prior_weight)
    known = weight + (DECLARED_WEIGHT if is_seeded else 0.0)
    middle = (known * mean + 1.0) / (known + 2.0)
    spread = sqrt(middle * (1.0 - middle) / (known + 3.0))
    return Rate(mean, max(0.0, 1.0 - spread / UNIFORM_SPREAD), weight, drifted_at_s)


def logit(rate: float) -> float:
    """Return the log-odds of a rate, which counts as at least 0.002 away from 0 and 1."""
    rate = min(max(rate, _EDGE), 1.0 - _EDGE)
    return log(rate / (1.0 - rate))


def category_of(category: str) -> TaskCategory:
    """Return a category; raise BadRequestError for one that does not exist."""
    try:
        return TaskCategory(category)
    except ValueError:
        names = ", ".join(TaskCategory)
        raise BadRequestError(f"there is no category {category!r}: use one of {names}", "category") from None


def share_of(value: float, what: str) -> float:
    """Return a number; raise BadRequestError for one that is not in [0, 1], also NaN."""
    if not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise BadRequestError(f"a {what} must be a number in [0, 1], not {value!r}", what)
    return float(value)


def _plain(table: dict[TaskCategory, float]) -> dict[str, float]:
    return {category.value: value for category, value in table.items()}
