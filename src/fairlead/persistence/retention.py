"""Keeps a state file below its size and its rows below their age. What was learnt is never dropped."""

import sqlite3

_TABLES = ("decisions", "metrics", "tallies", "feedback")
"""What is dropped, the most easily missed first."""
_FULL, _ROOMY = 0.8, 0.7
"""Shares of the allowed size: above the first rows are dropped until the second; the rest is for the log of SQLite."""
_MOST = 0.125
"""Share of a table that one step may drop."""
_STEP = 500
_DAY_S = 86_400.0
_AGE_EVERY_S = 60.0


class Retention:
    """Drops the oldest rows, a few at a time, so that no single step takes long."""

    def __init__(self, max_bytes: int, keep_days: float) -> None:
        self._max_bytes = max_bytes
        self._keep_s = keep_days * _DAY_S
        self._aged_at_s = float("-inf")

    def trim(self, database: sqlite3.Connection, now_s: float) -> int:
        """Drop what is too old or too much; returns how many rows went. `now_s` is the wall clock."""
        dropped = 0
        if not 0 <= now_s - self._aged_at_s < _AGE_EVERY_S:
            self._aged_at_s = now_s
            dropped = sum(_drop_older(database, table, now_s - self._keep_s) for table in _TABLES)
        if used_bytes(database) > self._max_bytes * _FULL:
            dropped += self._shrink(database)
        self._give_back(database)
        return dropped

    def _shrink(self, database: sqlite3.Connection) -> int:
        dropped = 0
        for table in _TABLES:
            while (used := used_bytes(database)) > self._max_bytes * _ROOMY:
                gone = _drop_some(database, table, min(1 - self._max_bytes * _ROOMY / used, _MOST))
                dropped += gone
                if not gone:
                    break
        return dropped

    def _give_back(self, database: sqlite3.Connection) -> None:
        """Cut free pages off the file; they would be used again, but the limit may have been lowered."""
        while file_bytes(database) > self._max_bytes and _pragma(database, "freelist_count") > 0:
            database.execute(f"PRAGMA incremental_vacuum({_STEP})").fetchall()


def file_bytes(database: sqlite3.Connection) -> int:
    """Return the size of the database file."""
    return _pragma(database, "page_count") * _pragma(database, "page_size")


def used_bytes(database: sqlite3.Connection) -> int:
    """Return how much of the file is in use."""
    return (_pragma(database, "page_count") - _pragma(database, "freelist_count")) * _pragma(database, "page_size")


def _pragma(database: sqlite3.Connection, name: str) -> int:
    return int(database.execute(f"PRAGMA {name}").fetchone()[0])


def _drop_older(database: sqlite3.Connection, table: str, before_s: float) -> int:
    dropped = 0
    while True:
        gone = database.execute(
            f"DELETE FROM {table} WHERE at_s < ? AND number IN (SELECT number FROM {table} ORDER BY number LIMIT ?)",  # noqa: S608
            (before_s, _STEP),
        ).rowcount
        dropped += gone
        if gone < _STEP:
            return dropped


def _drop_some(database: sqlite3.Connection, table: str, share: float) -> int:
    """Drop the oldest share of a table, one row at least."""
    ends = f"SELECT (SELECT min(number) FROM {table}), (SELECT max(number) FROM {table})"  # noqa: S608
    first, last = database.execute(ends).fetchone()
    if first is None:
        return 0
    up_to = first + int((last - first) * share)
    return database.execute(f"DELETE FROM {table} WHERE number <= ?", (up_to,)).rowcount  # noqa: S608
