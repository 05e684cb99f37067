"""`fairlead state`: what it shows, takes out, puts in and deletes; and what it refuses, losing nothing."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from persistence_shared import NOW_S, files, opened, row

from fairlead.capability.scorer import CapabilityScorer
from fairlead.cli import COMMANDS, cli, main
from fairlead.clock import steady_s
from fairlead.domain import TaskCategory
from fairlead.persistence.paths import default_path
from fairlead.persistence.rows import FeedbackRow


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the state is that is meant when nothing is said."""
    monkeypatch.setenv("FAIRLEAD_STATE", str(tmp_path / "state"))
    monkeypatch.setitem(COMMANDS, "state", ("fairlead.cli.state:state", "Show, export, import or reset the state."))
    return default_path(8400)


@pytest.fixture
def filled(path: Path) -> Path:
    scorer = CapabilityScorer()
    for _ in range(20):
        scorer.learn("coder", TaskCategory.CODING, 1.0, steady_s())
    with opened(path, decisions_per_s=5.0) as store:
        store.save("scorer", scorer.snapshot())
        for number in range(10):
            store.add_decision(row(f"d{number}", NOW_S, model="coder", cost_usd=0.5))
        store.add_decision(row("bad", model="", node="", outcome="unavailable", is_special=True))
        store.add_feedback(FeedbackRow(decision_id="d0", at_s=NOW_S, score=0.75))
        store.add_metrics({"requests": 11})
    return path


def state(*args: object, data: bytes | None = None) -> Result:
    """Run `fairlead state`."""
    return CliRunner().invoke(cli, ["state", *map(str, args)], input=data)


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """Run a command that must be refused; returns what it says."""
    assert main(["state", *map(str, args)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


def ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {one for (one,) in database.execute("SELECT id FROM decisions")}


def test_show(filled: Path) -> None:
    result = state("show")
    assert result.exit_code == 0, result.exception
    told = {line.split(None, 1)[0]: line.split(None, 1)[1] for line in result.output.splitlines() if line}
    assert told["state"] == str(filled)
    assert told["size"].endswith("KB, not in use")
    assert told["log"] == "6 decisions in full, 5 further ones only counted; 1 judged"
    assert told["metrics"] == "of 1 moment"
    assert told["evidence"].startswith("scorer, ")
    lines = [line.split() for line in result.output.splitlines()]
    assert ["coder", "10", "100.0%", "0.50", "5.0000", "1", "0.75"] in lines
    assert any(line[:2] == ["coder", "coding"] and float(line[2]) > 0.8 for line in lines)
    assert "(none was asked)" in result.output


def test_show_says_who_uses_it(filled: Path) -> None:
    with opened(filled):
        assert "in use by process" in state("show").output


def test_show_lives_with_evidence_that_it_does_not_understand(path: Path) -> None:
    with opened(path) as store:
        store.save("scorer", {"format": "of tomorrow"})
    result = state("show")
    assert result.exit_code == 0
    assert "cannot be read" in result.output


def test_export_and_import_bring_everything(filled: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert state("export", copy).exit_code == 0
    assert copy.stat().st_mode & 0o777 == 0o600
    assert ids(copy) == ids(filled)
    other = tmp_path / "elsewhere" / "other.db"
    assert state("import", copy, "--path", other).exit_code == 0
    with opened(other) as store, opened(filled) as original:
        assert store.load("scorer") == original.load("scorer") is not None
        assert store.decisions() == original.decisions() != ()
    assert files(other) == {"other.db"}


def test_export_of_a_live_file_is_one_moment_of_it(filled: Path, tmp_path: Path) -> None:
    with opened(filled) as store:
        store.add_decision(row("live", is_special=True))
        assert store.flush()
        assert state("export", tmp_path / "copy.db").exit_code == 0
        store.add_decision(row("later", is_special=True))
        assert store.flush()
        assert store.counters.writes_failed == 0
    assert ids(tmp_path / "copy.db") == ids(filled) - {"later"}
    assert {one.name for one in tmp_path.iterdir()} == {"copy.db", "state"}


def test_through_pipes(filled: Path, tmp_path: Path) -> None:
    result = state("export", "-")
    assert result.stdout_bytes.startswith(b"SQLite format 3\0")
    other = tmp_path / "other.db"
    assert state("import", "-", "--path", other, data=result.stdout_bytes).exit_code == 0
    assert ids(other) == ids(filled)


def test_import_keeps_what_was_there(filled: Path, tmp_path: Path) -> None:
    with opened(tmp_path / "new.db") as store:
        store.add_decision(row("new"))
    before = ids(filled)
    assert state("import", tmp_path / "new.db").exit_code == 0
    assert ids(filled) == {"new"}
    (kept,) = (name for name in files(filled) if "before-import" in name)
    assert ids(filled.parent / kept) == before


def test_a_live_state_is_neither_replaced_nor_deleted(
    filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy.db"
    assert state("export", copy).exit_code == 0
    with opened(filled) as store:
        assert "in use by process" in refused(capsys, "import", copy)
        assert "in use by process" in refused(capsys, "reset", "--yes")
        store.add_decision(row("still here", is_special=True))
    assert "still here" in ids(filled)


def test_what_is_no_state_is_not_imported(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = filled.read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(b"garbage")
    assert "bad is damaged" in refused(capsys, "import", bad)
    bad.write_bytes(before[: len(before) // 2])
    assert "bad is damaged" in refused(capsys, "import", bad)
    bad.write_bytes(b"")
    assert "bad is empty" in refused(capsys, "import", bad)
    assert "there is no state" in refused(capsys, "import", tmp_path / "none")
    with closing(sqlite3.connect(bad)) as database:
        database.execute("CREATE TABLE songs (name)")
    assert "another program" in refused(capsys, "import", bad)
    assert "the state itself" in refused(capsys, "import", filled)
    assert filled.read_bytes() == before
    assert files(filled) == {filled.name}
    assert state("import", "-", data=b"garbage").exception is not None
    assert filled.read_bytes() == before


def test_export_replaces_only_by_force(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    assert "--force" in refused(capsys, "export", target)
    assert target.read_text() == "precious"
    assert "the state itself" in refused(capsys, "export", filled, "--force")
    assert "cannot be written" in refused(capsys, "export", tmp_path / "none" / "x")
    assert state("export", target, "--force").exit_code == 0
    assert ids(target) == ids(filled)


def test_reset_asks(filled: Path) -> None:
    assert state("reset", data=b"n\n").exit_code == 1
    result = state("reset")
    assert result.exit_code == 1
    assert "nothing was changed" in result.output
    assert ids(filled)
    assert state("reset", data=b"y\n").exit_code == 0
    assert files(filled) == set()


def test_where_there_is_no_state(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["show"], ["export", tmp_path / "x"], ["reset", "--yes"]):
        assert "there is no state at" in refused(capsys, *command)
    with opened(default_path(8401)):
        pass
    assert "state-8401.db (--path)" in refused(capsys, "show")
    assert not path.exists()


def test_the_state_of_a_configuration(filled: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "fairlead.yaml"
    config.write_text("nodes: [{url: 'http://127.0.0.1:1/v1'}]\nlisten: 127.0.0.1:8402\n")
    assert "state-8402.db" in refused(capsys, "show", "-c", config)
    config.write_text(f"nodes: [{{url: 'http://127.0.0.1:1/v1'}}]\nstate: {{path: '{filled}'}}\n")
    assert str(filled) in state("show", "-c", config).output
    assert "not both" in refused(capsys, "show", "-c", config, "--path", filled)


def test_a_damaged_state_is_told_of_and_left_as_it_is(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.parent.mkdir()
    path.write_bytes(b"garbage")
    assert "is damaged" in refused(capsys, "show")
    assert "is damaged" in refused(capsys, "export", path.with_name("copy"))
    assert path.read_bytes() == b"garbage"


def test_the_store_is_not_loaded_for_help(path: Path) -> None:
    code = "import sys; import fairlead.cli.state; sys.exit('sqlite3' in sys.modules)"
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COV")}  # it loads it itself
    assert subprocess.run([sys.executable, "-c", code], check=False, env=unmeasured).returncode == 0
