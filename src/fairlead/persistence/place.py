"""The place of a state file on the disk: held by a lock, watched, and cleared where the file can no longer be used."""

import sqlite3
from pathlib import Path

from fairlead.persistence.database import Report, open_for_writing
from fairlead.persistence.lock import WriterLock
from fairlead.persistence.paths import companion, set_aside
from fairlead.persistence.problems import StateError
from fairlead.persistence.reader import Reader

Identity = tuple[int, int]
"""Device and inode: what tells a file from another of its name."""


class Place:
    """Where the one writer of a state file writes. Made where the lock can be had."""

    def __init__(self, path: Path, max_bytes: int, report: Report) -> None:
        """Take the lock. Raises StateInUseError where another has it, StateError where no lock can be had."""
        self.path = path
        self.max_bytes = max_bytes
        self.reader = Reader(path)
        self._report = report
        self._opened: Identity | None = None
        self._lock = WriterLock(path)

    def open(self) -> sqlite3.Connection:
        """Open the file, or make one. Raises StateError."""
        database = open_for_writing(self.path, self.max_bytes, self._report)
        self._opened = _identity(self.path)
        self.reader.renew()  # until now it could still ask the old file
        return database

    def loss(self) -> str | None:
        """Tell what became of the file that was opened, where it is no longer in its place; costs one `stat`."""
        if self._opened is None:
            return None
        try:
            found = _identity(self.path)
        except OSError:
            return None  # who may not look knows nothing
        if found == self._opened:
            return None
        return "was removed" if found is None else "was replaced"

    def begin_anew(self, why: str) -> sqlite3.Connection:
        """Open a new file in place of one that is damaged (`why` says how) or lost; what stands there is put aside.

        Raises StateInUseError where another process took the place meanwhile, StateError where it cannot be had: it may
        be tried again.
        """
        if self._opened is not None:
            self._clear(why)
            self._opened = None
        return self.open()

    def release(self) -> None:
        """Give the place to others."""
        self._lock.release()

    def _clear(self, why: str) -> None:
        loss = self.loss()
        if loss is None:
            self.reader.let_go()  # some systems rename no open file
        else:
            self._hold()
        if self.path.exists():
            kept = set_aside(self.path, "damaged" if loss is None else "replaced")
        if loss is None:
            said = f"is damaged ({why}): it is kept as {kept}, and a new one begins"
        elif loss == "was replaced":
            said = (
                f"was replaced while in use: what was put there is kept as {kept}, and a new one begins with what was"
                " learnt (to bring another, stop the gateway and use `fairlead state import`)"
            )
        else:
            self._sweep()
            said = "was removed while in use: a new one begins with what was learnt, without the log"
        self._report(f"{self.path} {said}")

    def _hold(self) -> None:
        """Keep the place also where the lock's file went with the state."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateError(f"{self.path.parent} cannot be made: {error.strerror}") from None
        self._lock.renew()

    def _sweep(self) -> None:
        """Remove what the lost file left, where nothing is in it: its log was written back before it was closed."""
        log = companion(self.path, "-wal")
        try:
            if log.exists() and log.stat().st_size == 0:
                log.unlink()
                companion(self.path, "-shm").unlink(missing_ok=True)
        except OSError:
            pass  # whoever opens the file next puts it aside


def _identity(path: Path) -> Identity | None:
    """Return which file has a name, None where none has."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
