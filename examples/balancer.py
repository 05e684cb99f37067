"""Spread a batch over unequal nodes, even it out when one fails, and meet a spike. `python examples/balancer.py`."""

from fairlead import Capacity, FleetLoad, LoadBalancer, LoadBalancerConfig, Needs, NodeLoad, TaskLoad


def main() -> None:
    """Place forty tasks, lose a node, then see ten times as many arrive."""
    nodes = [NodeLoad("small", Capacity(slots=8)), *(NodeLoad(f"large-{n}", Capacity(slots=32)) for n in (1, 2))]
    balancer = LoadBalancer(LoadBalancerConfig(rebalance_interval_ms=30_000))
    tasks = [TaskLoad(f"job-{number}", Needs(1, 100, 100)) for number in range(40)]
    spread = balancer.distribute_load(tasks, nodes)
    for name, ids in spread.node_allocations.items():
        print(f"{name:<8}{len(ids):>3} tasks, load {spread.balance_metrics.loads[name]:.2f}")
    assert spread.balance_metrics.deviation < balancer.config.target_load_variance
    assert not spread.unplaced

    where = {task_id: name for name, ids in spread.node_allocations.items() for task_id in ids}
    queued = tuple(TaskLoad(one.id, one.needs, node=where[one.id]) for one in tasks)
    broken = (*nodes[:2], NodeLoad("large-2", Capacity(slots=32), is_healthy=False))
    moves = balancer.rebalance(FleetLoad(broken, queued), now_s=60.0)
    print(f"large-2 fails: {len(moves.moves)} tasks move; {moves.why}")
    assert {move.source for move in moves.moves} == {"large-2"}

    for second in range(600):
        calm = balancer.handle_spikes(10, now_s=float(second))
    assert calm.stage == "calm"
    for second in range(600, 606):
        spike = balancer.handle_spikes(200, now_s=float(second))
    print(f"200 a second instead of 10: {spike.stage}, {', '.join(sorted(spike.shed))} work is refused")
    assert spike.wants_more_nodes


if __name__ == "__main__":
    main()
