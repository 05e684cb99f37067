"""Rows, stores and listeners for the tests of what outlives the process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairlead.clock import wall_s
from fairlead.config.schema import StateConfig
from fairlead.persistence.rows import DecisionRow
from fairlead.persistence.store import StateStore

NOW_S = float(int(wall_s()))
"""A whole second, so that rows of a test fall into the same one."""


def row(name: str = "d", at_s: float = NOW_S, **more: Any) -> DecisionRow:
    """Return a decision that went well."""
    usual: dict[str, Any] = {
        "category": "coding",
        "model": "m",
        "node": "n",
        "outcome": "success",
        "latency_s": 0.5,
        "tell": lambda: {"id": name},
    }
    return DecisionRow(id=name, at_s=at_s, **(usual | more))


@contextmanager
def opened(path: Path, said: list[str] | None = None, **config: Any) -> Iterator[StateStore]:
    """Open a store; `said` collects what is told to people, and without it nothing may be told."""
    told: list[str] = [] if said is None else said
    store = StateStore.open(path, StateConfig(**config), told.append)
    try:
        yield store
    finally:
        store.close()
    if said is None:
        assert told == []


def files(path: Path) -> set[str]:
    """Return the names in the folder of a state file, without its lock."""
    return {one.name for one in path.parent.iterdir()} - {path.name + ".lock"}
