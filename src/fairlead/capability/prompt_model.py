"""What a prompt says beyond its category: a logistic regression that all models share, and one for each model.

The log-odds of model m on features x are o + (u + v_m) . x: o is the log-odds of the category's rate, u says how hard
such prompts are for every model, v_m how m differs. Both are shrunk towards 0 by a ridge, so that far from what was
learnt the category's rate stands. Solved by dual coordinate ascent (Yu, Huang, Lin: "Dual coordinate descent methods
for logistic regression and maximum entropy models", Machine Learning 2011): each label has a dual variable, at the
optimum a = score - p, and u = sum(a x) / shared penalty, v_m = sum(a x of m) / own penalty. A visit moves one dual
variable by a Newton step, later ones by a part of it: on real data, one pass at that pace is nearly as good as the
optimum, and full steps are much worse. `fit` visits all labels several times, and then keeps as much of what it found
as holds on prompts not learnt from (`trust`); `learn` visits a new one once.
"""

from collections.abc import Sequence
from math import exp
from typing import Any

import msgspec

from fairlead.capability.trust import ENOUGH_PROMPTS, FOLDS, Foretold, believed
from fairlead.capability.weights import Seen, Weights

PASSES = 8
"""How often `fit` visits each label."""
PACE_LABELS = 100.0
"""Labels of each model after which steps are shortened: the n-th takes (1 + n / 100)^-1/2 of a Newton step."""
PACE_LEAST = 0.1
"""The least of it, so that what changes is followed for ever."""
ALIKE = 0.5
"""How alike the outcomes of different models on one prompt are: many of them say little more of it than two."""
_SCATTER = 0.6180339887
"""The golden ratio's: multiples of it, taken modulo 1, are an order that mixes neighbours."""


class Scored(msgspec.Struct, gc=False):
    """One label of a prompt, while it is learnt."""

    model: str
    score: float
    offset: float
    """Log-odds of the category's rate."""
    dual: float = 0.0


class PromptModel:
    """The shared regression and the one of each model."""

    def __init__(self, shared_penalty: float, own_penalty: float) -> None:
        self._shared_rate = 1.0 / shared_penalty
        self._own_rate = 1.0 / own_penalty
        self._visits = 0
        self._shared = Weights()
        self._own: dict[str, Weights] = {}

    def common(self, seen: Seen) -> float:
        """Return what the prompt adds to the log-odds of every model."""
        return self._shared.dot(seen)

    def own(self, model: str, seen: Seen) -> float:
        """Return what it adds to those of one model besides."""
        own = self._own.get(model)
        return 0.0 if own is None else own.dot(seen)

    def learn(self, seen: Seen, labels: Sequence[Scored]) -> float:
        """Visit the labels of one prompt, once each; return how far the largest step moved its log-odds."""
        pace = max(PACE_LEAST, (1.0 + self._visits / (PACE_LABELS * max(1, len(self._own)))) ** -0.5)
        self._visits += len(labels)
        shared_rate, own_rate = self._shared_rate * _news(len(labels)), self._own_rate
        size = seen.square * (shared_rate + own_rate)
        common = self._shared.dot(seen)
        total = largest = 0.0
        for label in labels:
            own = self._own.get(label.model)
            if own is None:
                own = self._own[label.model] = Weights()
            p = sigmoid(label.offset + common + own.dot(seen))
            step = pace * (label.score - p - label.dual) / (1.0 + size * p * (1.0 - p))
            label.dual += step
            own.add(seen, step * own_rate)
            common += step * shared_rate * seen.square
            total += step
            largest = max(largest, abs(step) * size)
        self._shared.add(seen, total * shared_rate)
        return largest

    def fit(self, prompts: Sequence[tuple[Seen, Sequence[Scored]]]) -> None:
        """Learn from all labels of all prompts; of that, keep the part that holds on prompts not learnt from."""
        order = sorted(range(len(prompts)), key=lambda i: i * _SCATTER % 1.0)
        mixed = [prompts[i] for i in order]
        parts = believed(self._foretold(mixed))
        shared, owns = self._shared.copy(), {model: own.copy() for model, own in self._own.items()}
        self.visit(mixed)
        self._shared.keep(parts.common, shared)
        for model, own in self._own.items():
            own.keep(parts.own, owns.get(model, Weights()))

    def visit(self, prompts: Sequence[tuple[Seen, Sequence[Scored]]]) -> None:
        """Visit all labels several times, in an order that mixes neighbours and is always the same."""
        for _ in range(PASSES):
            for seen, labels in prompts:
                self.learn(seen, labels)

    def _foretold(self, prompts: Sequence[tuple[Seen, Sequence[Scored]]]) -> list[Foretold]:
        """Return what regressions on the other prompts add for the labels of each, folds one after the other."""
        found: list[Foretold] = []
        prompts_done = 0
        for fold in range(FOLDS):
            held = prompts[fold::FOLDS]
            other = PromptModel(1.0 / self._shared_rate, 1.0 / self._own_rate)
            other.restore(self.state())
            other.visit([(seen, _fresh(labels)) for i, (seen, labels) in enumerate(prompts) if i % FOLDS != fold])
            for seen, labels in held:
                found += self._added(other, seen, labels)
            prompts_done += len(held)
            if prompts_done >= ENOUGH_PROMPTS:
                break
        return found

    def _added(self, other: "PromptModel", seen: Seen, labels: Sequence[Scored]) -> list[Foretold]:
        """Return what another regression, which has learnt more, adds for the labels of one prompt."""
        common, worth = self.common(seen), _news(len(labels))
        more = other.common(seen) - common
        found = []
        for one in labels:
            own = self.own(one.model, seen)
            offset = one.offset + common + own
            found.append(Foretold(offset, more, other.own(one.model, seen) - own, one.score, worth))
        return found

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes."""
        own = {model: one.state() for model, one in self._own.items()}
        return {"visits": self._visits, "shared": self._shared.state(), "own": own}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a `state`. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        shared = Weights.restored(state["shared"])
        own = {str(model): Weights.restored(one) for model, one in state["own"].items()}
        visits = int(state["visits"])
        if visits < 0:
            raise ValueError(f"{visits} labels cannot have been learnt")
        self._visits, self._shared, self._own = visits, shared, own


def _fresh(labels: Sequence[Scored]) -> list[Scored]:
    return [Scored(one.model, one.score, one.offset) for one in labels]


def _news(labels: int) -> float:
    """Return what a label is worth for what models share, beside one of two of a prompt: (1 + r) / (1 + (n - 1) r).

    That is the design effect of clusters of n observations with correlation r (Kish, "Survey Sampling", 1965).
    """
    return min(1.0, (1.0 + ALIKE) / (1.0 + (labels - 1) * ALIKE))


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x)."""
    return 1.0 / (1.0 + exp(-x)) if x > -700.0 else 0.0
