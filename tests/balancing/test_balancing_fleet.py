"""The fleet that a balancer keeps in mind: what is placed counts until it is released, wherever it has moved to."""

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fairlead.balancing import LoadBalancer
from fairlead.domain import Capacity, Needs
from fairlead.domain.load import LoadDistribution, NodeLoad, TaskLoad

NAMES = st.sampled_from(["a", "b", "c", "d"])


class FleetMachine(RuleBasedStateMachine):
    """Registers, places, releases, evens out in any order, and keeps books beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.balancer = LoadBalancer()
        self.nodes: dict[str, NodeLoad] = {}
        self.queued: dict[str, TaskLoad] = {}
        self.ids = 0
        self.now_s = 0.0

    @rule(
        name=NAMES,
        slots=st.integers(1, 9),
        tokens=st.integers(500, 5000),
        leased=st.integers(0, 3),
        model=st.booleans(),
    )
    def register(self, name: str, slots: int, tokens: int, leased: int, model: bool) -> None:
        models = frozenset("m") if model else frozenset[str]()
        self.nodes[name] = NodeLoad(name, Capacity(slots=slots, tokens=tokens), Needs(leased), models)
        self.balancer.register(self.nodes[name])

    @rule(name=NAMES)
    def unregister(self, name: str) -> None:
        if self.nodes.pop(name, None) is None:
            with pytest.raises(KeyError):
                self.balancer.unregister(name)
            return
        for task in self.balancer.unregister(name):
            assert self.queued.pop(task.id) == task

    @rule(tokens=st.integers(0, 1500), model=st.sampled_from([None, "m", "x"]))
    def place(self, tokens: int, model: str | None) -> None:
        self.ids += 1
        task = TaskLoad(f"t{self.ids}", Needs(1, tokens), model)
        said = self.balancer.place(task)
        assert (said.node is None) == (said.unplaced is not None)
        if said.node is not None:
            self.queued[task.id] = task

    @rule(sizes=st.lists(st.integers(0, 1500), max_size=5))
    def distribute(self, sizes: list[int]) -> None:
        tasks = [TaskLoad(f"b{self.ids}-{number}", Needs(1, size)) for number, size in enumerate(sizes)]
        self.ids += 1
        refused = {one.task_id for one in self.balancer.distribute_load(tasks).unplaced}
        self.queued.update({task.id: task for task in tasks if task.id not in refused})

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.queued:
            task_id = data.draw(st.sampled_from(sorted(self.queued)))
            del self.queued[task_id]
            assert self.balancer.release(task_id)
            assert not self.balancer.release(task_id)

    @rule()
    def even_out(self) -> None:
        self.now_s += 60.0
        before = self.seen().balance_metrics.deviation
        assert self.balancer.optimize_distribution(self.now_s).balance_metrics.deviation <= before + 1e-9

    def seen(self) -> LoadDistribution:
        """Ask without letting it move anything: the last moves are no minute old, or there is nothing to do."""
        return self.balancer.distribute_load([])

    @invariant()
    def books_agree(self) -> None:
        said = self.balancer.distribute_load([])
        sums = {name: [node.leased.slots, node.leased.tokens] for name, node in self.nodes.items()}
        frozen = [(one.task, one.node.name) for one in self.balancer._seats.values()]
        assert {task.id for task, _ in frozen} == self.queued.keys()
        for task, name in frozen:
            sums[name][0] += task.needs.slots
            sums[name][1] += task.needs.tokens
            assert not self.nodes[name].models or task.model != "x"
        assert said.balance_metrics.loads == pytest.approx(
            {
                name: max(sums[name][0] / (node.capacity.slots or 1), sums[name][1] / (node.capacity.tokens or 1))
                for name, node in self.nodes.items()
            }
        )


FleetMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None, derandomize=True)
TestFleet = FleetMachine.TestCase


def test_an_answer_for_nodes_that_were_given_keeps_nothing() -> None:
    balancer, nodes = LoadBalancer(), [NodeLoad("n", Capacity(slots=1))]
    for _ in range(2):
        assert balancer.place(TaskLoad("t"), nodes).node == "n"
        assert balancer.distribute_load([TaskLoad("t")], nodes).node_allocations == {"n": ("t",)}
    assert balancer.optimize_distribution().node_allocations == {}


def test_a_task_is_queued_once() -> None:
    balancer = LoadBalancer()
    balancer.register(NodeLoad("n"))
    balancer.place(TaskLoad("t"))
    with pytest.raises(ValueError, match="queued already"):
        balancer.place(TaskLoad("t"))
    with pytest.raises(ValueError, match="queued already"):
        balancer.distribute_load([TaskLoad("t")])


def test_a_node_that_joins_takes_over_its_part_of_the_queue() -> None:
    balancer = LoadBalancer()
    balancer.register(NodeLoad("a", Capacity(slots=10)))
    balancer.distribute_load([TaskLoad(f"t{number}") for number in range(8)])
    balancer.register(NodeLoad("b", Capacity(slots=10)))
    said = balancer.optimize_distribution(now_s=5.0)
    assert [len(ids) for ids in said.node_allocations.values()] == [4, 4]
    assert said.balance_metrics.deviation == pytest.approx(0.0)


def test_a_node_that_falls_ill_loses_its_queue_and_gets_nothing_more() -> None:
    balancer = LoadBalancer()
    for name in "ab":
        balancer.register(NodeLoad(name, Capacity(slots=10)))
    balancer.distribute_load([TaskLoad(f"t{number}") for number in range(6)])
    balancer.register(NodeLoad("a", Capacity(slots=10), is_healthy=False))
    assert balancer.place(TaskLoad("next")).node == "b"
    assert [len(ids) for ids in balancer.optimize_distribution().node_allocations.values()] == [0, 7]


def test_the_refusal_of_a_large_task_says_nothing_of_a_small_one() -> None:
    balancer = LoadBalancer()
    balancer.register(NodeLoad("n", Capacity(slots=4, tokens=1000), Needs(3, 300)))
    assert balancer.place(TaskLoad("large", Needs(1, 800))).node is None
    assert balancer.place(TaskLoad("small", Needs(1, 700))).node == "n"


def test_what_is_released_can_be_placed_again() -> None:
    balancer = LoadBalancer()
    balancer.register(NodeLoad("n", Capacity(slots=1)))
    assert balancer.place(TaskLoad("first")).node == "n"
    assert balancer.place(TaskLoad("second")).node is None
    assert balancer.release("first")
    assert balancer.place(TaskLoad("second")).node == "n"
    balancer.register(NodeLoad("n", Capacity(slots=2)))
    assert balancer.place(TaskLoad("third")).node == "n", "it has grown"


def test_the_same_tuple_of_nodes_is_read_once_and_other_nodes_anew() -> None:
    balancer, nodes = LoadBalancer(), [NodeLoad("n", Capacity(slots=1))]
    there = tuple(nodes)
    assert {balancer.place(TaskLoad("t"), there).load for _ in range(3)} == {1.0}
    nodes[0] = NodeLoad("n", Capacity(slots=4))
    assert balancer.place(TaskLoad("t"), nodes).load == 0.25
    assert balancer.place(TaskLoad("t"), there).load == 1.0
