"""Opening a state file: for its one writer, who mends what is wrong, and for readers, who change nothing."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from fairlead.persistence.paths import companion, set_aside
from fairlead.persistence.problems import StateError
from fairlead.persistence.schema import APPLICATION_ID, migrate, missing_from, trouble_with, version_of
from fairlead.rng import fresh_secret

Report = Callable[[str], None]
"""Takes a line for people, from whichever thread."""
PAGE_BYTES = 4096
_BUSY_S = 1.0


def open_for_writing(path: Path, max_bytes: int, report: Report) -> sqlite3.Connection:
    """Open a state file, or make one, for this user's eyes only. The caller holds its lock.

    What cannot be used is put aside under a name with the time, reported, and a new file begun. Raises StateError
    where the file can neither be opened nor put aside.
    """
    if companion(path, "-wal").exists() and not path.exists():
        report(f"{path} is gone, but not what was written to it last, which is kept as {set_aside(path, 'orphaned')}")
    opened = _make_private(path) or _open(path, max_bytes)
    if isinstance(opened, str):
        kept = set_aside(path, "newer" if "newer" in opened else "damaged")
        report(f"{path} {opened}: it is kept as {kept}, and a new one begins without what was learnt")
        opened = _make_private(path) or _open(path, max_bytes)
        if isinstance(opened, str):
            raise StateError(f"{path} {opened}; choose another file")
    return opened


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open a state file, also one that is being written to, and see what was committed. Raises StateError.

    The caller sees one state for as long as it reads in one transaction.
    """
    if not path.is_file():
        raise StateError(f"there is no state at {path}")
    try:
        database = _connect(path, "rw")  # not `ro`: that could not read what a killed writer left in its log
        database.execute("PRAGMA query_only = 1")
    except sqlite3.Error as error:
        raise StateError(f"{path} cannot be read: {error}; {_advice(error)}") from None
    try:
        why = trouble_with(database) or (None if version_of(database) else "is empty")
    except sqlite3.Error as error:
        database.close()
        raise StateError(f"{path} {_damage(error, path)}") from None
    if why is not None:
        database.close()
        raise StateError(f"{path} {why}")
    return database


def peek(path: Path) -> sqlite3.Connection:
    """Open a state file that its writer in this process has checked. Raises sqlite3.Error."""
    database = _connect(path, "rw", busy_s=0.0)
    database.execute("PRAGMA query_only = 1")
    return database


def is_damage(error: sqlite3.Error) -> bool:
    """Tell whether an error means that the file is damaged, not that it is locked or the disk is full."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or code == sqlite3.SQLITE_IOERR_SHORT_READ


def _connect(path: Path, mode: str, busy_s: float = _BUSY_S) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)


def _make_private(path: Path) -> str | None:
    """Make folder and file where there are none, closed to other users; return what stands in the file's place."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if not path.is_file():
            return "is no file"
        if path.stat().st_uid == os.getuid() if hasattr(os, "getuid") else True:
            path.chmod(0o600)
    except OSError as error:
        raise StateError(f"{path} cannot be made: {error.strerror}; choose another `state.path`") from None
    return None


def _open(path: Path, max_bytes: int) -> sqlite3.Connection | str:
    """Return the database, ready for use, or what is wrong with it. Raises StateError where it is only out of reach."""
    try:
        database = _connect(path, "rw")
    except sqlite3.Error as error:
        raise StateError(f"{path} cannot be opened: {error}; {_advice(error)}") from None
    try:
        why = trouble_with(database)
        if why is None:
            _prepare(database, max_bytes)
            missing = missing_from(database)
            why = f"is damaged ({', '.join(missing)} is not as it should be)" if missing else None
    except sqlite3.Error as error:
        database.close()
        return _damage(error, path)
    if why is not None:
        database.close()
        return why
    return database


def _prepare(database: sqlite3.Connection, max_bytes: int) -> None:
    log_pages = max(16, min(1000, max_bytes // PAGE_BYTES // 16))
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",  # these two count only while the file is empty
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"wal_autocheckpoint = {log_pages}",
        f"journal_size_limit = {log_pages * PAGE_BYTES}",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    if version_of(database) == 0:
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    migrate(database)
    if database.execute("SELECT 1 FROM meta WHERE key = 'salt'").fetchone() is None:
        database.execute("INSERT INTO meta VALUES ('salt', ?)", (fresh_secret(16),))


def _damage(error: sqlite3.Error, path: Path) -> str:
    is_misshapen = getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_ERROR  # a table is there, or is not
    if not (is_misshapen or is_damage(error)):
        raise StateError(f"{path} cannot be opened: {error}; {_advice(error)}") from None
    return f"is damaged ({error})"


def _advice(error: sqlite3.Error) -> str:
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "another program holds it: close that, and try again"
    return "look at the disk and at who may write there, or choose another file"
