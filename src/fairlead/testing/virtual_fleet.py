"""A whole fleet in virtual time: the real `Fleet`, `Lobby` and `Dispatch`, simulated nodes, no socket and no sleep.

What a gateway does with the actions of a dispatch is done here by callbacks in `VirtualTime`, so a strategy can be
watched over hours of traffic in a second, and twice the same run gives twice the same records.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import msgspec

from fairlead.admission.config import QueueConfig
from fairlead.allocation.allocator import ResourceAllocator
from fairlead.balancing.balancer import LoadBalancer
from fairlead.domain import Model, Node, Outcome, Task
from fairlead.domain.load import LoadStrategy
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, GiveWay, Refuse, Send, Wait
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.lobby import Lobby
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault
from fairlead.rng import Draw, key_of
from fairlead.routing.contract import Strategy
from fairlead.testing.behaviour import Behaviour
from fairlead.testing.task_record import TaskRecord
from fairlead.testing.virtual_server import VirtualServer, Work
from fairlead.testing.virtual_time import VirtualTime

SWEEP_S = 0.25
RENEWAL_S = 5.0
"""A lease is renewed so often while its answer is written."""


class _Run(msgspec.Struct, eq=False):
    """One task under way."""

    record: TaskRecord
    dispatch: Dispatch
    then: Callable[[TaskRecord], None] | None
    sending: int = 0
    """Number of the attempt that counts: what is heard of others is late."""
    work: Work | None = None
    is_streaming: bool = False


class VirtualFleet:
    """Drives a fleet of simulated nodes; `fleet`, `lobby`, `time` and `records` may be looked at and acted on."""

    def __init__(
        self,
        strategy: Strategy,
        *,
        settings: FleetSettings | None = None,
        retries: RetryPolicy | None = None,
        time: VirtualTime | None = None,
        queue: QueueConfig | None = None,
        shares: Mapping[str, float] | None = None,
        balancer: LoadBalancer | None = None,
        allocator: ResourceAllocator | None = None,
    ) -> None:
        """With a `balancer`, spikes are met as it says; without one they are left to the queue."""
        self.fleet = Fleet(strategy, settings, allocator=allocator)
        self.lobby: Lobby[str] = Lobby(self.fleet, queue, shares)
        self.time = time or VirtualTime()
        self.records: list[TaskRecord] = []
        self.stages: list[tuple[float, LoadStrategy]] = []
        """What the balancer said of how to meet what arrives, with when, each time that this changed."""
        self.on_change: Callable[[], None] | None = None
        """Called whenever something has happened to a task."""
        self._policy = retries or RetryPolicy()
        self._budget = RetryBudget(self._policy)
        self._balancer = balancer
        self._behaviours: dict[str, Behaviour] = {}
        self._servers: dict[str, VirtualServer] = {}
        self._under_way: dict[str, _Run] = {}
        self._arrived: dict[str, _Run] = {}
        """Of those under way, who is not only to come."""
        self._renewed_s = 0.0
        self._came = 0
        """Since the last sweep."""
        self._is_admitting = False
        self._is_sweeping = False

    def add(self, node: Node | str, behaviour: Behaviour | None = None, models: Sequence[Model | str] = ("m",)) -> None:
        """Let a node serve models from now on, behaving as told; a node that is there may be given more models."""
        where = Node(node) if isinstance(node, str) else node
        for model in models:
            self.fleet.add(Model(model) if isinstance(model, str) else model, where, self.time.now_s)
        self.behave(where.name, behaviour or Behaviour())

    def behave(self, node: str, behaviour: Behaviour) -> None:
        """Let a node behave otherwise for attempts from now on."""
        self._behaviours[node] = behaviour
        if behaviour.times is not None:
            self._servers.setdefault(node, VirtualServer(self.time, behaviour.times)).times = behaviour.times

    def submit(
        self,
        at_s: float,
        task: Task,
        answer_tokens: int | None = None,
        then: Callable[[TaskRecord], None] | None = None,
    ) -> TaskRecord:
        """Let a task arrive at a time; its record fills as the time runs, and at its end `then` is called with it.

        `answer_tokens` is how long its answer will be; None: as long as the task allows. Raises ValueError for an id
        that is under way.
        """
        if task.id in self._under_way:
            raise ValueError(f"task {task.id!r} is under way already")
        record = TaskRecord(task, at_s, answer_tokens=task.output_tokens if answer_tokens is None else answer_tokens)
        self.time.at(at_s, lambda: self._begin(task.id))
        self._under_way[task.id] = _Run(record, Dispatch(self.fleet, task, self._policy, self._budget), then)
        self.records.append(record)
        return record

    def stream(self, n: int, every_s: float, *, start_s: float = 0.0, model: str = "m") -> list[TaskRecord]:
        """Let `n` tasks arrive at an even pace and return their records."""
        begin = len(self.records)
        return [self.submit(start_s + i * every_s, Task(f"t{begin + i}", begin + i, model=model)) for i in range(n)]

    def cancel(self, at_s: float, record: TaskRecord) -> None:
        """Let the caller of a task go away at a time."""
        self.time.at(at_s, lambda: self._cancel(record))

    def run(self, max_steps: int = 1_000_000) -> list[TaskRecord]:
        """Run until every task is over and return the records. Raises RuntimeError past `max_steps`."""
        self.time.run(max_steps)
        return self.records

    def shares(self) -> Counter[str]:
        """Count the attempts that each node was sent."""
        return Counter(node for record in self.records for node in record.nodes)

    # -- what the dispatch and the lobby say

    def _begin(self, task_id: str) -> None:
        run = self._under_way.get(task_id)
        if run is None:
            return
        self._arrived[task_id] = run
        self._came += 1
        self._sweep_later()
        self._perform(run, self.lobby.begin(task_id, run.dispatch, self.time.now_s))
        self._tell_others()

    def _resume(self, task_id: str) -> None:
        run = self._under_way.get(task_id)
        if run is not None:
            self._follow(run, run.dispatch.resume(self.time.now_s))

    def _follow(self, run: _Run, action: Action) -> None:
        """Do what a dispatch said, once the lobby has heard of it."""
        self._perform(run, self.lobby.follow(run.record.task.id, run.dispatch, action, self.time.now_s))
        self._tell_others()

    def _do(self, told: Sequence[tuple[str, Action]]) -> None:
        """Do what the lobby says, unasked."""
        for task_id, action in told:
            run = self._under_way.get(task_id)
            if run is None:
                continue
            if isinstance(action, GiveWay):
                run.record.gave_way += 1
                self._stop(run)
                self._follow(run, Wait(None))
            else:
                self._perform(run, action)

    def _tell_others(self) -> None:
        while self.lobby.told:
            told, self.lobby.told = self.lobby.told, []
            self._do(told)

    def _perform(self, run: _Run, action: Action) -> None:
        record = run.record
        if isinstance(action, Send):
            self._send(run, action.decision)
        elif isinstance(action, Refuse):
            record.fault, record.error = action.fault, action.error
            self._end(run)
        elif isinstance(action, Wait) and action.until_s is not None:
            self.time.at(action.until_s, lambda: self._resume(record.task.id))
        if self.on_change is not None:
            self.on_change()

    # -- one attempt

    def _send(self, run: _Run, decision: Decision) -> None:
        record, node, now_s = run.record, decision.candidate.node.name, self.time.now_s
        record.nodes.append(node)
        record.sent_s.append(now_s)
        run.sending += 1
        number, behaviour = run.sending, self._behaviours[node]
        draw = Draw(self.fleet.settings.seed ^ key_of(node), record.task.key, run.dispatch.attempts)
        fault, takes_s = behaviour.fate(record.task, now_s, draw)
        if fault is not None or behaviour.times is None:
            self.time.after(takes_s, lambda: self._answer(run, number, fault))
            return
        if decision.max_output_tokens is not None:
            record.answer_tokens = min(record.answer_tokens, decision.max_output_tokens)
        run.work = Work(
            record.task.input_tokens,
            record.answer_tokens,
            lambda: self._first_token(run, number),
            lambda: self._answer(run, number, None),
        )
        self._servers[node].start(run.work)

    def _first_token(self, run: _Run, number: int) -> None:
        if run.sending == number:
            run.record.began_s = self.time.now_s
            run.is_streaming = True
            self.lobby.began(run.record.task.id)

    def _answer(self, run: _Run, number: int, fault: Fault | None) -> None:
        if run.sending != number:
            return  # the caller went away meanwhile, or it gave way
        record, dispatch, now_s = run.record, run.dispatch, self.time.now_s
        took_s = now_s - record.sent_s[-1]
        if fault is None:
            record.succeeded = True
            outcome = self._outcome(run, took_s)
            self._stop(run)
            dispatch.complete(outcome, now_s)
            self._end(run, outcome.input_tokens + outcome.output_tokens or None)
        else:
            retry_after_s = self._behaviours[record.nodes[-1]].retry_after_s
            self._stop(run)
            action = dispatch.fail(fault, now_s, took_s, retry_after_s)
            self._admit_soon()
            self._follow(run, action)

    def _outcome(self, run: _Run, took_s: float) -> Outcome:
        record = run.record
        task = record.task
        if run.work is None or record.began_s is None:
            return Outcome(True, took_s, task.category)
        first_s = record.began_s - record.sent_s[-1]
        return Outcome(True, took_s, task.category, first_s, task.input_tokens, record.answer_tokens)

    def _stop(self, run: _Run) -> None:
        """Let the node do no more for it, and listen to nothing that comes yet."""
        run.sending += 1
        run.is_streaming = False
        if run.work is not None:
            self._servers[run.record.nodes[-1]].stop(run.work)
            run.work = None

    def _cancel(self, record: TaskRecord) -> None:
        run = self._under_way.get(record.task.id)
        if run is not None and run.record is record:
            record.is_cancelled = True
            self._stop(run)
            run.dispatch.cancel(self.time.now_s)
            self._end(run)

    def _end(self, run: _Run, used_tokens: int | None = None) -> None:
        record = run.record
        record.ended_s, record.queued_s = self.time.now_s, run.dispatch.queued_s
        del self._under_way[record.task.id]
        self._arrived.pop(record.task.id, None)
        self.lobby.leave(record.task.id, run.dispatch, self.time.now_s, used_tokens)
        self._admit_soon()
        if self.on_change is not None:
            self.on_change()
        if run.then is not None:
            run.then(record)

    # -- the lobby and time

    def _admit_soon(self) -> None:
        """Let those who wait try, once all that happens at this moment has happened."""
        if len(self.lobby.queue) and not self._is_admitting:
            self._is_admitting = True
            self.time.after(0.0, self._admit)

    def _admit(self) -> None:
        self._is_admitting = False
        self._do(self.lobby.admit(self.time.now_s))
        self._tell_others()

    def _sweep_later(self) -> None:
        if not self._is_sweeping:
            self._is_sweeping = True
            self.time.after(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now_s, fleet = self.time.now_s, self.fleet
        self._is_sweeping = False
        self._meet_arrivals(now_s)
        due_s = fleet.next_due_s()
        fleet.tick(now_s)
        self._renew(now_s)
        if now_s >= fleet.ledger.due_s:
            fleet.expire(now_s)
            self._admit_soon()
        self._do(self.lobby.overdue(now_s))
        self._tell_others()
        if self.lobby.look_again_s <= now_s or (due_s is not None and due_s <= now_s):
            self._admit_soon()
        if self._arrived or (self._balancer is not None and self._under_way):
            self._sweep_later()

    def _meet_arrivals(self, now_s: float) -> None:
        if self._balancer is None:
            return
        came, self._came = self._came, 0
        strategy = self._balancer.handle_spikes(came, now_s, utilization=self.fleet.utilization())
        if not self.stages or self.stages[-1][1] != strategy:
            self.stages.append((now_s, strategy))
            self.lobby.queue.tighten(shed=strategy.shed, share=strategy.queue_share)

    def _renew(self, now_s: float) -> None:
        if now_s - self._renewed_s >= RENEWAL_S:
            self._renewed_s = now_s
            for run in self._arrived.values():
                if run.is_streaming:
                    run.dispatch.progress(now_s)
