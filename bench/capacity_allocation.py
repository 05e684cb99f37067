"""What an allocation costs: microseconds over a fleet, and bytes for each lease that is out.

Nodes are unequal and half leased, so that the least utilized one changes with every allocation. Beside the usual case
stands the worst: every node but one is used up by its limit per minute, which its utilization does not show, so that
all of them are asked. CPU time is counted and the best of several rounds kept, so that other work disturbs little.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable

from fairlead.allocation import Ledger, NeedsEstimator, ResourceAllocator
from fairlead.allocation.account import Account
from fairlead.domain import Capacity, Needs, Node, Task, TaskCategory

MODEL = "qwen2.5-coder:7b"
CEILING_US = 20.0
_ROUNDS = 7
_CALLS = 400


def fleet(nodes: int) -> ResourceAllocator:
    """Return an allocator over unequal nodes, about half of what they have leased."""
    allocator = ResourceAllocator()
    for n in range(nodes):
        slots = 8 + n % 5 * 4
        capacity = Capacity(slots=slots, tokens=slots * 4_000, tokens_per_minute=10**9, requests_per_minute=10**6)
        allocator.add_node(Node(f"node-{n:04}", capacity=capacity), [MODEL])
    for n in range(nodes * 6):
        allocator.allocate_resources(MODEL, task(n), now_s=n * 1e-3)
    return allocator


def task(n: int) -> Task:
    """Return one of many tasks, long and short."""
    return Task(id=f"t-{n}", key=n, category=TaskCategory.CODING, input_tokens=200 + n * 37 % 1_800)


def allocation_us(nodes: int = 100) -> float:
    """Return microseconds for one `allocate_resources`; its release is not counted."""
    return _best_us(fleet(nodes))


def idle_allocation_us(nodes: int = 100) -> float:
    """Return the same where nothing is leased, so that all nodes are equally good."""
    allocator = ResourceAllocator()
    for n in range(nodes):
        allocator.add_node(Node(f"node-{n:04}", capacity=Capacity(slots=64, tokens=10**6)), [MODEL])
    return _best_us(allocator)


def worst_allocation_us(nodes: int = 100) -> float:
    """Return the same where a single node has room, and all the others look emptier."""
    allocator = ResourceAllocator()
    for n in range(nodes):
        limit = 10**6 if n == nodes // 2 else 1
        node = Node(f"node-{n:04}", capacity=Capacity(slots=10**6, requests_per_minute=limit))
        allocator.add_node(node, [MODEL])
        allocator.ledger.take(allocator.account(node), None, 0.0, 600.0)
    return _best_us(allocator)


def release_us(nodes: int = 100) -> float:
    """Return microseconds for one `release_resources` that settles what was charged."""
    allocator = fleet(nodes)
    best = float("inf")
    for _ in range(_ROUNDS):
        held = [allocator.allocate_resources(MODEL, task(n), now_s=1.0).allocated for n in range(_CALLS)]
        spent_s = _timed_s(lambda held=held: [allocator.release_resources(one, 700) for one in held if one])
        best = min(best, spent_s / _CALLS * 1e6)
    return best


def estimate_us() -> float:
    """Return microseconds for one estimate of a task's needs."""
    needs, one = NeedsEstimator(), task(1)
    needs.learn(MODEL, one.category, 300, 0.0)
    return min(_timed_s(lambda: [needs.estimate(one, MODEL, 1.0) for _ in range(_CALLS)]) for _ in range(_ROUNDS)) / (
        _CALLS * 1e-6
    )


def learn_us() -> float:
    """Return microseconds for one answer's length to be learnt."""
    needs, category = NeedsEstimator(), TaskCategory.CODING
    rounds = range(_ROUNDS)
    return min(
        _timed_s(lambda r=r: [needs.learn(MODEL, category, n, r + n * 1e-4) for n in range(_CALLS)]) for r in rounds
    ) / (_CALLS * 1e-6)


def bytes_per_lease(leases: int = 20_000) -> float:
    """Return bytes of memory for each live allocation of `allocate_resources`."""
    allocator = ResourceAllocator()
    allocator.add_node(Node("node", capacity=Capacity(tokens=10**12)), [MODEL])
    one = task(1)
    return _bytes(lambda n: allocator.allocate_resources(MODEL, one, now_s=n * 1e-3), leases) / leases


def ledger_bytes_per_lease(leases: int = 20_000) -> float:
    """Return bytes for each live lease that an engine takes of the ledger itself."""
    ledger, account, needs = Ledger(), Account(capacity=Capacity(tokens=10**12)), Needs(1, 500, 300)
    return _bytes(lambda n: ledger.take(account, None, n * 1e-3, 600.0, needs), leases) / leases


def report() -> str:
    """Return the figures as text, a line each."""
    lines = [f"one allocation over {nodes:5} nodes: {allocation_us(nodes):6.1f} us" for nodes in (10, 100, 1_000)]
    lines += [
        f"one allocation over   100 idle nodes: {idle_allocation_us():.1f} us",
        f"one allocation over   100 nodes where one has room: {worst_allocation_us():.1f} us",
        f"one release: {release_us():.1f} us",
        f"one estimate: {estimate_us():.2f} us; one answer learnt: {learn_us():.2f} us",
        f"an allocation that is out: {bytes_per_lease():.0f} bytes; a bare lease: {ledger_bytes_per_lease():.0f} bytes",
        f"ceiling of an allocation over 100 nodes: {CEILING_US:.0f} us",
    ]
    return "\n".join(lines)


def _best_us(allocator: ResourceAllocator) -> float:
    tasks = [task(n) for n in range(64)]
    best = float("inf")
    for r in range(_ROUNDS):
        spent_s = 0.0
        for k in range(_CALLS // len(tasks)):
            now_s = 1.0 + r + k * 1e-3
            held: list[object] = []
            spent_s += _timed_s(
                lambda held=held, now_s=now_s: held.extend(
                    allocator.allocate_resources(MODEL, one, now_s=now_s) for one in tasks
                )
            )
            for result in held:
                assert result.allocated is not None
                allocator.release_resources(result.allocated, 900)
        best = min(best, spent_s / (_CALLS // len(tasks) * len(tasks)) * 1e6)
    return best


def _timed_s(work: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    began_s = time.thread_time()
    work()
    spent_s = time.thread_time() - began_s
    gc.enable()
    return spent_s


def _bytes(take: Callable[[int], object], leases: int) -> float:
    take(0)
    gc.collect()
    tracemalloc.start()
    for n in range(leases):
        take(n)
    gc.collect()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return float(taken)


if __name__ == "__main__":
    print(report())
