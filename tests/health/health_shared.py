"""A small fleet in made-up time: tasks, checks, circuits and a review every second, and who was asked what."""

from collections import Counter
from collections.abc import Callable, Iterable

from fairlead.domain.health import Verdict
from fairlead.health import (
    Breaker,
    Cause,
    Change,
    CheckSchedule,
    Circuit,
    CircuitBreakerConfig,
    HealthConfig,
    HealthMonitor,
    Seen,
)
from fairlead.rng import Draw, key_of

TICK_S = 0.1

Share = Callable[[float], float]
"""Of time: a share in [0, 1], or seconds."""


def constant(value: float) -> Share:
    return lambda _now_s: value


def during(start_s: float, end_s: float, value: float = 1.0) -> Share:
    return lambda now_s: value if start_s <= now_s < end_s else 0.0


def only(*names: str) -> frozenset[str]:
    """Exactly these nodes."""
    return frozenset(names)


class Scene:
    """Nodes that fail a share of their tasks, or are late, or do not answer checks, as told for each."""

    def __init__(
        self,
        nodes: Iterable[str],
        *,
        fails: dict[str, Share] | None = None,
        late_s: dict[str, Share] | None = None,
        away: dict[str, Share] | None = None,
        per_tick: float = 1.0,
        config: HealthConfig | None = None,
        seed: int = 1,
    ) -> None:
        self.fails, self.late_s, self.away = fails or {}, late_s or {}, away or {}
        self.config = config or HealthConfig()
        self.monitor = HealthMonitor(self.config)
        self.breakers = {name: Breaker(CircuitBreakerConfig()) for name in nodes}
        self.schedule = CheckSchedule(self.config.check, seed)
        self.draining: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.answered_s: dict[str, list[float]] = {name: [] for name in self.breakers}
        self.changes: list[tuple[float, Change]] = []
        self.causes: list[tuple[float, str, Cause]] = []
        self.panics_s: list[float] = []
        self.now_s = 0.0
        self._per_tick, self._seed, self._ticks = per_tick, seed, 0
        for name in self.breakers:
            self.monitor.join(name)
            self.schedule.join(name, 0.0)

    def run(self, until_s: float) -> "Scene":
        """Let the time go by."""
        while (self._ticks + 1) * TICK_S <= until_s + 1e-9:
            self._ticks += 1
            self.now_s = self._ticks * TICK_S
            self._check()
            for name in self.servable():
                self._ask(name)
            if self._ticks % 10 == 0:
                self.review()
        return self

    def review(self) -> None:
        seen = {
            name: Seen(is_open=one.state is Circuit.OPEN, is_draining=name in self.draining, utilization=0.5)
            for name, one in self.breakers.items()
        }
        self.changes += [(self.now_s, change) for change in self.monitor.review(self.now_s, seen)]
        if self.monitor.is_panic:
            self.panics_s.append(self.now_s)

    def servable(self) -> list[str]:
        out = self.monitor.ejected | self.monitor.unreachable | self.draining
        for name, breaker in self.breakers.items():
            self._note(name, breaker.waited(self.now_s))
        return [name for name, one in self.breakers.items() if name not in out and one.state is not Circuit.OPEN]

    def history(self, node: str) -> list[Verdict]:
        """The verdicts that a node went through, in order, from the first on."""
        return [Verdict.HEALTHY, *(change.after for _, change in self.changes if change.node == node)]

    def verdict(self, node: str) -> Verdict:
        return self.monitor.report(node, self.now_s).verdict

    def _ask(self, name: str) -> None:
        draw = Draw(self._seed, key_of(name), self._ticks)
        if draw.unit() >= self._per_tick:
            return
        success = draw.unit() >= max(self._of(self.fails, name), self._of(self.away, name))
        self.asked[name] += 1
        self.failed[name] += not success
        self.monitor.record(name, success, self.now_s, self._of(self.late_s, name) if success else None)
        if success:
            self.schedule.answered(name, self.now_s)
            self.answered_s[name].append(self.now_s)
        breaker = self.breakers[name]
        self._note(name, breaker.succeeded(self.now_s) if success else breaker.failed(self.now_s))

    def _check(self) -> None:
        for name in self.schedule.due(self.now_s):
            is_well = self._of(self.away, name) < 1.0
            self.schedule.result(name, is_well, self.now_s)
            if self.monitor.checked(name, is_well, self.now_s, "" if is_well else "connection refused"):
                self._note(name, self.breakers[name].checked(self.now_s))

    def _note(self, name: str, cause: Cause | None) -> None:
        if cause is not None:
            self.causes.append((self.now_s, name, cause))
        if cause in {Cause.TRIPPED, Cause.RELAPSED}:
            self.schedule.doubt(name, self.now_s)

    def _of(self, table: dict[str, Share], name: str) -> float:
        return table.get(name, constant(0.0))(self.now_s)
