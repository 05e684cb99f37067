"""TaskRouter: the routing decision inside a program, synchronous and thread-safe, no server needed."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

import msgspec

from fairlead.backends.instance import Instance
from fairlead.capability.features import features_of
from fairlead.categories.contract import Detector
from fairlead.categories.rules import RuleDetector
from fairlead.clock import Clock, steady_s
from fairlead.domain import Model, Node, Outcome, Price, PromptFeatures, RoutingStrategy, Task, TaskCategory
from fairlead.engine.decision import Decision, describe
from fairlead.engine.events import E, Event, EventBus
from fairlead.engine.fleet import AUTO, Fleet, FleetSettings
from fairlead.engine.memory import recall, remember
from fairlead.errors import DuplicateModelError, FairleadError, UnknownModelError, UnknownTaskError
from fairlead.health import Circuit, CircuitBreakerConfig
from fairlead.rng import fresh_prefix, key_of
from fairlead.routing import RoutingSettings, make_strategy
from fairlead.routing.candidate import Candidate
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.roster import check_model

MOST_GIVEN = 1_000
"""Tasks that feedback can still be given for."""


class ModelMetrics(msgspec.Struct, frozen=True):
    """What a model has done since it was registered or its metrics were reset."""

    model_id: str
    total_requests: int
    successful_tasks: int
    failed_tasks: int
    average_latency_s: float
    circuit_breaker_open: bool
    in_flight: int

    @property
    def success_rate(self) -> float:
        """Share of tasks that succeeded; 0.0 before the first."""
        return self.successful_tasks / self.total_requests if self.total_requests else 0.0


class ModelPool:
    """The instances that were registered, by model id: a view of what the router keeps."""

    def __init__(self, instances: Mapping[str, Instance | None]) -> None:
        self._instances = instances

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._instances

    def __len__(self) -> int:
        return len(self._instances)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._instances))

    def get_instance(self, model_id: str) -> Instance | None:
        """Return what was registered under this id. Raises UnknownModelError when nothing was."""
        try:
            return self._instances[model_id]
        except KeyError:
            raise UnknownModelError(_unknown(model_id, self._instances)) from None


class Wishes(msgspec.Struct, frozen=True, gc=False):
    """What is asked of the choice of a model. Raises ValueError for what is out of range."""

    quality: float | None = None
    min_quality: float | None = None
    max_cost_usd: float | None = None
    max_latency_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("quality", "min_quality"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, not {value!r}")
        for name in ("max_cost_usd", "max_latency_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be above 0, not {value!r}")


NO_WISHES = Wishes()
_NONE = (None, None, None, None)


class RoutedTask(msgspec.Struct):
    """A task that has been given to a model; say `fail()` when it goes wrong without an exception."""

    task_id: str
    model_id: str
    category: TaskCategory
    instance: Instance | None
    success: bool = True

    def fail(self) -> None:
        """Let the task count as failed."""
        self.success = False


class TaskRouter:
    """Decides which registered model does a task, and learns from what comes back.

    A registered `model_id` is one model on one node of that name. Each call holds one lock; detectors, instances and
    subscribers run outside it.
    """

    def __init__(
        self,
        strategy: RoutingStrategy | str = RoutingStrategy.HYBRID,
        *,
        circuit_breaker: CircuitBreakerConfig | None = None,
        detector: Detector | None = None,
        seed: int = 0,
        pending_timeout_s: float = 600.0,
        half_life_s: float = 3600.0,
        exploration: float = 0.1,
        engine: RoutingEngine | None = None,
        clock: Clock = steady_s,
    ) -> None:
        """`engine` ranks the models by skill, speed, price and history before the strategy chooses among the best."""
        _check_settings(pending_timeout_s, half_life_s, exploration)
        self._routing = RoutingSettings(exploration=exploration)
        breaker = circuit_breaker or CircuitBreakerConfig()
        settings = FleetSettings(
            seed=seed, half_life_s=half_life_s, lease_ttl_s=pending_timeout_s, breaker=breaker, results_judge=True
        )
        self._fleet = Fleet(make_strategy(strategy, self._routing), settings, engine)
        self._detector: Detector = detector or RuleDetector()
        self._clock = clock
        self._lock = threading.Lock()
        self._bus = EventBus()
        self._prefix = fresh_prefix()
        self._routed = 0
        self._pending: dict[str, OrderedDict[str, Decision]] = {}
        self._model_of: dict[str, str] = {}
        self._given: OrderedDict[str, tuple[Candidate, TaskCategory, PromptFeatures | None]] = OrderedDict()
        self._scores: dict[str, float] = {}
        """The most recent tasks and who was given them, for feedback."""
        self._instances: dict[str, Instance | None] = {}
        self.model_pool = ModelPool(self._instances)

    # -- models

    def register_model(
        self,
        model_id: str,
        instance: Instance | None = None,
        *,
        weight: float = 1.0,
        slots: int | None = None,
        capabilities: frozenset[str] | None = None,
        context_tokens: int | None = None,
        skill: Mapping[TaskCategory, float] | None = None,
        price: Price | None = None,
    ) -> None:
        """Add a model. Raises DuplicateModelError when the id is taken, ValueError for values that make no sense."""
        _check_model(model_id, weight, slots, skill or {})
        model = Model(model_id, capabilities, context_tokens, price, dict(skill or {}))
        check_model(model)
        with self._lock:
            if model_id in self._pending:
                raise DuplicateModelError(f"model {model_id!r} is registered already; unregister it first")
            self._fleet.add(model, Node(model_id, weight=weight, slots=slots), self._clock())
            self._pending[model_id] = OrderedDict()
            self._instances[model_id] = instance
        self._publish()

    def unregister_model(self, model_id: str) -> None:
        """Remove a model; its pending tasks are dropped. Raises UnknownModelError when there is none."""
        with self._lock:
            self._require(model_id)
            self._fleet.remove(model_id, model_id, self._clock())
            for task_id, decision in self._pending.pop(model_id).items():
                del self._model_of[task_id]
                self._fleet.ledger.give_back(decision.lease)
            del self._instances[model_id]
        self._publish()

    # -- tasks

    def task_category(self, prompt: str) -> TaskCategory:
        """Say what kind of work a prompt asks for."""
        return self._detector.detect(prompt)

    def route_task(
        self,
        prompt: str,
        *,
        category: TaskCategory | None = None,
        session: str | None = None,
        needs: frozenset[str] = frozenset(),
        quality: float | None = None,
        min_quality: float | None = None,
        max_cost_usd: float | None = None,
        max_latency_s: float | None = None,
        task_id: str | None = None,
    ) -> str:
        """Choose a model for a prompt, open a pending entry on it, and return its id.

        `quality` goes from 0, the cheapest that is good enough, to 1, the best whatever it costs; it and the limits are
        for a router with an engine.
        Raises NoModelError when none is registered, NoCandidateError (with the reasons) when each is ruled out.
        """
        wishes = NO_WISHES
        if (quality, min_quality, max_cost_usd, max_latency_s) != _NONE:
            wishes = Wishes(quality, min_quality, max_cost_usd, max_latency_s)
        return self._route(prompt, category, session, needs, task_id, wishes).candidate.model.name

    def explain(
        self, prompt: str, *, category: TaskCategory | None = None, quality: float | None = None
    ) -> dict[str, object]:
        """Return a whole decision as plain data. It is a real one: it takes a turn, and leaves nothing pending."""
        decision = self._route(prompt, category, None, frozenset(), None, Wishes(quality))
        with self._lock:
            if decision.candidate.model.name in self._pending:  # it may have left meanwhile
                self._close(decision.candidate.model.name, decision.task.id)
        return describe(decision, shown=None)

    @contextmanager
    def task(
        self,
        prompt: str,
        *,
        category: TaskCategory | None = None,
        session: str | None = None,
        quality: float | None = None,
    ) -> Iterator[RoutedTask]:
        """Route a task and record its result: a failure when the block raises or calls `fail()`."""
        decision = self._route(prompt, category, session, frozenset(), None, Wishes(quality))
        model_id = decision.candidate.model.name
        task = decision.task
        instance = self._instances.get(model_id)
        routed = RoutedTask(task.id, model_id, task.category, instance)
        began_s = self._clock()
        try:
            yield routed
        except BaseException:
            routed.success = False
            raise
        finally:
            latency_s = self._clock() - began_s
            with suppress(UnknownModelError):  # it may have left meanwhile
                self.record_task_result(model_id, routed.success, latency_s, task.category, task_id=task.id)

    def record_task_result(
        self,
        model_id: str,
        success: bool,
        latency_s: float,
        category: TaskCategory | None = None,
        *,
        task_id: str | None = None,
    ) -> None:
        """Report how a task went: closes the model's oldest pending entry, or exactly `task_id`.

        With nothing pending it only records evidence. Raises UnknownModelError for an unknown model, ValueError for a
        latency that is negative or not a number.
        """
        if not 0 <= latency_s < float("inf"):
            raise ValueError(f"latency_s must be a number of seconds, 0 or more, not {latency_s!r}")
        with self._lock:
            self._require(model_id)
            now_s = self._clock()
            self._expire(now_s)
            category = None if category is None else _as_category(category)
            pending = self._pending[model_id]
            closing = next(iter(pending), None) if task_id is None else task_id
            decision = self._close(model_id, closing) if closing is not None else None
            if category is None:
                category = TaskCategory.UNKNOWN if decision is None else decision.task.category
            candidate = self._fleet.models[model_id][model_id]
            lease = None if decision is None else decision.lease
            self._fleet.learn(candidate, Outcome(success, latency_s, category), now_s, lease)
        self._publish()

    def record_feedback(self, task_id: str, score: float) -> None:
        """Say what the answer to a task was worth, in [0, 1]: by a test, a judge, or a thumb (0 or 1).

        It counts beside the task's result, once: a later score takes the place of an earlier one. Raises ValueError for
        a score out of range, UnknownTaskError for a task that was not routed here or is long past.
        """
        if not 0 <= score <= 1:
            raise ValueError(f"a score must be between 0 and 1, not {score!r}")
        with self._lock:
            if task_id not in self._given:
                raise UnknownTaskError(f"task {task_id!r} was not routed here, or is long past")
            candidate, category, features = self._given[task_id]
            now_s = self._clock()
            previous = self._scores.get(task_id)
            self._scores[task_id] = score
            candidate.judge(category, score, now_s, previous)
            if self._fleet.engine is not None:
                name = candidate.model.name
                self._fleet.engine.learn_score(name, category, score, now_s, features, previous=previous)

    # -- what was learnt

    def export_state(self) -> dict[str, object]:
        """Return everything that was learnt, as plain data that JSON can hold, to be kept over a restart."""
        with self._lock:
            return remember(self._fleet)

    def import_state(self, state: Mapping[str, object]) -> None:
        """Take over what `export_state` gave. Raises FairleadError for a part that is damaged; the rest is taken."""
        if not isinstance(state, Mapping):
            raise FairleadError(f"a state is what export_state gave, not {type(state).__name__}")
        damaged: list[str] = []
        with self._lock:
            recall(self._fleet, state, lambda name, error: damaged.append(f"{name}: {error}"), self._clock())
        if damaged:
            raise FairleadError("; ".join(damaged))

    # -- state

    def model_metrics(self, model_id: str) -> ModelMetrics:
        """Return the counts of one model. Raises UnknownModelError when there is none."""
        with self._lock:
            self._require(model_id)
            self._fleet.tick(self._clock())
            return self._metrics(model_id)

    def all_metrics(self) -> dict[str, ModelMetrics]:
        """Return the counts of every model."""
        with self._lock:
            self._fleet.tick(self._clock())
            return {model_id: self._metrics(model_id) for model_id in self._pending}

    def circuit_breaker_open(self, model_id: str) -> bool:
        """Tell whether a model is shut out because it failed too often in a row."""
        with self._lock:
            self._require(model_id)
            self._fleet.tick(self._clock())
            return self._is_open(model_id)

    def force_health_recovery(self, model_id: str) -> None:
        """Close a model's circuit at once."""
        with self._lock:
            self._require(model_id)
            self._fleet.force_recovery(model_id, self._clock())
        self._publish()

    def health_check(self) -> dict[str, bool]:
        """Return for every model whether it may be given tasks."""
        with self._lock:
            self._fleet.tick(self._clock())
            return {model_id: not self._is_open(model_id) for model_id in self._pending}

    def reset_metrics(self) -> None:
        """Forget all metrics and evidence; pending tasks and circuits stay."""
        with self._lock:
            self._fleet.forget()

    @property
    def routing_strategy(self) -> str:
        """Name of the strategy that chooses."""
        return self._fleet.strategy.name

    def set_routing_strategy(self, strategy: RoutingStrategy | str) -> None:
        """Choose by another strategy from now on. Raises UnknownStrategyError when there is none of that name."""
        chosen = make_strategy(strategy, self._routing)
        with self._lock:
            self._fleet.set_strategy(chosen, self._clock())
        self._publish()

    def set_task_category_detector(self, detector: Detector) -> None:
        """Let another object with `detect(prompt) -> TaskCategory` say what kind of work a prompt is."""
        if not callable(getattr(detector, "detect", None)):
            raise TypeError(f"a detector needs a method detect(prompt), {type(detector).__name__} has none")
        self._detector = detector

    def subscribe(self, kind: type[E], subscriber: Callable[[E], None]) -> Callable[[], None]:
        """Call `subscriber` for each event of a type (`Event` for all), outside the lock; returns what ends it."""
        return self._bus.subscribe(kind, subscriber)

    # -- inside; all but _route and _publish hold the lock

    def _route(
        self,
        prompt: str,
        category: TaskCategory | None,
        session: str | None,
        needs: frozenset[str],
        task_id: str | None,
        wishes: Wishes,
    ) -> Decision:
        if category is None:
            category = self._detector.detect(prompt)
        if type(category) is not TaskCategory:
            category = _as_category(category)
        engine = self._fleet.engine
        features = features_of(prompt) if engine is not None and engine.reads_prompts else None
        with self._lock:
            self._routed = number = self._routed + 1
            key = number
            if task_id is None:
                task_id = f"{self._prefix}-{number}"
            elif task_id in self._model_of:
                raise ValueError(f"task_id {task_id!r} is pending already")
            else:
                key = key_of(task_id)
            now_s = self._clock()
            self._expire(now_s)
            task = Task(
                task_id, key, category, AUTO, needs, 0, 0, session, None, wishes.max_cost_usd, None,
                wishes.quality, wishes.min_quality, wishes.max_latency_s, features,
            )  # fmt: skip
            decision = self._fleet.decide(task, now_s)
            model_id = decision.candidate.model.name
            self._pending[model_id][task_id] = decision
            self._model_of[task_id] = model_id
            self._given[task_id] = (decision.choice.picked, category, features)
            if len(self._given) > MOST_GIVEN:
                self._scores.pop(self._given.popitem(last=False)[0], None)
        if self._fleet.outbox:
            self._publish()
        return decision

    def _close(self, model_id: str, task_id: str) -> Decision | None:
        decision = self._pending[model_id].pop(task_id, None)
        if decision is not None:
            del self._model_of[task_id]
            self._fleet.ledger.give_back(decision.lease)
        return decision

    def _expire(self, now_s: float) -> None:
        if now_s >= self._fleet.ledger.due_s:
            for lease in self._fleet.expire(now_s):
                if isinstance(lease.holder, Task):
                    task_id = lease.holder.id
                    self._pending[self._model_of.pop(task_id)].pop(task_id)

    def _metrics(self, model_id: str) -> ModelMetrics:
        candidate = self._fleet.models[model_id][model_id]
        totals = candidate.totals
        count = totals.succeeded + totals.failed
        average_s = totals.latency_s / count if count else 0.0
        return ModelMetrics(
            model_id, count, totals.succeeded, totals.failed, average_s, self._is_open(model_id), candidate.in_flight
        )

    def _is_open(self, model_id: str) -> bool:
        return self._fleet.nodes[model_id].breaker.state is Circuit.OPEN

    def _require(self, model_id: str) -> None:
        if model_id not in self._pending:
            raise UnknownModelError(_unknown(model_id, self._pending))

    def _publish(self) -> None:
        with self._lock:
            events, self._fleet.outbox = self._fleet.outbox, []
        for event in events:
            self._bus.publish(event)


def _as_category(value: str) -> TaskCategory:
    try:
        return TaskCategory(value)
    except ValueError:
        raise ValueError(f"there is no task category {value!r}; there are: {', '.join(TaskCategory)}") from None


def _unknown(model_id: str, known: Mapping[str, object]) -> str:
    return f"model {model_id!r} is not registered; registered are: {', '.join(known) or 'none'}"


def _check_settings(pending_timeout_s: float, half_life_s: float, exploration: float) -> None:
    for name, value in (("pending_timeout_s", pending_timeout_s), ("half_life_s", half_life_s)):
        if not 0 < value < float("inf"):
            raise ValueError(f"{name} must be a number of seconds above 0, not {value!r}")
    if not 0 <= exploration <= 1:
        raise ValueError(f"exploration must be between 0 and 1, not {exploration!r}")


def _check_model(model_id: str, weight: float, slots: int | None, skill: Mapping[TaskCategory, float]) -> None:
    if not model_id or model_id == AUTO:
        raise ValueError(f"a model id must not be empty or {AUTO!r}, which stands for any model")
    if not 0 < weight < float("inf"):
        raise ValueError(f"weight must be above 0, not {weight!r}")
    if slots is not None and slots < 1:
        raise ValueError(f"slots must be 1 or more, or None where unknown, not {slots!r}")
    for category, value in skill.items():
        if not 0 <= value <= 1:
            raise ValueError(f"skill for {TaskCategory(category).value} must be between 0 and 1, not {value!r}")


__all__ = ["Event", "ModelMetrics", "ModelPool", "RoutedTask", "TaskRouter"]
