"""What a router must beat: prompt length alone, a table per category; and the cost that all of them expect."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from fairlead.evaluation.table import Floats, Ints

_RIDGE = 1e-6


def by_length(prompts: Sequence[str], score: Floats, fit: Ints, test: Ints) -> Floats:
    """Return the expected score of every model on `test`: a line through the logarithm of the length, fitted on `fit`.

    With two models this ranks by length, in the direction learnt.
    """
    x = np.log1p(np.array([len(prompt) for prompt in prompts], dtype=np.float64))
    centre = x[fit].mean()
    spread = x[fit] - centre
    slope = spread @ score[fit] / (spread @ spread + _RIDGE)
    expected: Floats = score[fit].mean(axis=0) + np.outer(x[test] - centre, slope)
    return expected


def by_label(labels: Sequence[str | None], score: Floats, fit: Ints, test: Ints) -> Floats:
    """Return the expected score of every model on `test`: its mean on the `fit` rows of the same label.

    Where the label was not seen, its mean on all of them.
    """
    rows: defaultdict[str | None, list[int]] = defaultdict(list)
    for i in fit.tolist():
        rows[labels[i]].append(i)
    means = {label: score[members].mean(axis=0) for label, members in rows.items()}
    overall = score[fit].mean(axis=0)
    return np.array([means.get(labels[i], overall) for i in test.tolist()])


def expected_cost(cost: Floats, fit: Ints, test: Ints) -> Floats:
    """Return what each model is expected to cost on `test`: its mean on `fit`.

    Tried, and no better on the data of docs/evaluation.md: a line through the length of the prompt, and for latencies
    the median (worse: curves are of means).
    """
    return np.broadcast_to(cost[fit].mean(axis=0), (len(test), cost.shape[1])).copy()
