"""Questions to a state file. All raise what SQLite raises."""

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.persistence.rows import FeedbackRow, StoredDecision

_COLUMNS = (
    "id, at_s, tenant, category, model, node, outcome, latency_s, first_token_s, input_tokens, output_tokens,"
    " cost_usd, propensity, prompt, factors"
)


def read_document(database: sqlite3.Connection, name: str) -> bytes | None:
    """Return a document as it was encoded."""
    row = database.execute("SELECT content FROM documents WHERE name = ?", (name,)).fetchone()
    return None if row is None else bytes(row[0])


def read_documents(database: sqlite3.Connection) -> dict[str, bytes]:
    """Return all documents, by name, as they were encoded."""
    return {name: bytes(content) for name, content in database.execute("SELECT name, content FROM documents")}


def read_decision(database: sqlite3.Connection, decision_id: str) -> StoredDecision | None:
    """Return one decision."""
    rows = database.execute(f"SELECT {_COLUMNS} FROM decisions WHERE id = ?", (decision_id,)).fetchall()  # noqa: S608 - columns of ours
    return _stored(database, rows[0]) if rows else None


def read_decisions(
    database: sqlite3.Connection, limit: int, *, since_s: float = 0.0, model: str | None = None, with_feedback: bool
) -> Sequence[StoredDecision]:
    """Return decisions, the newest first."""
    wanted = "at_s >= :since AND (:model IS NULL OR model = :model)"
    if with_feedback:
        wanted += " AND EXISTS (SELECT 1 FROM feedback WHERE decision_id = id)"
    rows = database.execute(
        f"SELECT {_COLUMNS} FROM decisions WHERE {wanted} ORDER BY number DESC LIMIT :limit",  # noqa: S608 - constants
        {"since": since_s, "model": model, "limit": limit},
    ).fetchall()
    return [_stored(database, row) for row in rows]


def _stored(database: sqlite3.Connection, row: tuple[Any, ...]) -> StoredDecision:
    *columns, factors = row
    said = database.execute(
        "SELECT decision_id, at_s, score, comment, learnt FROM feedback WHERE decision_id = ? ORDER BY number",
        (row[0],),
    ).fetchall()
    values = dict(zip(StoredDecision.__struct_fields__, columns, strict=False))
    return StoredDecision(**values, factors=_object(factors) or {}, feedback=tuple(_feedback(one) for one in said))


def _feedback(row: tuple[Any, ...]) -> FeedbackRow:
    decision_id, at_s, score, comment, learnt = row
    return FeedbackRow(decision_id=decision_id, at_s=at_s, score=score, comment=comment, learnt=_object(learnt))


def _object(text: str | None) -> dict[str, Any] | None:
    """Return what a column of JSON says; None where it says nothing, or no longer makes sense."""
    try:
        return None if text is None else msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None
