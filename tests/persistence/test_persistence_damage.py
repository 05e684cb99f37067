"""A file that cannot be used is kept under another name, told of, and another begins; nothing is deleted."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from persistence_shared import files, opened, row

from fairlead.config.schema import StateConfig
from fairlead.persistence import schema
from fairlead.persistence.database import open_for_reading
from fairlead.persistence.problems import StateError
from fairlead.persistence.store import StateStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def good(path: Path) -> bytes:
    """Make a good file; returns its bytes."""
    with opened(path) as store:
        for number in range(200):
            store.add_decision(row(f"d{number}", tell=lambda: {"text": "x" * 100}))
        store.save("scorer", {"learnt": 1})
    return path.read_bytes()


def begins_anew(path: Path, because: str) -> Path:
    """Open a file that cannot be used; returns where it is kept."""
    before = files(path)
    said: list[str] = []
    with opened(path, said) as store:
        assert store.load("scorer") is None
        store.save("scorer", {"learnt": 2})
        assert store.flush()
        assert store.load("scorer") == {"learnt": 2}
    new = [path.parent / name for name in files(path) - before if not name.endswith(("-wal", "-shm"))]
    assert len(said) == 1
    assert because in said[0]
    assert len(new) == 1
    assert str(new[0]) in said[0]
    return new[0]


@pytest.mark.parametrize("content", [b"garbage", b"\0" * 5000, b"SQLite format 3\0" + b"garbage" * 1000])
def test_garbage(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert begins_anew(path, "is damaged").read_bytes() == content


def test_any_cut_is_noticed(path: Path, good: bytes) -> None:
    for share in range(1, 20):
        content = good[: len(good) * share // 20]
        path.write_bytes(content)
        assert begins_anew(path, "is damaged").read_bytes() == content


def test_pages_overwritten_are_noticed(path: Path, good: bytes) -> None:
    for page in range(len(good) // 4096):
        content = good[: page * 4096] + b"\xa5" * 4096 + good[(page + 1) * 4096 :]
        path.write_bytes(content)
        said: list[str] = []
        with opened(path, said) as store:
            store.save("x", 1)
            assert store.flush()
        kept = [name for name in files(path) if ".damaged-" in name]
        if said:  # a page that is free, or holds only the text of a row, may be overwritten unnoticed
            assert any((path.parent / name).read_bytes() == content for name in kept)
    assert kept


def test_an_empty_file_is_a_fresh_one(path: Path) -> None:
    path.touch()
    with opened(path) as store:
        assert store.load("scorer") is None
    assert files(path) == {"state.db"}


def test_another_programs_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE songs (name)")
        database.execute("INSERT INTO songs VALUES ('x')")
        database.commit()
    kept = begins_anew(path, "is a database of another program")
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT * FROM songs").fetchall() == [("x",)]


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE feedback",
        "ALTER TABLE decisions DROP COLUMN prompt",
        "DROP INDEX feedback_by_decision",
        "PRAGMA user_version = 0",
    ],
)
def test_the_wrong_tables(path: Path, good: bytes, change: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(change)
    kept = begins_anew(path, "is damaged")
    with closing(sqlite3.connect(kept)) as database:
        assert database.execute("SELECT count(*) FROM decisions").fetchone() == (200,)


def test_a_newer_version(path: Path, good: bytes) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA user_version = 99")
    assert "newer" in begins_anew(path, "was written by a newer fairlead (format 99").name


def test_what_is_kept_never_replaces_what_was_kept(path: Path) -> None:
    for number in range(5):
        path.write_bytes(b"garbage %d" % number)
        with opened(path, []):
            pass
    kept = [path.parent / name for name in files(path) if ".damaged-" in name]
    assert {one.read_bytes() for one in kept} == {b"garbage %d" % number for number in range(5)}


def test_a_log_without_its_database_is_kept(path: Path) -> None:
    log = path.with_name("state.db-wal")
    log.write_bytes(b"the only copy")
    said: list[str] = []
    with opened(path, said) as store:
        store.save("x", 1)
    assert len(said) == 1
    (kept,) = (name for name in files(path) if "orphaned" in name)
    assert (path.parent / kept).read_bytes() == b"the only copy"


def test_a_folder_in_its_place(path: Path) -> None:
    path.mkdir()
    (path / "precious").touch()
    assert (begins_anew(path, "is no file") / "precious").exists()


def test_a_file_that_another_program_holds_is_left_alone(path: Path, good: bytes) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateError, match="another program holds it"):
            StateStore.open(path, StateConfig(), pytest.fail)
        other.execute("ROLLBACK")
    with opened(path) as store:
        assert store.load("scorer") == {"learnt": 1}
    assert files(path) == {"state.db"}


def test_without_a_folder_to_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "state.db"
    with pytest.raises(StateError, match="cannot be made"):
        StateStore.open(path, StateConfig(), pytest.fail)
    said: list[str] = []
    assert StateStore.open_or_none(path, StateConfig(), said.append) is None
    assert "will not be kept" in said[0]


def test_readers_change_nothing(path: Path, good: bytes) -> None:
    with closing(open_for_reading(path)) as database, pytest.raises(sqlite3.OperationalError, match="readonly"):
        database.execute("DELETE FROM decisions")
    path.write_bytes(good[:5000])
    with pytest.raises(StateError, match="is damaged"):
        open_for_reading(path)
    assert path.read_bytes() == good[:5000]
    with pytest.raises(StateError, match="there is no state"):
        open_for_reading(path.with_name("none.db"))


def test_each_step_of_a_migration_is_whole_or_not_at_all(path: Path) -> None:
    steps = ("CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y; INSERT INTO a VALUES (1, 2)")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        schema.migrate(database, steps[:1])
        assert schema.version_of(database) == 1
        with pytest.raises(sqlite3.OperationalError):
            schema.migrate(database, (*steps[:1], "ALTER TABLE a ADD COLUMN z; INSERT INTO nowhere VALUES (1)"))
        assert schema.version_of(database) == 1
        assert len(database.execute("PRAGMA table_info(a)").fetchall()) == 1
        for _ in range(2):
            schema.migrate(database, steps)
            assert schema.version_of(database) == 2
            assert database.execute("SELECT * FROM a").fetchall() == [(1, 2)]
