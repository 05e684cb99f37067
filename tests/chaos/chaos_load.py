"""The load: callers that go on until they are told to stop, and what became of their requests."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from chaos_callers import Connection
from chaos_checker import Ask, Got, Verdict, judge

MOST_WRONG = 20
AFTER_REFUSAL_S = 0.02
"""A caller that is refused does not ask again at once."""


class Tally:
    """What became of all requests so far."""

    def __init__(self) -> None:
        self.verdicts: Counter[Verdict] = Counter()
        self.errors: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.latencies_s: list[float] = []
        self.failed_over = 0
        self.turned_away = 0
        """No connection, or one that ended unused: only while the gateway ends."""

    @property
    def judged(self) -> int:
        return self.verdicts.total()

    @property
    def complete_share(self) -> float:
        """Of the requests whose callers stayed."""
        stayed = self.judged - self.verdicts[Verdict.LEFT]
        return self.verdicts[Verdict.COMPLETE] / max(1, stayed)

    def note(self, ask: Ask, got: Got) -> None:
        """Judge an answer and count it."""
        verdict, why = judge(ask, got)
        self.verdicts[verdict] += 1
        if verdict is Verdict.WRONG:
            self.blame(why)
        elif verdict is Verdict.COMPLETE:
            self.latencies_s.append(got.took_s)
            self.failed_over += int(got.headers.get("x-fairlead-attempts", "1")) > 1
        elif verdict is not Verdict.LEFT:
            self.errors[f"{verdict} {got.status} {got.body[-160:]!r}"] += 1

    def blame(self, why: str) -> None:
        """Keep what is wrong, up to a number."""
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(why)

    def quantile_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


class Load:
    """So many callers at once, each with one request after the other."""

    def __init__(self, port: int, asks: Iterator[Ask], callers: int) -> None:
        self.tally = Tally()
        self.sent = 0
        self.is_ending = False
        """Whether the gateway has been told to end: connections may then be refused."""
        self._port = port
        self._asks = asks
        self._callers = callers
        self._is_stopping = False
        self._steps: list[tuple[int, asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let the callers begin."""
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._callers)]

    async def reached(self, judged: int) -> None:
        """Wait until so many requests are over, or no caller is left."""
        event = asyncio.Event()
        self._steps.append((judged, event))
        waiting = asyncio.create_task(event.wait())
        ended = asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            waiting.cancel()
            ended.result()

    async def more(self, requests: int) -> None:
        """Wait for so many further requests."""
        await self.reached(self.tally.judged + requests)

    async def stop(self) -> None:
        """Let each caller finish what it has asked, and go home."""
        self._is_stopping = True
        await self.gone()

    async def gone(self) -> None:
        """Wait until every caller is gone. Raises what any of them could not bear."""
        await asyncio.gather(*self._tasks)

    async def _work(self) -> None:
        connection = Connection(self._port)
        try:
            while not self._is_stopping:
                if not await self._ask(connection):
                    return
                self._tell()
        finally:
            connection.leave()

    async def _ask(self, connection: Connection) -> bool:
        """Ask once; False where the gateway is gone."""
        ask = next(self._asks)
        was_ending = self.is_ending
        try:
            got = await connection.ask(ask)
        except TimeoutError:
            self.sent += 1
            self.tally.verdicts[Verdict.WRONG] += 1
            self.tally.blame(f"no end of it: {ask}")
            connection.leave()
            return True
        except OSError:
            if not self.is_ending:
                raise
            self.tally.turned_away += 1
            connection.leave()
            return False
        if was_ending and not got.status and not got.has_left:
            self.tally.turned_away += 1  # the connection was closed before the request was read
            return True
        self.sent += 1
        self.tally.note(ask, got)
        if got.status >= 400:
            await asyncio.sleep(AFTER_REFUSAL_S)
        return True

    def _tell(self) -> None:
        judged = self.tally.judged
        for step in self._steps:
            if judged >= step[0]:
                step[1].set()
        self._steps = [step for step in self._steps if judged < step[0]]
