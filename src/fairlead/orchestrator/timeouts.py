"""Limits on waiting, for many exchanges at the price of one timer.

A timer of the event loop costs about 2 us to set and cancel; an entry here costs a tenth of that, because entries of
one usual duration stand in the order in which they fall due. Precision is one tick. Other durations get timers.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

TICK_S = 0.05


class Watched(Protocol):
    """Something that may wait too long."""

    def on_due(self) -> None:
        """The time is over."""
        ...


class Timeouts:
    """Tells watched things when their time is over."""

    def __init__(self, usual_s: Iterable[float]) -> None:
        self._loop: asyncio.AbstractEventLoop
        self._queues: dict[float, OrderedDict[Watched, float]] = {}
        self.expect(usual_s)
        self._unusual: dict[Watched, asyncio.TimerHandle] = {}
        self._ticker: asyncio.TimerHandle | None = None

    def run_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go by the clock of this event loop."""
        self._loop = loop

    def expect(self, usual_s: Iterable[float]) -> None:
        """Prepare for durations that will be asked for often."""
        for duration_s in usual_s:
            self._queues.setdefault(duration_s, OrderedDict())

    def watch(self, watched: Watched, duration_s: float) -> None:
        """Call `on_due` after a duration, once."""
        queue = self._queues.get(duration_s)
        if queue is None:
            self._unusual[watched] = self._loop.call_later(duration_s, self._end_unusual, watched)
            return
        queue[watched] = self._loop.time() + duration_s
        if self._ticker is None:
            self._ticker = self._loop.call_later(TICK_S, self._tick)

    def unwatch(self, watched: Watched, duration_s: float) -> None:
        """Forget about it, whether or not its time is over."""
        queue = self._queues.get(duration_s)
        if queue is not None and queue.pop(watched, None) is not None:
            return
        if (timer := self._unusual.pop(watched, None)) is not None:
            timer.cancel()

    def stop(self) -> None:
        """Stop the clockwork."""
        for timer in self._unusual.values():
            timer.cancel()
        self._unusual.clear()
        if self._ticker is not None:
            self._ticker.cancel()
            self._ticker = None

    def _end_unusual(self, watched: Watched) -> None:
        del self._unusual[watched]
        watched.on_due()

    def _tick(self) -> None:
        now_s = self._loop.time()
        due: list[Watched] = []
        for queue in self._queues.values():
            while queue:
                watched, due_s = next(iter(queue.items()))
                if due_s > now_s:
                    break
                del queue[watched]
                due.append(watched)
        is_busy = any(self._queues.values())
        self._ticker = self._loop.call_later(TICK_S, self._tick) if is_busy else None
        for watched in due:
            try:
                watched.on_due()
            except Exception as error:  # noqa: BLE001 - one that cannot go on keeps nobody else from it
                self._loop.call_exception_handler({"message": "a limit on waiting", "exception": error})
