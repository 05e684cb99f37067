"""Training of a detector on labelled prompts, in plain Python: some seconds for a few thousand of them.

Multinomial logistic regression by stochastic gradient descent: passes over the rows in an order that `seed` draws, a
step of size rate / (1 + pass), weights of words pulled towards zero (L2) each time they are met. A row counts
1 / sqrt(rows of its category), so that rare kinds of work are not drowned and common ones are still preferred. Words
that stand in one row only are left out: they would be learnt by heart. The same rows give the same weights.
"""

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from math import exp, sqrt

import msgspec

from fairlead.categories.cues import ORDER
from fairlead.categories.labelled import Labelled
from fairlead.categories.rules import evidence, words_of
from fairlead.categories.weights import Weights, checksum, hashes_of
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError
from fairlead.rng import Draw

MOST_WORDS = 20_000
"""Features that are kept, the most frequent first; 7 categories and 20,000 of them make a file of 300 kB."""
LEAST_ROWS = 2
_STEPS = 127


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to train; the defaults were chosen on real developer prompts."""

    passes: int = 16
    rate: float = 1.0
    rule_rate: float = 0.005
    """Rates fall with each pass; the rules' sums are larger than the words', so their rate is smaller."""
    shrink: float = 0.02
    """How far a word's weights are pulled to zero each time it is met, as a share of the rate."""
    least: float = 0.35
    """A probability below this is `unknown`."""
    seed: int = 0


class _Row(msgspec.Struct, frozen=True):
    words: list[int]
    """Positions of the features that are kept."""
    rules: list[tuple[int, int]]
    """Which rules spoke, and with what sum."""
    label: int
    worth: float


def train(
    rows: Sequence[Labelled],
    settings: TrainingSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Weights:
    """Return the weights that fit the rows. Raises FairleadError where they show fewer than two categories.

    `progress` is called after each pass with how many are done, and of how many.
    """
    settings = settings or TrainingSettings()
    counts = Counter(row.label for row in rows)
    categories = tuple(category for category in ORDER if counts[category])
    if len(categories) < 2:
        raise FairleadError(
            f"there is nothing to tell apart in {len(rows)} rows of {len(categories)} categories: "
            "give labelled prompts of two or more"
        )
    keys, prepared = _prepared(rows, categories, counts)
    fit = _Fit(len(keys), len(categories))
    for number in range(settings.passes):
        slower = 1 / (1 + number)
        for row in _shuffled(prepared, Draw(settings.seed, number)):
            fit.learn(row, settings.rate * slower, settings.rule_rate * slower, settings.shrink)
        if progress:
            progress(number + 1, settings.passes)
    return _weights(keys, categories, fit, len(rows), settings.least)


def _prepared(
    rows: Sequence[Labelled], categories: tuple[TaskCategory, ...], counts: Counter[TaskCategory]
) -> tuple[list[int], list[_Row]]:
    hashed = [sorted(hashes_of(row.text)) for row in rows]
    seen = Counter(key for hashes in hashed for key in hashes)
    frequent = sorted((key for key, n in seen.items() if n >= LEAST_ROWS), key=lambda key: (-seen[key], key))
    keys = sorted(frequent[:MOST_WORDS])
    place = {key: index for index, key in enumerate(keys)}
    mean = sum(sqrt(n) for n in counts.values()) / len(rows)
    prepared = [
        _Row(
            [place[key] for key in hashes if key in place],
            [(rule, points) for rule, points in enumerate(evidence(words_of(row.text))) if points],
            categories.index(row.label),
            1 / sqrt(counts[row.label]) / mean,
        )
        for row, hashes in zip(rows, hashed, strict=True)
    ]
    return keys, prepared


def _shuffled(rows: list[_Row], draw: Draw) -> list[_Row]:
    """Return the rows in another order: Fisher and Yates."""
    mixed = list(rows)
    for last in range(len(mixed) - 1, 0, -1):
        other = draw.below(last + 1)
        mixed[last], mixed[other] = mixed[other], mixed[last]
    return mixed


class _Fit:
    """Weights while they are learnt: a row for each word and each rule, a column for each category."""

    def __init__(self, words: int, categories: int) -> None:
        self.words = [[0.0] * categories for _ in range(words)]
        self.rules = [[0.0] * categories for _ in ORDER]
        self.bias = [0.0] * categories

    def learn(self, row: _Row, rate: float, rule_rate: float, shrink: float) -> None:
        """Take one step down the gradient of the log loss of one row."""
        unit = 1 / sqrt(len(row.words) or 1)
        error = self._error(row, unit)
        step = [rate * row.worth * unit * each for each in error]
        keep = 1 - rate * shrink
        for index in row.words:
            self.words[index] = [weight * keep - each for weight, each in zip(self.words[index], step, strict=True)]
        for rule, points in row.rules:
            by = rule_rate * row.worth * points
            self.rules[rule] = [w - by * each for w, each in zip(self.rules[rule], error, strict=True)]
        self.bias = [bias - rule_rate * row.worth * each for bias, each in zip(self.bias, error, strict=True)]

    def _error(self, row: _Row, unit: float) -> list[float]:
        """Return probability less truth for each category."""
        scores = self.bias
        if row.words:
            sums = map(sum, zip(*[self.words[index] for index in row.words], strict=True))
            scores = [bias + total * unit for bias, total in zip(scores, sums, strict=True)]
        for rule, points in row.rules:
            scores = [score + points * w for score, w in zip(scores, self.rules[rule], strict=True)]
        top = max(scores)
        parts = [exp(score - top) for score in scores]
        total = sum(parts)
        error = [part / total for part in parts]
        error[row.label] -= 1
        return error


def _weights(keys: list[int], categories: tuple[TaskCategory, ...], fit: _Fit, rows: int, least: float) -> Weights:
    """Round the weights of words to whole steps; the rest is little and stays as it is."""
    largest = max((abs(weight) for row in fit.words for weight in row), default=0.0)
    scale = largest / _STEPS
    pack = struct.Struct(f"<{len(categories)}b").pack
    steps = [[round(weight / scale) if scale else 0 for weight in row] for row in fit.words]
    kept = [(key, row) for key, row in zip(keys, steps, strict=True) if any(row)]
    words = b"".join(struct.pack("<I", key) for key, _ in kept)
    packed = b"".join(pack(*row) for _, row in kept)
    return Weights(
        categories=categories,
        rows=rows,
        least=least,
        scale=scale,
        bias=tuple(fit.bias),
        rules=tuple(map(tuple, fit.rules)),
        words=words,
        steps=packed,
        check=checksum(words, packed),
    )
