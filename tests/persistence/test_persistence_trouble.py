"""A disk that takes nothing never reaches a request: rows wait, are counted where lost, and people are told once."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from persistence_shared import NOW_S, files, opened, row

from fairlead.persistence import intake, writer
from fairlead.persistence.rows import FeedbackRow
from fairlead.persistence.store import StateStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def impatient(store: StateStore) -> None:
    """Let the writer's waits for a lock be short, so that tests are."""
    store._writer._database.execute("PRAGMA busy_timeout = 20")


def full(store: StateStore, *, is_full: bool) -> None:
    """Let SQLite answer as it does on a full disk."""
    database = store._writer._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages if is_full else 10**6}").fetchone()


def is_failing(store: StateStore) -> bool:
    return store.counters.is_failing


BIG = {"text": "x" * 3000}


def test_a_locked_file_loses_nothing_when_it_opens_again(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        impatient(store)
        with locked(path):
            for number in range(100):
                store.add_decision(row(f"d{number}"))
            store.add_feedback(FeedbackRow(decision_id="d1", at_s=NOW_S, score=1.0))
            store.save("scorer", {"a": 1})
            for _ in range(3):
                assert not store.flush()
            assert is_failing(store)
            assert store.counters.writes_failed >= 3
            assert store.find_decision("d1") is None
            assert store.load("scorer") is None
        assert store.flush(30.0)
        assert not is_failing(store)
        assert store.counters.rows_dropped == 0
        assert len(store.decisions(1000)) == 100
        assert store.load("scorer") == {"a": 1}
    assert len(said) == 2
    assert "takes nothing now (database is locked)" in said[0]
    assert "is written to again; no rows lost" in said[1]


def test_a_full_disk_costs_the_rows_that_do_not_fit_the_queue(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        store._intake._max_rows = 50
        store.save("before", 1)
        assert store.flush(30.0)
        full(store, is_full=True)
        store.save("scorer", BIG)
        for number in range(40):
            store.add_decision(row(f"a{number}", tell=lambda: BIG, is_special=True))
        assert not store.flush()
        for number in range(60):
            store.add_decision(row(f"b{number}", tell=lambda: BIG, is_special=True))
        lost = store.counters.rows_dropped
        assert 0 < lost <= 60
        full(store, is_full=False)
        assert store.flush(30.0)
        assert len(store.decisions(1000)) == 100 - lost
        assert store.counters.rows_counted == lost
        assert store.load("scorer") == BIG
    assert len(said) == 2
    assert "disk is full" in said[0]


def test_trouble_is_told_again_only_after_it_was_over(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        impatient(store)
        for round_ in range(3):
            with locked(path):
                store.save("scorer", round_)
                for _ in range(5):
                    assert not store.flush()
            assert store.flush(30.0)
    assert len(said) == 6


def test_while_nothing_is_taken_memory_is_bounded(path: Path) -> None:
    with opened(path, [], decisions_per_s=0.0) as store:
        impatient(store)
        with locked(path):
            for number in range(30_000):
                store.add_decision(row(model=f"m{number}"))
            assert not store.flush()
            for number in range(intake.MAX_ROWS * 2):
                store.add_decision(row(f"d{number}", is_special=True))
                store.add_feedback(FeedbackRow(decision_id="d", at_s=NOW_S, score=1.0))
            assert not store.flush()
            assert len(store._intake.rows) <= intake.MAX_ROWS
            assert len(store._writer._batch._tallies) <= 20_000
            assert len(store._writer._batch._feedback) <= 4096
            assert store.counters.rows_dropped > 0


def test_a_row_that_cannot_be_told_does_not_stand_in_the_way(path: Path) -> None:
    def fails() -> NoReturn:
        raise RuntimeError("no words")

    said: list[str] = []
    with opened(path, said) as store:
        store.add_decision(row("bad 1", tell=fails))
        store.add_decision(row("bad 2", tell=lambda: {"x": object()}))
        store.add_decision(row("good"))
        store.save("bad", {"x": object()})
        store.save("good", {"x": 1})
        store.add_feedback(FeedbackRow(decision_id="good", at_s=NOW_S, score=float("nan")))
        store.add_feedback(FeedbackRow(decision_id="good", at_s=NOW_S, score=0.5))
        assert store.flush(30.0)
        assert [one.id for one in store.decisions()] == ["good"]
        assert [one.score for one in store.decisions()[0].feedback] == [0.5]
        assert store.load("bad") is None
        assert store.load("good") == {"x": 1}
        assert store.counters.rows_dropped == 4
    assert len(said) == 3, said


def test_rows_that_sqlite_refuses_do_not_stand_in_the_way(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        wrong: Any = ["no", "text"]
        store.add_decision(row("bad", node=wrong))
        assert not store.flush()
        store.add_decision(row("half a letter", model="\ud800"))
        assert not store.flush()
        store.add_decision(row("good"))
        assert store.flush(30.0)
        assert [one.id for one in store.decisions()] == ["good"]
        assert store.counters.rows_dropped == 2
    assert any("were given up" in line for line in said)


def test_a_file_that_turns_out_damaged_in_use_is_kept_and_begun_anew(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        store.save("scorer", {"learnt": 1})
        store.add_decision(row("before"))
        assert store.flush(30.0)
        store._writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with path.open("r+b") as file:
            file.write(b"garbage " * 4096)
        store._writer._database.close()  # what it has in memory would hide the damage
        store._writer._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        store.add_decision(row("after"))
        store.flush()
        assert store.flush(30.0)
        assert [one.id for one in store.decisions()] == ["after"]
        assert store.load("scorer") == {"learnt": 1}
    (kept,) = (name for name in files(path) if "damaged" in name and not name.endswith(("-wal", "-shm")))
    assert (path.parent / kept).read_bytes().startswith(b"garbage garbage")
    assert any("it is kept as" in line for line in said)


def test_a_closed_store_takes_rows_and_forgets_them(path: Path) -> None:
    with opened(path) as store:
        store.close()
        for number in range(intake.MAX_ROWS + 10):
            store.add_decision(row(f"d{number}", is_special=True))
        assert store.counters.rows_dropped == 10


def test_the_writer_tries_again_less_and_less_often(path: Path) -> None:
    said: list[str] = []
    with opened(path, said) as store:
        pauses = []
        for _ in range(12):
            store._writer._fail("a test")
            pauses.append(store._writer._pause_s)
        store._writer._recover()
    assert pauses == sorted(pauses)
    assert pauses[0] == writer.FLUSH_S
    assert pauses[-1] == 30.0


def test_a_flood_of_decisions_does_not_hold_up_evidence(path: Path) -> None:
    seen: list[Any] = []
    with opened(path) as store:
        links = iter(range(2000))

        def tell() -> object:
            """Add one decision more, as if requests came as fast as they are written."""
            link = next(links, None)
            if link is not None:
                store.add_decision(row(f"d{link}", tell=tell, is_special=True))
            if link == 700:
                store.save("scorer", "newest")
            if link == 1999:
                seen.append(store.load("scorer"))
            return {}

        store.add_decision(row("first", tell=tell))
        assert store.flush(30.0)
        assert store.counters.rows_written == 2001
    assert seen == ["newest"]
