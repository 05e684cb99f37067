"""A whole fleet in virtual time: the real `Fleet` and `Dispatch`, simulated nodes, no socket and no sleep.

What a gateway does with the actions of a dispatch is done here by callbacks in `VirtualTime`, so a strategy can be
watched over hours of traffic in a second, and twice the same run gives twice the same records.
"""

from collections import Counter, deque
from collections.abc import Sequence

import msgspec

from fairlead.domain import Model, Node, Outcome, Task
from fairlead.engine.decision import Decision
from fairlead.engine.dispatch import Action, Dispatch, Refuse, Send, Wait
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault, RoutingError
from fairlead.rng import Draw, key_of
from fairlead.routing.contract import Strategy
from fairlead.testing.behaviour import Behaviour
from fairlead.testing.virtual_time import VirtualTime


class TaskRecord(msgspec.Struct):
    """What became of one task."""

    task: Task
    submitted_s: float
    nodes: list[str] = []
    """Every node asked, in order."""
    sent_s: list[float] = []
    """When each of them was asked."""
    ended_s: float | None = None
    succeeded: bool = False
    fault: Fault | None = None
    """What the caller is told, where it did not succeed and a node is to blame."""
    error: RoutingError | None = None
    """Why routing gave up, where it did."""
    is_cancelled: bool = False

    @property
    def node(self) -> str | None:
        """The node asked last, or None when none was."""
        return self.nodes[-1] if self.nodes else None

    @property
    def attempts(self) -> int:
        """How many times a node was asked."""
        return len(self.nodes)


class VirtualFleet:
    """Drives a fleet of simulated nodes; `fleet`, `time` and `records` may be looked at and acted on at any time."""

    def __init__(
        self,
        strategy: Strategy,
        *,
        settings: FleetSettings | None = None,
        retries: RetryPolicy | None = None,
        time: VirtualTime | None = None,
    ) -> None:
        self.fleet = Fleet(strategy, settings)
        self.time = time or VirtualTime()
        self.records: list[TaskRecord] = []
        self._policy = retries or RetryPolicy()
        self._budget = RetryBudget(self._policy)
        self._behaviours: dict[str, Behaviour] = {}
        self._under_way: dict[str, tuple[TaskRecord, Dispatch]] = {}
        self._waiting: deque[str] = deque()

    def add(self, node: Node | str, behaviour: Behaviour | None = None, models: Sequence[Model | str] = ("m",)) -> None:
        """Let a node serve models from now on, behaving as told; a node that is there may be given more models."""
        where = Node(node) if isinstance(node, str) else node
        for model in models:
            self.fleet.add(Model(model) if isinstance(model, str) else model, where, self.time.now_s)
        self.behave(where.name, behaviour or Behaviour())

    def behave(self, node: str, behaviour: Behaviour) -> None:
        """Let a node behave otherwise for attempts from now on."""
        self._behaviours[node] = behaviour

    def submit(self, at_s: float, task: Task) -> TaskRecord:
        """Let a task arrive at a time; its record fills as the time runs. Raises ValueError for an id under way."""
        if task.id in self._under_way:
            raise ValueError(f"task {task.id!r} is under way already")
        record = TaskRecord(task, at_s)
        dispatch = Dispatch(self.fleet, task, self._policy, self._budget)
        self.records.append(record)
        self._under_way[task.id] = (record, dispatch)
        self.time.at(at_s, lambda: self._begin(task.id))
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

    # -- what the dispatch says

    def _begin(self, task_id: str) -> None:
        if task_id in self._under_way:
            self._act(task_id, self._under_way[task_id][1].begin(self.time.now_s))

    def _resume(self, task_id: str) -> None:
        if task_id in self._under_way:
            self._act(task_id, self._under_way[task_id][1].resume(self.time.now_s))

    def _act(self, task_id: str, action: Action) -> None:
        record, dispatch = self._under_way[task_id]
        if isinstance(action, Send):
            self._send(record, action.decision, dispatch.attempts)
        elif isinstance(action, Refuse):
            record.fault, record.error = action.fault, action.error
            self._end(record)
        elif isinstance(action, Wait) and action.until_s is not None:
            self.time.at(action.until_s, lambda: self._resume(task_id))
        elif isinstance(action, Wait):
            self._waiting.append(task_id)
            due_s = self.fleet.next_due_s()
            if due_s is not None:
                self.time.at(max(due_s, self.time.now_s), self._wake)

    def _send(self, record: TaskRecord, decision: Decision, attempt: int) -> None:
        task, node, now_s = record.task, decision.candidate.node.name, self.time.now_s
        record.nodes.append(node)
        record.sent_s.append(now_s)
        draw = Draw(self.fleet.settings.seed ^ key_of(node), task.key, attempt)
        fault, takes_s = self._behaviours[node].fate(task, now_s, draw)
        self.time.after(takes_s, lambda: self._answer(record, attempt, fault, takes_s))

    def _answer(self, record: TaskRecord, attempt: int, fault: Fault | None, took_s: float) -> None:
        task = record.task
        if task.id not in self._under_way or self._under_way[task.id][1].attempts != attempt:
            return  # the caller went away meanwhile
        dispatch = self._under_way[task.id][1]
        if fault is None:
            record.succeeded = True
            dispatch.complete(Outcome(True, took_s, task.category), self.time.now_s)
            self._end(record)
        else:
            retry_after_s = self._behaviours[record.nodes[-1]].retry_after_s
            self._act(task.id, dispatch.fail(fault, self.time.now_s, took_s, retry_after_s))
        self._wake()

    def _cancel(self, record: TaskRecord) -> None:
        if record.task.id in self._under_way:
            record.is_cancelled = True
            self._under_way[record.task.id][1].cancel(self.time.now_s)
            self._end(record)
            self._wake()

    def _end(self, record: TaskRecord) -> None:
        record.ended_s = self.time.now_s
        del self._under_way[record.task.id]

    def _wake(self) -> None:
        """Let everyone in line try once, in order: only the fleet knows whom a free slot suits."""
        for _ in range(len(self._waiting)):
            self._resume(self._waiting.popleft())
