"""Placing tasks: nothing is exceeded, nobody gets lost, the load is even, and the reasons are true."""

from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.balancing import LoadBalancer, LoadBalancerConfig
from fairlead.domain import Capacity, Needs, Task
from fairlead.domain.load import LoadDistribution, NodeHealth, NodeLoad, TaskLoad
from fairlead.rng import Draw

INTERACTIVE, NORMAL, BATCH = 1, 4, 8
LAWS = settings(max_examples=40, derandomize=True, deadline=None)


@st.composite
def capacities(draw: st.DrawFn) -> Capacity:
    return Capacity(
        slots=draw(st.none() | st.integers(1, 12)),
        tokens=draw(st.none() | st.integers(100, 10_000)),
        memory_bytes=draw(st.none() | st.integers(50, 500)),
    )


@st.composite
def fleets(draw: st.DrawFn) -> list[NodeLoad]:
    nodes = []
    for number in range(draw(st.integers(0, 5))):
        capacity = draw(capacities())
        leased = Needs(
            draw(st.integers(0, min(capacity.slots or 5, 5))),
            draw(st.integers(0, capacity.tokens or 500)),
            0,
            draw(st.integers(0, capacity.memory_bytes or 50)),
        )
        nodes.append(
            NodeLoad(
                f"n{number}",
                capacity,
                leased if leased.slots else Needs(slots=0),
                draw(st.sampled_from([frozenset[str](), frozenset("a"), frozenset("b"), frozenset("ab")])),
                is_healthy=draw(st.sampled_from([True, True, True, False])),
                response_time_ms=draw(st.sampled_from([None, 100.0, 900.0])),
            )
        )
    return nodes


@st.composite
def tasks(draw: st.DrawFn, priorities: tuple[int, ...] = (INTERACTIVE, NORMAL, BATCH)) -> list[TaskLoad]:
    return [
        TaskLoad(
            f"t{number}",
            Needs(
                draw(st.integers(1, 2)), draw(st.integers(0, 4000)), draw(st.integers(0, 900)), draw(st.integers(0, 90))
            ),
            draw(st.sampled_from([None, "a", "b", "c"])),
            draw(st.sampled_from(priorities)),
        )
        for number in range(draw(st.integers(0, 14)))
    ]


def held(node: NodeLoad, placed: list[TaskLoad]) -> Counter[str]:
    """What a node holds, added up by hand."""
    sums: Counter[str] = Counter()
    for needs in (node.leased, *(task.needs for task in placed)):
        sums.update(slots=needs.slots, tokens=needs.tokens, memory_bytes=needs.memory_bytes)
    return sums


def limits(node: NodeLoad) -> dict[str, int]:
    amounts = {name: getattr(node.capacity, name) for name in ("slots", "tokens", "memory_bytes")}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def placed_on(said: LoadDistribution, work: list[TaskLoad]) -> dict[str, list[TaskLoad]]:
    by_id = {task.id: task for task in work}
    return {name: [by_id[one] for one in ids] for name, ids in said.node_allocations.items()}


@LAWS
@given(tasks(), fleets())
def test_capacity_is_never_exceeded_and_every_task_is_placed_or_listed(
    work: list[TaskLoad], nodes: list[NodeLoad]
) -> None:
    said = LoadBalancer().distribute_load(work, nodes)
    placed = placed_on(said, work)
    assert sorted(one for ids in said.node_allocations.values() for one in ids) == sorted(
        {task.id for task in work} - {one.task_id for one in said.unplaced}
    )
    assert len({one.task_id for one in said.unplaced}) == len(said.unplaced)
    assert set(said.node_allocations) == set(said.health_status) == {node.name for node in nodes}
    for node in nodes:
        there = placed[node.name]
        assert node.is_healthy or not there
        assert all(not node.models or task.model is None or task.model in node.models for task in there)
        sums = held(node, there)
        needed = held(NodeLoad("none"), there)
        for name, limit in limits(node).items():
            assert not needed[name] or sums[name] <= limit


@LAWS
@given(tasks(), fleets())
def test_who_is_refused_could_be_put_nowhere(work: list[TaskLoad], nodes: list[NodeLoad]) -> None:
    said = LoadBalancer().distribute_load(work, nodes)
    placed, by_id = placed_on(said, work), {task.id: task for task in work}
    for one in said.unplaced:
        assert one.reason
        task = by_id[one.task_id]
        for node in nodes:
            if not node.is_healthy or (node.models and task.model is not None and task.model not in node.models):
                continue
            share = 1.0 if task.priority != BATCH else 0.8
            sums, needed = held(node, placed[node.name]), held(NodeLoad("none"), [task])
            assert any(
                sums[name] + needed[name] > limit * (share if sums["slots"] else 1.0) - 1e-6
                for name, limit in limits(node).items()
                if needed[name] or name != "memory_bytes"
            ), node


@LAWS
@given(tasks((BATCH,)), fleets())
def test_batch_takes_no_node_beyond_the_soft_ceiling(work: list[TaskLoad], nodes: list[NodeLoad]) -> None:
    said = LoadBalancer().distribute_load(work, nodes)
    for node in nodes:
        there = placed_on(said, work)[node.name]
        if len(there) + node.leased.slots <= 1:
            continue  # an idle node takes what it can hold
        sums, needed = held(node, there), held(NodeLoad("none"), there)
        for name, limit in limits(node).items():
            assert not needed[name] or sums[name] <= 0.8 * limit + 1e-6


@LAWS
@given(tasks(), fleets())
def test_the_same_question_has_the_same_answer(work: list[TaskLoad], nodes: list[NodeLoad]) -> None:
    assert LoadBalancer().distribute_load(work, nodes) == LoadBalancer().distribute_load(work, tuple(nodes))


@LAWS
@given(st.lists(capacities(), min_size=1, max_size=3), st.lists(st.integers(0, 900), max_size=12))
def test_one_task_goes_where_the_load_is_least_with_it(there: list[Capacity], sizes: list[int]) -> None:
    balancer, names = LoadBalancer(), [f"n{number}" for number in range(len(there))]
    sums = {name: Counter(slots=0, tokens=0) for name in names}
    for name, capacity in zip(names, there, strict=True):
        balancer.register(NodeLoad(name, capacity))

    def load(name: str, tokens: int) -> float:
        capacity, now = there[names.index(name)], sums[name]
        slots = capacity.slots or (16 if capacity.tokens is None else float("inf"))
        return max((now["slots"] + 1) / slots, (now["tokens"] + tokens) / (capacity.tokens or float("inf")))

    for number, tokens in enumerate(sizes):
        said = balancer.place(TaskLoad(f"t{number}", Needs(1, tokens)))
        below = [load(name, tokens) for name in names]
        if said.node is not None:
            assert said.load == pytest.approx(load(said.node, tokens))
            if min(below) <= 0.8:
                assert said.load == pytest.approx(min(below))
            sums[said.node].update(slots=1, tokens=tokens)


def mixed(n: int, seed: int) -> list[TaskLoad]:
    draw = Draw(seed, 1)
    return [TaskLoad(f"t{i}", Needs(1, 100 + draw.below(4_900), 100 + draw.below(900))) for i in range(n)]


UNEQUAL = [NodeLoad(f"n{i}", Capacity(slots=8 << i % 4, tokens=30_000 << i % 4)) for i in range(8)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n", [240, 280, 400])
def test_eight_unequal_nodes_are_loaded_evenly_and_well(seed: int, n: int) -> None:
    metrics = LoadBalancer().distribute_load(mixed(n, seed), UNEQUAL).balance_metrics
    assert metrics.deviation < 0.1
    assert metrics.mean_load > 0.8
    assert metrics.highest_load <= 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_nodes_matters_little(seed: int) -> None:
    draw, nodes, deviations = Draw(seed, 2), list(UNEQUAL), []
    for _ in range(5):
        nodes.sort(key=lambda _: draw.bits())
        deviations.append(LoadBalancer().distribute_load(mixed(150, seed), nodes).balance_metrics.deviation)
    assert max(deviations) - min(deviations) < 0.02


def test_urgent_tasks_are_placed_first_and_of_these_the_largest() -> None:
    work = [
        TaskLoad("batch", Needs(1, 10), priority=BATCH),
        TaskLoad("small", Needs(1, 20)),
        TaskLoad("large", Needs(1, 90)),
        TaskLoad("urgent", Needs(1, 10), priority=INTERACTIVE),
    ]
    said = LoadBalancer().distribute_load(work, [NodeLoad("n", Capacity(tokens=100))])
    assert said.node_allocations == {"n": ("urgent", "large")}
    assert [one.task_id for one in said.unplaced] == ["small", "batch"]


def test_normal_work_goes_beyond_the_soft_ceiling_only_where_no_node_is_below() -> None:
    nodes = [NodeLoad("a", Capacity(slots=10), Needs(8)), NodeLoad("b", Capacity(slots=2), Needs(0))]
    work = [TaskLoad(f"t{number}") for number in range(5)]
    said = LoadBalancer().distribute_load(work, nodes)
    assert said.node_allocations["b"][0] == "t0", "half of a small node, but below the ceiling"
    assert len(said.node_allocations["a"]) == 2
    assert len(said.node_allocations["b"]) == 2
    assert len(said.unplaced) == 1


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (TaskLoad("t", Needs(1, 9000)), "larger than every node: 9000 tokens, the largest there is, big, has 8000"),
        (TaskLoad("t", model="c"), "there is no node that serves 'c'"),
        (TaskLoad("t", model="sick"), "no node that serves 'sick' is healthy: ill"),
        (TaskLoad("t", Needs(1, 7999)), "no room now; on small, tokens: 7999 needed, 1000 of 1000 free"),
        (TaskLoad("t", Needs(3), deadline_s=5.0), "its deadline passed 2.5 s ago"),
    ],
)
def test_a_task_that_finds_no_place_is_told_why(task: TaskLoad, reason: str) -> None:
    nodes = [
        NodeLoad("small", Capacity(tokens=1000, slots=4), models=frozenset("a")),
        NodeLoad("big", Capacity(tokens=8000, slots=4), Needs(1, 100), models=frozenset("a")),
        NodeLoad("ill", models=frozenset(["sick"]), is_healthy=False),
    ]
    said = LoadBalancer().place(task, nodes, now_s=7.5)
    assert said.node is None
    assert said.unplaced is not None
    assert said.unplaced.reason == reason


def test_without_nodes_every_task_is_listed() -> None:
    said = LoadBalancer().distribute_load([TaskLoad("t")])
    assert said.unplaced[0].reason == "there are no nodes"
    assert said.balance_metrics.deviation == 0.0


def test_batch_is_told_of_its_ceiling() -> None:
    said = LoadBalancer().place(TaskLoad("t", priority=BATCH), [NodeLoad("n", Capacity(slots=10), Needs(8))])
    assert said.unplaced is not None
    assert "below 80% of a node, as far as batch goes; on n, slots: 1 needed, 0 of 10 free" in said.unplaced.reason


@pytest.mark.parametrize(
    ("node", "health"),
    [
        (NodeLoad("n"), NodeHealth.HEALTHY),
        (NodeLoad("n", is_healthy=False), NodeHealth.UNHEALTHY),
        (NodeLoad("n", error_rate=0.05), NodeHealth.HEALTHY),
        (NodeLoad("n", error_rate=0.06), NodeHealth.UNHEALTHY),
        (NodeLoad("n", error_rate=0.5, outcomes=19), NodeHealth.HEALTHY),
        (NodeLoad("n", error_rate=0.5, outcomes=20), NodeHealth.UNHEALTHY),
        (NodeLoad("n", response_time_ms=200.0), NodeHealth.HEALTHY),
        (NodeLoad("n", response_time_ms=201.0), NodeHealth.DEGRADED),
        (NodeLoad("n", response_time_ms=9999.0, error_rate=0.9), NodeHealth.UNHEALTHY),
    ],
)
def test_health_follows_from_the_figures(node: NodeLoad, health: NodeHealth) -> None:
    assert LoadBalancer().distribute_load([], [node]).health_status == {"n": health}


def test_the_success_rate_is_another_view_of_the_error_rate() -> None:
    config = LoadBalancerConfig(healthy_success_rate=0.99)
    said = LoadBalancer(config).distribute_load([], [NodeLoad("n", error_rate=0.02)])
    assert said.health_status == {"n": NodeHealth.UNHEALTHY}


def test_a_degraded_node_gets_half_its_share() -> None:
    nodes = [NodeLoad("a", Capacity(slots=100)), NodeLoad("b", Capacity(slots=100), response_time_ms=500.0)]
    said = LoadBalancer().distribute_load([TaskLoad(f"t{i}") for i in range(60)], nodes)
    assert {name: len(ids) for name, ids in said.node_allocations.items()} == {"a": 40, "b": 20}
    assert said.balance_metrics.loads == pytest.approx({"a": 0.4, "b": 0.2})
    assert said.balance_metrics.deviation == pytest.approx(0.0, abs=1e-6)


def test_nodes_that_tell_nothing_share_evenly() -> None:
    nodes = [NodeLoad(f"n{number}") for number in range(4)]
    said = LoadBalancer().distribute_load([TaskLoad(f"t{i}") for i in range(200)], nodes)
    assert {len(ids) for ids in said.node_allocations.values()} == {50}
    assert not said.unplaced


def test_a_task_goes_home_until_waiting_there_costs_more_than_it_saves() -> None:
    """1500 of 3000 tokens saved are 5 of 20 units of work: worth a quarter of a node."""
    work = TaskLoad("t", Needs(1, 3000, 9), home="home", saved_tokens=1500)
    for leased, goes in ((0, "home"), (25, "home"), (26, "away")):
        nodes = [NodeLoad("away", Capacity(slots=100)), NodeLoad("home", Capacity(slots=100), Needs(leased))]
        assert LoadBalancer().place(work, nodes).node == goes


def test_at_home_a_task_needs_less() -> None:
    nodes = [NodeLoad("away", Capacity(tokens=900)), NodeLoad("home", Capacity(tokens=600))]
    work = TaskLoad("t", Needs(1, 1000, 100), home="home", saved_tokens=800)
    said = LoadBalancer().place(work, nodes)
    assert said.node == "home"
    assert said.load == pytest.approx(0.5)


def test_a_task_of_the_domain_can_be_placed_as_it_is() -> None:
    task = Task("t", 1, model="a", input_tokens=700, output_tokens=300)
    said = LoadBalancer().distribute_load([task], [NodeLoad("n", Capacity(tokens=2000), models=frozenset("a"))])
    assert said.node_allocations == {"n": ("t",)}
    assert said.balance_metrics.loads["n"] == 0.5
    assert TaskLoad.of(Task("t", 1)).model is None


def test_names_and_ids_are_unique() -> None:
    with pytest.raises(ValueError, match="two nodes are called 'n'"):
        LoadBalancer().distribute_load([], [NodeLoad("n"), NodeLoad("n")])
    with pytest.raises(ValueError, match="two tasks are called 't'"):
        LoadBalancer().distribute_load([TaskLoad("t"), TaskLoad("t")], [NodeLoad("n")])


def test_impossible_figures_are_refused() -> None:
    with pytest.raises(ValueError, match="error_rate"):
        NodeLoad("n", error_rate=1.5)
    with pytest.raises(ValueError, match="response_time_ms"):
        NodeLoad("n", response_time_ms=float("nan"))
    with pytest.raises(ValueError, match="saved_tokens"):
        TaskLoad("t", saved_tokens=-1)


def test_an_idle_node_takes_batch_that_it_can_hold_at_all() -> None:
    assert LoadBalancer().place(TaskLoad("t", priority=BATCH), [NodeLoad("n", Capacity(slots=1))]).node == "n"


def test_a_task_that_no_minute_has_room_for_is_larger_than_the_node() -> None:
    said = LoadBalancer().place(TaskLoad("t", Needs(1, 200)), [NodeLoad("n", Capacity(slots=4, tokens_per_minute=100))])
    assert said.unplaced is not None
    assert said.unplaced.reason.startswith("larger than every node: 200 tokens_per_minute")


def test_memory_that_is_full_keeps_nobody_away_who_needs_none() -> None:
    nodes = [NodeLoad("n", Capacity(slots=4, memory_bytes=100), Needs(1, memory_bytes=100))]
    assert LoadBalancer().place(TaskLoad("t"), nodes).node == "n"
    assert LoadBalancer().place(TaskLoad("t", Needs(1, memory_bytes=1)), nodes).node is None
