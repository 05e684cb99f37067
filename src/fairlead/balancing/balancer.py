"""The load balancer: batches of tasks over nodes, evening out, and spikes."""

from collections.abc import Iterable, Sequence, Sized

from fairlead.balancing.config import LoadBalancerConfig
from fairlead.balancing.deviation import metrics_of
from fairlead.balancing.improving import Improvement
from fairlead.balancing.index import Index
from fairlead.balancing.placing import Seat, answer, distribute, needs_at, place
from fairlead.balancing.projection import Projection, health_of
from fairlead.balancing.strategy import strategy_of
from fairlead.demand.spikes import SpikeDetector, Surge
from fairlead.domain import Task
from fairlead.domain.load import (
    FleetLoad,
    LoadAdjustment,
    LoadDistribution,
    LoadStrategy,
    NodeLoad,
    Placement,
    TaskLoad,
    Unplaced,
)


class LoadBalancer:
    """Decides which node takes which task, and keeps a fleet in mind if it is told of one.

    With nodes given, `distribute_load` and `place` answer for these and keep nothing. Without, they answer for the
    registered nodes, and what they place counts there until `release`. Single-owner, told the time.
    """

    def __init__(self, config: LoadBalancerConfig | None = None) -> None:
        self.config = config or LoadBalancerConfig()
        self.strategy = LoadStrategy()
        """What `handle_spikes` said last; its `affinity_worth` holds for every placement and move."""
        self._fleet = Index()
        self._seats: dict[str, Seat] = {}
        self._order = 0
        self._detector = SpikeDetector(self.config.spike_threshold)
        self._given: tuple[tuple[NodeLoad, ...], Index] = (), Index()
        self._surge: tuple[Surge, bool] | None = None
        self._evened_s: float | None = None

    def register(self, node: NodeLoad) -> None:
        """Add a node, or bring what is known of it up to date; tasks that are queued for it stay.

        Raises ValueError where its capacity cannot be. `leased` includes no task that was placed here and not released.
        """
        old = self._fleet.nodes.get(node.name)
        if old is None:
            self._order += 1
        projection = Projection(node, self._order if old is None else old.order, health_of(node, self.config))
        for one in self._seats.values():
            if one.node is old:
                projection.put(one.needs)
                one.node = projection
        self._fleet.replace(projection)

    def unregister(self, name: str) -> tuple[TaskLoad, ...]:
        """Drop a node, and return the tasks that were queued for it. Raises KeyError for one that is not there."""
        self._fleet.remove(name)
        left = [one.task for one in self._seats.values() if one.node.name == name]
        for task in left:
            del self._seats[task.id]
        return tuple(left)

    def release(self, task_id: str) -> bool:
        """Count a task no more: it has begun, or is gone. Return whether it was queued; a second time does nothing."""
        one = self._seats.pop(task_id, None)
        if one is not None:
            self._fleet.put(one.node, one.needs, -1)
        return one is not None

    def place(self, task: Task | TaskLoad, nodes: Iterable[NodeLoad] | None = None, now_s: float = 0.0) -> Placement:
        """Say which node takes one task, or why none does.

        The same tuple of nodes is read once, however often it is given in a row. Raises ValueError for two nodes of one
        name, or a task that is queued already.
        """
        load = _load_of(task)
        if nodes is None:
            self._refuse_queued(load)
        index = self._fleet if nodes is None else self._read(nodes)
        found = place(load, index, self.config.max_node_utilization, self.strategy.affinity_worth, now_s)
        said = answer(load, found)
        if nodes is None and isinstance(found, Seat):
            index.put(found.node, found.needs)
            self._seats[load.id] = found
        return said

    def distribute_load(
        self, tasks: Iterable[Task | TaskLoad], nodes: Iterable[NodeLoad] | None = None, now_s: float = 0.0
    ) -> LoadDistribution:
        """Place many tasks, the most urgent first and of these the largest; whatever finds no place is listed.

        Raises ValueError for two nodes of one name, two tasks of one id, or a task that is queued already.
        """
        index = self._fleet if nodes is None else self._index(nodes)
        loads = [_load_of(task) for task in tasks]
        _refuse_twins(loads)
        if nodes is None:
            for load in loads:
                self._refuse_queued(load)
        soft = self.config.max_node_utilization
        seats, unplaced = distribute(loads, index, soft, self.strategy.affinity_worth, now_s)
        if nodes is None:
            self._seats.update((one.task.id, one) for one in seats)
        return _distribution(index, seats, unplaced)

    def rebalance(self, metrics: FleetLoad, now_s: float = 0.0) -> LoadAdjustment:
        """Say which queued tasks should move, at most once per `rebalance_interval_ms`.

        Tasks on unhealthy nodes move at any time. Raises ValueError for a task on a node that is not there, and for two
        tasks of one id.
        """
        _refuse_twins(metrics.queued)
        index = self._index(metrics.nodes)
        seats = [_sit(task, index) for task in metrics.queued if task.node is not None]
        return self._improve(index, seats, now_s)

    def optimize_distribution(self, now_s: float = 0.0) -> LoadDistribution:
        """Even out the registered fleet as `rebalance` does, and return which queued task is where."""
        seats = list(self._seats.values())
        self._improve(self._fleet, seats, now_s)
        return _distribution(self._fleet, seats, [])

    def handle_spikes(
        self,
        incoming: int | Sized,
        now_s: float,
        usual_per_s: float | None = None,
        utilization: float | None = None,
    ) -> LoadStrategy:
        """Count tasks that have arrived since the last call, or since it was built, and say how to meet them.

        To be called for each arrival, or a few times a second; also with 0, since time ends a spike. `usual_per_s` is a
        forecast, where there is a better one than what came lately and yesterday. `utilization` is the leased share of
        the fleet: below `max_node_utilization` nothing is refused; None counts as full.
        """
        n = incoming if isinstance(incoming, int) else len(incoming)
        surge = self._detector.observe(n, now_s, usual_per_s)
        is_full = utilization is None or utilization >= self.config.max_node_utilization
        if self._surge is None or self._surge[0] is not surge or self._surge[1] != is_full:
            self._surge = surge, is_full
            self.strategy = strategy_of(surge, is_full=is_full)
        return self.strategy

    def _improve(self, index: Index, seats: Sequence[Seat], now_s: float) -> LoadAdjustment:
        go = Improvement(index, seats, self.config, self.strategy.affinity_worth)
        go.leave_unhealthy()
        wait_s = self._wait_s(now_s)
        if wait_s <= 0.0 and go.even_out():
            self._evened_s = now_s
        after = go.deviation
        return LoadAdjustment(go.moves, go.before, after, self._why(after, len(go.moves), wait_s))

    def _wait_s(self, now_s: float) -> float:
        """Return how long until the loads may be evened out again; moves cost something, questions do not."""
        if self._evened_s is None:
            return 0.0
        return self._evened_s + self.config.rebalance_interval_ms / 1000.0 - now_s

    def _why(self, deviation: float, n_moves: int, wait_s: float) -> str:
        target = self.config.target_load_variance
        if deviation <= target:
            return f"the deviation is {deviation:.3f}, within the target of {target:g}"
        if wait_s > 0.0:
            return f"moves were made a short while ago; the next in {wait_s:.1f} s"
        rest = "no further move helps enough" if n_moves else "no move of a queued task helps enough"
        return f"the deviation is {deviation:.3f}, above the target of {target:g}; {rest}"

    def _read(self, nodes: Iterable[NodeLoad]) -> Index:
        """Return an index that nothing is counted in, since building one costs far more than a search in it."""
        if nodes is not self._given[0]:
            nodes = tuple(nodes)
            self._given = nodes, self._index(nodes)
        return self._given[1]

    def _index(self, nodes: Iterable[NodeLoad]) -> Index:
        return Index(Projection(node, order, health_of(node, self.config)) for order, node in enumerate(nodes))

    def _refuse_queued(self, task: TaskLoad) -> None:
        if task.id in self._seats:
            raise ValueError(f"task {task.id!r} is queued already: release it before it is placed again")


def _load_of(task: Task | TaskLoad) -> TaskLoad:
    return TaskLoad.of(task) if isinstance(task, Task) else task


def _refuse_twins(tasks: Sequence[TaskLoad]) -> None:
    seen: set[str] = set()
    for task in tasks:
        if task.id in seen:
            raise ValueError(f"two tasks are called {task.id!r}: give each an id of its own")
        seen.add(task.id)


def _sit(task: TaskLoad, index: Index) -> Seat:
    """Count a queued task on its node."""
    node = index.nodes.get(task.node or "")
    if node is None:
        raise ValueError(f"task {task.id!r} is queued for node {task.node!r}, which is not among the nodes")
    needs = needs_at(task, node)
    index.put(node, needs)
    return Seat(task, node, needs)


def _distribution(index: Index, seats: Iterable[Seat], unplaced: Sequence[Unplaced]) -> LoadDistribution:
    allocations: dict[str, list[str]] = {name: [] for name in index.nodes}
    for one in seats:
        allocations[one.node.name].append(one.task.id)
    return LoadDistribution(
        {name: tuple(ids) for name, ids in allocations.items()},
        metrics_of(index.serving),
        {name: node.health for name, node in index.nodes.items()},
        tuple(unplaced),
    )
