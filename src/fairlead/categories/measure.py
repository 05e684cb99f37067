"""How well a detector does on labelled prompts."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from fairlead.categories.contract import Detector
from fairlead.categories.cues import ORDER
from fairlead.categories.labelled import Labelled
from fairlead.domain.task import TaskCategory

MIN_ROWS = 30
"""Categories with fewer rows do not count in the macro-F1: one row more or less would move it."""


class Measured(msgspec.Struct, frozen=True):
    """What was said of rows whose label is known."""

    rows: int
    accuracy: float
    """Share of rows with the right category."""
    coverage: float
    """Share of rows that were not called `unknown`."""
    macro_f1: float
    """Mean F1 of the categories that have at least `MIN_ROWS` rows; 0 where none has."""
    f1: dict[TaskCategory, float]
    """Of each category that is a label or was said."""
    confusion: dict[TaskCategory, dict[TaskCategory, int]]
    """Label -> what was said -> how often."""


def measure(detector: Detector, rows: Sequence[Labelled], min_rows: int = MIN_ROWS) -> Measured:
    """Ask a detector about every row."""
    return compare([(row.label, detector.detect(row.text)) for row in rows], min_rows)


def compare(pairs: Iterable[tuple[TaskCategory, TaskCategory]], min_rows: int = MIN_ROWS) -> Measured:
    """Return the figures of (label, what was said) pairs."""
    counts = Counter(pairs)
    total = counts.total()
    labels: Counter[TaskCategory] = Counter()
    said: Counter[TaskCategory] = Counter()
    for (label, guess), n in counts.items():
        labels[label] += n
        said[guess] += n
    # F1 = 2 x right / (labelled so + called so), the harmonic mean of precision and recall
    f1 = {c: 2 * counts[c, c] / (labels[c] + said[c]) for c in ORDER if labels[c] + said[c]}
    frequent = [f1[c] for c in ORDER if labels[c] >= min_rows]
    return Measured(
        rows=total,
        accuracy=sum(counts[c, c] for c in ORDER) / total if total else 0.0,
        coverage=1 - said[TaskCategory.UNKNOWN] / total if total else 0.0,
        macro_f1=sum(frequent) / len(frequent) if frequent else 0.0,
        f1=f1,
        confusion={c: {g: counts[c, g] for g in ORDER if counts[c, g]} for c in ORDER if labels[c]},
    )
