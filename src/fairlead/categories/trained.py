"""A detector that was trained on labelled prompts: the rules' evidence and the words, weighed by what was seen.

Multinomial logistic regression over hashed words, pairs of words and the sums of the built-in rules. Where the words
are new the rules speak alone; where both are silent, or no category is likely enough, it says `unknown`. A bounded
opening is read for words, and what the rules read, so a long prompt costs what a short one costs.
Wrong for prompts that are worded unlike those it was trained on: there the rules alone are as good or better.
"""

import struct
from collections.abc import Sequence
from math import exp, sqrt

from fairlead.categories.rules import evidence, words_of
from fairlead.categories.weights import Weights, hashes_of
from fairlead.domain.task import TaskCategory

_LANE_BITS = 16
"""Room for the sum of one category: fewer than 250 features are read, each worth at most 127 steps."""
_LANE_ZERO = 1 << _LANE_BITS - 1


class TrainedDetector:
    """Detects the category by trained weights; has no state, so one instance serves any number of threads."""

    __slots__ = ("_bias", "_categories", "_lanes", "_least", "_rules", "_scale", "_table", "_zero")

    def __init__(self, weights: Weights) -> None:
        self._categories = weights.categories
        self._least = weights.least
        self._scale = weights.scale
        self._bias = weights.bias
        self._rules = weights.rules
        count = len(weights.categories)
        self._lanes = struct.Struct(f"<{count}H")
        self._zero = sum(_LANE_ZERO << _LANE_BITS * lane for lane in range(count))
        self._table = _table(weights)

    def detect(self, prompt: str) -> TaskCategory:
        """Return the likeliest category, `unknown` where none is likely enough; TypeError for non-text."""
        scores = self._scores(prompt)
        if not scores:
            return TaskCategory.UNKNOWN
        top = max(scores)
        likely = 1 / sum([exp(score - top) for score in scores]) >= self._least
        return self._categories[scores.index(top)] if likely else TaskCategory.UNKNOWN

    def probabilities(self, prompt: str) -> dict[TaskCategory, float]:
        """Return how likely each category is; nothing where no word or cue is known."""
        scores = self._scores(prompt)
        top = max(scores, default=0.0)
        parts = [exp(score - top) for score in scores]
        total = sum(parts)
        return {category: part / total for category, part in zip(self._categories, parts, strict=False)}

    def _scores(self, prompt: str) -> Sequence[float]:
        sums = evidence(words_of(prompt))
        known = self._table.keys() & hashes_of(prompt)
        if not known and not any(sums):
            return ()
        total = sum(map(self._table.__getitem__, known)) + self._zero
        unit = self._scale / sqrt(len(known) or 1)
        steps = self._lanes.unpack(total.to_bytes(self._lanes.size, "little"))
        scores = [(step - _LANE_ZERO) * unit + bias for step, bias in zip(steps, self._bias, strict=True)]
        for points, worth in zip(sums, self._rules, strict=True):
            if points:
                scores = [score + points * each for score, each in zip(scores, worth, strict=True)]
        return scores


def _table(weights: Weights) -> dict[int, int]:
    """Hash -> its steps, a lane for each category, so that one addition adds them all; lanes borrow until `_zero`."""
    count = len(weights.categories)
    keys = (key for (key,) in struct.iter_unpack("<I", weights.words))
    rows = struct.iter_unpack(f"<{count}b", weights.steps)
    shifts = [_LANE_BITS * lane for lane in range(count)]
    return {
        key: sum(step << by for step, by in zip(row, shifts, strict=True)) for key, row in zip(keys, rows, strict=True)
    }
