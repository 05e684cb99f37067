"""What each router expects of every model on prompts it was not fitted on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fairlead.capability.features import features_of
from fairlead.capability.labels import Label
from fairlead.capability.scorer import CapabilityScorer
from fairlead.categories import Detector, RuleDetector
from fairlead.domain.features import PromptFeatures
from fairlead.domain.task import TaskCategory
from fairlead.evaluation.baselines import by_label, by_length, expected_cost
from fairlead.evaluation.reword import RULES
from fairlead.evaluation.table import Axis, Floats, Ints, Table

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many steps of it are done, and of how many."""


@dataclass(frozen=True)
class Split:
    """Which rows are fitted on, and which are measured."""

    fit: Ints
    test: Ints


@dataclass
class Expectations:
    """For the measured rows, in the table's order: expected scores (n x m) by router, and all that goes with them."""

    fold: Ints
    """Which fit each row was measured with."""
    quality: dict[str, Floats] = field(default_factory=dict)
    cost: Floats | None = None
    """Expected cost or latency (n x m) along the axis asked for."""
    base_rate: Floats = field(default_factory=lambda: np.empty(0))
    """Mean score of each model in the category that the detector names, on the rows fitted on."""
    label_rate: Floats | None = None
    """The same for the category that the file names, where it does."""
    reworded: dict[str, Floats] = field(default_factory=dict)
    """What ours expects of the same prompts in other words, by rule."""


class Ours:
    """The shipped scorer, which sees of a prompt what it sees in service: its features and the detector's category."""

    def __init__(
        self,
        models: Sequence[str],
        make_scorer: Callable[[], CapabilityScorer] = CapabilityScorer,
        detector: Detector | None = None,
    ) -> None:
        self._models = models
        self._make_scorer = make_scorer
        self._detector = RuleDetector() if detector is None else detector
        self._scorer = make_scorer()
        self._seen: dict[str, tuple[TaskCategory, PromptFeatures]] = {}

    def see(self, prompt: str) -> tuple[TaskCategory, PromptFeatures]:
        """Return the category and the features of a prompt."""
        seen = self._seen.get(prompt)
        if seen is None:
            seen = self._seen[prompt] = self._detector.detect(prompt), features_of(prompt)
        return seen

    def fit(self, prompts: Sequence[str], score: Floats) -> None:
        """Learn from the scores (n x m) of these prompts, and from nothing before."""
        labels = []
        for prompt, scores in zip(prompts, score.tolist(), strict=True):
            category, features = self.see(prompt)
            labels += [
                Label(model=model, category=category, features=features, score=one)
                for model, one in zip(self._models, scores, strict=True)
            ]
        self._scorer = self._make_scorer()
        self._scorer.fit(labels)

    def expect(self, prompts: Sequence[str]) -> Floats:
        """Return the expected score of every model on these prompts (n x m)."""
        estimate, models = self._scorer.estimate, self._models
        seen = map(self.see, prompts)
        return np.array([[estimate(model, *one, now_s=0.0).quality for model in models] for one in seen])


def expectations(
    table: Table, splits: Sequence[Split], axis: Axis | None, ours: Ours, *, robust: bool, progress: Progress
) -> Expectations:
    """Fit every router on each split's fit rows, and return what it expects of the test rows."""
    n = len(table.prompts)
    for i, prompt in enumerate(table.prompts):
        ours.see(prompt)
        if i % 50 == 0:
            progress("looking at the prompts", i, n)
    progress("looking at the prompts", n, n)
    tested = np.sort(np.concatenate([split.test for split in splits]))
    place = np.full(n, -1, dtype=np.intp)
    place[tested] = np.arange(len(tested))
    shape = len(tested), len(table.models)
    result = Expectations(fold=np.zeros(len(tested), dtype=np.intp), base_rate=np.empty(shape))
    detected = [ours.see(prompt)[0] for prompt in table.prompts]
    labels = table.labels
    for k, split in enumerate(splits):
        progress("fitting and measuring", k, len(splits))
        at = place[split.test]
        result.fold[at] = k
        columns = _one_split(table, split, axis, ours, labels, robust=robust)
        result.base_rate[at] = by_label(detected, table.score, split.fit, split.test)
        for name, values in columns.items():
            result.quality.setdefault(name, np.empty(shape))[at] = values
    progress("fitting and measuring", len(splits), len(splits))
    result.cost = result.quality.pop("cost", None)
    result.label_rate = result.quality.get("task_table")
    result.reworded = {rule: result.quality.pop(rule) for rule in RULES if rule in result.quality}
    return result


def _one_split(
    table: Table, split: Split, axis: Axis | None, ours: Ours, labels: Sequence[str | None] | None, *, robust: bool
) -> dict[str, Floats]:
    fitted, tested = _of(table.prompts, split.fit), _of(table.prompts, split.test)
    ours.fit(fitted, table.score[split.fit])
    columns = {
        "ours": ours.expect(tested),
        "length": by_length(table.prompts, table.score, split.fit, split.test),
    }
    if labels is not None:
        columns["task_table"] = by_label(labels, table.score, split.fit, split.test)
    cost = None if axis is None else table.axis(axis)
    if cost is not None:
        columns["cost"] = expected_cost(cost, split.fit, split.test)
    for rule, reword in RULES.items() if robust else ():
        columns[rule] = ours.expect([reword(prompt) for prompt in tested])
    return columns


def _of(prompts: Sequence[str], rows: Ints) -> list[str]:
    return [prompts[i] for i in rows.tolist()]
