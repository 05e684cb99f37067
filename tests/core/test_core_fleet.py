"""The fleet: names, reasons, what keeps tasks away, and what it remembers."""

from collections import Counter

import pytest
from core_shared import BAD, OK, fleet_of, place, spread, task_of, trip

from fairlead.domain import Capacity, Model, Node, Outcome, Price, Task
from fairlead.engine.decision import FULL_RECORDS, describe
from fairlead.engine.dispatch import Dispatch
from fairlead.engine.events import FleetChanged, LeasesExpired, NodeCooling, PairBlocked, StrategyChanged
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import DuplicateModelError, Fault, NoCandidateError, NoModelError, UnknownModelError
from fairlead.routing import make_strategy

Wishes = dict[str, object]
POLICY = RetryPolicy()


def mixed() -> Fleet:
    """`small` on a and b, `large` on b and c."""
    fleet = Fleet(make_strategy("round_robin"))
    small = Model("small", frozenset({"tools"}), 4096, Price(1.0, 1.0))
    large = Model("large", frozenset({"tools", "vision"}), 32768, Price(10.0, 10.0))
    for model, node in ((small, "a"), (small, "b"), (large, "b"), (large, "c")):
        fleet.add(model, Node(node), 0.0)
    return fleet


def where(fleet: Fleet, model: str = "m", now_s: float = 0.0, wishes: Wishes | None = None) -> set[tuple[str, str]]:
    found = set()
    for i in range(12):
        decision = fleet.decide(task_of(i, {"model": model} | (wishes or {})), now_s)
        found.add((decision.candidate.model.name, place(decision)))
        fleet.settle(decision.lease, decision.candidate, None, now_s)
    return found


# -- who is there


def test_nothing_registered() -> None:
    with pytest.raises(NoModelError, match="no model is registered"):
        Fleet(make_strategy("random")).decide(task_of(), 0.0)


def test_an_unknown_model_names_the_nearest_and_those_there_are() -> None:
    with pytest.raises(
        NoModelError, match=r"'larg' is not served here; did you mean 'large'\? There are: small, large"
    ):
        mixed().decide(task_of(model="larg"), 0.0)


def test_a_pair_is_registered_once() -> None:
    fleet = mixed()
    with pytest.raises(DuplicateModelError, match="'small' is registered on node 'a' already"):
        fleet.add(Model("small"), Node("a"), 0.0)
    with pytest.raises(UnknownModelError, match="'small' is not registered on node 'c'"):
        fleet.remove("small", "c", 0.0)


def test_models_of_one_node_share_its_account_and_its_circuit() -> None:
    fleet = mixed()
    assert fleet.models["small"]["b"].account is fleet.models["large"]["b"].account
    for i in range(5):
        fleet.learn(fleet.models[("small", "large")[i % 2]]["b"], BAD, 0.0)
    assert where(fleet, "small") == {("small", "a")}
    assert where(fleet, "large") == {("large", "c")}


def test_auto_groups_and_aliases() -> None:
    fleet = mixed()
    fleet.name_group("gpt-4o", ["large"])
    fleet.name_group("any", ["small", "large", "small", "absent"])
    assert where(fleet, "auto") == {("small", "a"), ("small", "b"), ("large", "b"), ("large", "c")}
    assert where(fleet, "any") == where(fleet, "auto")
    assert where(fleet, "gpt-4o") == {("large", "b"), ("large", "c")}


def test_a_group_whose_models_have_left() -> None:
    fleet = mixed()
    fleet.name_group("ghosts", ["gone"])
    with pytest.raises(NoModelError, match="no node serves 'ghosts' at the moment"):
        fleet.decide(task_of(model="ghosts"), 0.0)


def test_who_leaves_and_comes_back_starts_anew() -> None:
    fleet = fleet_of("a", "b")
    trip(fleet, "a")
    old = fleet.decide(task_of(), 0.0)
    fleet.remove("m", "a", 1.0)
    fleet.remove("m", "b", 1.0)
    assert (dict(fleet.nodes), dict(fleet.models)) == ({}, {})
    fleet.settle(old.lease, old.candidate, OK, 2.0)
    fleet.add(Model("m"), Node("a"), 3.0)
    assert spread(fleet, 2) == ["a", "a"]
    assert fleet.nodes["a"].account.in_flight == 0
    joined = [event.joined for event in fleet.outbox if isinstance(event, FleetChanged)]
    assert joined == [True, True, False, False, True]
    fleet.decide(task_of(), 100.0)
    assert fleet.outbox[-1].at_s == 3.0, "the circuit of the node that left half-opens no more"


# -- what a task needs


@pytest.mark.parametrize(("wishes", "expected", "reason"), [
    ({"needs": frozenset({"vision"})}, {("large", "b"), ("large", "c")}, "lacks a capability"),
    ({"input_tokens": 4000, "output_tokens": 200}, {("large", "b"), ("large", "c")}, "context too small"),
    ({"input_tokens": 1000, "max_cost_usd": 0.002}, {("small", "a"), ("small", "b")}, "too expensive"),
])  # fmt: skip
def test_each_requirement_rules_out_with_its_reason(
    wishes: Wishes, expected: set[tuple[str, str]], reason: str
) -> None:
    fleet = mixed()
    assert where(fleet, "auto", wishes=wishes) == expected
    decision = fleet.decide(task_of(0, {"model": "auto"} | wishes), 0.0)
    assert {one.reason.value for one in decision.rejected} == {reason}
    assert all(one.detail for one in decision.rejected)


def test_what_is_not_known_rules_nothing_out() -> None:
    fleet = fleet_of("a")
    wishes: Wishes = {"needs": frozenset({"vision"}), "input_tokens": 10**6, "max_cost_usd": 0.0}
    assert where(fleet, wishes=wishes) == {("m", "a")}


def test_all_ruled_out_says_how_many_why_and_who() -> None:
    fleet = mixed()
    for node in "abc":
        trip(fleet, node)
    fleet.drain("c")
    with pytest.raises(NoCandidateError) as caught:
        fleet.decide(task_of(model="auto"), 10.0)
    assert "4 x circuit open (a, b, b, c)" in str(caught.value)
    assert caught.value.reasons == {"circuit open": 4}
    assert caught.value.retry_after_s == pytest.approx(20.0)


def test_each_reason_is_counted_apart() -> None:
    fleet = mixed()
    trip(fleet, "a")
    fleet.block(fleet.models["large"]["c"], Fault.DENIED, 60.0, 0.0)
    with pytest.raises(NoCandidateError) as caught:
        fleet.decide(task_of(model="auto", needs=frozenset({"audio"})), 0.0)
    assert caught.value.reasons == {"circuit open": 1, "refuses this model": 1, "lacks a capability": 2}
    assert "2 x lacks a capability (b, b: audio)" in str(caught.value)


# -- fallbacks


def test_fallbacks_stand_in_when_nobody_is_left() -> None:
    fleet = mixed()
    fleet.name_fallbacks("small", ["large"])
    assert where(fleet, "small") == {("small", "a"), ("small", "b")}
    fleet.drain("a")
    trip(fleet, "b")
    assert where(fleet, "small") == {("large", "c")}
    decision = fleet.decide(task_of(model="small"), 0.0)
    assert Counter(one.reason.value for one in decision.rejected) == {"draining": 1, "circuit open": 2}


def test_a_full_primary_spills_over_to_its_fallback() -> None:
    fleet = Fleet(make_strategy("least_loaded"))
    fleet.add(Model("first"), Node("a", slots=1), 0.0)
    fleet.add(Model("second"), Node("b", slots=1), 0.0)
    fleet.name_fallbacks("first", ["second"])
    assert [place(fleet.decide(task_of(i, model="first"), 0.0)) for i in range(2)] == ["a", "b"]
    with pytest.raises(NoCandidateError, match="2 x no free slot"):
        fleet.decide(task_of(3, model="first"), 0.0)


# -- what keeps tasks away


def test_a_cooling_node_is_left_alone_until_its_time() -> None:
    fleet = fleet_of("a", "b")
    cold = fleet.models["m"]["a"]
    fleet.cool(cold, 5.0, 0.0)
    fleet.cool(cold, 3.0, 0.0)  # the later time holds
    assert set(spread(fleet, 4, 4.9)) == {"b"}
    assert set(spread(fleet, 4, 5.0)) == {"a", "b"}
    assert [event.until_s for event in fleet.outbox if isinstance(event, NodeCooling)] == [5.0]


def test_a_blocked_pair_leaves_the_node_its_other_models() -> None:
    fleet = mixed()
    fleet.block(fleet.models["small"]["b"], Fault.NOT_FOUND, 60.0, 0.0)
    fleet.block(fleet.models["small"]["b"], Fault.NOT_FOUND, 90.0, 0.0)  # told once, kept as first said
    assert where(fleet, "small") == {("small", "a")}
    assert where(fleet, "large") == {("large", "b"), ("large", "c")}
    assert where(fleet, "small", 60.0) == {("small", "a"), ("small", "b")}
    told = [event for event in fleet.outbox if isinstance(event, PairBlocked)]
    assert [(event.model, event.node, event.fault) for event in told] == [("small", "b", "not_found")]


def test_a_draining_node_finishes_what_it_has() -> None:
    fleet = fleet_of("a", "b")
    running = fleet.decide(task_of(), 0.0)
    fleet.drain(place(running))
    assert set(spread(fleet, 4)) == {"b"}
    assert fleet.nodes["a"].account.in_flight == 1
    fleet.settle(running.lease, running.candidate, OK, 1.0)
    assert fleet.nodes["a"].account.in_flight == 0
    fleet.drain("a", draining=False)
    assert set(spread(fleet, 4)) == {"a", "b"}


def test_recovery_by_hand_lifts_everything() -> None:
    fleet = fleet_of("a")
    trip(fleet, "a")
    fleet.cool(fleet.models["m"]["a"], 500.0, 0.0)
    fleet.block(fleet.models["m"]["a"], Fault.DENIED, 500.0, 0.0)
    fleet.force_recovery("a", 1.0)
    assert spread(fleet, 1, 1.0) == ["a"]
    trip(fleet, "a", 20.0)
    with pytest.raises(NoCandidateError):  # the first opening's time, 30 s, does not end the second
        spread(fleet, 1, 31.0)


def test_a_full_node_hands_over_in_the_same_step() -> None:
    fleet = fleet_of(Node("a", slots=1), Node("b", slots=2))
    assert Counter(place(fleet.decide(task_of(i), 0.0)) for i in range(3)) == {"a": 1, "b": 2}
    with pytest.raises(NoCandidateError) as caught:
        fleet.decide(task_of(9), 0.0)
    assert caught.value.reasons == {"no free slot": 2}


def test_leases_without_an_owner_are_told_of() -> None:
    fleet = fleet_of("a", "b", settings=FleetSettings(lease_ttl_s=10.0))
    for i in range(3):
        fleet.decide(task_of(i), 0.0)
    fleet.remove("m", "b", 1.0)
    assert len(fleet.expire(10.0)) == 3
    told = {(event.node, event.count) for event in fleet.outbox if isinstance(event, LeasesExpired)}
    assert told == {("a", 2), ("a node that left", 1)}


def test_a_new_strategy_is_told_of() -> None:
    fleet = fleet_of("a")
    fleet.set_strategy(make_strategy("random"), 7.0)
    assert fleet.outbox[-1] == StrategyChanged(at_s=7.0, before="round_robin", after="random")
    assert fleet.decide(task_of(), 8.0).strategy == "random"
    assert fleet.decide(task_of(), 8.0, strategy=make_strategy("hybrid")).strategy == "hybrid"


def test_forgetting_keeps_leases_and_circuits() -> None:
    fleet = fleet_of("a", "b")
    trip(fleet, "a")
    fleet.decide(task_of(), 0.0)
    fleet.forget()
    assert fleet.models["m"]["a"].totals.failed == 0
    assert fleet.nodes["b"].account.in_flight == 1
    assert set(spread(fleet, 4)) == {"b"}


# -- memory and records


def test_names_nobody_has_leave_nothing_behind() -> None:
    fleet = mixed()
    fleet.name_group("fast", ["small"])
    for i in range(2_000):
        with pytest.raises(NoModelError):
            fleet.decide(task_of(i, model=f"invented-{i}", session=f"s{i}"), 0.0)
    for name in ("small", "large", "fast", "auto"):
        fleet.decide(task_of(model=name), 0.0)
    assert set(fleet._lineups) == {"small", "large", "fast", "auto"}
    assert fleet.outbox[4:] == []


def test_a_record_writes_a_dozen_and_counts_the_rest() -> None:
    fleet = fleet_of(*(f"n{i}" for i in range(40)), strategy="hybrid")
    for i in range(20):
        fleet.drain(f"n{i}")
    decision = fleet.decide(task_of(model="m"), 0.0)
    record, full = describe(decision), describe(decision, shown=None)
    assert record["candidates_qualified"] == record["candidates_compared"] == 20
    assert record["rejected_by_reason"] == {"draining": 20}
    for key in ("candidates", "rejected"):
        short, whole = record[key], full[key]
        assert isinstance(short, list)
        assert isinstance(whole, list)
        assert (len(short), len(whole)) == (FULL_RECORDS, 20)
    scores = [one["score"] for one in full["candidates"]]  # type: ignore[attr-defined]  # a list, as seen above
    assert scores == sorted(scores, reverse=True)


def test_a_lease_grows_with_its_answer_as_far_as_the_node_has_more() -> None:
    fleet = Fleet(make_strategy("round_robin"), FleetSettings())
    fleet.add(Model("m"), Node("n", capacity=Capacity(tokens=1000)), 0.0)
    dispatch = Dispatch(
        fleet, Task("t", 1, model="m", input_tokens=100, output_tokens=200), POLICY, RetryBudget(POLICY)
    )
    dispatch.begin(0.0)
    account = fleet.nodes["n"].account
    assert account.tokens == 300
    dispatch.progress(5.0, 100)
    assert account.tokens == 300, "half of it is written"
    dispatch.progress(10.0, 190)
    assert account.tokens == 100 + 285
    dispatch.progress(15.0, 800)  # there is not so much
    assert account.tokens == 1000
    dispatch.complete(Outcome(True, 20.0, input_tokens=100, output_tokens=820), 20.0)
    assert (account.tokens, account.in_flight) == (0, 0)


# -- when all circuits are open


def needy(*nodes: str) -> Fleet:
    return fleet_of(*nodes, settings=FleetSettings(probes_when_needed=True))


def test_with_all_circuits_open_the_one_that_rested_longest_is_probed_before_its_time() -> None:
    fleet = needy("a", "b")
    trip(fleet, "a", 0.0)
    trip(fleet, "b", 1.0)
    assert spread(fleet, 1, 1.5) == ["a"]
    fleet.learn(fleet.models["m"]["a"], BAD, 1.6)
    with pytest.raises(NoCandidateError):  # each is left alone for a second at least
        spread(fleet, 1, 1.7)
    assert spread(fleet, 1, 2.1) == ["b"]


def test_while_another_is_left_nobody_is_probed_before_its_time() -> None:
    fleet = needy("a", "b")
    trip(fleet, "a", 0.0)
    assert set(spread(fleet, 20, 20.0)) == {"b"}


def test_a_node_alone_is_left_its_time() -> None:
    fleet = needy("a")
    trip(fleet, "a", 0.0)
    with pytest.raises(NoCandidateError):
        spread(fleet, 1, 29.0)


# -- what a configuration that changes does to a fleet


def test_what_is_said_of_a_node_changes_and_what_was_seen_of_it_stays() -> None:
    fleet = fleet_of(Node("a", weight=1.0), "b")
    candidate = fleet.models["m"]["a"]
    fleet.learn(candidate, OK, 1.0)
    trip(fleet, "b")
    lease = fleet.decide(task_of(), 2.0).lease
    fleet.update(Model("m", context_tokens=4096), Node("a", weight=3.0, capacity=Capacity(slots=1)), 3.0)
    assert fleet.models["m"]["a"] is candidate
    assert (candidate.weight, candidate.slots, candidate.model.context_tokens) == (3.0, 1, 4096)
    assert candidate.totals.succeeded == 1
    assert lease.is_open
    with pytest.raises(NoCandidateError):  # what was leased before counts on
        fleet.decide(task_of(1), 4.0)
    with pytest.raises(UnknownModelError):
        fleet.update(Model("other"), Node("a"), 5.0)


def test_names_are_replaced_as_a_whole() -> None:
    fleet = mixed()
    fleet.name_group("old", ("small",))
    fleet.rename({"new": ("large",)}, {"small": ("large",)})
    assert not fleet.serves("old")
    assert where(fleet, "new") == {("large", "b"), ("large", "c")}
    for node in ("a", "b"):
        fleet.drain(node)
    assert where(fleet, "small") == {("large", "c")}
