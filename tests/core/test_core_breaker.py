"""The circuit breaker: the table, the thresholds, and how many probes a fleet lets through."""

import itertools

import hypothesis.strategies as st
import msgspec
import pytest
from core_shared import BAD, OK, fleet_of, place, task_of, trip
from hypothesis import given, settings

from fairlead.domain import Model, Node, Outcome, Task
from fairlead.engine.decision import Decision
from fairlead.engine.events import CircuitChanged
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.errors import ConfigError, FairleadError, NoCandidateError
from fairlead.health import Breaker, Cause, Circuit, CircuitBreakerConfig
from fairlead.health.breaker import TRANSITIONS
from fairlead.routing import make_strategy

CLOSED, OPEN, HALF = Circuit.CLOSED, Circuit.OPEN, Circuit.HALF_OPEN
CONFIG = CircuitBreakerConfig()
STEPS = ["failed", "succeeded", "waited", "checked", "force_closed"]


def breaker_in(state: Circuit) -> Breaker:
    breaker = Breaker(CONFIG)
    if state is not CLOSED:
        for _ in range(CONFIG.failure_threshold):
            breaker.failed(0.0)
    if state is HALF:
        breaker.waited(CONFIG.timeout_s)
    assert breaker.state is state
    return breaker


EXPECTED = {
    (CLOSED, Cause.TRIPPED): OPEN,
    (OPEN, Cause.WAITED): HALF,
    (OPEN, Cause.CHECKED): HALF,
    (HALF, Cause.RELAPSED): OPEN,
    (HALF, Cause.RECOVERED): CLOSED,
    (OPEN, Cause.NEEDED): HALF,
    (CLOSED, Cause.FORCED): CLOSED,
    (OPEN, Cause.FORCED): CLOSED,
    (HALF, Cause.FORCED): CLOSED,
}


def provoke(breaker: Breaker, cause: Cause) -> Cause | None:
    """Do what a cause is made of, in whatever state; returns the cause of the change, or None."""
    match cause:
        case Cause.TRIPPED:
            found = [breaker.failed(50.0) for _ in range(CONFIG.failure_threshold)]
        case Cause.RELAPSED:
            found = [breaker.failed(50.0)]
        case Cause.RECOVERED:
            found = [breaker.succeeded(50.0) for _ in range(CONFIG.success_threshold)]
        case Cause.WAITED:
            found = [breaker.waited(breaker.reopens_at_s)]
        case Cause.CHECKED:
            found = [breaker.checked(50.0)]
        case Cause.NEEDED:
            found = [breaker.needed(50.0)]
        case Cause.FORCED:
            found = [breaker.force_closed(50.0)]
    return next((one for one in found if one is not None), None)


@pytest.mark.parametrize(("state", "cause"), list(itertools.product(Circuit, Cause)))
def test_each_state_meets_each_cause(state: Circuit, cause: Cause) -> None:
    breaker = breaker_in(state)
    found = provoke(breaker, cause)
    if state is HALF and cause is Cause.TRIPPED:  # the first of the failures is the relapse
        assert (found, breaker.state) == (Cause.RELAPSED, OPEN)
    elif (state, cause) in EXPECTED:
        after = EXPECTED[state, cause]
        assert (found, breaker.state) == (cause if after is not state else None, after)
    else:
        assert (found, breaker.state) == (None, state)


def test_the_table_is_the_one_that_the_documentation_draws() -> None:
    assert TRANSITIONS == EXPECTED


def test_only_failures_in_a_row_open_it() -> None:
    breaker = Breaker(CONFIG)
    for _ in range(10):
        for _ in range(CONFIG.failure_threshold - 1):
            assert breaker.failed(0.0) is None
        breaker.succeeded(0.0)
    assert breaker.state is CLOSED


def test_one_that_is_needed_rests_a_second_all_the_same() -> None:
    breaker = breaker_in(OPEN)
    opened_s = breaker.opened_at_s
    assert breaker.needed(opened_s + 0.99) is None
    assert breaker.needed(opened_s + 1.0) is Cause.NEEDED


def test_it_waits_its_time_and_not_a_moment_less() -> None:
    breaker = breaker_in(OPEN)
    assert breaker.waited(CONFIG.timeout_s - 0.001) is None
    assert breaker.waited(CONFIG.timeout_s) is Cause.WAITED


def test_a_success_that_began_before_the_circuit_opened_proves_nothing() -> None:
    breaker = breaker_in(OPEN)
    for _ in range(10):
        assert breaker.succeeded(1.0) is None
    assert breaker.state is OPEN


def test_after_a_relapse_the_successes_before_it_do_not_count() -> None:
    breaker = breaker_in(HALF)
    breaker.succeeded(31.0)
    breaker.succeeded(31.0)
    assert breaker.failed(32.0) is Cause.RELAPSED
    assert breaker.waited(32.0 + CONFIG.timeout_s - 0.001) is None
    breaker.waited(32.0 + CONFIG.timeout_s)
    assert breaker.succeeded(63.0) is None
    assert breaker.state is HALF


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0, 20))))
def test_whatever_happens_each_change_is_in_the_table(steps: list[tuple[str, float]]) -> None:
    breaker, now_s = Breaker(CONFIG), 0.0
    for step, by_s in steps:
        now_s += by_s
        before = breaker.state
        cause = getattr(breaker, step)(now_s)
        assert breaker.state is (before if cause is None else TRANSITIONS[before, cause])
        assert (cause is None) == (breaker.state is before)


@pytest.mark.parametrize("name", ["failure_threshold", "success_threshold", "timeout_s", "half_open_requests"])
@pytest.mark.parametrize("value", [0, -1])
def test_thresholds_are_above_zero(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"circuit_breaker\.{name} must be above 0"):
        CircuitBreakerConfig(**{name: value})


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0, 20)), max_size=30),
    st.lists(st.tuples(st.sampled_from(STEPS), st.floats(0, 20)), max_size=30),
)
@settings(derandomize=True, deadline=None)
def test_it_goes_on_after_a_restart_as_if_there_had_been_none(
    before: list[tuple[str, float]], after: list[tuple[str, float]]
) -> None:
    breaker, now_s = Breaker(CONFIG), 0.0
    for step, by_s in before:
        now_s += by_s
        getattr(breaker, step)(now_s)
    restarted = Breaker(CONFIG)
    restarted.take_over(msgspec.json.decode(msgspec.json.encode(breaker.kept())))
    for step, by_s in after:
        now_s += by_s
        assert getattr(restarted, step)(now_s) == getattr(breaker, step)(now_s)
        assert restarted.kept() == breaker.kept()


@pytest.mark.parametrize(
    "damage",
    [
        None,
        [],
        "open",
        {},
        {"state": "ajar"},
        {"opened_at_s": "now"},
        {"opened_at_s": -1.0},
        {"opened_at_s": float("nan")},
        {"failures_in_a_row": -1},
        {"successes": 1.5},
        {"successes": None},
    ],
)
def test_a_damaged_document_is_refused_and_changes_nothing(damage: object) -> None:
    breaker = breaker_in(OPEN)
    before = breaker.kept()
    damaged = {**before, **damage} if isinstance(damage, dict) and damage else damage
    with pytest.raises(FairleadError, match="circuit breaker is damaged"):
        breaker.take_over(damaged)
    assert breaker.kept() == before


# -- in a fleet


def half_open() -> Fleet:
    fleet = fleet_of("a", settings=FleetSettings(breaker=CONFIG))
    trip(fleet, "a")
    return fleet


def probe(fleet: Fleet, i: int, now_s: float) -> Decision:
    return fleet.decide(task_of(i), now_s)


def test_half_open_admits_two_probes_at_once() -> None:
    fleet = half_open()
    with pytest.raises(NoCandidateError, match="circuit open"):
        fleet.decide(task_of(), 29.9)
    first, _second = probe(fleet, 0, 30.0), probe(fleet, 1, 30.0)
    with pytest.raises(NoCandidateError, match="no free slot") as caught:
        probe(fleet, 2, 30.0)
    assert caught.value.reasons == {"no free slot": 1}
    fleet.settle(first.lease, first.candidate, OK, 31.0)
    assert place(probe(fleet, 3, 31.0)) == "a"
    with pytest.raises(NoCandidateError):
        probe(fleet, 4, 31.0)


def test_three_successes_close_it_and_lift_the_limit() -> None:
    fleet = half_open()
    for i in range(3):
        decision = probe(fleet, i, 30.0 + i)
        fleet.settle(decision.lease, decision.candidate, OK, 30.5 + i)
    assert fleet.nodes["a"].breaker.state is CLOSED
    for i in range(10):
        probe(fleet, 10 + i, 40.0)
    changes = [(one.before, one.after, one.cause) for one in fleet.outbox if isinstance(one, CircuitChanged)]
    assert changes == [
        ("closed", "open", "tripped"),
        ("open", "half_open", "waited"),
        ("half_open", "closed", "recovered"),
    ]


def test_a_relapse_shuts_it_for_another_term_and_leaves_no_probe_behind() -> None:
    fleet = half_open()
    first, second = probe(fleet, 0, 30.0), probe(fleet, 1, 30.0)
    fleet.settle(first.lease, first.candidate, BAD, 31.0)
    with pytest.raises(NoCandidateError, match="circuit open"):
        probe(fleet, 2, 60.9)
    fleet.settle(second.lease, second.candidate, BAD, 32.0)
    account = fleet.nodes["a"].account
    assert (account.in_flight, account.probes) == (0, 0)
    probe(fleet, 3, 61.0)
    probe(fleet, 4, 61.0)
    assert account.probes == 2


def test_probes_whose_owner_vanished_are_replaced_after_the_timeout() -> None:
    fleet = half_open()
    probe(fleet, 0, 30.0), probe(fleet, 1, 30.0)
    assert fleet.expire(59.9) == []
    assert len(fleet.expire(60.0)) == 2
    assert place(probe(fleet, 2, 60.0)) == "a"


@pytest.mark.parametrize("now_s", [1.0, 31.0])
def test_a_person_may_close_it_at_any_time(now_s: float) -> None:
    fleet = half_open()
    if now_s > 30:
        probe(fleet, 0, now_s)
    fleet.force_recovery("a", now_s)
    assert fleet.nodes["a"].breaker.state is CLOSED
    for i in range(1, 9):
        probe(fleet, i, now_s)


def test_what_was_sent_before_the_circuit_opened_does_not_judge_a_half_open_node() -> None:
    fleet = Fleet(make_strategy("round_robin"), FleetSettings(breaker=CircuitBreakerConfig(success_threshold=1)))
    candidate = fleet.add(Model("m"), Node("n"), 0.0)
    early = fleet.decide(Task("t-0", 0), 0.0)
    for _ in range(5):
        fleet.learn(candidate, Outcome(False, 0.1), 1.0)
    probe = fleet.decide(Task("t-1", 1), 40.0)
    states = [str(fleet.nodes["n"].breaker.state)]
    fleet.settle(early.lease, candidate, Outcome(True, 40.0), 41.0)
    states.append(str(fleet.nodes["n"].breaker.state))
    fleet.settle(probe.lease, candidate, Outcome(True, 0.1), 42.0)
    states.append(str(fleet.nodes["n"].breaker.state))
    assert states == ["half_open", "half_open", "closed"]
