"""The one thread that writes: takes what requests left in the queues, a few times a second, and commits it together.

What the disk does not take stays in the queues, which are bounded, and is tried again, less and less often. A line is
told when trouble begins and one when it is over.
"""

import sqlite3
import threading

from fairlead.clock import Clock, monotonic_s, wall_s
from fairlead.persistence.batch import Batch
from fairlead.persistence.database import PAGE_BYTES, Report, is_damage
from fairlead.persistence.intake import Intake
from fairlead.persistence.place import Place
from fairlead.persistence.problems import StateError
from fairlead.persistence.reading import read_documents
from fairlead.persistence.retention import Retention, file_bytes

FLUSH_S = 0.25
_BREATH_S = 0.0002
"""Pause after telling a decision, so that the event loop gets its turn: a busy thread keeps it waiting for 5 ms."""
_CROWD = 512
"""With more decisions waiting than this, only every eighth one is followed by a pause."""
_MAX_PAUSE_S = 30.0
_TRIM_EVERY_S = 60.0


class Writer:
    """Writes to one database, in a thread of its own."""

    def __init__(
        self,
        place: Place,
        database: sqlite3.Connection,
        intake: Intake,
        batch: Batch,
        keep_days: float,
        report: Report,
        *,
        flush_s: float = FLUSH_S,
        clock: Clock = monotonic_s,
    ) -> None:
        self._place = place
        self._path = place.path
        self._database = database
        self._intake = intake
        self._batch = batch
        self._batch_rows = max(16, min(512, place.max_bytes // PAGE_BYTES // 16))
        self._retention = Retention(place.max_bytes, keep_days)
        self._report = report
        self._flush_s = flush_s
        self._clock = clock
        self._wake = threading.Condition()
        self._asked = self._answered = 0
        self._is_closing = False
        self._pause_s = 0.0
        self._try_at_s = float("-inf")
        self._trim_at_s = float("-inf")
        self._told: set[str] = set()
        self._lost_before = 0
        self._spoilt: str | None = None
        self._breath = threading.Event()
        self.rows_written = self.rows_aged_out = self.documents_written = self.writes_failed = self.file_bytes = 0
        self.is_failing = False
        self._thread = threading.Thread(target=self._run, name="fairlead-state", daemon=True)
        self._thread.start()

    def flush(self, timeout_s: float) -> bool:
        """Have everything that was added until now written; tells whether it was."""
        with self._wake:
            if not self._thread.is_alive():
                return False
            self._asked += 1
            ticket = self._asked
            self._wake.notify_all()
            self._wake.wait_for(lambda: self._answered >= ticket, timeout_s)
            return self._answered >= ticket and not self.is_failing

    def close(self, timeout_s: float) -> bool:
        """Write what is left, and end; tells whether all was written. The thread is left alone if it takes longer."""
        with self._wake:
            self._is_closing = True
            self._wake.notify_all()
        self._thread.join(timeout_s)
        return not self._thread.is_alive() and self._batch.is_empty and not self._intake.rows

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be written."""
        return not self._thread.is_alive()

    # -- in the thread

    def _run(self) -> None:
        while True:
            with self._wake:
                if not (self._is_closing or self._asked > self._answered):
                    self._wake.wait(self._flush_s)
                ticket, is_last = self._asked, self._is_closing
            try:
                self._work(is_urgent=is_last or ticket > self._answered, is_last=is_last)
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever happens in it
                self._fail(f"{type(error).__name__}: {error}")
                self._lose()
            with self._wake:
                self._answered = ticket
                self._wake.notify_all()
            if is_last:
                self._end()
                return

    def _work(self, *, is_urgent: bool, is_last: bool) -> None:
        self._take_small()
        now_s = self._clock()
        if now_s < self._try_at_s and not is_urgent:
            return
        self._watch()
        if self._spoilt is not None and not self._begin_anew():
            return
        while True:
            is_crowded = self._take_decisions(is_hurried=is_last)
            if not self._batch.is_empty:
                if not self._write():
                    return
                self._trim()
            if not is_crowded:
                break
            self._take_small()  # however many decisions there are, evidence goes along
        if now_s >= self._trim_at_s:  # rows grow old also while none is added
            self._trim()

    def _take_small(self) -> None:
        for problem in self._batch.take_small(self._intake):
            self._tell_once(problem, problem.partition(",")[0])

    def _take_decisions(self, *, is_hurried: bool) -> bool:
        """Take a batch of decisions; tells whether more are waiting."""
        rows = self._intake.rows
        while rows and self._batch.n_decisions < self._batch_rows:
            problem = self._batch.take_decision(rows.popleft())
            if problem is not None:
                self._tell_once(problem, "decision")
            if not is_hurried and (len(rows) < _CROWD or not len(rows) & 7):
                self._breath.wait(_BREATH_S)
        return bool(rows)

    def _write(self) -> bool:
        rows, documents = self._batch.n_decisions, self._batch.n_documents
        try:
            self._batch.write(self._database, wall_s())
        except sqlite3.Error as error:
            self._fail(str(error))
            if is_damage(error):
                self._spoilt = str(error)
                self._try_at_s = float("-inf")
            elif isinstance(error, sqlite3.ProgrammingError | sqlite3.InterfaceError | sqlite3.IntegrityError):
                self._lose()
            return False
        self.rows_written += rows
        self.documents_written += documents
        self._recover()
        return True

    def _trim(self) -> None:
        self._trim_at_s = self._clock() + _TRIM_EVERY_S
        try:
            self.rows_aged_out += self._retention.trim(self._database, wall_s())
            self.file_bytes = file_bytes(self._database)
        except sqlite3.Error as error:
            self._fail(str(error))
            if is_damage(error):
                self._spoilt = str(error)
                self._try_at_s = float("-inf")

    def _watch(self) -> None:
        """Notice that the file was removed or replaced, and take the evidence along: it can still be read."""
        loss = self._place.loss()
        if loss is None or self._spoilt is not None:
            return
        self._spoilt = loss
        try:
            self._batch.fill_again(read_documents(self._database))
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # it may only have been moved
        except sqlite3.Error:
            pass  # what this process wrote is still in its hands

    def _begin_anew(self) -> bool:
        """The file turned out to be damaged or lost while it was in use: go on with a new one."""
        self._database.close()
        try:
            self._database = self._place.begin_anew(self._spoilt or "")
        except StateError as error:
            self._fail(str(error))
            return False
        self._spoilt = None
        self._batch.fill_again()
        return True

    def _fail(self, why: str) -> None:
        self.writes_failed += 1
        self._pause_s = min(max(self._pause_s * 2, self._flush_s), _MAX_PAUSE_S)
        self._try_at_s = self._clock() + self._pause_s
        if not self.is_failing:
            self.is_failing = True
            self._lost_before = self.dropped
            self._report(f"{self._path} takes nothing now ({why}): requests go on, and it is tried again")

    def _recover(self) -> None:
        self._pause_s, self._try_at_s = 0.0, float("-inf")
        if self.is_failing:
            self.is_failing = False
            lost = self.dropped - self._lost_before
            self._report(f"{self._path} is written to again; {lost or 'no'} row{'' if lost == 1 else 's'} lost")

    @property
    def dropped(self) -> int:
        """Rows lost until now."""
        return self._intake.dropped + self._batch.dropped

    def _lose(self) -> None:
        """Give up rows that the database will never take, so that they do not stand in the way of others."""
        lost = self._batch.drop()
        if lost:
            self._tell_once(f"{self._path}: {lost} rows cannot be stored and were given up", "rows")

    def _tell_once(self, problem: str, kind: str) -> None:
        """Report a problem, but no second one of its kind."""
        if kind not in self._told:
            self._told.add(kind)
            self._report(problem)

    def _end(self) -> None:
        try:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            pass  # what is in the log of SQLite is read from there the next time
        finally:
            self._database.close()
