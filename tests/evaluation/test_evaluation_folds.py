"""Folds part the rows, keep what belongs together, and are the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_shared import made_table
from hypothesis import given
from hypothesis import strategies as st

from fairlead.evaluation.folds import assign_folds, clusters
from fairlead.evaluation.rows import TableError
from fairlead.evaluation.table import Table

LABELS = st.lists(st.tuples(st.sampled_from("pqrstuvw"), st.sampled_from([None, "x", "y", "z"])), min_size=1)


def table_of(pairs: list[tuple[str, str | None]]) -> Table:
    table = made_table(np.zeros((len(pairs), 2)), prompts=tuple(prompt for prompt, _ in pairs))
    return replace(table, group=tuple(group for _, group in pairs))


@given(LABELS)
def test_same_prompt_or_same_group_is_one_cluster(pairs: list[tuple[str, str | None]]) -> None:
    table = table_of(pairs)
    cluster = clusters(table.prompts, table.group).tolist()
    for i, (prompt, group) in enumerate(pairs):
        for j, (other, other_group) in enumerate(pairs):
            if prompt == other or (group is not None and group == other_group):
                assert cluster[i] == cluster[j]


@given(LABELS, st.integers(2, 5), st.integers(0, 9))
def test_clusters_stay_whole_and_no_fold_is_empty(pairs: list[tuple[str, str | None]], folds: int, seed: int) -> None:
    table = table_of(pairs)
    cluster = clusters(table.prompts, table.group)
    if len(set(cluster.tolist())) < folds:
        with pytest.raises(TableError, match="cannot fill"):
            assign_folds(table, folds, seed)
        return
    fold = assign_folds(table, folds, seed)
    assert set(fold.tolist()) == set(range(folds))
    assert all(len(set(fold[cluster == one].tolist())) == 1 for one in set(cluster.tolist()))
    np.testing.assert_array_equal(fold, assign_folds(table, folds, seed))


def test_the_seed_matters_and_folds_are_even() -> None:
    table = made_table(np.zeros((103, 2)))
    fold = assign_folds(table, 5, 0)
    assert sorted(np.bincount(fold).tolist()) == [20, 20, 21, 21, 21]
    assert (fold != assign_folds(table, 5, 1)).any()
