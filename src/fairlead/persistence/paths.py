"""Where state is kept, and the names of what is put aside."""

import os
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from fairlead.clock import wall_s
from fairlead.persistence.problems import StateError

COMPANIONS = ("", "-wal", "-shm")
"""A database in SQLite is up to three files: itself, what was written last, and an index of that."""


def state_folder() -> Path:
    """Return the folder for state: `FAIRLEAD_STATE`, or this user's state folder."""
    chosen = os.environ.get("FAIRLEAD_STATE")
    return Path(chosen) if chosen else Path(platformdirs.user_state_dir("fairlead"))


def default_path(port: int) -> Path:
    """Return the state file of the gateway on a port."""
    return state_folder() / f"state-{port}.db"


def companion(path: Path, ending: str) -> Path:
    """Return one of the files that a database is made of."""
    return path.with_name(path.name + ending)


def set_aside(path: Path, why: str) -> Path:
    """Rename a database, all of it, so that another can take its place; returns its new name.

    `why` is one word, such as `damaged`. Raises StateError where the folder does not allow it.
    """
    stamp = datetime.fromtimestamp(wall_s(), UTC).strftime("%Y%m%dT%H%M%SZ")
    base = target = companion(path, f".{why}-{stamp}")
    number = 1
    while any(companion(target, ending).exists() for ending in COMPANIONS):
        number += 1
        target = companion(base, f"-{number}")
    try:
        for ending in reversed(COMPANIONS):  # the database last: it must never stand there without its own log
            one = companion(path, ending)
            if one.exists():
                one.rename(companion(target, ending))
    except OSError as error:
        raise StateError(
            f"{path} cannot be put aside: {error.strerror}; move it away, or choose another file"
        ) from None
    return target
