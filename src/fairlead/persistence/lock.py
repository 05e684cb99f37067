"""One writer for each state file: a lock that ends with the process that holds it, however that ends."""

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path

from fairlead.persistence.paths import companion
from fairlead.persistence.problems import StateError, StateInUseError

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: int) -> None:
        os.lseek(file, 0, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TRIES, _BETWEEN_S = 5, 0.04
_PID_AT = 1
"""The first byte is the one that is locked, and on some systems nobody else may read it."""


class WriterLock:
    """The right to write to a state file: a locked file beside it, which holds the owner's process id."""

    def __init__(self, path: Path) -> None:
        """Take the lock. Raises StateInUseError where another has it, StateError where no lock can be had."""
        self._state = path
        self.path = companion(path, ".lock")
        self._is_mine = False
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(f"{self.path} cannot be made: {error.strerror}; choose another `state.path`") from None
        try:
            if not self._took():
                raise StateInUseError(path, self._owner())
        except OSError as error:
            raise StateError(f"{path} cannot be locked ({error.strerror}); choose a file on a local disk") from None
        finally:
            if not self._is_mine:
                self.release()
        with suppress(OSError):  # on a full disk nobody learns who has it, but it is had
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, b" %d\n" % os.getpid())

    def renew(self) -> None:
        """Take the lock again where its file was removed. Raises as when it is made; then it is had by another."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._file), self.path.stat()):
                return
        new = WriterLock(self._state)
        os.close(self._file)
        self._file, new._file = new._file, -1

    def release(self) -> None:
        """Give the lock back; once more does nothing. The file stays: removing it would let two in."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _took(self) -> bool:
        """Try for a moment: who only looks whether the file is in use, or is about to end, has it no longer."""
        for _ in range(_TRIES):
            try:
                _try_lock(self._file)
                self._is_mine = True
                break
            except (BlockingIOError, PermissionError):
                threading.Event().wait(_BETWEEN_S)
        return self._is_mine

    def _owner(self) -> str:
        try:
            os.lseek(self._file, _PID_AT, os.SEEK_SET)
            return f"process {int(os.read(self._file, 20))}"
        except (OSError, ValueError):
            return "another process"
