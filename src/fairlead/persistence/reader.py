"""One connection for all questions to a state file that this process writes to: opening costs far more than asking."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from fairlead.persistence.database import peek

T = TypeVar("T")


class Reader:
    """Asks a state file, which may be let go from another thread: the next question opens it again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._is_over = False

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return the answer to a question, which must leave no transaction open. Raises sqlite3.Error."""
        with self._lock:
            if self._is_over:
                with closing(peek(self._path)) as database:
                    return question(database)
            if self._database is None:
                self._database = peek(self._path)
            try:
                return question(self._database)
            except sqlite3.Error:
                self._let_go()
                raise

    def renew(self) -> None:
        """Open the file that has the place now, instead of another: at once, as it may be gone by the next question."""
        with self._lock:
            self._let_go()
            if self._is_over:
                return
            try:
                self._database = peek(self._path)
                self._database.execute("PRAGMA user_version").fetchone()
            except sqlite3.Error:
                self._let_go()

    def let_go(self) -> None:
        """Close the file, so that another can take its place."""
        with self._lock:
            self._let_go()

    def close(self) -> None:
        """Close the file for good: what is asked later opens it for that question only."""
        with self._lock:
            self._is_over = True
            self._let_go()

    def _let_go(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None
