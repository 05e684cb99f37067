"""Keeps what a gateway learns in its state file, and finds it there again after a restart."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairlead.clock import monotonic_s, steady_s
from fairlead.config import Config
from fairlead.engine.fleet import Fleet
from fairlead.engine.memory import DOCUMENTS, recall, remember
from fairlead.errors import FairleadError
from fairlead.persistence.store import StateStore
from fairlead.telemetry.metrics import MetricsCollector

logger = logging.getLogger("fairlead")
SAVE_EACH_S = 0.5
"""How often what was learnt is handed to the store, which writes within half a second: a kill costs one second."""
SNAPSHOT_SHARE = 0.02
"""Most of the event loop's time that may go into taking snapshots; a large fleet is kept less often."""
METRICS_EACH_S = 60.0


def open_store(config: Config) -> StateStore | None:
    """Open the state file that a configuration names; None where it names none, or where it cannot be had."""
    if not config.state.enabled or config.state.path is None:
        return None
    return StateStore.open_or_none(Path(config.state.path), config.state, logger.warning)


class Memory:
    """Carries what a fleet learnt between the fleet and a store."""

    def __init__(self, store: StateStore, fleet: Fleet, metrics: MetricsCollector) -> None:
        self._store = store
        self._fleet = fleet
        self._metrics = metrics
        self._others: dict[str, Callable[[], object]] = {}
        self._kept_version = -1
        self._next_metrics_s = 0.0

    def recall(self) -> None:
        """Give the fleet what was kept."""
        recall(self._fleet, {name: self._store.load(name) for name in DOCUMENTS}, self._report, steady_s())
        self._kept_version = self._fleet.version

    def also(self, name: str, snapshot: Callable[[], object], restore: Callable[[Any], None]) -> None:
        """Give something beside the fleet what was kept of it, and keep what it learns from now on, once a minute."""
        kept = self._store.load(name)
        if kept is not None:
            try:
                restore(kept)
            except FairleadError as error:
                self._report(name, error)
        self._others[name] = snapshot

    def keep(self) -> float:
        """Hand over what was learnt since the last time, and return after how many seconds to come back."""
        began_s = monotonic_s()
        if self._fleet.version != self._kept_version:
            self._kept_version = self._fleet.version
            for name, document in remember(self._fleet).items():
                self._store.save(name, document)
        if began_s >= self._next_metrics_s:
            self._next_metrics_s = began_s + METRICS_EACH_S
            self._store.add_metrics(self._metrics.told())
            self._keep_others()
        return max(SAVE_EACH_S, (monotonic_s() - began_s) / SNAPSHOT_SHARE)

    async def run(self) -> None:
        """Keep what is learnt, again and again."""
        pause_s = SAVE_EACH_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self.keep()

    def _keep_others(self) -> None:
        for name, snapshot in self._others.items():
            self._store.save(name, snapshot())

    def close(self) -> None:
        """Keep the rest, and give the file back."""
        self.keep()
        self._keep_others()
        self._store.close()

    def _report(self, name: str, error: FairleadError) -> None:
        aside = self._store.set_aside(name)
        logger.warning("state file: %s Kept aside as %r, begun anew.", error, aside)
