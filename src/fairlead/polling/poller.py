"""Asks nodes what they have and how busy they are: every two seconds while they work, less often while they rest."""

import asyncio
from collections.abc import Awaitable, Callable

from fairlead.clock import Clock, monotonic_s
from fairlead.config import NodeConfig, NodeKind
from fairlead.domain.report import NodeReport
from fairlead.polling.watch import REST_S, Look, NodeWatch
from fairlead.rng import Draw, key_of

FAST_S = 2.0
SLOW_S = 30.0
_GROWTH = 1.5
_JITTER = 0.1
_ASKABLE = (NodeKind.OPENAI, NodeKind.OLLAMA)

Sleep = Callable[[float], Awaitable[None]]


class _Seat:
    """A node, and how long it is left alone between two questions."""

    def __init__(self, watch: NodeWatch) -> None:
        self.watch = watch
        self.name = watch.node.name
        self.key = key_of(self.name)
        self.polls = 0
        self.pause_s = 0.0
        self.trouble = ""
        self.task: asyncio.Task[None]


class Poller:
    """One task for each node; a node is asked one thing at a time, and never for an answer that costs anything.

    `in_use(name)` says whether the node has work of ours now. `on_report` is called with every report, and
    `on_trouble` with the node's name and a message whenever something else is wrong than before. Neither may raise.
    """

    def __init__(
        self,
        on_report: Callable[[NodeReport], None],
        on_trouble: Callable[[str, str], None],
        in_use: Callable[[str], bool],
        *,
        clock: Clock = monotonic_s,
        sleep: Sleep = asyncio.sleep,
        seed: int = 0,
        timeout_s: float = 2.0,
    ) -> None:
        self._on_report = on_report
        self._on_trouble = on_trouble
        self._in_use = in_use
        self._clock = clock
        self._sleep = sleep
        self._seed = seed
        self._timeout_s = timeout_s
        self._seats: dict[str, _Seat] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, node: NodeConfig) -> None:
        """Begin to ask a node, at once, in place of one of the same name; one that is not to be asked is left alone.

        Must be called inside a running event loop.
        """
        self.stop(node.name)
        if node.poll and node.url is not None and node.kind in _ASKABLE:
            seat = self._seats[node.name] = _Seat(NodeWatch(node, self._clock, self._timeout_s))
            seat.task = asyncio.get_running_loop().create_task(self._run(seat), name=f"poll {node.name}")

    def stop(self, name: str) -> None:
        """Ask a node no more; one that is not asked stays so."""
        seat = self._seats.pop(name, None)
        if seat is not None:
            seat.task.cancel()
            self._ending.add(seat.task)
            seat.task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Ask nobody any more."""
        for name in tuple(self._seats):
            self.stop(name)
        await asyncio.gather(*self._ending, return_exceptions=True)

    # -- inside

    async def _run(self, seat: _Seat) -> None:
        while True:
            look = await seat.watch.look(in_use=self._in_use(seat.name))
            self._tell(seat, look)
            if look.is_mute:
                await self._sleep(REST_S * self._jitter(seat))
            else:
                seat.pause_s = self._pause_s(seat, look)
                await self._pause(seat, seat.pause_s * self._jitter(seat))

    async def _pause(self, seat: _Seat, left_s: float) -> None:
        """Sleep, but no more than a little after the node is given work again."""
        was_in_use = self._in_use(seat.name)
        while left_s > 0 and (was_in_use or not self._in_use(seat.name)):
            nap_s = min(left_s, FAST_S)
            left_s -= nap_s
            await self._sleep(nap_s)

    def _tell(self, seat: _Seat, look: Look) -> None:
        if look.trouble != seat.trouble:
            seat.trouble = look.trouble
            if look.trouble:
                self._on_trouble(seat.name, look.trouble)
        if look.report is not None:
            self._on_report(look.report)

    def _pause_s(self, seat: _Seat, look: Look) -> float:
        report = look.report
        if report is not None and (report.running or report.waiting or self._in_use(seat.name)):
            return FAST_S
        return min(max(seat.pause_s * _GROWTH, FAST_S), SLOW_S)

    def _jitter(self, seat: _Seat) -> float:
        seat.polls += 1
        return 1.0 + _JITTER * (2.0 * Draw(self._seed, seat.key, seat.polls).unit() - 1.0)
