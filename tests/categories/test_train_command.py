"""`fairlead train`: from a file of labelled prompts to a detector that a configuration names."""

import gzip
import json
from pathlib import Path

import click
import pytest
from category_prompts import PROMPTS
from click.testing import CliRunner, Result

from fairlead.categories import detector_named
from fairlead.cli.train import train
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError

LINES = "\n".join(
    json.dumps({"text": f"{text} {n}", "label": label})
    for label, texts in PROMPTS.items()
    for text in texts
    for n in "12"
)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(train, [str(arg) for arg in args])


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(LINES)
    return tmp_path / "rows.jsonl"


def test_it_measures_writes_and_says_how_to_use_it(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "my.weights"
    result = run(rows, "--out", out)
    assert result.exit_code == 0, result.output
    assert "rows held out" in result.output
    assert "macro-F1" in result.output
    assert f"detector: trained:{out}" in result.output
    detector = detector_named(f"trained:{out}")
    assert detector.detect("write tests for the payment module") is TaskCategory.TESTING
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my.weights", "rows.jsonl"]


def test_a_compressed_file_and_nothing_held_out_do(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))
    result = run(tmp_path / "rows.jsonl.gz", "-o", tmp_path / "w", "--hold-out", "0", "--least", "1")
    assert result.exit_code == 0, result.output
    assert "held out" not in result.output
    assert detector_named(f"trained:{tmp_path / 'w'}").detect("fix the bug") is TaskCategory.UNKNOWN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        (b"not JSON", "rows.jsonl, line 1: JSON is malformed"),
        (b'{"text": "a", "label": "coding"}\n', "nothing to tell apart"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_is_written(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "rows.jsonl").write_bytes(content)
    result = run(tmp_path / "rows.jsonl", "-o", tmp_path / "w")
    assert isinstance(result.exception, FairleadError)
    assert says in str(result.exception)
    assert not (tmp_path / "w").exists()


def test_where_it_cannot_be_written_is_said(rows: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "nowhere" / "w", tmp_path, rows / "w"):
        result = run(rows, "-o", out)
        assert isinstance(result.exception, FairleadError)
        assert f"{out} cannot be written: " in str(result.exception)
        assert "held out" not in result.output  # it was said before the work, not after
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_it_is_a_command() -> None:
    assert isinstance(train, click.Command)
