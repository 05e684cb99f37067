"""ModelOrchestrator: owns a fleet's state and its backends, and runs every task through them. One loop, one owner."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec

from fairlead.admission.config import QueueConfig
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.balancing.balancer import LoadBalancer
from fairlead.capability.features import features_of
from fairlead.categories import Detector, RuleDetector
from fairlead.clock import wall_s
from fairlead.config import Config, load
from fairlead.dialects.contract import Call, ErrorInfo, Operation
from fairlead.dialects.prefix import prefix_blocks
from fairlead.domain import RoutingStrategy, Task, TaskCategory
from fairlead.domain.load import LoadStrategy
from fairlead.domain.rescue import Rescue
from fairlead.engine.decision import Decision
from fairlead.engine.directory import AUTO
from fairlead.engine.dispatch import Action, Dispatch
from fairlead.engine.events import LoadStageChanged
from fairlead.engine.fleet import Fleet
from fairlead.engine.hedging import Hedger
from fairlead.engine.lobby import Lobby
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import ConfigError, Fault
from fairlead.health.config import DegradationConfig, HedgingConfig
from fairlead.orchestrator.degrading import Degrading
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.membership import Membership
from fairlead.orchestrator.owner import Owner
from fairlead.orchestrator.processing import Collected, OnText, Prompt, TaskResult, call_of
from fairlead.orchestrator.recovery import Recovery
from fairlead.orchestrator.reply import Reply
from fairlead.orchestrator.steps import Step
from fairlead.orchestrator.target import CallTimeouts
from fairlead.orchestrator.wishes import NO_WISHES, Wishes
from fairlead.rng import fresh_prefix
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.contract import Explores
from fairlead.routing.engine import ModelChoice, RoutingEngine

SWEEP_S = 0.25
JSON_HEAD = b"content-type: application/json\r\n"
STOPPING = ErrorInfo(503, "this gateway is stopping: ask again", "overloaded_error", "stopping")
BROKEN = ErrorInfo(500, "the gateway could not go on with this request", "api_error", "internal_error")
_CATEGORIES = frozenset(TaskCategory)
WORTH_BLOCKS = 2
"""A prompt of fewer blocks is read sooner than its place is priced."""
_PROMPTED = frozenset((Operation.CHAT, Operation.COMPLETION))


class Watcher(Protocol):
    """Is told how exchanges go; must be quick and never raise."""

    def on_attempt_failed(self, exchange: Exchange, decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        """One attempt failed: the one that this decision led to."""
        ...

    def on_finished(self, exchange: Exchange) -> None:
        """An exchange is over, well or not."""
        ...


class ModelOrchestrator(Membership):
    """Runs tasks: detects, decides, sends, relays, learns."""

    def __init__(
        self,
        engine: RoutingEngine | None = None,
        allocator: ResourceAllocator | None = None,
        balancer: LoadBalancer | None = None,
        *,
        fleet: Fleet | None = None,
        detector: Detector | None = None,
        retries: RetryPolicy | None = None,
        timeouts: CallTimeouts | None = None,
        queue: QueueConfig | None = None,
        shares: Mapping[str, float] | None = None,
        watcher: Watcher | None = None,
        routing: RoutingSettings | None = None,
        rescue: Rescue = Rescue.SAME_MODEL,
        hedging: HedgingConfig | None = None,
        degradation: DegradationConfig | None = None,
    ) -> None:
        """Build one from its parts, where they are given. A `fleet` brings an engine and an allocator of its own.

        It belongs to one event loop: the one that runs now, or, built before any runs, that of its first task. Raises
        ValueError for a fleet beside an engine or an allocator.
        """
        if fleet is not None and (engine is not None or allocator is not None):
            raise ValueError(
                "a fleet has its own engine and allocator: give these to the Fleet, or leave the fleet out"
            )
        self.loop: asyncio.AbstractEventLoop
        self.wall_clock: Callable[[], float] = wall_s
        strategy = make_strategy(RoutingStrategy.HYBRID)
        fleet = fleet or Fleet(strategy, engine=engine or RoutingEngine(), allocator=allocator)
        super().__init__(fleet, timeouts or CallTimeouts(), routing or RoutingSettings(), Hedger(hedging))
        self.detector = detector or RuleDetector()
        self.in_flight: set[Exchange] = set()
        self._watcher = watcher
        self._policy = retries or RetryPolicy()
        self._budget = RetryBudget(self._policy)
        self.lobby: Lobby[Exchange] = Lobby(self.fleet, queue, shares)
        self._is_admitting = False
        self.is_stopping = False
        """Whether nothing new is to be begun."""
        self.rescue = rescue
        """Who may finish an answer that breaks in the middle."""
        self.prefix = fresh_prefix()
        self._submitted = 0
        self._seen = 0
        self.balancer = balancer or LoadBalancer()
        self.strategy_of_load = LoadStrategy()
        """How what arrives is met now."""
        self.on_answer: Callable[[str], None] | None = None
        """Is told the node of each answer: who answers need not be asked whether it is there."""
        self.degrading = Degrading(self, degradation)
        self.recovery = Recovery(self)
        self._sweeper: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        if _is_loop_running():
            self.attach()

    @classmethod
    def from_config(cls, config: Config | Path | str) -> "ModelOrchestrator":
        """Return the one that a configuration, or a file, describes; nodes must name their models.

        Raises ConfigError for a file that is wrong, and for a node that names no models.
        """
        from fairlead.orchestrator.build import build_orchestrator  # which imports this

        config = config if isinstance(config, Config) else load(Path(config))
        for node in config.nodes:
            if node.models is None:
                raise ConfigError(f"node {node.name!r} names no models: say under `models` what it serves")
        return build_orchestrator(config, {})

    def attach(self) -> None:
        """Belong to the event loop that runs now, from the first time on."""
        if self._sweeper is None:
            self.loop = asyncio.get_running_loop()
            self.timeouts.run_on(self.loop)
            self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    async def __aenter__(self) -> Self:
        self.attach()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- rules

    def configure(
        self,
        *,
        retries: RetryPolicy | None = None,
        timeouts: CallTimeouts | None = None,
        rescue: Rescue | None = None,
        hedging: HedgingConfig | None = None,
        degradation: DegradationConfig | None = None,
    ) -> None:
        """Go by other rules from now on; what is under way keeps those it began with, but for the hedging."""
        if retries is not None:
            self._policy = retries
            self._budget = RetryBudget(retries)
        if timeouts is not None:
            self.timeouts_of_calls = timeouts
            self.timeouts.expect((timeouts.first_token_s, timeouts.total_s))
        self.rescue = self.rescue if rescue is None else rescue
        if hedging is not None:
            self.hedger.configure(hedging)
            self.degrading.carry_out()
        if degradation is not None:
            self.degrading.configure(degradation)

    @property
    def max_attempts(self) -> int:
        """Nodes asked for one task at most."""
        return self._policy.max_attempts

    @property
    def arrived(self) -> int:
        """Tasks that have come so far."""
        return self._submitted

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
            call.max_output_tokens or (1 if call.operation is Operation.EMBEDDING else 0),  # a vector is no text
            wishes.session,
            deadline_s,
            wishes.max_cost_usd,
            wishes.tenant,
            wishes.quality,
            wishes.min_quality,
            wishes.max_latency_s,
            features_of(call.prompt) if looks else None,
            wishes.priority,
            wishes.min_output_tokens if call.operation in _PROMPTED else None,
            self._prefix(call),
        )

    def _prefix(self, call: Call) -> tuple[int, ...]:
        """Return the blocks that the prompt begins with, where several nodes may hold them and somebody asks."""
        prefixes = self.prefixes
        if prefixes is None or len(call.body) < WORTH_BLOCKS * prefixes.config.block_bytes:
            return ()
        if call.operation not in _PROMPTED or len(self.fleet.lineup(call.model).nodes) < 2:
            return ()
        return prefix_blocks(call.body, prefixes.config.block_bytes)

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
        spared = None
        if not self.degrading.is_quiet:
            spared = self.degrading.apply(call, wishes.quality if task is None else task.quality)
            wishes = msgspec.structs.replace(wishes, quality=spared.quality)
            if task is not None:
                task = msgspec.structs.replace(task, quality=spared.quality)
        task = task or self.task_of(call, wishes)
        if wishes.strategy is not None and isinstance(wishes.strategy, Explores):
            wishes.strategy.explore(is_on=self.explores)
        dispatch = Dispatch(self.fleet, task, self._policy, self._budget, wishes.strategy)
        exchange = Exchange(self, call, task, dispatch, reply, head, wishes)
        if not self.hedger.is_off:
            self.hedger.deposit()
        exchange.step = step
        if spared is not None:
            exchange.max_output_tokens, exchange.degraded = spared.max_output_tokens, spared.steps
        self.in_flight.add(exchange)
        try:
            exchange.start(wishes.limits)
        except BaseException:
            exchange.cancel()
            raise
        if self.fleet.outbox:
            self._publish()
        return exchange

    async def process_task(
        self,
        prompt: Prompt,
        *,
        model: str = AUTO,
        wishes: Wishes = NO_WISHES,
        on_text: OnText | None = None,
        **fields: Any,
    ) -> TaskResult:
        """Do a task: detect what it is, choose model and node, lease room or wait for it, ask, and recover from faults.

        `prompt` is a text or the messages of a talk; `fields` are further ones of an OpenAI request (`temperature`,
        `max_tokens`, `tools`); `on_text` is given the answer piece by piece. Cancelling stops the work at the node.
        Raises BadRequestError for what is no request, and TaskFailedError when nobody could do it.
        """
        if self.is_stopping:
            raise RuntimeError("this orchestrator is closed: it does no further tasks")
        self.attach()
        call = call_of(prompt, model, fields)
        wishes.check()
        reply = Collected(call, self.loop, on_text)
        exchange = self.submit(call, reply, wishes, JSON_HEAD)
        try:
            return await reply.done
        finally:
            exchange.cancel()

    def judge(
        self, task: Task, model: str, score: float, previous: float | None = None, choice: ModelChoice | None = None
    ) -> dict[str, object]:
        """Let what an answer was worth teach the router; returns what it changed. Raises as `Fleet.judge` does."""
        return self.fleet.judge(task, model, score, self.clock(), previous, choice)

    # -- for exchanges

    def total_s(self, wishes: Wishes) -> float:
        """Return how long a task may take in all."""
        own = wishes.limits_of_call
        if own is None or own.total_s is None:
            return self.timeouts_of_calls.total_s
        return min(own.total_s, self.fleet.settings.lease_ttl_s)  # beyond, its lease would be taken for a lost one

    def tell_others(self) -> None:
        """Do what somebody's coming meant for others who wait, or who were asked to give way."""
        lobby = self.lobby
        while lobby.told:
            told, lobby.told = lobby.told, []
            self._do(told)

    def lease_released(self) -> None:
        """Let those who wait try."""
        if len(self.lobby.queue) and not self._is_admitting:
            self._is_admitting = True
            self.loop.call_soon(self._admit)

    def attempt_failed(self, exchange: Exchange, decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        """Tell the watcher."""
        self.recovery.note_failure(exchange, decision, fault)
        if self._watcher is not None:
            self._watcher.on_attempt_failed(exchange, decision, fault, info)

    def finished(self, exchange: Exchange) -> None:
        """Forget an exchange that is over."""
        self.in_flight.discard(exchange)
        if not self.in_flight:
            self._idle.set()
        self.lobby.leave(exchange, exchange.dispatch, exchange.ended_s or exchange.began_s, exchange.used_tokens)
        if len(self.lobby.queue):
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

    def turn_away(self) -> None:
        """Tell all whose answer is not whole that nothing will come of it here."""
        self.is_stopping = True
        for exchange in tuple(self.in_flight):
            exchange.stop(STOPPING, 1.0)

    async def close(self) -> None:
        """Stop everything that is still going on, and give up all connections."""
        self.is_stopping = True
        for exchange in tuple(self.in_flight):
            exchange.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self.timeouts.stop()
        for target in self.targets.values():
            await target.backend.close()

    # -- inside

    def _admit(self) -> None:
        """Let in whom there is room for."""
        self._is_admitting = False
        self._do(self.lobby.admit(self.clock()))

    def _do(self, told: list[tuple[Exchange, Action]]) -> None:
        for exchange, action in told:
            try:
                exchange.act(action)
            except Exception as error:  # noqa: BLE001 - one that cannot go on keeps nobody else from it
                self.stuck(exchange, error)
        if self.lobby.told:
            self.tell_others()

    def stuck(self, exchange: Exchange, error: Exception) -> None:
        """End an exchange that cannot go on: nobody else must suffer from it."""
        self.loop.call_exception_handler({"message": "an exchange could not go on", "exception": error})
        exchange.stop(BROKEN)

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        now_s = self.clock()
        self._meet_arrivals(now_s)
        self.fleet.tick(now_s)
        self.recovery.look(now_s)
        if now_s >= self.fleet.ledger.due_s:
            self.fleet.expire(now_s)
            self.lease_released()
        if len(self.lobby.queue):
            self._do(self.lobby.overdue(now_s))
            self.lease_released()  # what nobody tells may have made room: a limit per minute, a circuit, a new node
        self._publish()

    def _meet_arrivals(self, now_s: float) -> None:
        """Let the balancer say how to meet what has arrived since the last look."""
        arrived, self._seen = self._submitted - self._seen, self._submitted
        before = self.strategy_of_load
        strategy = self.balancer.handle_spikes(arrived, now_s, utilization=self.fleet.utilization())
        if strategy == before:
            return
        self.strategy_of_load = strategy
        self.tighten()
        if self.prefixes is not None:
            self.prefixes.worth = strategy.affinity_worth
        if strategy.stage != before.stage:
            event = LoadStageChanged(at_s=now_s, before=before.stage, after=strategy.stage, why=strategy.why)
            self.fleet.outbox.append(event)

    def tighten(self) -> None:
        """Let in as much as what arrives and what is given up allow."""
        strategy = self.strategy_of_load
        shed = strategy.shed | self.degrading.shed | self.recovery.shed
        self.lobby.queue.tighten(shed=shed, share=strategy.queue_share)


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _conforms(orchestrator: ModelOrchestrator) -> Owner:
    """Let the type checker prove that an orchestrator can own exchanges."""
    return orchestrator
