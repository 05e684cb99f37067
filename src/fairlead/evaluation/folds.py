"""Which prompts are fitted on and which are measured: folds that keep copies and groups together."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from fairlead.evaluation.rows import TableError
from fairlead.evaluation.table import Ints, Table


def clusters(prompts: Sequence[str], groups: Sequence[str | None]) -> Ints:
    """Return a number per row; rows with the same prompt or the same group (where given) have the same number."""
    parent = list(range(len(prompts)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, prompt in enumerate(prompts):
        group = groups[i] if groups else None
        for key in (("prompt", prompt), ("group", group)) if group is not None else (("prompt", prompt),):
            other = root(first.setdefault(key, i))
            parent[root(i)] = other
    return np.array([root(i) for i in range(len(prompts))], dtype=np.intp)


def assign_folds(table: Table, folds: int, seed: int) -> Ints:
    """Return the fold of each row, in [0, folds).

    Clusters are shuffled by `seed`, then, largest first, each joins the smallest fold. Raises TableError where there
    are fewer clusters than folds.
    """
    cluster = clusters(table.prompts, table.group)
    _, inverse, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    if len(sizes) < folds:
        what = "groups" if any(group is not None for group in table.group) else "different prompts"
        remedy = f"use --folds {len(sizes)} or fewer" if len(sizes) > 1 else "there is nothing to measure on"
        raise TableError(f"{table.name}: {len(sizes)} {what} cannot fill {folds} folds; {remedy}")
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled = np.zeros(folds, dtype=np.intp)
    fold_of = np.zeros(len(sizes), dtype=np.intp)
    for one in order:
        fold_of[one] = int(np.argmin(filled))
        filled[fold_of[one]] += sizes[one]
    return fold_of[inverse]


def unmixed(table: Table, fold: Ints) -> list[str]:
    """Return notes on folds of one kind only: orders are taken within folds, and there tell no kinds apart."""
    notes = []
    count = len(np.unique(fold))
    labels = table.labels
    alone = 0 if labels is None else _of_one_kind(labels, fold)
    if alone:
        what = "category" if labels is table.category else "group"
        notes.append(
            f"in {alone} of {count} folds all prompts are of one {what}; prompts are ranked within their fold, so "
            "there the per-task table orders by chance alone"
        )
    alone = _of_one_kind(table.group, fold) if len(set(table.group)) > 1 else 0
    if alone:
        notes.append(
            f"in {alone} of {count} folds all prompts are of one group; prompts are ranked within their fold, so APGR "
            "and CPT weigh no prompts of different groups there against each other"
        )
    return notes


def _of_one_kind(labels: Sequence[str | None], fold: Ints) -> int:
    """Return how many folds hold a single label."""
    kinds = set(zip(fold.tolist(), labels, strict=True))
    return sum(held == 1 for held in Counter(one for one, _ in kinds).values())
