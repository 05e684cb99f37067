"""Taking a state file elsewhere, putting another in its place, starting afresh: what people do by command.

Nothing here destroys what it does not replace on purpose: a state that gives way to an import is kept aside.
"""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fairlead.persistence.database import open_for_reading
from fairlead.persistence.lock import WriterLock
from fairlead.persistence.paths import COMPANIONS, companion, set_aside
from fairlead.persistence.problems import StateError
from fairlead.persistence.schema import migrate, missing_from


def export_state(path: Path, target: Path) -> None:
    """Copy a state file, also one that a gateway writes to, into one plain file: as it stood at one moment.

    Raises StateError where there is none or it is damaged, or the copy cannot be written; `target` is then as it was.
    """
    if target.exists() and path.exists() and target.samefile(path):
        raise StateError(f"{target} is the state itself: choose another file for the copy")
    with closing(open_for_reading(path)) as source, _beside(target) as work:
        _copy(source, work)
        work.replace(target)


def import_state(source: Path, path: Path) -> Path | None:
    """Put a copy of `source` in place of a state file; returns where the old one is kept, None where there was none.

    Raises StateInUseError while a gateway holds the state, StateError where `source` is not one; both then stay.
    """
    if source.exists() and path.exists() and source.samefile(path):
        raise StateError(f"{source} is the state itself: there is nothing to import")
    with closing(open_for_reading(source)) as database, _held(path), _beside(path) as work:
        _copy(database, work)
        kept = set_aside(path, "before-import") if path.exists() else None
        work.replace(path)
    return kept


def reset_state(path: Path) -> None:
    """Delete a state file. Raises StateInUseError while a gateway holds it, StateError where it cannot be deleted."""
    with _held(path):
        try:
            for ending in COMPANIONS:
                companion(path, ending).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{path} cannot be deleted: {error.strerror}") from None


@contextmanager
def _held(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(f"{path.parent} cannot be made: {error.strerror}") from None
    lock = WriterLock(path)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give an empty file in the target's folder, which is gone afterwards unless it took the target's place."""
    try:
        file, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)  # for this user's eyes only
    except OSError as error:
        raise StateError(f"{target} cannot be written: {error.strerror}") from None
    os.close(file)
    work = Path(name)
    try:
        yield work
    except OSError as error:
        raise StateError(f"{target} cannot be written: {error.strerror}") from None
    finally:
        for ending in ("-journal", *COMPANIONS):
            companion(work, ending).unlink(missing_ok=True)


def _copy(source: sqlite3.Connection, work: Path) -> None:
    """Copy a database into one file that needs no others, and bring it up to date."""
    try:
        with closing(sqlite3.connect(work, isolation_level=None)) as database:
            source.backup(database)
            database.execute("PRAGMA journal_mode = DELETE").fetchall()
            migrate(database)
            missing = missing_from(database)
    except sqlite3.Error as error:
        raise StateError(f"the state cannot be copied: {error}") from None
    if missing:
        raise StateError(f"the state is damaged ({', '.join(missing)} is not as it should be)")
