"""What the writer has taken out of the queues and not yet committed: encoded, bounded, written in one transaction."""

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from fairlead.persistence.intake import Aside, Document, Intake, Other, TallyKey, TallyValue
from fairlead.persistence.prompts import PromptKeeper
from fairlead.persistence.rows import DecisionRow, FeedbackRow

MAX_KEYS = 20_000
"""Different tallies held while the disk takes nothing."""
MAX_HELD = 4096
"""Feedback and metrics held while the disk takes nothing."""
MAX_TOKENS = 10**12

_DECISION = """
INSERT INTO decisions (id, at_s, tenant, category, model, node, outcome, latency_s, first_token_s, input_tokens,
    output_tokens, cost_usd, propensity, prompt, factors) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET factors = excluded.factors, prompt = coalesce(excluded.prompt, prompt)"""
_TALLY = """
INSERT INTO tallies (at_s, category, model, node, outcome, tasks, latency_s, input_tokens, output_tokens, cost_usd)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (at_s, category, model, node, outcome) DO UPDATE SET tasks = tasks + excluded.tasks,
    latency_s = latency_s + excluded.latency_s, input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens, cost_usd = cost_usd + excluded.cost_usd"""
_NO_TALLY = """
DELETE FROM tallies WHERE at_s = ? AND category = ? AND model = ? AND node = ? AND outcome = ? AND tasks <= 0"""
_DOCUMENT = """
INSERT INTO documents (name, at_s, content) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET at_s = excluded.at_s, content = excluded.content"""
_FEEDBACK = "INSERT INTO feedback (decision_id, at_s, score, comment, learnt) VALUES (?, ?, ?, ?, ?)"
_METRICS = "INSERT INTO metrics (at_s, content) VALUES (?, ?)"
_ASIDE = "UPDATE OR REPLACE documents SET name = ? WHERE name = ?"


class Batch:
    """Rows on their way to the disk. Used by the writer's thread alone."""

    def __init__(self, prompts: PromptKeeper) -> None:
        self._prompts = prompts
        self._written: dict[str, bytes] = {}
        """Each document as it was written last: an unchanged one is not written again, a lost file is filled again."""
        self._documents: dict[str, bytes] = {}
        self._asides: list[tuple[str, str]] = []
        self._decisions: list[tuple[Any, ...]] = []
        self._tallies: dict[TallyKey, TallyValue] = {}
        self._lowered: set[TallyKey] = set()
        """Tallies from which tasks were taken off: none may be left in them."""
        self._feedback: list[tuple[Any, ...]] = []
        self._metrics: list[tuple[Any, ...]] = []
        self.dropped = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (
            self._decisions or self._tallies or self._documents or self._feedback or self._metrics or self._asides
        )

    @property
    def n_decisions(self) -> int:
        """How many decisions wait to be written."""
        return len(self._decisions)

    @property
    def n_documents(self) -> int:
        """How many documents wait to be written."""
        return len(self._documents)

    def take_small(self, intake: Intake) -> list[str]:
        """Take everything but decisions out of the queues; returns what is wrong with what could not be taken."""
        problems: list[str] = []
        while intake.others:
            other = intake.others.popleft()
            try:
                self._take(other)
            except Exception as error:  # noqa: BLE001 - whatever the owner handed over must not stop the thread
                self.dropped += 1
                name = f"document {other.name!r}" if isinstance(other, Document) else type(other).__name__
                problems.append(f"{name} cannot be stored, it is not what it should be: {error}")
        while intake.tallies:
            self._tally(*intake.tallies.popleft())
        return problems

    def take_decision(self, row: DecisionRow) -> str | None:
        """Encode a decision; returns what is wrong with it where that cannot be done."""
        try:
            factors = None if row.tell is None else msgspec.json.encode(row.tell()).decode()
            propensity = None if row.propensity is None else row.propensity()
            prompt = self._prompts.keep(row.prompt)
        except Exception as error:  # noqa: BLE001 - a decision that cannot be told must not stop the thread
            self.dropped += 1
            return f"decision {row.id} cannot be told: {type(error).__name__}: {error}"
        self._decisions.append(
            (
                *(row.id, row.at_s, row.tenant, str(row.category), row.model, row.node, row.outcome, row.latency_s),
                *(row.first_token_s, _whole(row.input_tokens), _whole(row.output_tokens), row.cost_usd, propensity),
                *(prompt, factors),
            )
        )
        return None

    def write(self, database: sqlite3.Connection, at_s: float) -> None:
        """Write everything in one transaction, and forget it. Where SQLite raises an error, nothing is forgotten."""
        database.execute("BEGIN IMMEDIATE")
        try:
            database.executemany(_ASIDE, [(new, old) for old, new in self._asides])
            database.executemany(_DOCUMENT, [(name, at_s, content) for name, content in self._documents.items()])
            database.executemany(_DECISION, self._decisions)
            database.executemany(_TALLY, [key + value for key, value in self._tallies.items()])
            database.executemany(_NO_TALLY, self._lowered)
            database.executemany(_FEEDBACK, self._feedback)
            database.executemany(_METRICS, self._metrics)
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise
        self._written.update(self._documents)
        self._forget()

    def drop(self) -> int:
        """Give up what is held, but for the documents; returns how many rows that were."""
        lost = len(self._decisions) + len(self._tallies) + len(self._feedback) + len(self._metrics)
        documents = self._documents
        self._forget()
        self._documents = documents
        self.dropped += lost
        return lost

    def fill_again(self, earlier: Mapping[str, bytes] = MappingProxyType({})) -> None:
        """The file is a new one: all documents go there again; of those in none of our hands, what `earlier` has."""
        self._documents = {**earlier, **self._written, **self._documents}
        self._written = {}

    def _forget(self) -> None:
        self._documents, self._tallies, self._lowered = {}, {}, set()
        self._decisions, self._feedback, self._metrics, self._asides = [], [], [], []

    def _take(self, other: Other) -> None:
        if isinstance(other, Document):
            content = msgspec.msgpack.encode(other.content)
            if self._written.get(other.name) != content:
                self._documents[other.name] = content
            else:
                self._documents.pop(other.name, None)
        elif isinstance(other, Aside):
            self._asides.append((other.name, other.new_name))
            self._documents.pop(other.name, None)
            self._written.pop(other.name, None)
        elif isinstance(other, FeedbackRow):
            if not 0 <= other.score <= 1:
                raise ValueError(f"a score is between 0 and 1, not {other.score}")
            learnt = None if other.learnt is None else msgspec.json.encode(other.learnt).decode()
            self._hold(self._feedback, (other.decision_id, other.at_s, other.score, _text(other.comment), learnt))
        else:
            self._hold(self._metrics, (other.at_s, msgspec.msgpack.encode(other.content)))

    def _hold(self, rows: list[tuple[Any, ...]], row: tuple[Any, ...]) -> None:
        if len(rows) < MAX_HELD:
            rows.append(row)
        else:
            self.dropped += 1

    def _tally(self, key: TallyKey, value: TallyValue) -> None:
        tasks, latency_s, n_in, n_out, usd = value
        held = self._tallies.get(key)
        if held is None:
            if len(self._tallies) >= MAX_KEYS:
                self.dropped += 1
                return
            held = (0, 0.0, 0, 0, 0.0)
        self._tallies[key] = (
            held[0] + tasks,
            held[1] + tasks * latency_s,
            held[2] + tasks * _whole(n_in),
            held[3] + tasks * _whole(n_out),
            held[4] + tasks * usd,
        )
        if tasks < 0:
            self._lowered.add(key)


def _whole(tokens: int) -> int:
    """Return a count that SQLite can hold, also where a node told nonsense."""
    return max(0, min(tokens, MAX_TOKENS))


def _text(text: str | None) -> str | None:
    """Return a text that can be stored: JSON may have brought half a letter."""
    return None if text is None else text.encode("utf-8", "replace").decode()
