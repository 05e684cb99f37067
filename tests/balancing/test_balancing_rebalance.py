"""Evening out: every move helps, none comes back, only queued tasks move, and what a move costs is counted."""

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from fairlead.balancing import LoadBalancer, LoadBalancerConfig
from fairlead.domain import Capacity, Needs
from fairlead.domain.load import FleetLoad, LoadAdjustment, NodeLoad, TaskLoad

LAWS = settings(max_examples=40, derandomize=True, deadline=None)
BATCH = 8


@st.composite
def fleets(draw: st.DrawFn) -> FleetLoad:
    nodes = tuple(
        NodeLoad(
            f"n{number}",
            Capacity(slots=draw(st.integers(1, 20)), tokens=draw(st.none() | st.integers(2_000, 40_000))),
            Needs(draw(st.integers(0, 6))),
            draw(st.sampled_from([frozenset[str](), frozenset("a"), frozenset("ab")])),
            is_healthy=draw(st.sampled_from([True, True, True, True, False])),
            response_time_ms=draw(st.sampled_from([None, None, 900.0])),
        )
        for number in range(draw(st.integers(1, 5)))
    )
    names = [node.name for node in nodes]
    queued = tuple(
        TaskLoad(
            f"t{number}",
            Needs(1, draw(st.integers(0, 3_000)), draw(st.integers(0, 500))),
            draw(st.sampled_from([None, "a", "b"])),
            draw(st.sampled_from([1, 4, BATCH])),
            draw(st.none() | st.sampled_from(names)),
            draw(st.sampled_from([0, 0, 2_000])),
            None,
            draw(st.sampled_from(names)),
        )
        for number in range(draw(st.integers(0, 16)))
    )
    return FleetLoad(nodes, queued)


def applied(fleet: FleetLoad, said: LoadAdjustment) -> FleetLoad:
    goes = {move.task_id: move.target for move in said.moves}
    queued = tuple(msgspec.structs.replace(task, node=goes.get(task.id, task.node)) for task in fleet.queued)
    return FleetLoad(fleet.nodes, queued)


@LAWS
@given(fleets())
def test_after_its_moves_there_is_none_left_to_make_and_none_back(fleet: FleetLoad) -> None:
    first = LoadBalancer().rebalance(fleet)
    again = LoadBalancer().rebalance(applied(fleet, first))
    assert again.moves == ()
    assert again.deviation_before == pytest.approx(first.deviation_after)
    assert first.why


@LAWS
@given(fleets())
def test_moves_lessen_the_deviation_and_take_tasks_where_they_may_be(fleet: FleetLoad) -> None:
    said = LoadBalancer().rebalance(fleet)
    nodes, tasks = {node.name: node for node in fleet.nodes}, {task.id: task for task in fleet.queued}
    assert len({move.task_id for move in said.moves}) == len(said.moves)
    for move in said.moves:
        task, target = tasks[move.task_id], nodes[move.target]
        assert task.node == move.source != move.target
        assert target.is_healthy
        assert not target.models or task.model is None or task.model in target.models
        assert target.capacity.tokens is None or task.needs.tokens - task.saved_tokens <= target.capacity.tokens
    if all(nodes[move.source].is_healthy for move in said.moves):
        assert said.deviation_after <= said.deviation_before
        assert not said.moves or said.deviation_after < said.deviation_before


@LAWS
@given(st.lists(st.integers(1, 20), min_size=2, max_size=6), st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_as_tasks_come_and_go_no_task_returns_to_where_it_was_taken_from(slots: list[int], seats: list[int]) -> None:
    """A task leaves the fullest node again and again; others never go to and fro meanwhile."""
    balancer, moved = LoadBalancer(), set[tuple[str, str, str]]()
    nodes = tuple(NodeLoad(f"n{number}", Capacity(slots=count)) for number, count in enumerate(slots))
    fleet = FleetLoad(nodes, tuple(TaskLoad(f"t{i}", node=f"n{at % len(slots)}") for i, at in enumerate(seats)))
    for minute in range(5):
        said = balancer.rebalance(fleet, now_s=60.0 * minute)
        fleet = applied(fleet, said)
        moves = {(move.task_id, move.source, move.target) for move in said.moves}
        assert not {(task, target, source) for task, source, target in moves} & moved
        moved |= moves


def crowd(n: int, node: str, needs: Needs | None = None, **more: object) -> tuple[TaskLoad, ...]:
    return tuple(TaskLoad(f"{node}-{i}", needs or Needs(), node=node, **more) for i in range(n))  # type: ignore[arg-type]


def test_a_queue_before_one_node_is_spread_until_the_target_is_met() -> None:
    nodes = tuple(NodeLoad(f"n{number}", Capacity(slots=20)) for number in range(5))
    said = LoadBalancer().rebalance(FleetLoad(nodes, crowd(50, "n0")))
    assert said.deviation_before == pytest.approx(2.0)
    assert said.deviation_after <= 0.1
    assert {move.source for move in said.moves} == {"n0"}
    assert "within the target" in said.why


def test_streams_stay_where_they_are() -> None:
    nodes = (NodeLoad("a", Capacity(slots=10), Needs(10)), NodeLoad("b", Capacity(slots=10)))
    said = LoadBalancer().rebalance(FleetLoad(nodes))
    assert said.moves == ()
    assert "no move of a queued task helps enough" in said.why


def test_a_queue_that_is_even_enough_is_left_alone() -> None:
    nodes = (NodeLoad("a", Capacity(slots=100)), NodeLoad("b", Capacity(slots=100)))
    said = LoadBalancer().rebalance(FleetLoad(nodes, crowd(54, "a") + crowd(46, "b")))
    assert said.moves == ()


def test_a_move_has_to_help_enough() -> None:
    nodes = (NodeLoad("a", Capacity(tokens=100)), NodeLoad("b", Capacity(tokens=100)))
    swap = FleetLoad(nodes, (*crowd(1, "a", Needs(1, 60)), *crowd(1, "b", Needs(1, 30))))
    assert not LoadBalancer().rebalance(swap).moves, "the nodes would only change places"
    uneven = FleetLoad(nodes, (*crowd(6, "a", Needs(1, 10)), *crowd(1, "b", Needs(1, 30))))
    for share, n_moves in ((0.1, 1), (0.3, 1), (0.4, 0)):  # from 60 to 40 of 100: a third
        config = LoadBalancerConfig(min_rebalance_improvement=share)
        assert len(LoadBalancer(config).rebalance(uneven).moves) == n_moves


def test_moves_that_together_help_too_little_are_not_made() -> None:
    """Nine nodes' streams are as uneven as can be; the one task that could move is no help."""
    nodes = tuple(NodeLoad(f"n{i}", Capacity(slots=100), Needs(10 * i)) for i in range(10))
    fleet = FleetLoad(nodes, crowd(1, "n9"))
    said = LoadBalancer().rebalance(fleet)
    assert said.moves == ()
    assert said.deviation_after == said.deviation_before
    assert LoadBalancer(LoadBalancerConfig(min_rebalance_improvement=0.001)).rebalance(fleet).moves


def test_queues_that_are_all_too_long_are_evened_out_as_well() -> None:
    nodes = (NodeLoad("a", Capacity(slots=10), Needs(10)), NodeLoad("b", Capacity(slots=10), Needs(10)))
    said = LoadBalancer().rebalance(FleetLoad(nodes, crowd(40, "a")))
    assert said.deviation_after <= 0.1
    assert 16 <= len(said.moves) <= 20


def test_batch_is_not_moved_beyond_the_soft_ceiling_of_a_node_that_is_less_full_for_it() -> None:
    nodes = (NodeLoad("a", Capacity(slots=10), Needs(7)), NodeLoad("b", Capacity(slots=10), Needs(8)))
    spread = NodeLoad("c", Capacity(slots=10))
    fleet = FleetLoad((*nodes, spread), crowd(6, "a", priority=BATCH))
    said = LoadBalancer().rebalance(fleet)
    assert said.moves
    assert {move.target for move in said.moves} == {"c"}


def test_a_move_that_frees_one_queue_does_not_fill_a_small_node_to_the_brim() -> None:
    """From a to c the task would come to less load, but c would be further from the others than a is now."""
    nodes = (
        NodeLoad("e", Capacity(slots=10), models=frozenset("x")),
        NodeLoad("d", Capacity(slots=10), models=frozenset("x")),
        NodeLoad("a", Capacity(slots=100), Needs(84), frozenset("m")),
        NodeLoad("c", Capacity(slots=5), Needs(3), frozenset("m")),
    )
    said = LoadBalancer().rebalance(FleetLoad(nodes, crowd(5, "a", model="m") + crowd(9, "e", model="x")))
    assert {(move.source, move.target) for move in said.moves} == {("e", "d")}


@pytest.mark.parametrize(("priority", "n_moves"), [(4, 1), (BATCH, 0)])
def test_batch_goes_beyond_the_soft_ceiling_only_where_it_waits_behind_less(priority: int, n_moves: int) -> None:
    nodes = (NodeLoad("a", Capacity(tokens=100), Needs(1, 50)), NodeLoad("b", Capacity(tokens=100), Needs(1, 35)))
    said = LoadBalancer().rebalance(FleetLoad(nodes, crowd(1, "a", Needs(1, 50), priority=priority)))
    assert len(said.moves) == n_moves


def test_leaving_home_costs_what_is_saved_there() -> None:
    """At home 1020 of 3000 tokens are saved: 3.4 of 20 units of work, so 0.17 of a node's load."""
    nodes = (NodeLoad("home", Capacity(slots=20)), NodeLoad("away", Capacity(slots=20)))
    for home, n_moves in ((None, 5), ("away", 5), ("home", 3)):
        queued = crowd(10, "home", Needs(1, 3000, 9), home=home, saved_tokens=1020)
        assert len(LoadBalancer().rebalance(FleetLoad(nodes, queued)).moves) == n_moves


def test_moves_are_made_at_most_once_per_interval_but_questions_are_free() -> None:
    balancer = LoadBalancer()
    nodes = (NodeLoad("a", Capacity(slots=20)), NodeLoad("b", Capacity(slots=20)))
    uneven, even = FleetLoad(nodes, crowd(10, "a")), FleetLoad(nodes)
    assert not balancer.rebalance(even, now_s=100.0).moves
    assert balancer.rebalance(uneven, now_s=101.0).moves
    refused = balancer.rebalance(uneven, now_s=160.9)
    assert refused.moves == ()
    assert "the next in 0.1 s" in refused.why
    assert balancer.rebalance(uneven, now_s=161.0).moves


def test_an_unhealthy_node_is_left_at_any_time_and_never_entered() -> None:
    balancer = LoadBalancer()
    nodes = (
        NodeLoad("ill", Capacity(slots=20), error_rate=0.5),
        NodeLoad("a", Capacity(slots=20)),
        NodeLoad("b", Capacity(slots=20)),
    )
    for now_s in (0.0, 1.0):
        said = balancer.rebalance(FleetLoad(nodes, crowd(10, "ill")), now_s)
        assert sorted(move.target for move in said.moves) == ["a"] * 5 + ["b"] * 5
    assert not LoadBalancer().rebalance(FleetLoad(nodes[:1], crowd(3, "ill"))).moves


def test_a_task_on_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="queued for node 'x', which is not among the nodes"):
        LoadBalancer().rebalance(FleetLoad((NodeLoad("n"),), crowd(1, "x")))


def test_a_task_that_is_nowhere_yet_does_not_move() -> None:
    nodes = (NodeLoad("a", Capacity(slots=2)), NodeLoad("b", Capacity(slots=2)))
    assert not LoadBalancer().rebalance(FleetLoad(nodes, (TaskLoad("t"),))).moves
