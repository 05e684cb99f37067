"""A model server in virtual time: it reads prompts one after another, and writes all answers side by side.

All answers grow by one token a step, so one count of steps is kept for the whole server (its own virtual time) and an
answer ends at a count that is known when it begins: however many run, each beginning and end costs O(log n).
"""

import heapq
from collections import deque
from collections.abc import Callable

import msgspec

from fairlead.testing.service_times import ServiceTimes
from fairlead.testing.virtual_time import VirtualTime

_ROUNDING = 1e-6
"""Of a step."""


class Work(msgspec.Struct, eq=False):
    """One prompt to be read and its answer to be written."""

    input_tokens: int
    output_tokens: int
    on_first: Callable[[], None]
    """The first token is there."""
    on_end: Callable[[], None]
    """The answer is whole."""
    is_stopped: bool = False


class VirtualServer:
    """Works on whatever it is given, at a pace that depends on how much that is."""

    def __init__(self, time: VirtualTime, times: ServiceTimes) -> None:
        self.times = times
        self._time = time
        self._unread: deque[Work] = deque()
        self._reads: Work | None = None
        self._running = 0
        self._ends: list[tuple[float, int, Work]] = []
        self._begun = 0
        self._steps = 0.0
        """Done so far, while anything was written."""
        self._at_s = time.now_s
        self._step_s = times.step_at(1)
        self._plans = 0

    def start(self, work: Work) -> None:
        """Take on some work."""
        self._unread.append(work)
        self._read()

    def stop(self, work: Work) -> None:
        """Give some work up, at whatever point it is; nothing more is heard of it."""
        if work.is_stopped:
            return
        work.is_stopped = True
        if work is self._reads:
            self._reads = None
            self._read()
        elif any(one is work for _, _, one in self._ends):
            self._pass()
            self._running -= 1
            self._plan()

    # -- reading

    def _read(self) -> None:
        while self._unread and self._unread[0].is_stopped:
            self._unread.popleft()
        if self._reads is None and self._unread:
            work = self._reads = self._unread.popleft()
            self._time.after(self.times.prefill_s(work.input_tokens), lambda: self._has_read(work))

    def _has_read(self, work: Work) -> None:
        if self._reads is not work:  # given up meanwhile
            return
        self._reads = None
        if work.output_tokens > 1:
            self._pass()
            self._begun += 1
            heapq.heappush(self._ends, (self._steps + work.output_tokens - 1, self._begun, work))
            self._running += 1
            self._plan()
        self._read()
        work.on_first()
        if work.output_tokens <= 1:
            work.is_stopped = True
            work.on_end()

    # -- writing

    def _pass(self) -> None:
        now_s = self._time.now_s
        if self._running:
            self._steps += (now_s - self._at_s) / self._step_s
        self._at_s = now_s

    def _plan(self) -> None:
        """Foresee the next end; what was foreseen before does not hold any more."""
        self._plans += 1
        while self._ends and self._ends[0][2].is_stopped:
            heapq.heappop(self._ends)
        if self._ends:
            self._step_s = self.times.step_at(self._running)
            plan = self._plans
            self._time.after(max(self._ends[0][0] - self._steps, 0.0) * self._step_s, lambda: self._end(plan))

    def _end(self, plan: int) -> None:
        if plan != self._plans:
            return
        self._pass()
        whole: list[Work] = []
        while self._ends and (self._ends[0][2].is_stopped or self._ends[0][0] <= self._steps + _ROUNDING):
            work = heapq.heappop(self._ends)[2]
            if not work.is_stopped:
                work.is_stopped = True
                self._running -= 1
                whole.append(work)
        self._plan()
        for work in whole:
            work.on_end()
