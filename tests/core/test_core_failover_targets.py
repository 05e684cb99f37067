"""Where a task goes after a failure: as far away as possible, before anybody who stands in."""

from itertools import product

import hypothesis.strategies as st
from core_shared import STRATEGIES, dispatch_of, fleet_of, place, refusal, sent_to, task_of
from hypothesis import given, settings

from fairlead.domain import Model, Node
from fairlead.domain.rescue import Rescue
from fairlead.engine.dispatch import Send
from fairlead.engine.fleet import Fleet
from fairlead.engine.retry_budget import RetryPolicy
from fairlead.errors import Fault
from fairlead.routing import make_strategy

MANY = RetryPolicy(max_attempts=20, budget_ratio=1.0, min_per_second=100.0)
KINDS = st.lists(
    st.tuples(st.sampled_from((None, "x", "y")), st.sampled_from((None, "eu", "us"))), min_size=2, max_size=6
)


def nodes_of(kinds: list[tuple[str | None, str | None]]) -> list[Node]:
    return [Node(f"n{i}", failure_domain=domain, region=region) for i, (domain, region) in enumerate(kinds)]


def shares(node: Node, failed: list[Node]) -> tuple[bool, bool]:
    """Tell what a node shares with those that failed: the failure domain, and the region."""
    in_region = node.region is not None and node.region in {one.region for one in failed}
    return node.fate in {one.fate for one in failed}, in_region


@settings(max_examples=60)
@given(KINDS, st.sampled_from(STRATEGIES), st.sampled_from((Fault.TRANSPORT, Fault.CONNECT, Fault.UNAVAILABLE)))
def test_the_next_node_shares_as_little_as_any_that_is_left(
    kinds: list[tuple[str | None, str | None]], strategy: str, fault: Fault
) -> None:
    nodes = nodes_of(kinds)
    fleet = fleet_of(*nodes, strategy=strategy)
    dispatch = dispatch_of(fleet, policy=MANY)
    left = {node.name: node for node in nodes}
    failed = [left.pop(sent_to(dispatch.begin(0.0)))]
    while left:
        least = min(shares(node, failed) for node in left.values())
        node = left.pop(sent_to(dispatch.fail(fault, 0.1, 0.1)))
        assert shares(node, failed) == least
        failed.append(node)


@settings(max_examples=60)
@given(KINDS, st.sets(st.integers(0, 5)), st.sampled_from(STRATEGIES))
def test_who_can_go_on_with_an_answer_is_chosen_by_what_failed_alone(
    kinds: list[tuple[str | None, str | None]], unable: set[int], strategy: str
) -> None:
    nodes = nodes_of(kinds)
    fleet = fleet_of(*nodes, strategy=strategy)
    dispatch = dispatch_of(fleet, policy=MANY)
    names = {f"n{i}" for i in unable}
    left = {node.name: node for node in nodes}
    failed = [left.pop(sent_to(dispatch.begin(0.0)))]
    while left:
        able = {name: node for name, node in left.items() if name not in names} or left
        least = min(shares(node, failed) for node in able.values())
        name = sent_to(dispatch.rescue(Fault.TRANSPORT, 0.1, 0.1, Rescue.SAME_MODEL, names))
        assert name in able
        node = left.pop(name)
        assert shares(node, failed) == least, "those who cannot go on have not failed"
        failed.append(node)


def test_a_node_of_the_same_domain_will_do_where_nobody_else_is_left() -> None:
    dispatch = dispatch_of(fleet_of(Node("a", failure_domain="x"), Node("b", failure_domain="x")))
    assert {sent_to(dispatch.begin(0.0)), sent_to(dispatch.fail(Fault.TRANSPORT, 0.1, 0.1))} == {"a", "b"}


def test_room_counts_for_more_than_distance() -> None:
    fleet = fleet_of(Node("a", region="eu"), Node("b", region="eu"), Node("c", region="us", slots=1))
    assert fleet.ledger.take(fleet.nodes["c"].account, None, 0.0, 60.0) is not None
    dispatch = dispatch_of(fleet)
    assert sent_to(dispatch.begin(0.0)) == "a"
    assert sent_to(dispatch.fail(Fault.TRANSPORT, 0.1, 0.1)) == "b"


def test_a_node_that_left_meanwhile_says_nothing_of_where_to_go() -> None:
    fleet = fleet_of(Node("a", failure_domain="x"), Node("b", failure_domain="x"), Node("c"))
    dispatch = dispatch_of(fleet)
    assert sent_to(dispatch.begin(0.0)) == "a"
    fleet.remove("m", "a", 0.1)
    assert sent_to(dispatch.fail(Fault.TRANSPORT, 0.1, 0.1)) in {"b", "c"}


def standing_in(*far: str) -> Fleet:
    """Two nodes with the model on one host, and the model that stands in on the nodes named."""
    fleet = Fleet(make_strategy("round_robin"))
    for name in ("a", "b"):
        fleet.add(Model("m"), Node(name, region="eu", failure_domain="x"), 0.0)
    for name in far:
        fleet.add(Model("k"), Node(name, region="us"), 0.0)
    fleet.name_fallbacks("m", ("k",))
    return fleet


def test_who_stands_in_comes_after_everybody_who_has_the_model_however_near() -> None:
    dispatch = dispatch_of(standing_in("c", "d"), policy=MANY)
    assert {sent_to(dispatch.begin(0.0)), sent_to(dispatch.fail(Fault.TRANSPORT, 0.1, 0.1))} == {"a", "b"}
    assert {sent_to(dispatch.fail(Fault.TRANSPORT, 0.2, 0.1)) for _ in range(2)} == {"c", "d"}


def test_a_rescue_asks_who_stands_in_only_where_any_model_may() -> None:
    for who, key in product((Rescue.SAME_MODEL, Rescue.ANY_MODEL), range(4)):
        dispatch = dispatch_of(standing_in("c"), task_of(key), MANY)
        both = [sent_to(dispatch.begin(0.0)), sent_to(dispatch.rescue(Fault.TRANSPORT, 0.1, 0.1, who, {"a", "b"}))]
        assert sorted(both) == ["a", "b"], "the same model first, though it has to say it all again"
        action = dispatch.rescue(Fault.TIMEOUT, 0.2, 0.1, who)
        if who is Rescue.ANY_MODEL:
            assert isinstance(action, Send)
            assert place(action.decision) == "c"
        else:
            assert not isinstance(action, Send)


def test_a_rescue_that_nobody_may_make_ends_it() -> None:
    dispatch = dispatch_of(fleet_of("a", "b"))
    dispatch.begin(0.0)
    assert refusal(dispatch.rescue(Fault.TRANSPORT, 0.1, 0.1, Rescue.NONE)).fault is Fault.TRANSPORT


def test_models_of_a_group_are_tried_far_from_the_failure_first() -> None:
    fleet = Fleet(make_strategy("round_robin"))
    fleet.add(Model("m"), Node("a", region="eu", failure_domain="x"), 0.0)
    fleet.add(Model("k"), Node("b", region="eu", failure_domain="x"), 0.0)
    fleet.add(Model("k"), Node("c", region="us"), 0.0)
    fleet.name_group("pair", ("m", "k"))
    dispatch = dispatch_of(fleet, task_of(model="pair"))
    assert sent_to(dispatch.begin(0.0)) == "a"
    assert sent_to(dispatch.fail(Fault.TRANSPORT, 0.1, 0.1)) == "c"
