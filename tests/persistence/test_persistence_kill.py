"""Killed at any moment: at most the last second is lost, nothing is damaged, and the lock is free again."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import IO

import pytest
from persistence_shared import files, opened

from fairlead.persistence.lock import WriterLock
from fairlead.persistence.problems import StateInUseError

WRITER = """
import sys, time
from pathlib import Path
from fairlead.clock import wall_s
from fairlead.config.schema import StateConfig
from fairlead.persistence.rows import DecisionRow
from fairlead.persistence.store import StateStore

store = StateStore.open(Path(sys.argv[1]), StateConfig(decisions_per_s=100_000.0), print)
number = int(sys.argv[2])
while True:
    number += 1
    now_s = wall_s()
    store.save("first", number)
    store.add_decision(DecisionRow(id=str(number), at_s=now_s, category="coding", model="m", node="n",
        outcome="success", latency_s=0.1, tell=lambda: {"text": "x" * 500}))
    store.save("second", number)
    sys.stdout.write(f"{number} {now_s}\\n")
    sys.stdout.flush()
    time.sleep(0.002)
"""
LOST_S = 1.0


def start(path: Path, number: int) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(number)], stdout=subprocess.PIPE, text=True, env=environment
    )


def added(stream: IO[str]) -> list[tuple[int, float]]:
    """Read what a writer says that it added, until it is gone."""
    lines = [line.split() for line in stream if line.endswith("\n")]
    return [(int(number), float(at_s)) for number, at_s in lines]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_kill_9_at_any_moment_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    dice = random.Random(7)
    last = 0
    for _ in range(4):
        with start(path, last) as process:
            assert process.stdout is not None
            said = [process.stdout.readline()]
            timer = threading.Timer(LOST_S + dice.uniform(0.1, 0.6), process.send_signal, (signal.SIGKILL,))
            timer.start()
            told = added(process.stdout)
        timer.cancel()
        assert said[0]
        last, killed_s = told[-1]
        safe = [number for number, at_s in told if at_s < killed_s - LOST_S]
        assert len(safe) > 10
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            stored = {int(one) for (one,) in database.execute("SELECT id FROM decisions")}
        assert set(safe) <= stored
        with opened(path) as store:  # nothing is reported: the file is fine
            first, second = store.load("first"), store.load("second")
            assert first >= safe[-1]
            assert second >= safe[-1]
    assert files(path) == {"state.db"}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with start(path, 0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(StateInUseError, match=f"in use by process {process.pid}"), opened(path):
            pass
        process.kill()
    with opened(path) as store:
        store.save("mine", 1)
        assert store.flush()


def test_a_moments_look_by_another_does_not_turn_the_owner_away(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    look = WriterLock(path)
    timer = threading.Timer(0.05, look.release)
    timer.start()
    with opened(path):
        pass
    timer.join()
    look.release()
