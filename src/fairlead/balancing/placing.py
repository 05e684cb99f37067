"""Which node takes a task: the one that is least loaded with it, as far as affinity does not say otherwise.

A task that is not `batch` looks below the soft ceiling first, and up to the capacity only where no node has room below;
`batch` only below. In the same step the node that holds the beginning of the prompt is preferred as long as its load is
not higher by more than the share of the task's work that is saved there: load counts as waiting, in units of the task's
own work. A unit of work is an output token, or `PREFILL_TOKENS` of the prompt.
"""

from collections.abc import Sequence

import msgspec

from fairlead.balancing.index import Index, serves
from fairlead.balancing.projection import Projection
from fairlead.domain import Needs, PriorityClass, Shortage, class_of
from fairlead.domain.load import NodeHealth, Placement, TaskLoad, Unplaced

PREFILL_TOKENS = 300.0
"""Tokens of a prompt that a server reads in about the time of one output token."""


class Seat:
    """A task on a node, and what is counted for it there."""

    __slots__ = ("needs", "node", "task")

    def __init__(self, task: TaskLoad, node: Projection, needs: Needs) -> None:
        self.task = task
        self.node = node
        self.needs = needs


def ceilings_of(task: TaskLoad, soft: float) -> tuple[float, ...]:
    """Return the shares of a node's capacity up to which a task looks for room, in this order."""
    if class_of(task.priority) is PriorityClass.BATCH or soft >= 1.0:
        return (soft,)
    return (soft, 1.0)


def needs_at(task: TaskLoad, node: Projection) -> Needs:
    """Return what a task takes of a node: less of the prompt at its home."""
    needs = task.needs
    if not task.saved_tokens or task.home != node.name:
        return needs
    return msgspec.structs.replace(needs, input_tokens=max(0, needs.input_tokens - task.saved_tokens))


def saved_share(task: TaskLoad) -> float:
    """Return the share of a task's work, in [0, 1), that is saved at its home."""
    if task.home is None or not task.saved_tokens:
        return 0.0
    prefill = task.needs.input_tokens / PREFILL_TOKENS
    return min(task.saved_tokens / PREFILL_TOKENS, prefill) / (1.0 + task.needs.output_tokens + prefill)


def seat(task: TaskLoad, index: Index, ceiling: float | None, affinity_worth: float) -> Seat | None:
    """Find a node for a task below one ceiling, and count nothing; `None` looks at every node that is large enough."""
    node = index.lane(task.model).best(task.needs, ceiling)
    home = _home(task, index, ceiling)
    if home is not None and home is not node:
        needs = needs_at(task, home)
        worth = affinity_worth * saved_share(task)
        if node is None or home.level_with(needs) <= node.level_with(task.needs) + worth:
            return Seat(task, home, needs)
    return None if node is None else Seat(task, node, needs_at(task, node))


def place(task: TaskLoad, index: Index, soft: float, affinity_worth: float, now_s: float) -> Seat | Unplaced:
    """Find a node for a task, and count nothing yet."""
    if task.deadline_s is not None and task.deadline_s <= now_s:
        return Unplaced(task.id, f"its deadline passed {now_s - task.deadline_s:.1f} s ago")
    ceilings = ceilings_of(task, soft)
    for ceiling in ceilings:
        found = seat(task, index, ceiling, affinity_worth)
        if found is not None:
            return found
    return why_not(task, index, ceilings[-1])


def distribute(
    tasks: Sequence[TaskLoad], index: Index, soft: float, affinity_worth: float, now_s: float
) -> tuple[list[Seat], list[Unplaced]]:
    """Place tasks and count them: the most urgent first, and of these the largest."""
    seats, unplaced = [], []
    sizes = _Sizes(index)
    for task in sorted(tasks, key=lambda task: (task.priority, -sizes.of(task.needs))):
        found = place(task, index, soft, affinity_worth, now_s)
        if isinstance(found, Unplaced):
            unplaced.append(found)
        else:
            index.put(found.node, found.needs)
            seats.append(found)
    return seats, unplaced


def answer(task: TaskLoad, found: Seat | Unplaced) -> Placement:
    """Say where one task goes."""
    if isinstance(found, Unplaced):
        return Placement(task.id, None, 0.0, found)
    return Placement(task.id, found.node.name, found.node.level_with(found.needs) * found.node.share)


def why_not(task: TaskLoad, index: Index, ceiling: float) -> Unplaced:
    """Say why no node takes a task."""
    lane = index.lane(task.model)
    if not lane.members:
        return Unplaced(task.id, _why_nobody(task.model, index))
    nodes = lane.members.values()
    shortages = []
    for node in nodes:
        shortage = node.too_small_for(task.needs)
        if shortage is None:
            break
        shortages.append((shortage.capacity / shortage.needed, -node.order, shortage, node.name))
    else:
        *_, shortage, name = max(shortages)
        largest = f"the largest there is, {name}, has {shortage.capacity:g}"
        return Unplaced(
            task.id, f"larger than every node: {shortage.needed:g} {shortage.resource}, {largest}", shortage
        )
    return _no_room(task, lane.least(), ceiling)


def _no_room(task: TaskLoad, node: Projection | None, ceiling: float) -> Unplaced:
    shortage: Shortage | None = None
    if node is not None:
        shortage = node.too_small_for(task.needs) or node.shortage(task.needs, 0.0, ceiling)
    below = "" if ceiling >= 1.0 else f" below {ceiling:.0%} of a node, as far as {PriorityClass.BATCH} goes"
    near = f"; on {node.name}, {shortage}" if node is not None and shortage is not None else ""
    return Unplaced(task.id, f"no room now{below}{near}", shortage)


def _why_nobody(model: str | None, index: Index) -> str:
    if not index.nodes:
        return "there are no nodes"
    names = [node.name for node in index.nodes.values() if serves(node, model)]
    what = "" if model is None else f" that serves {model!r}"
    if not names:
        return f"there is no node{what}"
    return f"no node{what} is healthy: " + ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _home(task: TaskLoad, index: Index, ceiling: float | None) -> Projection | None:
    node = None if task.home is None else index.nodes.get(task.home)
    if node is None or node.health is NodeHealth.UNHEALTHY or not serves(node, task.model):
        return None
    return node if node.can_take(needs_at(task, node), ceiling) else None


class _Sizes:
    """How large tasks are: the largest share that they take of what the whole fleet has."""

    def __init__(self, index: Index) -> None:
        capacities = [node.capacity for node in index.nodes.values()]
        self._slots = sum(one.slots or 0 for one in capacities) or float("inf")
        self._tokens = sum(one.tokens or 0 for one in capacities) or float("inf")
        self._memory = sum(one.memory_bytes or 0 for one in capacities) or float("inf")
        self._gpu = sum(one.gpu_memory_bytes or 0 for one in capacities) or float("inf")

    def of(self, needs: Needs) -> float:
        return max(
            needs.slots / self._slots,
            needs.tokens / self._tokens,
            needs.memory_bytes / self._memory,
            needs.gpu_memory_bytes / self._gpu,
        )
