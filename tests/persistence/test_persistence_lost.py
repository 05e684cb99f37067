"""A file that goes away under its writer is noticed, told of once, and begun anew with what was learnt."""

import shutil
import sys
from contextlib import closing
from pathlib import Path

import pytest
from persistence_shared import files, opened, row

from fairlead.persistence.copies import export_state
from fairlead.persistence.database import open_for_reading
from fairlead.persistence.lock import WriterLock
from fairlead.persistence.paths import COMPANIONS, companion
from fairlead.persistence.problems import StateInUseError
from fairlead.persistence.reading import read_document
from fairlead.persistence.store import StateStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "state.db"


def learn(path: Path) -> None:
    """Leave a document of an earlier run, which a later one need not write again."""
    with opened(path) as store:
        store.save("fleet", {"learnt": "earlier"})
        store.add_decision(row("earlier"))


def go_on(store: StateStore) -> None:
    """Check that a store is as good as new: it has what was learnt, and takes more."""
    assert store.flush(30.0)
    assert not store.counters.is_failing
    store.add_decision(row("after"))
    assert store.flush(30.0)
    assert [one.id for one in store.decisions()] == ["after"]
    assert store.find_decision("before") is None
    assert (store.load("scorer"), store.load("fleet")) == ({"learnt": 1}, {"learnt": "earlier"})


def known_at_the_next_start(path: Path) -> None:
    with opened(path) as store:
        assert (store.load("scorer"), store.load("fleet")) == ({"learnt": 1}, {"learnt": "earlier"})
        assert [one.id for one in store.decisions()] == ["after"]


@pytest.mark.parametrize("endings", [("",), COMPANIONS], ids=["the file", "all its files"])
def test_a_removed_file(path: Path, endings: tuple[str, ...]) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        store.save("scorer", {"learnt": 1})
        store.add_decision(row("before"))
        assert store.flush()
        assert store.find_decision("before") is not None
        for ending in endings:
            companion(path, ending).unlink()
        go_on(store)
        assert path.stat().st_mode & 0o777 == 0o600
    known_at_the_next_start(path)
    assert files(path) == {"state.db"}
    assert len(said) == 1, said
    assert "was removed" in said[0]


def test_a_removed_folder_and_with_it_the_lock(path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        store.save("scorer", {"learnt": 1})
        assert store.flush()
        shutil.rmtree(path.parent)
        go_on(store)
        with pytest.raises(StateInUseError), opened(path):
            pass
    known_at_the_next_start(path)
    assert len(said) == 1, said


def test_questions_go_on_while_the_file_is_away(path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        for number in range(3):
            path.unlink()
            for _ in range(50):
                assert store.load("fleet") == {"learnt": "earlier"}
            store.save("scorer", number)
            assert store.flush(30.0)
            assert store.load("scorer") == number
    assert len(said) == 3, said


def test_a_file_that_is_lost_just_before_the_end(path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        path.unlink()
        store.save("scorer", {"learnt": 1})
        store.close()
        assert files(path) == {"state.db"}
    with opened(path) as store:
        assert (store.load("scorer"), store.load("fleet")) == ({"learnt": 1}, {"learnt": "earlier"})


def test_a_moved_file_is_whole_and_a_new_one_begins(path: Path, tmp_path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        store.save("scorer", {"learnt": 1})
        assert store.flush()
        moved = path.rename(tmp_path / "moved.db")
        go_on(store)
    with closing(open_for_reading(moved)) as database:
        assert read_document(database, "scorer") is not None
    known_at_the_next_start(path)


@pytest.mark.parametrize("is_state", [True, False])
def test_a_file_put_in_its_place_is_kept(path: Path, tmp_path: Path, is_state: bool) -> None:
    learn(path)
    other = tmp_path / "other.db"
    export_state(path, other)
    if not is_state:
        other.write_bytes(b"garbage")
    content = other.read_bytes()
    said: list[str] = []
    with opened(path, said) as store:
        store.save("scorer", {"learnt": 1})
        assert store.flush()
        other.replace(path)
        go_on(store)
    known_at_the_next_start(path)
    (kept,) = (path.parent / name for name in files(path) if ".replaced-" in name and not name.endswith(("wal", "shm")))
    assert kept.read_bytes() == content
    assert len(said) == 1, said
    assert str(kept) in said[0]
    assert "state import" in said[0]


def test_it_is_noticed_while_nothing_is_added(path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        path.unlink()
        assert store.flush(30.0)
        assert store.load("fleet") == {"learnt": "earlier"}
    assert len(said) == 1


def test_what_another_began_meanwhile_is_left_alone(path: Path) -> None:
    learn(path)
    said: list[str] = []
    with opened(path, said) as store:
        assert store.flush()
        store._writer._try_at_s = float("inf")  # the other is faster
        shutil.rmtree(path.parent)
        with opened(path) as other:
            other.save("scorer", "the other's")
            store.save("scorer", {"learnt": 1})
            assert other.flush()
            assert not store.flush(30.0)
            assert store.counters.is_failing
            assert other.load("scorer") == "the other's"
        assert files(path) == {"state.db"}
        store.flush(30.0)
        assert store.flush(30.0)
    assert "in use by process" in said[0]


def test_a_lock_whose_file_was_removed_is_taken_again(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path / "state.db")
    lock.renew()
    lock.path.unlink()
    lock.renew()
    with pytest.raises(StateInUseError):
        WriterLock(tmp_path / "state.db")
    lock.path.unlink()
    other = WriterLock(tmp_path / "state.db")
    with pytest.raises(StateInUseError):
        lock.renew()
    other.release()
    lock.renew()
    lock.release()
