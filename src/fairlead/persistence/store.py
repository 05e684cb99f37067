"""What outlives the process, in one file of SQLite: evidence, metrics and the decision log.

Whoever adds to it appends to a queue in memory and is done; a thread writes. A disk that is locked, full or slow
therefore never holds up a request: what does not fit into the queues is counted as lost. A killed process loses at
most what came in its last half second, and never damages the file (SQLite's write-ahead log).
"""

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fairlead.clock import wall_s
from fairlead.config.schema import LogPrompts, StateConfig
from fairlead.persistence.batch import Batch
from fairlead.persistence.database import Report
from fairlead.persistence.intake import Aside, Document, Intake, MetricsRow
from fairlead.persistence.place import Place
from fairlead.persistence.problems import StateError
from fairlead.persistence.prompts import PromptKeeper
from fairlead.persistence.reading import read_decision, read_decisions, read_document
from fairlead.persistence.rows import DecisionRow, FeedbackRow, StoreCounters, StoredDecision
from fairlead.persistence.writer import FLUSH_S, Writer


class StateStore:
    """A state file, open for writing. Its methods may be called from any one thread, and are cheap but for reading."""

    def __init__(self, path: Path, config: StateConfig, report: Report, flush_s: float = FLUSH_S) -> None:
        self.path = path
        self._report = report
        self._is_closed = False
        self._told_reading = False
        self._place = Place(path, config.max_mb * 2**20, report)
        self._reader = self._place.reader
        try:
            database = self._place.open()
        except BaseException:
            self._place.release()
            raise
        self._log_prompts = config.log_prompts
        salt: bytes = database.execute("SELECT value FROM meta WHERE key = 'salt'").fetchone()[0]
        self._intake = Intake(config.decisions_per_s)
        batch = Batch(PromptKeeper(config.log_prompts, salt))
        self._writer = Writer(self._place, database, self._intake, batch, config.keep_days, report, flush_s=flush_s)

    @classmethod
    def open(cls, path: Path, config: StateConfig, report: Report) -> "StateStore":
        """Open a state file, or make one.

        `report` takes lines for people, also from the writer's thread. A file that cannot be used is put aside and
        reported. Raises StateInUseError where another process writes to it, StateError where it cannot be opened.
        """
        path = path.expanduser().absolute()  # the working directory may change
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StateError(f"{path.parent} cannot be made: {error.strerror}; choose another `state.path`") from None
        return cls(path, config, report)

    @classmethod
    def open_or_none(cls, path: Path, config: StateConfig, report: Report) -> "StateStore | None":
        """Open a state file, or report why that cannot be and go without one."""
        try:
            return cls.open(path, config, report)
        except StateError as error:
            report(f"{error}. Going on without it: what is learnt now will not be kept")
            return None

    # -- adding: appends to a queue

    @property
    def keeps_prompts(self) -> bool:
        """Whether anything of a prompt is stored."""
        return self._log_prompts is not LogPrompts.NONE

    @property
    def keeps_messages(self) -> bool:
        """Whether what nodes say of errors is stored: it may quote a prompt, so only where those are kept whole."""
        return self._log_prompts is LogPrompts.FULL

    def save(self, name: str, document: object) -> None:
        """Keep plain data under a name, in place of what was there; those saved together are written together.

        It is encoded later: do not change it any more.
        """
        self._intake.add(Document(name, document))

    def add_decision(self, row: DecisionRow) -> None:
        """Log a decision: in full where the rate allows it or it is special, otherwise as one more of its kind."""
        self._intake.add_decision(row)

    def add_feedback(self, row: FeedbackRow) -> None:
        """Log what was said of an answer."""
        self._intake.add(row)

    def add_metrics(self, content: object, at_s: float | None = None) -> None:
        """Keep metrics as plain data, beside those of other times."""
        self._intake.add(MetricsRow(wall_s() if at_s is None else at_s, content))

    def set_aside(self, name: str) -> str:
        """Rename a document that turned out to be unusable, so that the next one does not replace it."""
        new_name = f"{name}.damaged-{datetime.fromtimestamp(wall_s(), UTC):%Y%m%dT%H%M%SZ}"
        self._intake.add(Aside(name, new_name))
        return new_name

    # -- reading: what was written; goes to the disk

    def load(self, name: str) -> Any:
        """Return the document of a name, None where there is none; a damaged one is put aside and reported."""
        try:
            content = self._reader.ask(lambda database: read_document(database, name))
        except sqlite3.Error as error:
            self._complain(error)
            return None
        try:
            return None if content is None else msgspec.msgpack.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._report(f"{self.path}: {name!r} is damaged ({error}): it is kept as {self.set_aside(name)!r}")
            return None

    def find_decision(self, decision_id: str) -> StoredDecision | None:
        """Return a decision that was stored in full, None where it was not or cannot be read now."""
        try:
            return self._reader.ask(lambda database: read_decision(database, decision_id))
        except sqlite3.Error as error:
            self._complain(error)
            return None

    def decisions(
        self, limit: int = 100, *, since_s: float = 0.0, model: str | None = None, with_feedback: bool = False
    ) -> Sequence[StoredDecision]:
        """Return decisions that were stored in full, the newest first; of a model, or only those with feedback."""
        try:
            return self._reader.ask(
                lambda database: read_decisions(
                    database, limit, since_s=since_s, model=model, with_feedback=with_feedback
                )
            )
        except sqlite3.Error as error:
            self._complain(error)
            return ()

    @property
    def counters(self) -> StoreCounters:
        """How the store fares."""
        writer = self._writer
        return StoreCounters(
            rows_written=writer.rows_written,
            rows_counted=self._intake.counted,
            rows_dropped=writer.dropped,
            rows_aged_out=writer.rows_aged_out,
            documents_written=writer.documents_written,
            writes_failed=writer.writes_failed,
            is_failing=writer.is_failing,
            file_bytes=writer.file_bytes,
        )

    # -- the end

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Have everything that was added until now written; tells whether it was."""
        return self._writer.flush(timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, and give the file back; once more does nothing, and what is added later is forgotten."""
        if self._is_closed:
            return
        self._is_closed = True
        self._reader.close()
        if not self._writer.close(timeout_s):
            self._report(f"{self.path}: the last changes could not be written")
        if self._writer.is_over:  # a thread that the disk still holds keeps the lock: the process' end frees it
            self._place.release()

    def __enter__(self) -> "StateStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _complain(self, error: sqlite3.Error) -> None:
        if not self._told_reading:
            self._told_reading = True
            self._report(f"{self.path} cannot be read now: {error}")
