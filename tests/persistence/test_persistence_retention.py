"""The file stays below its size, rows below their age; what was learnt is never dropped."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from persistence_shared import NOW_S, opened, row

from fairlead.persistence.paths import COMPANIONS, companion
from fairlead.persistence.retention import Retention
from fairlead.persistence.rows import FeedbackRow

DAY_S = 86_400.0
TEXT = {"text": "x" * 2000}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def size(path: Path) -> int:
    return sum(one.stat().st_size for one in (companion(path, ending) for ending in COMPANIONS[:2]) if one.exists())


def test_the_oldest_go_when_the_file_is_full(path: Path) -> None:
    with opened(path, max_mb=1) as store:
        store.save("scorer", {"learnt": "y" * 100_000})
        for number in range(800):
            store.add_decision(row(f"d{number}", tell=lambda: TEXT, is_special=True))
            if number % 100 == 99:
                assert store.flush(60.0)
                assert size(path) <= 2**20
        kept = [int(one.id[1:]) for one in store.decisions(5000)]
        assert kept == list(range(799, 799 - len(kept), -1))
        assert 100 < len(kept) < 500
        assert store.counters.rows_aged_out == 800 - len(kept)
        assert store.load("scorer") == {"learnt": "y" * 100_000}
    assert size(path) <= 2**20


def test_a_lowered_limit_shrinks_the_file(path: Path) -> None:
    with opened(path, max_mb=8) as store:
        for number in range(1000):
            store.add_decision(row(f"d{number}", tell=lambda: TEXT, is_special=True))
    assert size(path) > 1.5 * 2**20
    with opened(path, max_mb=1) as store:
        assert store.flush(60.0)
        assert store.decisions(1)[0].id == "d999"
    assert size(path) <= 2**20


def test_evidence_larger_than_the_limit_stays_and_stops_nothing(path: Path) -> None:
    with opened(path, max_mb=1) as store:
        store.save("scorer", "y" * 2**21)
        assert store.flush(60.0)
        store.add_decision(row("d1"))
        store.save("fleet", 1)
        assert store.flush(60.0)
        assert len(store.load("scorer")) == 2**21
        assert store.load("fleet") == 1


def test_rows_of_all_kinds_grow_old(path: Path) -> None:
    with opened(path, keep_days=2.0, decisions_per_s=1.0) as store:
        for age in (5.0, 1.5, 0.0):
            at_s = NOW_S - age * DAY_S
            store.add_decision(row(f"full {age}", at_s))
            store.add_decision(row(f"counted {age}", at_s))
            store.add_feedback(FeedbackRow(decision_id=f"full {age}", at_s=at_s, score=1.0))
            store.add_metrics({}, at_s)
        store.save("scorer", 1)
        assert store.flush(60.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        Retention(2**30, 2.0).trim(database, NOW_S)
        for table in ("decisions", "tallies", "feedback", "metrics"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (2,), table
        Retention(2**30, 2.0).trim(database, NOW_S + 100 * DAY_S)
        for table in ("decisions", "tallies", "feedback", "metrics"):
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table
        assert database.execute("SELECT name FROM documents").fetchall() == [("scorer",)]


def test_age_is_looked_at_once_a_minute(path: Path) -> None:
    with opened(path) as store:
        for number in range(3):
            store.add_decision(row(f"d{number}", NOW_S + number))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        retention = Retention(2**30, 1 / DAY_S)
        assert retention.trim(database, NOW_S + 1.5) == 1
        assert retention.trim(database, NOW_S + 30.0) == 0
        assert retention.trim(database, NOW_S + 61.6) == 2
