"""ModelOrchestrator: owns a fleet's state and its backends, and runs every task through them. One loop, one owner."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import msgspec

from fairlead.backends.contract import Backend
from fairlead.capability.features import features_of
from fairlead.categories import Detector, RuleDetector
from fairlead.clock import steady_s, wall_s
from fairlead.dialects.contract import Call, ErrorInfo, Operation
from fairlead.domain import Model, Node, RoutingStrategy, Task, TaskCategory
from fairlead.engine.dispatch import Dispatch
from fairlead.engine.events import EventBus
from fairlead.engine.fleet import Fleet
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault
from fairlead.health import Circuit
from fairlead.orchestrator.exchange import RENEWAL_S, Exchange, Step
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.timeouts import Timeouts
from fairlead.rng import fresh_prefix
from fairlead.routing import RoutingSettings, Strategy, make_strategy
from fairlead.routing.engine import ModelChoice, RoutingEngine

SWEEP_S = 1.0
_CATEGORIES = frozenset(TaskCategory)
_LineKey = tuple[str, frozenset[str], int, float | None, int]


class CallTimeouts(msgspec.Struct, frozen=True):
    """Limits of one call, in seconds."""

    connect_s: float = 2.0
    first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 600.0


class Target(msgspec.Struct):
    """How a node is reached."""

    backend: Backend
    own_names: dict[str, str] = {}
    """What the node itself calls a model, where that differs."""
    first_token_s: float = 30.0
    idle_s: float = 20.0
    total_s: float = 600.0


class Watcher(Protocol):
    """Is told how exchanges go; must be quick and never raise."""

    def on_attempt_failed(self, exchange: Exchange, fault: Fault, info: ErrorInfo) -> None:
        """One attempt failed."""
        ...

    def on_finished(self, exchange: Exchange) -> None:
        """An exchange is over, well or not."""
        ...


class Wishes(msgspec.Struct, gc=False):
    """What a caller asks of the router beside the task itself."""

    category: TaskCategory | None = None
    session: str | None = None
    deadline_after_s: float | None = None
    max_cost_usd: float | None = None
    tenant: str | None = None
    strategy: Strategy | None = None
    quality: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None


NO_WISHES = Wishes()


class ModelOrchestrator:
    """Runs tasks: detects, decides, sends, relays, learns."""

    def __init__(
        self,
        fleet: Fleet | None = None,
        detector: Detector | None = None,
        *,
        retries: RetryPolicy | None = None,
        timeouts: CallTimeouts | None = None,
        max_waiting: int = 1024,
        watcher: Watcher | None = None,
        routing: RoutingSettings | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.clock: Callable[[], float] = steady_s
        self.wall_clock: Callable[[], float] = wall_s
        self.fleet = fleet or Fleet(make_strategy(RoutingStrategy.HYBRID), engine=RoutingEngine())
        self.detector = detector or RuleDetector()
        self.bus = EventBus()
        self.targets: dict[str, Target] = {}
        self.timeouts_of_calls = timeouts or CallTimeouts()
        self.routing_settings = routing or RoutingSettings()
        self.in_flight: set[Exchange] = set()
        self._watcher = watcher
        self._policy = retries or RetryPolicy()
        self._budget = RetryBudget(self._policy)
        self._max_waiting = max_waiting
        self._waiting: dict[Exchange, _LineKey] = {}
        self._lines: dict[_LineKey, dict[Exchange, None]] = {}
        """Those who wait, by what they wait for: when the first of a line finds no room, the rest will not either."""
        self._is_calling = False
        self._calls_in_vain = 0
        limits = self.timeouts_of_calls
        self.timeouts = Timeouts(self.loop, (limits.first_token_s, limits.total_s, RENEWAL_S))
        self.prefix = fresh_prefix()
        self._submitted = 0
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        self._idle = asyncio.Event()

    # -- the fleet

    def add(self, model: Model, node: Node, target: Target) -> None:
        """Serve a model on a node."""
        self.fleet.add(model, node, self.clock())
        self.targets[node.name] = target
        self.timeouts.expect((target.first_token_s, target.total_s))
        self._publish()

    def set_strategy(self, strategy: Strategy) -> None:
        """Choose by another strategy from now on."""
        self.fleet.set_strategy(strategy, self.clock())
        self._publish()

    def change_node(self, node: str, verb: str) -> None:
        """Recover, drain or undrain a node."""
        if verb == "recover":
            self.fleet.force_recovery(node, self.clock())
        else:
            self.fleet.drain(node, verb == "drain")
        self._publish()

    def is_ready(self) -> bool:
        """Tell whether any node may be given tasks."""
        return any(state.breaker.state is not Circuit.OPEN for state in self.fleet.nodes.values())

    # -- tasks

    def task_of(self, call: Call, wishes: Wishes = NO_WISHES) -> Task:
        """Return the task that a call is, under an id of its own."""
        self._submitted = number = self._submitted + 1
        category = wishes.category
        if category is None:
            category = (
                TaskCategory.UNKNOWN if call.operation is Operation.EMBEDDING else self.detector.detect(call.prompt)
            )
        if type(category) is not TaskCategory:  # a detector from elsewhere may return what it likes
            category = TaskCategory(category) if category in _CATEGORIES else TaskCategory.UNKNOWN
        deadline_s = None if wishes.deadline_after_s is None else self.clock() + wishes.deadline_after_s
        engine = self.fleet.engine
        looks = engine is not None and engine.reads_prompts and self.fleet.stands_for_several(call.model)
        return Task(
            f"{self.prefix}-{number}",
            number,
            category,
            call.model,
            call.needs,
            len(call.body) // 4,
            call.max_output_tokens or 0,
            wishes.session,
            deadline_s,
            wishes.max_cost_usd,
            wishes.tenant,
            wishes.quality,
            wishes.min_quality,
            wishes.max_latency_s,
            features_of(call.prompt) if looks else None,
        )

    def submit(
        self,
        call: Call,
        reply: Reply,
        wishes: Wishes = NO_WISHES,
        head: bytes = b"",
        step: Step | None = None,
        task: Task | None = None,
    ) -> Exchange:
        """Begin an exchange; the reply is driven through callbacks from here on. `head` is added to what nodes get.

        `task` is what `task_of` made of the call, where it was asked already; `step` says which of a cascade it is.
        """
        now_s = self.clock()
        task = task or self.task_of(call, wishes)
        dispatch = Dispatch(self.fleet, task, self._policy, self._budget, wishes.strategy)
        exchange = Exchange(self, call, task, dispatch, reply, head, now_s)
        exchange.step = step
        self.in_flight.add(exchange)
        try:
            exchange.start()
        except BaseException:
            exchange.cancel()
            raise
        if self.fleet.outbox:
            self._publish()
        return exchange

    def judge(
        self, task: Task, model: str, score: float, previous: float | None = None, choice: ModelChoice | None = None
    ) -> dict[str, object]:
        """Let what an answer was worth teach the router; returns what it changed. Raises as `Fleet.judge` does."""
        return self.fleet.judge(task, model, score, self.clock(), previous, choice)

    # -- for exchanges

    def queue_up(self, exchange: Exchange) -> bool:
        """Let an exchange wait for a lease to be given back; False when the line is full."""
        if exchange in self._waiting:  # called in vain: it keeps its place
            self._calls_in_vain += 1
            return True
        if len(self._waiting) >= self._max_waiting:
            return False
        task = exchange.task
        size = (task.input_tokens + task.output_tokens).bit_length()
        again = task.key if exchange.decisions else 0  # who was turned away somewhere is a line of one
        key = self._waiting[exchange] = (task.model, task.needs, size, task.max_cost_usd, again)
        self._lines.setdefault(key, {})[exchange] = None
        return True

    def lease_released(self) -> None:
        """Let those in line try."""
        if self._waiting and not self._is_calling:
            self._is_calling = True
            self.loop.call_soon(self._call_lines)

    def attempt_failed(self, exchange: Exchange, fault: Fault, info: ErrorInfo) -> None:
        """Tell the watcher."""
        if self._watcher is not None:
            self._watcher.on_attempt_failed(exchange, fault, info)

    def finished(self, exchange: Exchange) -> None:
        """Forget an exchange that is over."""
        self.in_flight.discard(exchange)
        if not self.in_flight:
            self._idle.set()
        if self._waiting:
            self._leave_line(exchange)
            self.lease_released()
        if self._watcher is not None:
            self._watcher.on_finished(exchange)
        if self.fleet.outbox:
            self._publish()

    # -- the end

    async def drained(self, limit_s: float) -> bool:
        """Wait until no exchange is under way, for `limit_s` seconds at most; tells whether it came to that."""
        if self.in_flight:
            self._idle.clear()
            try:
                async with asyncio.timeout(limit_s):
                    await self._idle.wait()
            except TimeoutError:
                return False
        return True

    async def close(self) -> None:
        """Stop everything that is still going on, and give up all connections."""
        for exchange in tuple(self.in_flight):
            exchange.cancel()
        self._sweeper.cancel()
        self.timeouts.stop()
        for target in self.targets.values():
            await target.backend.close()

    # -- inside

    def _call_lines(self) -> None:
        """Let the first of each line try, and those behind it while there is room."""
        self._is_calling = False
        for key, line in tuple(self._lines.items()):
            while line:
                exchange = next(iter(line))
                before = self._calls_in_vain
                exchange.resume_dispatch()
                if self._calls_in_vain > before:
                    break
                self._leave_line(exchange)
                if line:  # the other lines come first next time
                    self._lines[key] = self._lines.pop(key)

    def _leave_line(self, exchange: Exchange) -> None:
        key = self._waiting.pop(exchange, None)
        if key is not None:
            del self._lines[key][exchange]
            if not self._lines[key]:
                del self._lines[key]

    def _sweep(self) -> None:
        now_s = self.clock()
        self.fleet.tick(now_s)
        if now_s >= self.fleet.ledger.due_s:
            self.fleet.expire(now_s)
            self.lease_released()
        due_s = self.fleet.next_due_s()
        if self._waiting and due_s is not None and due_s <= now_s:
            self.lease_released()
        self._publish()
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    def _publish(self) -> None:
        events, self.fleet.outbox = self.fleet.outbox, []
        for event in events:
            self.bus.publish(event)
