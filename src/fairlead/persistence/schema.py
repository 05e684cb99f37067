"""The tables, their versions, and what is wrong with a file that claims to have them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing

APPLICATION_ID = 0x666C6561
"""Marks a database as fairlead's."""

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        name TEXT PRIMARY KEY,
        at_s REAL NOT NULL,
        content BLOB NOT NULL
    );
    CREATE TABLE decisions (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        at_s REAL NOT NULL,
        tenant TEXT,
        category TEXT NOT NULL,
        model TEXT NOT NULL,
        node TEXT NOT NULL,
        outcome TEXT NOT NULL,
        latency_s REAL NOT NULL,
        first_token_s REAL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL,
        propensity REAL,
        prompt TEXT,
        factors TEXT
    );
    CREATE TABLE tallies (
        number INTEGER PRIMARY KEY,
        at_s REAL NOT NULL,
        category TEXT NOT NULL,
        model TEXT NOT NULL,
        node TEXT NOT NULL,
        outcome TEXT NOT NULL,
        tasks INTEGER NOT NULL,
        latency_s REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL,
        UNIQUE (at_s, category, model, node, outcome)
    );
    CREATE TABLE feedback (
        number INTEGER PRIMARY KEY,
        decision_id TEXT NOT NULL,
        at_s REAL NOT NULL,
        score REAL NOT NULL,
        comment TEXT,
        learnt TEXT
    );
    CREATE INDEX feedback_by_decision ON feedback (decision_id);
    CREATE TABLE metrics (
        number INTEGER PRIMARY KEY,
        at_s REAL NOT NULL,
        content BLOB NOT NULL
    );
    """,
)
"""What turns version n into version n + 1, from an empty file on. Entries are never changed, only added."""


def migrate(database: sqlite3.Connection, migrations: Sequence[str] = MIGRATIONS) -> None:
    """Bring a database up to the newest version, each step whole or not at all."""
    done = version_of(database)
    for version, script in enumerate(migrations[done:], start=done + 1):
        try:
            database.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version = {version}; COMMIT;")
        except sqlite3.Error:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise


def version_of(database: sqlite3.Connection) -> int:
    """Return the version that a database has; 0: nothing is in it yet."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def trouble_with(database: sqlite3.Connection, newest: int = len(MIGRATIONS)) -> str | None:
    """Return what is wrong with a database that stands in place of a state file, or None."""
    application, version = database.execute("PRAGMA application_id").fetchone()[0], version_of(database)
    has_tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
    if not has_tables and application in (0, APPLICATION_ID):
        return None if version == 0 else f"is empty, but says that it is of format {version}"
    if application != APPLICATION_ID:
        return "is a database of another program"
    if version > newest:
        return f"was written by a newer fairlead (format {version}; this one knows up to {newest})"
    found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if found == "ok" else f"is damaged ({' '.join(str(found).split())})"


def missing_from(database: sqlite3.Connection) -> list[str]:
    """Return the tables and indexes that a database of the newest version should have, as they should be, and has not.

    Columns are compared, not the text that made them.
    """
    with closing(sqlite3.connect(":memory:")) as model:
        migrate(model)
        wanted = _shape(model)
    return sorted(name for name, columns in wanted.items() if _shape(database).get(name) != columns)


def _shape(database: sqlite3.Connection) -> dict[str, tuple[tuple[object, ...], ...]]:
    rows = database.execute("SELECT type, name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    call = {"table": "pragma_table_info", "index": "pragma_index_info"}
    return {
        name: tuple(database.execute(f"SELECT * FROM {call[kind]}(?)", (name,)).fetchall())  # noqa: S608 - one of two
        for kind, name in rows
        if kind in call
    }
