"""A state file at a glance, for people."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from fairlead.persistence.database import open_for_reading
from fairlead.persistence.lock import WriterLock
from fairlead.persistence.paths import COMPANIONS, companion
from fairlead.persistence.problems import StateError, StateInUseError
from fairlead.persistence.reading import read_document

_PER_MODEL = """
SELECT model, sum(tasks), sum(good), sum(latency), sum(usd), sum(gone) FROM (
    SELECT model, 1 AS tasks, outcome = 'success' AS good, (outcome = 'success') * latency_s AS latency,
        coalesce(cost_usd, 0) AS usd, outcome = 'cancelled' AS gone FROM decisions
    UNION ALL
    SELECT model, tasks, (outcome = 'success') * tasks, (outcome = 'success') * latency_s, cost_usd,
        (outcome = 'cancelled') * tasks FROM tallies
) GROUP BY model ORDER BY 2 DESC, 1"""
_JUDGED = """
SELECT model, count(*), avg(score) FROM feedback JOIN decisions ON id = decision_id
WHERE feedback.number IN (SELECT max(number) FROM feedback GROUP BY decision_id) GROUP BY model"""


class DocumentSeen(msgspec.Struct, frozen=True):
    """Evidence under a name."""

    name: str
    size_bytes: int
    at_s: float


class ModelSeen(msgspec.Struct, frozen=True):
    """What the log says of a model."""

    model: str
    """Empty for tasks that no model was asked to do."""
    tasks: int
    succeeded: int
    latency_s: float
    """Mean of those that succeeded."""
    cost_usd: float
    """Of all, as far as prices are known."""
    cancelled: int = 0
    """Tasks whose caller hung up: they tell nothing of the model, so they belong in no share of successes."""
    judged: int = 0
    """Tasks with feedback."""
    score: float | None = None
    """Mean of what was said of its answers, of each the newest."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What a state file holds."""

    size_bytes: int
    """Of all its files."""
    used_by: str | None
    """Who writes to it now."""
    decisions: int
    counted: int
    """Further tasks, only counted."""
    first_at_s: float | None
    last_at_s: float | None
    feedback: int
    """Tasks that were judged, however often."""
    metrics: int
    documents: tuple[DocumentSeen, ...]
    models: tuple[ModelSeen, ...]


def overview(path: Path) -> Overview:
    """Read a state file, also one in use. Raises StateError where there is none or it is damaged."""
    with closing(open_for_reading(path)) as database:
        try:
            return _read(database, path)
        except sqlite3.Error as error:
            raise StateError(f"{path} cannot be read: {error}") from None


def user_of(path: Path) -> str | None:
    """Return who writes to a state file now, None where nobody does."""
    if not companion(path, ".lock").exists():
        return None
    try:
        WriterLock(path).release()
    except StateInUseError as error:
        return error.owner
    except StateError:
        return None
    return None


def _read(database: sqlite3.Connection, path: Path) -> Overview:
    database.execute("BEGIN")  # one moment for all that follows
    judged = {model: (count, score) for model, count, score in database.execute(_JUDGED)}
    kept = database.execute("SELECT count(*), min(at_s), max(at_s) FROM decisions").fetchone()
    tallied = database.execute("SELECT coalesce(sum(tasks), 0), min(at_s), max(at_s) FROM tallies").fetchone()
    sizes = [companion(path, ending) for ending in COMPANIONS]
    return Overview(
        size_bytes=sum(one.stat().st_size for one in sizes if one.exists()),
        used_by=user_of(path),
        decisions=kept[0],
        counted=tallied[0],
        first_at_s=min((at_s for at_s in (kept[1], tallied[1]) if at_s is not None), default=None),
        last_at_s=max((at_s for at_s in (kept[2], tallied[2]) if at_s is not None), default=None),
        feedback=database.execute("SELECT count(DISTINCT decision_id) FROM feedback").fetchone()[0],
        metrics=database.execute("SELECT count(*) FROM metrics").fetchone()[0],
        documents=tuple(
            DocumentSeen(*row)
            for row in database.execute("SELECT name, length(content), at_s FROM documents ORDER BY name")
        ),
        models=tuple(
            ModelSeen(model, tasks, good, latency / good if good else 0.0, usd, gone, *judged.get(model, ()))
            for model, tasks, good, latency, usd, gone in database.execute(_PER_MODEL)
        ),
    )


def document_in(path: Path, name: str) -> Any:
    """Return a document of a state file, None where there is none of that name. Raises StateError for a damaged one."""
    with closing(open_for_reading(path)) as database:
        try:
            content = read_document(database, name)
            return None if content is None else msgspec.msgpack.decode(content)
        except (sqlite3.Error, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StateError(f"{path}: {name!r} cannot be read: {error}") from None
