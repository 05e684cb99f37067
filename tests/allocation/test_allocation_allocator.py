"""ResourceAllocator: the node that is chosen, what is tried where there is too little, and bad input."""

import gc
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.allocation import AllocationConfig, ResourceAllocator, is_batch_not_begun
from fairlead.domain import (
    Capacity,
    ModelChain,
    Node,
    OptimizedRoute,
    RouteOptions,
    RoutingMetrics,
    Task,
    TaskCategory,
)
from fairlead.domain.allocation import Allocation, AllocationResult
from fairlead.errors import ConfigError, FairleadError, LeaseError, NoModelError

LAWS = settings(max_examples=60, deadline=None, derandomize=True)


def allocator(*nodes: tuple[str, Capacity], models: tuple[str, ...] = ("m",), **config: float) -> ResourceAllocator:
    built = ResourceAllocator(AllocationConfig(**config), may_preempt=is_batch_not_begun)  # type: ignore[arg-type]
    for name, capacity in nodes:
        built.add_node(Node(name, capacity=capacity), models)
    return built


def task(input_tokens: int = 0, output_tokens: int = 0, least: int | None = None, priority: int = 4) -> Task:
    return Task(
        id="t",
        key=1,
        category=TaskCategory.CODING,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        min_output_tokens=least,
        priority=priority,
    )


def got(result: AllocationResult) -> Allocation:
    assert result.allocated is not None, result.reason
    return result.allocated


# -- which node


def test_it_works_without_arguments() -> None:
    built = ResourceAllocator()
    built.add_node(Node("anything"))
    allocation = got(built.allocate_resources("whatever"))
    assert (allocation.node, allocation.model) == ("anything", "whatever")
    assert built.release_resources(allocation)
    assert len(built.ledger) == built.accounts["anything"].in_flight == 0


def test_the_least_utilized_node_is_chosen_then_the_one_with_fewer_tasks_then_the_first_by_name() -> None:
    built = allocator(("b", Capacity(slots=4)), ("a", Capacity(slots=2)), ("c", Capacity(slots=4)))
    chosen = [got(built.allocate_resources("m")).node for _ in range(10)]
    assert chosen[:5] == ["a", "b", "c", "b", "c"]
    assert chosen[5:7] == ["b", "c"], "a second task would take a beyond its soft ceiling"
    assert chosen[7:] == ["a", "b", "c"]
    assert built.allocate_resources("m").allocated is None


def test_of_two_equally_utilized_nodes_the_one_with_fewer_tasks_is_chosen() -> None:
    built = allocator(("a", Capacity(slots=4)), ("b", Capacity(slots=2)), max_node_utilization=1.0)
    assert [got(built.allocate_resources("m")).node for _ in range(3)] == ["a", "b", "a"]
    assert {one.utilization for one in built.accounts.values()} == {0.5}
    assert got(built.allocate_resources("m")).node == "b"


def test_of_nodes_without_limits_the_one_with_the_fewest_tasks_is_chosen() -> None:
    built = allocator(*((name, Capacity()) for name in "cab"))
    assert [got(built.allocate_resources("m")).node for _ in range(6)] == ["a", "b", "c"] * 2


@LAWS
@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=90),
    wanted=st.lists(st.integers(1, 1_300), min_size=1, max_size=60),
)
def test_a_node_that_fits_is_never_missed_and_none_is_filled_beyond_what_it_has(
    sizes: list[int], wanted: list[int]
) -> None:
    built = allocator(*((f"n{i:02}", Capacity(tokens=size * 100)) for i, size in enumerate(sizes)))
    for tokens in wanted:
        before = {name: account.tokens for name, account in built.accounts.items()}
        result = built.allocate_resources("m", task(tokens - 1, 1))
        fitting = [f"n{i:02}" for i, size in enumerate(sizes) if before[f"n{i:02}"] + tokens <= size * 100]
        assert (result.allocated is not None) == bool(fitting)
        assert len(result.constraints) == (0 if fitting else len(sizes))
        assert result.allocated is None or result.allocated.node in fitting
        assert all(account.tokens <= (account.capacity.tokens or 0) for account in built.accounts.values())
        assert result.allocated is not None or result.waiting_helps == (tokens <= max(sizes) * 100)


def test_batch_work_stays_below_the_ceiling_and_other_work_goes_beyond_only_where_nobody_is_below() -> None:
    built = allocator(("big", Capacity(slots=10)), ("small", Capacity(slots=5)))
    while (result := built.allocate_resources("m", priority="batch")).allocated is not None:
        pass
    assert {name: one.in_flight for name, one in built.accounts.items()} == {"big": 8, "small": 4}
    assert result.waiting_helps
    nodes = [got(built.allocate_resources("m", priority=0)).node for _ in range(3)]
    assert sorted(nodes) == ["big", "big", "small"], "capacity is the hard limit"
    assert built.allocate_resources("m", priority=0).allocated is None


def test_a_node_that_would_pass_the_ceiling_is_left_out_while_a_fuller_one_has_room_below_it() -> None:
    built = allocator(("near", Capacity(tokens=1_000)), ("wide", Capacity(tokens=10_000)))
    first = built.allocate_resources("m", task(100, 400))  # 50 % of near
    second = built.allocate_resources("m", task(5_000, 500))  # only wide holds that: 55 %
    assert [got(first).node, got(second).node] == ["near", "wide"]
    assert got(built.allocate_resources("m", task(300, 100))).node == "wide", "near would be 90 % full"
    assert got(built.allocate_resources("m", task(50, 50))).node == "near"


# -- which model


def chains(*names: str) -> tuple[ModelChain, ...]:
    return tuple(ModelChain((name,)) for name in names)


@pytest.mark.parametrize(
    "route",
    [
        ModelChain(("first", "second")),
        RouteOptions(chains("first")[0], chains("second"), {}, {}),
        OptimizedRoute(chains("first")[0], chains("first", "second"), RoutingMetrics()),
    ],
)
def test_where_no_node_of_the_first_model_has_room_the_next_model_is_taken(
    route: ModelChain | RouteOptions | OptimizedRoute,
) -> None:
    built = ResourceAllocator()
    built.add_node(Node("x", slots=1), ["first"])
    built.add_node(Node("y", slots=1), ["second", "first"])
    built.add_node(Node("z", slots=1), ["second"])
    taken = [got(built.allocate_resources(route)) for _ in range(3)]
    assert [(one.model, one.node) for one in taken] == [("first", "x"), ("first", "y"), ("second", "z")]
    result = built.allocate_resources(route)
    assert [(one.model, one.node) for one in result.constraints] == [
        ("first", "x"),
        ("first", "y"),
        ("second", "y"),
        ("second", "z"),
    ]
    assert built.release_resources(taken[1])
    assert built.allocate_resources(route).constraints == ()


def test_a_result_tells_what_kept_the_task_from_the_model_it_asked_for_first() -> None:
    built = ResourceAllocator()
    built.add_node(Node("x", slots=1), ["first"])
    built.add_node(Node("y", slots=1), ["second"])
    route = ModelChain(("first", "second"))
    got(built.allocate_resources(route))
    (constraint,) = built.allocate_resources(route).constraints
    assert str(constraint) == "first on x: slots: 1 needed, 0 of 1 free"


def test_a_route_to_models_that_nobody_serves_is_an_error() -> None:
    with pytest.raises(NoModelError, match="no node serves m: add one"):
        ResourceAllocator().allocate_resources("m")
    built = allocator(("x", Capacity()))
    with pytest.raises(NoModelError, match="no node serves a, b"):
        built.allocate_resources(ModelChain(("a", "b")))
    assert built.remove_node("x")
    assert not built.remove_node("x")
    with pytest.raises(NoModelError):
        built.allocate_resources("m")


# -- too little: smaller, elsewhere, wait, pre-empt, refuse


def test_an_answer_is_cut_to_what_there_is_room_for_where_the_caller_allows_it() -> None:
    built = allocator(("x", Capacity(tokens=1_000)))
    got(built.allocate_resources("m", task(500, 300)))
    assert built.allocate_resources("m", task(100, 400)).allocated is None
    assert built.allocate_resources("m", task(100, 400, least=101)).allocated is None
    cut = got(built.allocate_resources("m", task(100, 400, least=100)))
    assert (cut.needs.input_tokens, cut.needs.output_tokens, cut.is_cut) == (100, 100, True)
    assert built.accounts["x"].tokens == 1_000


def test_a_smaller_reservation_comes_before_another_node_and_that_before_another_model() -> None:
    built = ResourceAllocator()
    built.add_node(Node("a", capacity=Capacity(tokens=500)), ["first"])
    built.add_node(Node("b", capacity=Capacity(tokens=10_000)), ["first"])
    built.add_node(Node("c", capacity=Capacity(tokens=10_000)), ["second"])
    got(built.allocate_resources("first", task(5_000, 500)))  # b is the fuller one now
    route = ModelChain(("first", "second"))
    cut = got(built.allocate_resources(route, task(100, 600, least=200)))
    assert (cut.node, cut.needs.output_tokens) == ("a", 400)
    assert got(built.allocate_resources(route, task(100, 600))).node == "b"
    assert got(built.allocate_resources(route, task(6_000, 100))).model == "second"


def test_nothing_is_cut_only_to_keep_some_of_a_node_free() -> None:
    built = allocator(("x", Capacity(tokens=1_000)))
    got(built.allocate_resources("m", task(100, 400)))
    whole = got(built.allocate_resources("m", task(100, 400, least=10)))
    assert not whole.is_cut
    assert built.accounts["x"].utilization == 1.0


def test_an_answer_is_cut_to_what_memory_there_is_room_for() -> None:
    built = allocator(("x", Capacity(gpu_memory_bytes=1_000)))
    built.needs.declare_memory("m", gpu_bytes_per_token=10)
    cut = got(built.allocate_resources("m", task(60, 100, least=10)))
    assert (cut.needs.output_tokens, cut.needs.gpu_memory_bytes) == (40, 1_000)


def test_a_limit_per_minute_tells_how_long_to_wait() -> None:
    built = allocator(("x", Capacity(tokens_per_minute=1_000)))
    got(built.allocate_resources("m", task(500, 300), now_s=10.25))
    result = built.allocate_resources("m", task(100, 200), now_s=30.0)
    assert result.waiting_helps
    assert result.wait_s is not None
    assert result.reason == "every node that could take it is full: wait until others are done, or for 41.0 s"
    assert built.allocate_resources("m", task(100, 200), now_s=30.0 + result.wait_s - 0.01).allocated is None
    got(built.allocate_resources("m", task(100, 200), now_s=30.0 + result.wait_s))


def test_what_was_charged_is_settled_to_what_was_used() -> None:
    built = allocator(("x", Capacity(tokens_per_minute=1_000)))
    first = got(built.allocate_resources("m", task(500, 400)))
    assert built.allocate_resources("m", task(500, 400)).allocated is None
    assert built.release_resources(first, used_tokens=100)
    got(built.allocate_resources("m", task(500, 400)))


def test_urgent_work_may_take_the_place_of_batch_work_that_has_not_begun() -> None:
    built = allocator(("x", Capacity(slots=3)), max_node_utilization=1.0)
    begun, older, newer = (got(built.allocate_resources("m", priority="batch", now_s=float(i))) for i in range(3))
    built.note_progress(begun, 1, 3.0)
    named = built.allocate_resources("m", priority="interactive", now_s=3.0)
    assert (named.allocated, named.victims) == (None, (newer.lease_id,))
    assert named.waiting_helps
    assert named.reason is not None
    assert len(built.ledger) == 3, "nothing is given back before it is asked for"
    done = built.allocate_resources("m", priority="interactive", now_s=3.0, preempt=True)
    assert (got(done).node, done.victims) == ("x", (newer.lease_id,))
    assert not built.release_resources(newer)
    assert built.allocate_resources("m", now_s=3.0, preempt=True).victims == (older.lease_id,)
    last = built.allocate_resources("m", now_s=3.0, preempt=True)
    assert (last.allocated, last.victims) == (None, ()), "what has begun stays"
    assert built.accounts["x"].in_flight == 3


def test_what_others_make_room_for_is_cut_no_more_than_it_has_to_be() -> None:
    built = allocator(("x", Capacity(tokens=1_000)), max_node_utilization=1.0)
    for _ in range(2):
        got(built.allocate_resources("m", task(100, 400, priority=8)))
    named = built.allocate_resources("m", task(600, 500, least=50))
    assert len(named.victims) == 2
    result = built.allocate_resources("m", task(600, 500, least=50), preempt=True)
    assert (got(result).needs.output_tokens, got(result).is_cut) == (400, True)


def test_batch_work_pushes_nobody_out_and_without_a_rule_nobody_does() -> None:
    built = allocator(("x", Capacity(slots=1)))
    got(built.allocate_resources("m", priority=9))
    assert built.allocate_resources("m", priority=7, preempt=True).victims == ()
    built.may_preempt = None
    assert built.allocate_resources("m", priority=0, preempt=True).victims == ()


def test_as_few_leases_as_possible_are_named_and_only_where_that_is_enough() -> None:
    built = ResourceAllocator(AllocationConfig(max_node_utilization=1.0), is_batch_not_begun)
    for model, tokens in (("many", 600), ("one", 900), ("tiny", 100)):
        built.add_node(Node(f"with-{model}", capacity=Capacity(tokens=tokens)), [model])
    for _ in range(2):
        got(built.allocate_resources("many", task(100, 200, priority=8)))
    large = got(built.allocate_resources("one", task(400, 200, priority=8)))
    got(built.allocate_resources("one", task(100, 200)))
    got(built.allocate_resources("tiny", task(10, 20, priority=8)))
    result = built.allocate_resources(ModelChain(("tiny", "many", "one")), task(300, 300))
    assert result.victims == (large.lease_id,)
    needs = built.needs.sized("many", 300, 300)
    assert len(built.victims(built.accounts["with-many"], needs, 0.0)) == 2
    assert built.victims(built.accounts["with-tiny"], needs, 0.0) == []
    assert {name: one.tokens for name, one in built.accounts.items()} == {
        "with-many": 600,
        "with-one": 900,
        "with-tiny": 30,
    }, "looking for victims changes nothing"


def test_a_task_larger_than_every_node_is_told_what_how_much_and_the_largest_there_is() -> None:
    built = allocator(("small", Capacity(tokens=4_096)), ("large", Capacity(tokens=32_768)))
    result = built.allocate_resources("m", task(100_000, 500))
    assert result.allocated is None
    assert not result.waiting_helps
    assert result.wait_s is None
    assert result.reason == (
        "no node is large enough for this task: it needs 100,500 tokens, the largest such node is large with 32,768"
    )
    for _ in range(8):
        got(built.allocate_resources("m", task(3_000, 500)))
    full = built.allocate_resources("m", task(100_000, 500))
    assert full.reason == result.reason, "a full node is not one that could ever take it"


def test_a_guess_that_no_node_could_hold_refuses_nobody_but_a_demand_does() -> None:
    built = allocator(("x", Capacity(tokens=300)), ("y", Capacity(tokens=400)), default_output_tokens=1_000)
    guessed = got(built.allocate_resources("m", task(100)))
    assert (guessed.node, guessed.needs.output_tokens, guessed.is_cut) == ("y", 300, False)
    assert built.allocate_resources("m", task(100)).waiting_helps
    demanded = built.allocate_resources("m", task(100, 900))
    assert (demanded.allocated, demanded.waiting_helps) == (None, False)
    assert not built.allocate_resources("m", task(400)).waiting_helps


def test_a_node_on_probation_takes_as_many_as_it_may_probe() -> None:
    built = allocator(("x", Capacity()))
    built.accounts["x"].probe_limit = 1
    got(built.allocate_resources("m"))
    result = built.allocate_resources("m")
    assert [one.shortage.resource for one in result.constraints] == ["probes"]
    assert result.waiting_helps


# -- watched, adjusted, given back


def test_usage_is_watched_as_tokens_stream() -> None:
    built = allocator(("x", Capacity(slots=2, tokens=2_000)), timeout_ms=10_000.0)
    allocation = got(built.allocate_resources("m", task(100, 400), now_s=1.0))
    built.note_progress(allocation, 100, 4.0)
    seen = built.monitor_usage(allocation, 5.0)
    assert (seen.output_tokens, seen.used_tokens, seen.used_share) == (100, 200, 0.25)
    assert (seen.age_s, seen.left_s, seen.node_utilization) == (4.0, 9.0, 0.5)


def test_a_reservation_grows_when_it_is_nearly_used_up() -> None:
    built = allocator(("x", Capacity(tokens=1_000)), default_output_tokens=100)
    allocation = got(built.allocate_resources("m", task(100)))
    built.note_progress(allocation, 89, 1.0)
    assert built.adjust_allocation(allocation, 1.0).needs.output_tokens == 100
    built.note_progress(allocation, 100, 2.0)
    grown = built.adjust_allocation(built.monitor_usage(allocation, 2.0), 2.0)
    assert grown.needs.output_tokens == 150
    assert built.accounts["x"].tokens == 250
    other = got(built.allocate_resources("m", task(700, 40), now_s=2.0))
    built.note_progress(grown, 150, 3.0)
    assert built.adjust_allocation(grown, 3.0).needs.output_tokens == 150, "there is no room to grow"
    assert built.accounts["x"].tokens == 990
    assert built.release_resources(other)
    assert built.adjust_allocation(grown, 3.0).needs.output_tokens == 225


def test_a_reservation_never_grows_beyond_the_caller_s_limit_nor_after_it_was_cut() -> None:
    built = allocator(("x", Capacity(tokens=1_000)), default_output_tokens=100)
    limited = got(built.allocate_resources("m", task(100, 120)))
    assert limited.needs.output_tokens == 100
    built.note_progress(limited, 100, 0.0)
    assert built.adjust_allocation(limited, 0.0).needs.output_tokens == 120
    cut = got(built.allocate_resources("m", task(720, least=10)))
    assert cut.needs.output_tokens == 60
    built.note_progress(cut, 60, 0.0)
    built.release_resources(limited)
    assert built.adjust_allocation(cut, 0.0).needs.output_tokens == 60


def test_a_reservation_shrinks_when_much_less_is_expected_by_now() -> None:
    built = allocator(("x", Capacity(tokens=1_000)), default_output_tokens=500)
    allocation = got(built.allocate_resources("m", task(100)))
    built.note_progress(allocation, 20, 0.0)
    assert built.adjust_allocation(allocation, 0.0).needs.output_tokens == 500
    for _ in range(200):
        built.needs.learn("m", TaskCategory.CODING, 30, 0.0)
    shrunk = built.adjust_allocation(allocation, 0.0).needs.output_tokens
    assert 30 <= shrunk < 250
    assert built.accounts["x"].tokens == 100 + shrunk


def test_adjusting_lets_the_lease_s_time_start_again() -> None:
    built = allocator(("x", Capacity(slots=1)))
    allocation = got(built.allocate_resources("m", timeout_ms=1_000.0))
    for now_s in (0.9, 1.8, 2.7):
        built.adjust_allocation(allocation, now_s)
    assert built.reclaim(3.6) == []
    assert len(built.reclaim(3.7)) == 1
    assert built.ledger.expired_total == 1


def test_what_is_over_cannot_be_watched_adjusted_or_moved_on_and_is_given_back_without_effect() -> None:
    built = allocator(("x", Capacity(slots=1)))
    expired = got(built.allocate_resources("m", timeout_ms=1_000.0))
    with pytest.raises(LeaseError, match=r"'m' on 'x' is over.*expired after 1 s without progress; allocate anew"):
        built.adjust_allocation(expired, 1.0)
    following = got(built.allocate_resources("m", now_s=1.0))
    for act in (
        lambda: built.monitor_usage(expired, 1.0),
        lambda: built.note_progress(expired, 5, 1.0),
        lambda: built.adjust_allocation(expired, 1.0),
    ):
        with pytest.raises(LeaseError):
            act()
    assert not built.release_resources(expired)
    assert built.accounts["x"].in_flight == 1
    assert built.release_resources(following)
    assert not built.release_resources(following)
    assert built.accounts["x"].in_flight == 0


def test_an_expired_lease_is_reclaimed_by_whoever_comes_next() -> None:
    built = allocator(("x", Capacity(slots=1)))
    got(built.allocate_resources("m", timeout_ms=500.0))
    assert built.allocate_resources("m", now_s=0.499).allocated is None
    got(built.allocate_resources("m", now_s=0.5))
    assert built.ledger.expired_total == 1


# -- nodes come and go


def test_a_node_that_leaves_keeps_its_leases_and_finds_them_when_it_comes_back() -> None:
    built = allocator(("x", Capacity(slots=2)), ("y", Capacity(slots=1)))
    held = got(built.allocate_resources("m"))
    assert held.node == "x"
    built.forget("x")
    assert "x" not in built.accounts
    assert len(built.ledger) == 1
    account = built.account(Node("x", slots=1))
    assert account.in_flight == 1, "the node still works on it"
    assert built.release_resources(held)
    assert account.in_flight == 0
    built.forget("x")
    assert built.account(Node("x", slots=1)) is not account


def test_a_node_that_is_added_again_takes_over_capacity_and_models() -> None:
    built = allocator(("x", Capacity(slots=1)))
    got(built.allocate_resources("m"))
    built.add_node(Node("x", slots=2), ["m", "n"])
    got(built.allocate_resources("n"))
    assert built.accounts["x"].in_flight == 2
    built.add_node(Node("x", slots=1), ["m"])
    assert built.allocate_resources("m").allocated is None
    with pytest.raises(NoModelError):
        built.allocate_resources("n")


def test_a_node_without_models_serves_whatever_is_asked_beside_those_that_name_theirs() -> None:
    built = allocator(("named", Capacity(slots=1)))
    built.add_node(Node("any", slots=1))
    assert {got(built.allocate_resources("m")).node for _ in range(2)} == {"named", "any"}
    assert [one.node for one in built.allocate_resources("other").constraints] == ["any"]


# -- bad input


@pytest.mark.parametrize("priority", [-1, 10, "urgent", "12", "", 2.5])
def test_a_priority_out_of_range_is_refused_and_nothing_is_leased(priority: int | str) -> None:
    built = allocator(("x", Capacity(slots=1)))
    with pytest.raises(ValueError, match="a priority is"):
        built.allocate_resources("m", priority=priority)
    assert len(built.ledger) == 0


@pytest.mark.parametrize("timeout_ms", [0.0, -5.0, float("inf"), float("nan")])
def test_a_timeout_that_cannot_be_is_refused(timeout_ms: float) -> None:
    built = allocator(("x", Capacity(slots=1)))
    with pytest.raises(ValueError, match="timeout_ms must be above 0"):
        built.allocate_resources("m", timeout_ms=timeout_ms)
    assert len(built.ledger) == 0


def test_less_than_nothing_cannot_have_been_used() -> None:
    built = allocator(("x", Capacity(slots=1)))
    allocation = got(built.allocate_resources("m"))
    with pytest.raises(ValueError, match="-1 tokens"):
        built.release_resources(allocation, used_tokens=-1)
    assert built.release_resources(allocation, used_tokens=0)


@pytest.mark.parametrize("amount", [0, -1, float("inf"), float("nan")])
@pytest.mark.parametrize("resource", ["slots", "tokens", "memory_bytes", "requests_per_minute"])
def test_a_capacity_that_cannot_be_is_refused(resource: str, amount: float) -> None:
    with pytest.raises(ValueError, match=f"capacity.{resource} must be above 0"):
        Capacity(**{resource: amount})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"max_node_utilization": 1.1}, {"timeout_ms": 0.0}, {"growth": 1.0}, {"half_life_s": float("nan")}]
)
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        AllocationConfig(**wrong)  # type: ignore[arg-type]


def test_every_error_on_purpose_is_of_the_family() -> None:
    assert issubclass(LeaseError, FairleadError)
    assert issubclass(NoModelError, FairleadError)


# -- memory


def test_nothing_is_remembered_of_leases_that_are_over() -> None:
    built = allocator(("x", Capacity(slots=1)))
    for i in range(200):
        allocation = got(built.allocate_resources("m", timeout_ms=1_000.0 + i))
        assert built.release_resources(allocation)
    assert len(built.ledger._by_ttl) < 20, "each time to live has a row of its own while it is in use"


def bytes_of(leases: int) -> int:
    built = allocator(("x", Capacity(tokens=10**9)))
    one = task(10, 10)
    built.allocate_resources("m", one)
    gc.collect()
    tracemalloc.start()
    try:
        for i in range(leases):
            built.allocate_resources("m", one, now_s=i * 1e-3)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def test_memory_grows_with_the_leases_that_are_out_and_no_faster() -> None:
    few, many = bytes_of(1_000), bytes_of(4_000)
    assert many < 700 * 4_000
    assert many < 4 * few * 1.3


def test_the_ledger_tells_who_holds_what() -> None:
    built = allocator(("x", Capacity(slots=2)))
    allocation = got(built.allocate_resources("m"))
    assert [lease.holder for lease in built.ledger] == [allocation]
