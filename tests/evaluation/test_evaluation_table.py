"""A table is full: what is missing is left out and noted, or refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_shared import write_jsonl

from fairlead.evaluation.rows import TableError
from fairlead.evaluation.table import read_table


def row(prompt: str, model: str, score: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "model": model, "score": score, **more}


def test_rows_in_any_order_make_a_matrix(tmp_path: Path) -> None:
    rows = [row("p", "b", 0.2), row("q", "b", 0.4), row("q", "a", 0.3), row("p", "a", 0.1)]
    table = read_table(write_jsonl(tmp_path / "t.jsonl", rows))
    assert (table.prompts, table.models) == (("p", "q"), ("a", "b"))
    np.testing.assert_array_equal(table.score, [[0.1, 0.2], [0.3, 0.4]])
    assert (table.cost_usd, table.latency_s, table.notes) == (None, None, ())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "the table is empty"),
        ([row("p", "a"), row("q", "a")], "only the model 'a'"),
        ([row("p", "a"), row("p", "b"), row("p", "a")], ":3: the prompt and model (a) of line 1 again"),
        ([row("p", "a"), row("q", "b")], "no prompt has the score of every model; 'a' has 1 of 2"),
        ([row("p", "a", group="x"), row("p", "b", group="y")], ":2: group is not that of the same prompt in line 1"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert f"{path}" in str(caught.value)
    assert said in str(caught.value)


def test_a_prompt_that_comes_again_with_all_models_counts_again(tmp_path: Path) -> None:
    rows = [row(p, m, s) for p, s in (("p", 0.0), ("q", 1.0), ("p", 0.5)) for m in "ab"]
    table = read_table(write_jsonl(tmp_path / "t.jsonl", rows))
    assert table.prompts == ("p", "q", "p")
    assert table.score[:, 0].tolist() == [0.0, 1.0, 0.5]
    assert "1 prompts repeat an earlier one" in table.notes[0]


def test_prompts_without_every_score_are_left_out_and_noted(tmp_path: Path) -> None:
    table = read_table(write_jsonl(tmp_path / "t.jsonl", [row("p", "a"), row("p", "b"), row("q", "a")]))
    assert table.prompts == ("p",)
    assert table.notes == ("t.jsonl: 1 of 2 prompts lack the score of some model and are left out",)


def test_an_axis_that_is_not_whole_is_not_used_unless_asked_for(tmp_path: Path) -> None:
    rows = [row(p, m, latency_s=1.0, cost_usd=2.0) for p in "pq" for m in "abc"]
    del rows[0]["latency_s"]  # of p by a
    for i in (2, 5):
        del rows[i]["latency_s"]  # all of c
    path = write_jsonl(tmp_path / "t.jsonl", rows)
    table = read_table(path)
    assert table.latency_s is None
    assert table.cost_usd is not None
    assert "latency_s is not used: 3 rows lack it, the first in line 1" in table.notes[0]
    table = read_table(path, "latency_s")
    assert (table.models, table.prompts) == (("a", "b"), ("q",))
    assert "t.jsonl: left out, as most of their latency_s is missing: c" in table.notes


def test_only_the_models_of_the_other_file(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "t.jsonl", [row("p", m) for m in "abc"])
    assert read_table(path, models=("c", "a")).models == ("c", "a")
    with pytest.raises(TableError, match="has no score of 'd'"):
        read_table(path, models=("a", "d"))
