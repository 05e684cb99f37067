"""Load balancing measured: `python bench/capacity_balancing.py`.

Fleets of mixed sizes, a third of the nodes serving each of three models and some serving all; tasks of all priorities
whose lengths are spread evenly. Times are the best of several runs.
"""

import time
from collections.abc import Callable

from fairlead.balancing import LoadBalancer
from fairlead.demand.spikes import SpikeDetector
from fairlead.domain import Capacity, Needs
from fairlead.domain.load import FleetLoad, NodeLoad, TaskLoad
from fairlead.rng import Draw

MODELS = ("small", "medium", "large")
PRIORITIES = (1, 4, 4, 8)


def fleet(n: int, seed: int = 0) -> tuple[NodeLoad, ...]:
    """Return nodes with 8 to 48 slots and 2,000 to 6,000 tokens for each."""
    draw, nodes = Draw(seed, 1), []
    for number in range(n):
        slots = 8 + draw.below(41)
        models = frozenset(MODELS if number % 4 == 3 else (MODELS[number % 3],))
        capacity = Capacity(slots=slots, tokens=slots * (2_000 + draw.below(4_001)))
        nodes.append(NodeLoad(f"n{number}", capacity, models=models))
    return tuple(nodes)


def work(n: int, seed: int = 0, *, priorities: tuple[int, ...] = PRIORITIES) -> list[TaskLoad]:
    """Return tasks of 200 to 6,000 tokens, of which one in five has a home."""
    draw, tasks = Draw(seed, 2), []
    for number in range(n):
        needs = Needs(1, 100 + draw.below(4_900), 100 + draw.below(900))
        home = f"n{draw.below(100)}" if number % 5 == 0 else None
        priority = priorities[number % len(priorities)]
        tasks.append(TaskLoad(f"t{number}", needs, MODELS[draw.below(3)], priority, home, 2_000 if home else 0))
    return tasks


def placement_us(nodes: int = 100) -> float:
    """Return the time of one placement on a registered fleet that fills up to about two thirds."""
    tasks = work(nodes * 10)

    def run() -> float:
        balancer = LoadBalancer()
        for node in fleet(nodes):
            balancer.register(node)
        for model in MODELS:
            balancer.place(TaskLoad(f"first for {model}", model=model))
        start_s = time.perf_counter()
        for task in tasks:
            balancer.place(task)
        return time.perf_counter() - start_s

    return min(run() for _ in range(5)) / len(tasks) * 1e6


def distribute_s(tasks: int = 10_000, nodes: int = 1_000) -> float:
    """Return the time of one `distribute_load`."""
    batch, there = work(tasks), fleet(nodes)
    return _best(lambda: LoadBalancer().distribute_load(batch, there))


def overfull_s(tasks: int = 60_000, nodes: int = 1_000) -> float:
    """Return the time of one `distribute_load` of about twice what fits."""
    batch, there = work(tasks), fleet(nodes)
    return _best(lambda: LoadBalancer().distribute_load(batch, there), 1)


def rebalance_s(tasks: int = 2_000, nodes: int = 100) -> float:
    """Return the time of one `rebalance` of a queue that stands before a quarter of the nodes."""
    there = fleet(nodes)
    queued = LoadBalancer().distribute_load(work(tasks), there[: nodes // 4]).node_allocations
    tasks_by_id = {task.id: task for task in work(tasks)}
    seats = tuple(_at(tasks_by_id[task_id], name) for name, ids in queued.items() for task_id in ids)
    return _best(lambda: LoadBalancer().rebalance(FleetLoad(there, seats)), 3)


def deviation(n_seeds: int = 20) -> tuple[float, float]:
    """Return the highest deviation and the lowest mean load of eight unequal nodes with 210 tasks for 240 slots."""
    worst, lowest = 0.0, 1.0
    for seed in range(n_seeds):
        draw = Draw(seed, 3)
        there = [
            NodeLoad(f"n{number}", Capacity(slots=8 << number % 4, tokens=30_000 << number % 4)) for number in range(8)
        ]
        tasks = [TaskLoad(f"t{i}", Needs(1, 100 + draw.below(4_900), 100 + draw.below(900))) for i in range(210)]
        balance = LoadBalancer().distribute_load(tasks, there).balance_metrics
        worst, lowest = max(worst, balance.deviation), min(lowest, balance.mean_load)
    return worst, lowest


def arrival_us(n: int = 100_000) -> float:
    """Return the time that one arrival costs the spike detector, at a thousand a second."""

    def run() -> None:
        detector = SpikeDetector()
        for number in range(n):
            detector.observe(1, number / 1000.0)

    return _best(run, 3) / n * 1e6


def _at(task: TaskLoad, name: str) -> TaskLoad:
    return TaskLoad(task.id, task.needs, task.model, task.priority, task.home, task.saved_tokens, None, name)


def _best(run: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start_s = time.perf_counter()
        run()
        times.append(time.perf_counter() - start_s)
    return min(times)


if __name__ == "__main__":
    worst, lowest = deviation()
    print(f"one placement, 100 nodes            {placement_us():8.1f} us   (below 30)")
    print(f"one placement, 1,000 nodes          {placement_us(1_000):8.1f} us")
    print(f"10,000 tasks over 1,000 nodes       {distribute_s():8.2f} s    (below 1)")
    print(f"60,000 tasks, about half fit        {overfull_s():8.2f} s")
    print(f"rebalancing 2,000 tasks, 100 nodes  {rebalance_s():8.2f} s")
    print(f"one arrival, spike detector         {arrival_us():8.2f} us")
    print(f"deviation, eight unequal nodes      {worst:8.3f}      (below 0.1), at a mean load of at least {lowest:.2f}")
