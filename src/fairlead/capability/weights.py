"""The weights of one regression, and features made ready for products with them.

A few weights are for the shape of prompts, which every prompt has; many are for words, of which a prompt has some, all
with the same value. So a product is one pass over the shape and one sum over the weights of the words that occur.
"""

from array import array
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from math import isfinite
from operator import itemgetter, mul

import msgspec

from fairlead.capability.features import N_FEATURES
from fairlead.capability.shape import N_SHAPE
from fairlead.domain.features import PromptFeatures

_UNUSED = (0, 1)
"""Places among the weights of words that no word has, so that they stay 0."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """The features of a prompt, made ready."""

    shape: tuple[float, ...]
    words: tuple[int, ...]
    gather: Callable[[Sequence[float]], tuple[float, ...]]
    """Takes the weights of its words out of all weights."""
    each: float
    """The value of every word."""
    square: float
    """Sum of the squares of all values."""


def seen_as(features: PromptFeatures) -> Seen | None:
    """Return features made ready; None for those that `features_of` of this version has not made."""
    indices, values = features.indices, features.values
    n = len(indices)
    if n != len(values) or n < N_SHAPE or indices[N_SHAPE - 1] != N_SHAPE - 1 or indices[-1] >= N_FEATURES:
        return None
    shape, words = values[:N_SHAPE], indices[N_SHAPE:]
    each = values[-1] if words else 0.0
    return Seen(
        shape=shape,
        words=words,
        gather=itemgetter(*_UNUSED, *words),
        each=each,
        square=sum(map(mul, shape, shape)) + each * each * len(words),
    )


class Weights:
    """The weights of one regression, 9 KB; 0 at first."""

    __slots__ = ("shape", "words")

    def __init__(self) -> None:
        self.shape = array("f", bytes(4 * N_SHAPE))
        self.words = array("f", bytes(4 * N_FEATURES))

    def dot(self, seen: Seen) -> float:
        """Return the sum of weight x value."""
        return sum(map(mul, self.shape, seen.shape), seen.each * sum(seen.gather(self.words)))

    def add(self, seen: Seen, step: float) -> None:
        """Add `step` times the features."""
        self.shape = array("f", [weight + step * value for weight, value in zip(self.shape, seen.shape, strict=True)])
        words, each = self.words, step * seen.each
        for index in seen.words:
            words[index] += each

    def copy(self) -> "Weights":
        """Return weights of their own that are equal."""
        weights = Weights()
        weights.shape, weights.words = self.shape[:], self.words[:]
        return weights

    def keep(self, part: float, before: "Weights") -> None:
        """Keep only a part of what was added since `before`."""
        self.shape = _towards(before.shape, self.shape, part)
        self.words = _towards(before.words, self.words, part)

    def state(self) -> str:
        """Return the weights as text."""
        return b64encode((self.shape + self.words).tobytes()).decode()

    @classmethod
    def restored(cls, state: str) -> "Weights":
        """Return weights as they were when `state` was called. Raises ValueError for anything else."""
        try:
            values = array("f", b64decode(state, validate=True))
        except (TypeError, ValueError):
            raise ValueError("weights are not as they were written") from None
        if len(values) != N_SHAPE + N_FEATURES or not all(map(isfinite, values)):
            raise ValueError("weights are not as they were written")
        weights = cls()
        weights.shape, weights.words = values[:N_SHAPE], values[N_SHAPE:]
        return weights


def _towards(start: "array[float]", end: "array[float]", part: float) -> "array[float]":
    return array("f", [a + part * (b - a) for a, b in zip(start, end, strict=True)])
