"""Who has how much to do, and what to do about it: what load balancing reads and answers.

All of it can be built by hand. The load of a node is the leased share of the resource that is nearest to its end; the
deviation of a fleet is the coefficient of variation of its nodes' loads.
"""

from enum import StrEnum

import msgspec

from fairlead.domain.priority import NORMAL, PriorityClass
from fairlead.domain.resources import ONE_SLOT, UNKNOWN_CAPACITY, Capacity, Needs, Shortage
from fairlead.domain.task import Task

NOTHING = Needs(slots=0)


class NodeHealth(StrEnum):
    """Whether a node is given tasks: as any other, fewer, none."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class NodeLoad(msgspec.Struct, frozen=True):
    """What a node has, what of it is leased, and how it has been doing lately. Raises ValueError for what cannot be."""

    name: str
    capacity: Capacity = UNKNOWN_CAPACITY
    leased: Needs = NOTHING
    """By tasks that have begun; tasks that are only queued for it are not counted."""
    models: frozenset[str] = frozenset()
    """What it serves; empty: anything."""
    is_healthy: bool = True
    """False keeps every task away, whatever the figures say: a circuit is open, or it is being drained."""
    error_rate: float = 0.0
    outcomes: int | None = None
    """How many stand behind the error rate; None: enough."""
    response_time_ms: float | None = None
    """To the first token, less the expected prefill; None: unknown."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.error_rate <= 1.0:
            raise ValueError(f"the error_rate of node {self.name!r} must be in [0, 1], not {self.error_rate!r}")
        if self.response_time_ms is not None and not self.response_time_ms >= 0.0:
            raise ValueError(
                f"the response_time_ms of node {self.name!r} must be 0 or more, not {self.response_time_ms!r}"
            )


class TaskLoad(msgspec.Struct, frozen=True, gc=False):
    """What a task takes of a node, and where it may go. Raises ValueError for a negative amount."""

    id: str
    needs: Needs = ONE_SLOT
    model: str | None = None
    """Asked for by name; None: any node will do."""
    priority: int = NORMAL
    home: str | None = None
    """The node that holds the beginning of its prompt."""
    saved_tokens: int = 0
    """Of the prompt, those that `home` holds already."""
    deadline_s: float | None = None
    """On the clock of `now_s`, not a duration."""
    node: str | None = None
    """Where it is queued now; None: nowhere yet."""

    def __post_init__(self) -> None:
        if self.saved_tokens < 0:
            raise ValueError(f"saved_tokens of task {self.id!r} must be 0 or more, not {self.saved_tokens!r}")

    @classmethod
    def of(cls, task: Task) -> "TaskLoad":
        """Return what is known of a task by itself: one slot, its prompt, and its answer as far as it is limited."""
        needs = Needs(1, task.input_tokens, task.output_tokens)
        model = None if task.model == "auto" else task.model
        return cls(task.id, needs, model, task.priority, deadline_s=task.deadline_s)


class FleetLoad(msgspec.Struct, frozen=True):
    """A fleet at one moment: its nodes, and the tasks that are queued for one of them and have not begun."""

    nodes: tuple[NodeLoad, ...] = ()
    queued: tuple[TaskLoad, ...] = ()


class Unplaced(msgspec.Struct, frozen=True):
    """A task that no node can take, and why."""

    task_id: str
    reason: str
    shortage: Shortage | None = None
    """Of the node that comes nearest; None where it is not for want of room."""


class Placement(msgspec.Struct, frozen=True):
    """Where a task goes: a node and its load with the task, or nowhere and why."""

    task_id: str
    node: str | None
    load: float = 0.0
    unplaced: Unplaced | None = None


class BalanceMetrics(msgspec.Struct, frozen=True):
    """How evenly the nodes that are not unhealthy are loaded, tasks that are queued for them included."""

    deviation: float = 0.0
    """Coefficient of variation of `loads`; the capacity of a degraded node counts half."""
    mean_load: float = 0.0
    highest_load: float = 0.0
    lowest_load: float = 0.0
    loads: dict[str, float] = {}
    """Per node; above 1.0 where more is queued than fits at once."""


class LoadDistribution(msgspec.Struct, frozen=True):
    """Which task is on which node."""

    node_allocations: dict[str, tuple[str, ...]]
    """Ids of tasks per node; every node is there."""
    balance_metrics: BalanceMetrics
    health_status: dict[str, NodeHealth]
    unplaced: tuple[Unplaced, ...] = ()


class Move(msgspec.Struct, frozen=True, gc=False):
    """A queued task that goes from one node to another."""

    task_id: str
    source: str
    target: str


class LoadAdjustment(msgspec.Struct, frozen=True):
    """Moves that make the loads more even; none, and why, where nothing is to be done."""

    moves: tuple[Move, ...]
    deviation_before: float
    deviation_after: float
    why: str


class LoadStrategy(msgspec.Struct, frozen=True):
    """How to meet the tasks that are arriving now."""

    shed: frozenset[PriorityClass] = frozenset()
    """Classes that are refused."""
    queue_share: float = 1.0
    """Share of the queue's usual length that may be used, in (0, 1]."""
    affinity_worth: float = 1.0
    """What affinity is worth against load, in [0, 1]; 1.0: as usual."""
    wants_more_nodes: bool = False
    stage: str = "calm"
    """`calm`, `rising`, `spike` or `ramping_down`."""
    why: str = ""
