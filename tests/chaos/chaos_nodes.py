"""The nodes: model stand-ins in this process, each behind a wire that misbehaves, and the weather they live in."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

import msgspec
from chaos_answers import MODEL, UNWELL, Prefixes, StandIn, Weakness
from chaos_load import Load

from fairlead.testing.answers import FakeDialect
from fairlead.testing.fault_proxy import FaultProxy, WireFault, WireFaultKind
from fairlead.testing.provider import FakeProvider, Reply

KINDS: tuple[tuple[FakeDialect, Prefixes], ...] = (
    ("openai", Prefixes.CONTINUES),
    ("openai", Prefixes.RESTARTS),
    ("ollama", Prefixes.CONTINUES),
    ("openai", Prefixes.REJECTS),
    ("ollama", Prefixes.RESTARTS),
)
LONGEST_ANSWER_BYTES = 4000
"""About what a stream of the longest answers comes to, so that faults fall anywhere in it."""
SLOW_BYTES_PER_S = 20_000
LOADED = msgspec.json.encode({"models": [{"name": MODEL, "model": MODEL, "size": 1, "size_vram": 1}]})
QUIET_REQUESTS = 20
SILENCE_S = 2.0
"""Longer than nodes may be silent."""


def line_of(name: str, port: int, dialect: FakeDialect, prefixes: Prefixes, timeouts: str) -> str:
    """Return a node as a line of a configuration."""
    url = f"http://127.0.0.1:{port}" + ("" if dialect == "ollama" else "/v1")
    told = ", continuation: trailing" if prefixes is Prefixes.CONTINUES else ""
    return (
        f"  - {{name: {name}, kind: {dialect}, url: '{url}', models: [{MODEL}], "
        f"capacity: {{slots: 8}}, timeouts: {timeouts}{told}}}"
    )


def stand_in_of(number: int, seed: int, pause_s: float) -> StandIn:
    """Return one of the kinds of servers, by its number; it is not started yet."""
    dialect, prefixes = KINDS[number % len(KINDS)]
    provider = FakeProvider(dialect, models=(MODEL,), remembers=False)
    if dialect == "ollama":  # it holds its model, else it is asked only where no other node has room
        provider.pages["/api/ps"] = Reply(body=LOADED)
    return StandIn(provider, prefixes, seed * 100 + number, pause_s)


class Place(msgspec.Struct):
    """One node: its server, and the wire before it."""

    name: str
    stand_in: StandIn
    wire: FaultProxy

    @property
    def provider(self) -> FakeProvider:
        return self.stand_in.provider

    async def crash(self) -> None:
        """End the server at once; what is under way breaks."""
        await self.provider.stop()

    async def restart(self) -> None:
        await self.provider.start()

    def written(self, timeouts: str) -> str:
        """Return the node as a line of a configuration."""
        return line_of(self.name, self.wire.port, self.provider.dialect, self.stand_in.prefixes, timeouts)


@asynccontextmanager
async def places(count: int, seed: int, pause_s: float = 0.001) -> AsyncIterator[list[Place]]:
    """Run so many nodes."""
    async with AsyncExitStack() as stack:
        found = []
        for number in range(count):
            stand_in = stand_in_of(number, seed, pause_s)
            provider = await stack.enter_async_context(stand_in.provider)
            wire = await stack.enter_async_context(FaultProxy(provider.port))
            found.append(Place(f"n{number}", stand_in, wire))
        yield found


def faults_of(nodes: list[Place]) -> Counter[str]:
    """Return what has befallen the nodes so far."""
    total: Counter[str] = Counter()
    for place in nodes:
        total.update({kind.value: count for kind, count in place.wire.struck.items()})
        total["refuse"] += place.wire.refused
        total["unwell"] += place.stand_in.failed
    return +total


class Episode(msgspec.Struct, frozen=True):
    """One node fails in one way for so many requests of the fleet."""

    node: int
    kind: str
    after_bytes: int
    requests: int

    @property
    def least_s(self) -> float:
        """How long it lasts at least: silence has to last until it is noticed."""
        return SILENCE_S if self.kind in ("vanish", "stall") else 0.0

    async def begin(self, place: Place) -> None:
        wire = place.wire
        if self.kind in _BREAKING:
            wire.fault = WireFault(WireFaultKind(self.kind), self.after_bytes)
        elif self.kind == "slow":
            wire.fault = WireFault(WireFaultKind.THROTTLE, bytes_per_s=SLOW_BYTES_PER_S)
        elif self.kind == "unplug":
            wire.refuse()
            wire.strike(WireFaultKind.RESET)
        elif self.kind == "vanish":
            wire.fault = WireFault(WireFaultKind.HANG)
            wire.strike(WireFaultKind.STALL)
        elif self.kind == "crash":
            await place.crash()
        else:
            place.stand_in.weakness = Weakness(1.0, UNWELL)

    async def end(self, place: Place) -> None:
        await place.wire.heal()
        place.stand_in.weakness = Weakness()
        if self.kind == "crash":
            await place.restart()


_BREAKING = ("cut", "reset", "stall", "half_close")
EPISODES = ("unplug", "crash", "cut", "vanish", "reset", "unwell", "half_close", "stall", "slow")


def episodes_of(seed: int, count: int, nodes: int, requests: int) -> list[Episode]:
    """Return the plan of a run: which node fails when and how; every kind comes up before any comes again."""
    draw = random.Random(seed)
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += draw.sample(EPISODES, len(EPISODES))
    return [
        Episode(draw.randrange(nodes), kind, draw.randrange(LONGEST_ANSWER_BYTES // 2), draw.randint(1, 2) * requests)
        for kind in kinds[:count]
    ]


async def one_after_another(
    nodes: list[Place], load: Load, plan: list[Episode], recovered: Callable[[], Awaitable[None]]
) -> None:
    """Let one node at a time fail, under load, and recover before the next one does."""
    for episode in plan:
        await load.more(QUIET_REQUESTS)
        await episode.begin(nodes[episode.node])
        await asyncio.gather(load.more(episode.requests), asyncio.sleep(episode.least_s))
        await episode.end(nodes[episode.node])
        await recovered()


class Mortal(Protocol):
    """A server that can be ended without a word, and begun anew."""

    async def crash(self) -> None: ...

    async def restart(self) -> None: ...


async def crashes(servers: Sequence[Mortal], load: Load, seed: int, count: int, requests: int) -> None:
    """Let servers crash at random, two at a time at most, and come back after so many requests."""
    draw = random.Random(seed)
    for _ in range(count):
        dying = draw.sample(servers, draw.randint(1, 2))
        for server in dying:
            await server.crash()
            await load.more(draw.randint(1, requests))
        for server in dying:
            await server.restart()
        await load.more(requests)


def storm(nodes: list[Place], seed: int, share: float) -> None:
    """Let everything go wrong everywhere, for this share of the turns each: on the wire, and in the servers."""
    for number, place in enumerate(nodes):
        place.wire.choose = _Draws(random.Random(seed * 1000 + number), share)
        place.stand_in.weakness = Weakness(share, UNWELL)


class _Draws:
    """Chooses the fault of a turn."""

    def __init__(self, draw: random.Random, share: float) -> None:
        self._draw = draw
        self._share = share

    def __call__(self) -> WireFault | None:
        draw = self._draw
        if draw.random() >= self._share:
            return None
        kind = draw.choice((*WireFaultKind, WireFaultKind.CUT, WireFaultKind.RESET))
        if kind in (WireFaultKind.HANG, WireFaultKind.STALL) and draw.random() < 0.7:
            kind = WireFaultKind.CUT  # these cost a time limit each
        return WireFault(kind, draw.randrange(LONGEST_ANSWER_BYTES), 0.05, SLOW_BYTES_PER_S)


async def calm(nodes: list[Place]) -> None:
    """End all faults."""
    for place in nodes:
        await place.wire.heal()
        place.stand_in.weakness = Weakness()
