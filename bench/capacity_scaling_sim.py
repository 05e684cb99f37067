"""A fleet that scales, simulated in steps of half a second: arrivals by Poisson, waits counted request by request.

Requests wait in one queue in the order they came. A request's wait is counted to the *end* of the step in which a slot
was free for it, so waits are overstated by up to a step. Service times are exponential: in each step every busy slot is
done with the same chance. A node is paid for from the moment it is started until its last request is over.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from fairlead.scaling import FleetView, Phase, ScaledNode, ScalingAction

STEP_S = 0.5


@dataclass(frozen=True)
class Setting:
    """What a run stands on; every planner meets the same."""

    node_slots: int = 32
    service_s: float = 8.0
    cold_start_s: float = 60.0
    wait_target_s: float = 2.0
    interval_s: float = 10.0


@dataclass
class Result:
    """What a run came to."""

    node_hours: float = 0.0
    requests: int = 0
    within: int = 0
    starts: int = 0
    stops: int = 0
    peak: int = 0
    left: int = 0
    waits: dict[float, int] = field(default_factory=dict)

    @property
    def share_within(self) -> float:
        """Share of the requests that waited at most the target; those never served count as late."""
        return self.within / self.requests if self.requests else 1.0

    def wait_quantile(self, share: float) -> float:
        """Return the wait that this share of the requests stayed within."""
        seen, wanted = 0, share * self.requests
        for wait_s in sorted(self.waits):
            seen += self.waits[wait_s]
            if seen >= wanted:
                return wait_s
        return math.inf


Planner = Callable[[FleetView, int, float], ScalingAction]
"""Told the fleet, the arrivals since the last call and the time, says what to do."""


class _Server:
    __slots__ = ("drained_s", "ready_s")

    def __init__(self, ready_s: float) -> None:
        self.ready_s = ready_s
        self.drained_s: float | None = None


class Simulation:
    """One day of one fleet."""

    def __init__(self, setting: Setting, planner: Planner, first_nodes: int, first_busy: int, random: Random) -> None:
        self._setting, self._planner, self._random = setting, planner, random
        self._done_share = STEP_S / setting.service_s  # a slot is taken again at the end of a step, not before
        # As long as the last of a node's tasks takes on average: the mean of the largest of n exponential times.
        self._drain_s = setting.service_s * sum(1.0 / n for n in range(1, setting.node_slots + 1))
        self._servers = {f"n{index}": _Server(0.0) for index in range(first_nodes)}
        self._made = first_nodes
        self._busy = min(first_busy, first_nodes * setting.node_slots)
        self._busy_draining = 0
        self._queue: deque[tuple[int, int]] = deque()
        self._queued = 0
        self.result = Result()

    def run(self, arrivals: Sequence[int]) -> Result:
        """Serve these arrivals, one number for each step."""
        every = round(self._setting.interval_s / STEP_S)
        new = 0
        for step, count in enumerate(arrivals):
            if step % every == 0:
                self._plan(new, step * STEP_S)
                new = 0
            new += count
            self._serve(step, count)
        self.result.left = self._queued
        return self.result

    def _plan(self, arrivals: int, now_s: float) -> None:
        action = self._planner(self.view(now_s), arrivals, now_s)
        servers = self._servers
        if action.keep:
            draining = sum(server.drained_s is not None for server in servers.values())
            self._busy_draining -= self._busy_draining * len(action.keep) // draining
        for name in action.keep:
            servers[name].drained_s = None
        for name in action.stop:
            del servers[name]
        if action.drain:
            serving = sum(server.drained_s is None and server.ready_s <= now_s for server in servers.values())
            self._busy_draining += self._busy_serving() * len(action.drain) // serving
            for name in action.drain:
                servers[name].drained_s = now_s + self._drain_s
        for _ in range(action.start):
            servers[f"n{self._made}"] = _Server(now_s + self._setting.cold_start_s)
            self._made += 1
        self.result.starts += action.start
        self.result.stops += len(action.stop)
        self.result.peak = max(self.result.peak, len(servers))
        self.result.node_hours += len(servers) * self._setting.interval_s / 3600.0
        self._recount()

    def _recount(self) -> None:
        self._ready = sorted(server.ready_s for server in self._servers.values() if server.drained_s is None)
        self._ready_at = 0

    def _busy_serving(self) -> int:
        return max(0, self._busy - self._busy_draining)

    def view(self, now_s: float) -> FleetView:
        """Return what a planner sees."""
        slots = self._setting.node_slots
        serving = sum(s.drained_s is None and s.ready_s <= now_s for s in self._servers.values())
        each = self._busy_serving() // serving if serving else 0
        nodes = []
        for name, server in self._servers.items():
            if server.drained_s is not None:
                nodes.append(ScaledNode(name, slots, int(server.drained_s > now_s), Phase.DRAINING))
            elif server.ready_s > now_s:
                nodes.append(ScaledNode(name, slots, 0, Phase.STARTING))
            else:
                nodes.append(ScaledNode(name, slots, each, Phase.SERVING))
        return FleetView(nodes=tuple(nodes), waiting=self._queued, service_s=self._setting.service_s)

    def _serve(self, step: int, count: int) -> None:
        now_s = step * STEP_S
        while self._ready_at < len(self._ready) and self._ready[self._ready_at] <= now_s:
            self._ready_at += 1
        draining_done = binomial(self._busy_draining, self._done_share, self._random)
        serving = self._busy_serving()
        serving -= binomial(serving, self._done_share, self._random)
        self._busy_draining -= draining_done
        if count:
            self._queue.append((step, count))
            self._queued += count
            self.result.requests += count
        free = self._ready_at * self._setting.node_slots - serving
        while free > 0 and self._queue:
            came, waiting = self._queue.popleft()
            taken = min(free, waiting)
            if taken < waiting:
                self._queue.appendleft((came, waiting - taken))
            free -= taken
            serving += taken
            self._queued -= taken
            self._count(0.0 if came == step else (step - came + 1) * STEP_S, taken)
        self._busy = serving + self._busy_draining

    def _count(self, wait_s: float, requests: int) -> None:
        result = self.result
        result.waits[wait_s] = result.waits.get(wait_s, 0) + requests
        if wait_s <= self._setting.wait_target_s:
            result.within += requests


def poisson(mean: float, random: Random) -> int:
    """Draw from a Poisson distribution; by the normal one where that is close."""
    if mean > 50:
        return max(0, round(random.gauss(mean, math.sqrt(mean))))
    limit, product, n = math.exp(-mean), random.random(), 0
    while product > limit:
        product *= random.random()
        n += 1
    return n


def binomial(n: int, share: float, random: Random) -> int:
    """Draw from a binomial distribution; by the normal or the Poisson one where that is close."""
    mean = n * share
    if mean > 30:
        return min(n, max(0, round(random.gauss(mean, math.sqrt(mean * (1 - share))))))
    if n > 200:
        return min(n, poisson(mean, random))
    return sum(random.random() < share for _ in range(n))


def arrivals_of(rates: Sequence[float], window_s: float, random: Random) -> Iterator[int]:
    """Draw how many requests come in each step, at the rate of each window in turn."""
    for rate in rates:
        for _ in range(round(window_s / STEP_S)):
            yield poisson(rate * STEP_S, random)
