"""Every row of a table is right, or named by file and line."""

import gzip
import json
import random
from pathlib import Path

import pytest
from evaluation_shared import write_jsonl
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import FairleadError
from fairlead.evaluation.rows import TableError, read_rows

GOOD = {"prompt": "p", "model": "a", "score": 0.5}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "p", "model": "a"}', "score missing"),
        ('{"model": "a"}', "prompt and score missing"),
        ('{"prompt": "p", "model": "a", "score": null}', "score missing"),
        ('{"prompt": "p", "model": "a", "score": NaN}', "score: expected a number in [0, 1], not nan"),
        ('{"prompt": "p", "model": "a", "score": 1.01}', "score: expected a number in [0, 1], not 1.01"),
        ('{"prompt": "p", "model": "a", "score": -0.1}', "score: expected a number in [0, 1], not -0.1"),
        ('{"prompt": "p", "model": "a", "score": "good"}', 'score: expected a number in [0, 1], not "good"'),
        ('{"prompt": "p", "model": "a", "score": 1, "cost_usd": -2}', "cost_usd: expected a number, 0 or more, not -2"),
        ('{"prompt": "p", "model": "a", "score": 1, "latency_s": Infinity}', "latency_s: expected a number, 0 or more"),
        ('{"prompt": "p", "model": "a", "score": 1, "cost_usd": 1e999}', "cost_usd: expected a number, 0 or more"),
        ('{"prompt": 5, "model": "a", "score": 1}', "prompt: expected a text, not 5"),
        ('{"prompt": "p", "model": " ", "score": 1}', "model is empty"),
        ('{"prompt": "\\ud800", "model": "a", "score": 1}', "prompt: holds half a character"),
        ('{"prompt": "p", "model": "a", "score": 1, "group": [1]}', "group: expected a text, not [1]"),
        ('["p", "a", 1]', "expected an object with prompt, model, score"),
        ('{"prompt": "p", ', "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n\n{line}\n")
    with pytest.raises(TableError) as caught:
        read_rows(path)
    assert f"{path}:3: {said}" in str(caught.value)
    assert isinstance(caught.value, FairleadError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt,model\np,a\n", ":1: no column 'score'"),
        ('prompt,model,score\n"two\nlines",a,1\np,b,2\n', ":4: score: expected a number in [0, 1], not 2.0"),
        ("prompt,model,score\np,a,nan\n", ":2: score: expected a number in [0, 1], not nan"),
        ("prompt,model,score\np,a,\n", ":2: score missing"),
        ("prompt,model,score\np,a,good\n", ':2: score: expected a number in [0, 1], not "good"'),
        ("prompt,model,score\np,a,1,2\n", ":2: more cells than columns"),
        ('prompt,model,score\np,"a"b,1\n', ": not CSV:"),
    ],
)
def test_a_bad_cell_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        read_rows(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz", "t.csv", "t.csv.gz"])
def test_four_kinds_of_file_say_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if "csv" in name:
        text = 'prompt,model,score,cost_usd,group,more\n"say ""hi"",\nplease",a,true,0.25,7,x\np,b,0.5,,,\n'
    else:
        first = {"prompt": 'say "hi",\nplease', "model": "a", "score": True, "cost_usd": 0.25, "group": 7, "more": "x"}
        text = "".join(json.dumps(row) + "\n" for row in (first, {**GOOD, "model": "b", "cost_usd": None}))
    data = ("\ufeff" + text).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    one, other = read_rows(path)
    assert (one.prompt, one.model, one.score, one.cost_usd, one.group) == ('say "hi",\nplease', "a", 1.0, 0.25, "7")
    assert (other.prompt, other.model, other.score, other.cost_usd, other.group) == ("p", "b", 0.5, None, None)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.jsonl", b"\xff\xfe{}", "not UTF-8 text"),
        ("t.jsonl.gz", b"plain", "cannot be read"),
        ("t.jsonl.gz", gzip.compress(random.Random(1).randbytes(5000).hex().encode(), mtime=0)[:-20], "ends too early"),
        ("t.jsonl.gz", gzip.compress(b"x" * 99, mtime=0)[:30] + b"rubbish" * 9, "cannot be read"),
    ],
)
def test_an_unreadable_file_is_a_sentence(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(TableError, match=said):
        read_rows(path)


def test_no_file_and_a_folder_are_sentences(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(TableError, match="cannot be read"):
            read_rows(path)


@given(st.text(), st.floats(0, 1), st.floats(0, 1e9))
def test_what_is_right_comes_back(
    tmp_path_factory: pytest.TempPathFactory, prompt: str, score: float, c: float
) -> None:
    path = write_jsonl(
        tmp_path_factory.mktemp("rows") / "t.jsonl", [{"prompt": prompt, "model": "a", "score": score, "cost_usd": c}]
    )
    (row,) = read_rows(path)
    assert (row.line, row.prompt, row.score, row.cost_usd) == (1, prompt, score, c)


@given(st.binary(max_size=200))
def test_rubbish_never_raises_anything_else(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("rubbish")
    for name in ("t.jsonl", "t.csv", "t.jsonl.gz"):
        (folder / name).write_bytes(data)
        try:
            read_rows(folder / name)
        except TableError as error:
            assert str(folder / name) in str(error)  # noqa: PT017
