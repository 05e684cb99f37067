"""Looking decisions up is cheap: one connection for all of them, and none for what is known already."""

import sqlite3
from pathlib import Path

import pytest
from persistence_shared import files, opened, row

from fairlead.persistence import reader
from fairlead.persistence.database import peek
from fairlead.persistence.rows import FeedbackRow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def opens(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Collect what is opened for reading."""
    seen: list[Path] = []

    def watched(path: Path) -> sqlite3.Connection:
        seen.append(path)
        return peek(path)

    monkeypatch.setattr(reader, "peek", watched)
    return seen


def test_one_connection_serves_all_questions(path: Path, opens: list[Path]) -> None:
    with opened(path) as store:
        for number in range(20):
            store.add_decision(row(f"d{number}"))
            store.add_feedback(FeedbackRow(decision_id=f"d{number}", at_s=0.0, score=1.0))
            assert store.flush()
            assert store.find_decision("unknown") is None
            assert store.find_decision(f"d{number}") is not None  # it sees what was written since
            assert len(store.decisions()) == number + 1
        assert opens == [path]


def test_it_does_not_keep_the_log_of_sqlite_from_being_emptied(path: Path) -> None:
    with opened(path) as store:
        store.save("x", 1)
        assert store.flush()
        assert store.load("x") == 1
        assert store.find_decision("unknown") is None
        assert store.decisions() == []
        busy, *_ = store._writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert busy == 0
        assert path.with_name("state.db-wal").stat().st_size == 0


def test_it_ends_with_the_store(path: Path) -> None:
    with opened(path) as store:
        store.add_decision(row("d"))
        assert store.flush()
        assert store.find_decision("d") is not None
        store.close()
        assert files(path) == {"state.db"}
        assert store.find_decision("d") is not None
        assert files(path) == {"state.db"}


def test_it_is_opened_again_after_an_error(path: Path, opens: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        store.add_decision(row("d"))
        assert store.flush()
        assert store.find_decision("d") is not None
        assert store._reader._database is not None
        store._reader._database.close()
        assert store.find_decision("d") is None
        assert store.find_decision("d") is not None
    assert len(opens) == 2
    assert len(said) == 1
