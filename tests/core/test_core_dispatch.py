"""The dispatch of one task: rules one by one, then any order of events, late and duplicate ones included."""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from core_shared import BAD, OK, STRATEGIES, dispatch_of, fleet_of, refusal, sent_to, task_of, trip, waits_until
from hypothesis import given, settings

from fairlead.domain import Model, Node
from fairlead.engine.dispatch import DONE, Action, Dispatch, Done, Phase, Refuse, Send, Wait
from fairlead.engine.faults import TREATMENTS, Blame
from fairlead.engine.fleet import Fleet
from fairlead.engine.retry_budget import RetryBudget, RetryPolicy
from fairlead.errors import Fault, NoCandidateError, NoModelError
from fairlead.routing import make_strategy

REPEATABLE = [fault for fault, treatment in TREATMENTS.items() if treatment.is_budgeted]
FINAL = [fault for fault, treatment in TREATMENTS.items() if not treatment.moves_on]


def in_flight(fleet: Fleet) -> int:
    return sum(state.account.in_flight for state in fleet.nodes.values())


# -- whose fault


def test_every_fault_has_its_treatment() -> None:
    assert set(TREATMENTS) == set(Fault)


@pytest.mark.parametrize("fault", FINAL)
def test_the_callers_own_errors_go_back_at_once_and_blame_nobody(fault: Fault) -> None:
    fleet = fleet_of("a", "b")
    dispatch = dispatch_of(fleet)
    sent_to(dispatch.begin(0.0))
    assert refusal(dispatch.fail(fault, 0.1, 0.1)) == Refuse(fault)
    assert fleet.models["m"]["a"].evidence.weight == 0
    assert in_flight(fleet) == 0


@pytest.mark.parametrize("fault", sorted(set(Fault) - set(FINAL) - {Fault.CONTEXT}))
def test_all_others_move_to_another_node(fault: Fault) -> None:
    fleet = fleet_of("a", "b")
    dispatch = dispatch_of(fleet)
    assert sent_to(dispatch.begin(0.0)) == "a"
    assert sent_to(dispatch.fail(fault, 0.1, 0.1)) == "b"
    assert dispatch.complete(OK, 0.2) == DONE
    failed = fleet.models["m"]["a"].totals.failed
    assert failed == (TREATMENTS[fault].blame is Blame.NODE)
    assert fleet.models["m"]["b"].totals.succeeded == 1


@pytest.mark.parametrize("fault", sorted(set(Fault) - set(FINAL)))
def test_once_the_caller_has_part_of_the_answer_nothing_is_begun_anew(fault: Fault) -> None:
    dispatch = dispatch_of(fleet_of("a", "b"))
    dispatch.begin(0.0)
    assert refusal(dispatch.fail(fault, 0.1, 0.1, is_relayed=True)).fault is fault


@pytest.mark.parametrize("fault", [Fault.DENIED, Fault.NOT_FOUND])
def test_a_node_that_refuses_a_model_is_spared_it_for_a_minute(fault: Fault) -> None:
    fleet = fleet_of("a", "b")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    dispatch.fail(fault, 0.0, 0.1)
    assert {sent_to(dispatch_of(fleet).begin(59.0)) for _ in range(4)} == {"b"}
    assert {sent_to(dispatch_of(fleet).begin(60.0)) for _ in range(4)} == {"a", "b"}


# -- context


def context_fleet(**nodes: list[tuple[str, int | None]]) -> Fleet:
    fleet = Fleet(make_strategy("round_robin"))
    for node, models in nodes.items():
        for name, tokens in models:
            fleet.add(Model(name, context_tokens=tokens), Node(node), 0.0)
    return fleet


def test_a_prompt_too_long_goes_to_larger_contexts_only() -> None:
    fleet = context_fleet(a=[("s", 4096)], b=[("s2", 4096)], c=[("l", 8192)])
    dispatch = dispatch_of(fleet, task_of(model="auto"))
    assert sent_to(dispatch.begin(0.0)) == "a"
    assert sent_to(dispatch.fail(Fault.CONTEXT, 0.1, 0.1)) == "c"
    refused = refusal(dispatch.fail(Fault.CONTEXT, 0.2, 0.1))
    assert refused.fault is Fault.CONTEXT
    assert isinstance(refused.error, NoCandidateError)
    assert refused.error.reasons == {"context too small": 3}


def test_a_larger_context_on_the_same_node_will_do_when_no_other_node_has_one() -> None:
    dispatch = dispatch_of(context_fleet(a=[("s", 4096), ("l", 8192)]), task_of(model="auto"))
    first = dispatch.begin(0.0)
    assert isinstance(first, Send)
    assert first.decision.candidate.model.name == "s"
    second = dispatch.fail(Fault.CONTEXT, 0.1, 0.1)
    assert isinstance(second, Send)
    assert second.decision.candidate.model.name == "l"
    assert refusal(dispatch.fail(Fault.CONTEXT, 0.2, 0.1)).fault is Fault.CONTEXT


def test_a_context_that_is_not_known_is_tried_once() -> None:
    dispatch = dispatch_of(context_fleet(a=[("x", None), ("y", None)]), task_of(model="auto"))
    dispatch.begin(0.0)
    assert refusal(dispatch.fail(Fault.CONTEXT, 0.1, 0.1)).fault is Fault.CONTEXT


def test_a_model_that_is_not_there_leaves_the_nodes_other_models() -> None:
    dispatch = dispatch_of(context_fleet(a=[("x", None), ("y", None)]), task_of(model="auto"))
    dispatch.begin(0.0)
    assert isinstance(dispatch.fail(Fault.NOT_FOUND, 0.1, 0.1), Send)
    assert refusal(dispatch.fail(Fault.NOT_FOUND, 0.2, 0.1)).fault is Fault.NOT_FOUND


# -- waiting


def test_a_lone_node_is_asked_again_after_a_pause_that_grows() -> None:
    dispatch = dispatch_of(fleet_of("a"))
    sent_to(dispatch.begin(0.0))
    first_s = waits_until(dispatch.fail(Fault.UNAVAILABLE, 0.0, 0.1))
    assert first_s is not None
    assert 0.05 <= first_s <= 0.1
    assert sent_to(dispatch.resume(first_s)) == "a"
    second_s = waits_until(dispatch.fail(Fault.UNAVAILABLE, first_s, 0.1))
    assert second_s is not None
    assert 0.1 <= second_s - first_s <= 0.2
    assert sent_to(dispatch.resume(second_s)) == "a"
    assert refusal(dispatch.fail(Fault.UNAVAILABLE, second_s, 0.1)).fault is Fault.UNAVAILABLE
    assert dispatch.attempts == 3


@pytest.mark.parametrize("named_s", [None, 2.0])
def test_retry_after_is_honoured(named_s: float | None) -> None:
    fleet = fleet_of("a")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    until_s = waits_until(dispatch.fail(Fault.RATE_LIMITED, 0.0, 0.1, named_s))
    assert until_s == (1.0 if named_s is None else named_s)
    with pytest.raises(NoCandidateError, match="asked to be left alone"):
        fleet.decide(task_of(1), until_s - 0.01)
    assert sent_to(dispatch.resume(until_s)) == "a"


def test_a_node_that_asks_for_time_is_not_waited_for_while_another_is_left() -> None:
    dispatch = dispatch_of(fleet_of("a", "b"))
    dispatch.begin(0.0)
    assert sent_to(dispatch.fail(Fault.RATE_LIMITED, 0.0, 0.1, 5.0)) == "b"


def test_who_asks_for_too_long_a_wait_is_taken_at_its_word() -> None:
    dispatch = dispatch_of(fleet_of("a"))
    dispatch.begin(0.0)
    assert refusal(dispatch.fail(Fault.RATE_LIMITED, 0.0, 0.1, 10.5)).fault is Fault.RATE_LIMITED


def test_no_wait_goes_past_the_deadline() -> None:
    dispatch = dispatch_of(fleet_of("a"), task_of(deadline_s=1.0))
    dispatch.begin(0.0)
    assert refusal(dispatch.fail(Fault.RATE_LIMITED, 0.0, 0.1, 2.0)).fault is Fault.RATE_LIMITED
    late = dispatch_of(fleet_of("a", "b"), task_of(deadline_s=1.0))
    late.begin(0.0)
    assert refusal(late.fail(Fault.UNAVAILABLE, 1.0, 0.1)).fault is Fault.UNAVAILABLE


def test_a_wait_in_vain_ends_with_the_nodes_last_answer() -> None:
    fleet = fleet_of("a")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    until_s = waits_until(dispatch.fail(Fault.RATE_LIMITED, 0.0, 0.1, 1.0))
    trip(fleet, "a", 0.5)
    assert until_s is not None
    refused = refusal(dispatch.resume(until_s))
    assert refused.fault is Fault.RATE_LIMITED
    assert isinstance(refused.error, NoCandidateError)


def test_a_full_fleet_is_waited_for() -> None:
    fleet = fleet_of(Node("a", slots=1))
    first, second = dispatch_of(fleet), dispatch_of(fleet, task_of(1))
    sent_to(first.begin(0.0))
    assert waits_until(second.begin(0.0)) is None
    assert waits_until(second.resume(0.1)) is None, "woken in vain, it waits on"
    first.complete(OK, 0.2)
    assert sent_to(second.resume(0.2)) == "a"


def test_routing_errors_are_handed_over() -> None:
    nobody = refusal(dispatch_of(fleet_of("a"), task_of(model="other")).begin(0.0))
    assert nobody.fault is None
    assert isinstance(nobody.error, NoModelError)
    shut = fleet_of("a")
    trip(shut, "a")
    assert isinstance(refusal(dispatch_of(shut).begin(0.0)).error, NoCandidateError)


# -- the budget


def test_repeats_need_the_budget_unless_the_circuit_has_opened() -> None:
    def first_repeat(is_open: bool) -> Action:
        fleet = fleet_of("a", "b")
        policy = RetryPolicy(budget_ratio=0.0, min_per_second=0.0)
        dispatch = Dispatch(fleet, task_of(), policy, RetryBudget(policy))
        dispatch.begin(0.0)
        if is_open:
            trip(fleet, "a", 0.05)
        return dispatch.fail(Fault.TRANSPORT, 0.1, 0.1)

    assert refusal(first_repeat(is_open=False)).fault is Fault.TRANSPORT
    assert sent_to(first_repeat(is_open=True)) == "b"


def test_refused_connections_cost_no_budget_and_visit_each_node_once() -> None:
    policy = RetryPolicy(budget_ratio=0.0, min_per_second=0.0)
    fleet = fleet_of(*"abcde")
    dispatch = Dispatch(fleet, task_of(), policy, RetryBudget(policy))
    visited = [sent_to(dispatch.begin(0.0))]
    visited += [sent_to(dispatch.fail(Fault.CONNECT, 0.1, 0.001)) for _ in range(4)]
    assert sorted(visited) == list("abcde")
    assert refusal(dispatch.fail(Fault.CONNECT, 0.1, 0.001)).fault is Fault.CONNECT


# -- late and duplicate events


def test_late_events_change_nothing() -> None:
    fleet = fleet_of("a")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    assert dispatch.complete(OK, 0.1) == DONE
    late: tuple[Callable[[], Action], ...] = (
        lambda: dispatch.begin(0.2),
        lambda: dispatch.complete(OK, 0.2),
        lambda: dispatch.fail(Fault.TRANSPORT, 0.2, 0.1),
        lambda: dispatch.cancel(0.2),
        lambda: dispatch.resume(0.2),
    )
    for event in late:
        assert event() == DONE
    dispatch.progress(0.3)
    totals = fleet.models["m"]["a"].totals
    assert (totals.succeeded, totals.failed, in_flight(fleet), dispatch.attempts) == (1, 0, 0, 1)


def test_a_second_begin_takes_no_second_lease() -> None:
    fleet = fleet_of("a", "b")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    assert dispatch.begin(0.0) == DONE
    assert in_flight(fleet) == 1


def test_an_answer_that_comes_while_waiting_ends_nothing() -> None:
    dispatch = dispatch_of(fleet_of("a"))
    dispatch.begin(0.0)
    until_s = waits_until(dispatch.fail(Fault.UNAVAILABLE, 0.0, 0.1))
    assert dispatch.complete(OK, 0.01) == DONE
    assert until_s is not None
    assert sent_to(dispatch.resume(until_s)) == "a"


def test_progress_keeps_the_lease_and_silence_loses_it() -> None:
    fleet = fleet_of("a")
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    dispatch.progress(500.0)
    assert fleet.expire(600.0) == []
    assert len(fleet.expire(1100.0)) == 1
    dispatch.complete(OK, 1200.0)
    assert in_flight(fleet) == 0


# -- any order

EVENT = st.one_of(
    st.tuples(st.just("fail"), st.sampled_from(sorted(Fault)), st.sampled_from([None, 0.5, 3.0, 60.0]), st.booleans()),
    st.tuples(st.just("complete")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("resume")),
    st.tuples(st.just("begin")),
    st.tuples(st.just("progress")),
    st.tuples(st.just("expire")),
)
STEPS = st.lists(st.tuples(st.integers(0, 3), EVENT, st.sampled_from([0.0, 0.01, 0.3, 5.0, 40.0])), max_size=60)


def happen(dispatch: Dispatch, fleet: Fleet, event: tuple[object, ...], now_s: float) -> Action:
    match event:
        case ("fail", Fault() as fault, (float() | None) as retry_after_s, bool() as is_relayed):
            # a part of an answer is rarely there
            return dispatch.fail(fault, now_s, 0.1, retry_after_s, is_relayed and fault is Fault.TRANSPORT)
        case ("complete",):
            return dispatch.complete(OK, now_s)
        case ("cancel",):
            return dispatch.cancel(now_s)
        case ("resume",):
            return dispatch.resume(now_s)
        case ("begin",):
            return dispatch.begin(now_s)
        case ("progress",):
            dispatch.progress(now_s)
        case _:
            fleet.expire(now_s)
    return DONE


@settings(max_examples=150)
@given(STEPS, st.sampled_from(STRATEGIES), st.lists(st.sampled_from([None, 1, 2]), min_size=1, max_size=3))
def test_whatever_happens_the_books_balance(
    steps: list[tuple[int, tuple[object, ...], float]], strategy: str, slots: list[int | None]
) -> None:
    fleet = fleet_of(*(Node(f"n{i}", slots=n) for i, n in enumerate(slots)), strategy=strategy)
    policy = RetryPolicy()
    budget = RetryBudget(policy)
    dispatches = [Dispatch(fleet, task_of(i, session=f"s{i % 2}"), policy, budget) for i in range(4)]
    rounds: list[list[str]] = [[] for _ in dispatches]  # nodes asked since the last timed wait
    now_s = 0.0
    for which, event, by_s in steps:
        now_s += by_s
        dispatch, asked = dispatches[which], rounds[which]
        before = dispatch.phase
        action = happen(dispatch, fleet, event, now_s)
        if isinstance(action, Send):
            node = sent_to(action)
            assert node not in asked, "the same node twice while another is left, or without a wait"
            asked.append(node)
            assert dispatch.phase is Phase.SENT
        elif isinstance(action, Wait):
            assert dispatch.phase is Phase.WAITING
            if action.until_s is not None:
                assert now_s < action.until_s <= now_s + policy.max_wait_s
                asked.clear()
        elif isinstance(action, Refuse):
            assert dispatch.phase is Phase.OVER
            assert action.fault is not None or action.error is not None
        else:
            assert isinstance(action, Done)
            if event[0] in {"fail", "resume", "begin", "progress", "expire"}:
                assert dispatch.phase is before, "what comes late changes nothing"
        if before is Phase.OVER:
            assert (action, dispatch.phase) == (DONE, Phase.OVER)
        assert dispatch.repeats <= policy.max_attempts
        assert in_flight(fleet) == len(fleet.ledger) <= sum(one.phase is Phase.SENT for one in dispatches)
        assert all(n is None or fleet.nodes[f"n{i}"].account.in_flight <= n for i, n in enumerate(slots))
    for dispatch in dispatches:
        dispatch.cancel(now_s)
    assert in_flight(fleet) == len(fleet.ledger) == 0
    assert all(state.account.probes == 0 for state in fleet.nodes.values())


# -- who pays for repeats


def test_a_repeat_on_a_node_that_answers_is_not_paid_for() -> None:
    fleet, broke = fleet_of("a", "b"), RetryBudget(RetryPolicy(budget_ratio=0.0, min_per_second=0.0))
    fleet.learn(fleet.models["m"]["b"], OK, 0.0)
    fleet.drain("b")
    dispatch = Dispatch(fleet, task_of(), RetryPolicy(), broke)
    assert sent_to(dispatch.begin(1.0)) == "a"
    fleet.drain("b", False)
    assert sent_to(dispatch.fail(Fault.TRANSPORT, 1.0, 0.1)) == "b"


@pytest.mark.parametrize("is_failing", [True, False])
def test_a_repeat_on_one_that_fails_or_never_answered_is_paid_for(is_failing: bool) -> None:
    fleet, broke = fleet_of("a", "b"), RetryBudget(RetryPolicy(budget_ratio=0.0, min_per_second=0.0))
    while broke.withdraw(0.0):
        pass
    if is_failing:
        fleet.learn(fleet.models["m"]["b"], OK, 0.0)
        fleet.learn(fleet.models["m"]["b"], BAD, 0.0)
    fleet.drain("b")
    dispatch = Dispatch(fleet, task_of(), RetryPolicy(), broke)
    assert sent_to(dispatch.begin(0.0)) == "a"
    fleet.drain("b", False)
    assert isinstance(dispatch.fail(Fault.TRANSPORT, 0.0, 0.1), Refuse)
    assert not list(fleet.ledger)
