"""When a first token is late, what the budget pays for, and whom a second request goes to."""

import hypothesis.strategies as st
import pytest
from core_shared import OK, dispatch_of, fleet_of, place, refusal, sent_to, task_of
from hypothesis import given

from fairlead.domain import Model, Node
from fairlead.domain.rescue import Rescue
from fairlead.engine.dispatch import DONE, Dispatch, Phase, Send
from fairlead.engine.fleet import Fleet
from fairlead.engine.hedging import KEPT, RENEWED_EACH, SAVED_UP, Hedger
from fairlead.errors import Fault
from fairlead.health.config import HedgingConfig
from fairlead.routing import make_strategy

A, B = ("m", "a"), ("m", "b")
EVENTS = st.lists(st.sampled_from(("request", "request", "request", "late", "nobody free")), max_size=400)


def hedger(**more: object) -> Hedger:
    return Hedger(HedgingConfig(enabled=True, **more))  # type: ignore[arg-type]  # whatever a test says


# -- when it is late


@given(st.lists(st.floats(0.0, 100.0), min_size=20, max_size=KEPT), st.floats(0.01, 0.99))
def test_late_is_what_the_share_of_the_nodes_own_times_is_below(times_s: list[float], quantile: float) -> None:
    late = hedger(quantile=quantile, min_outcomes=len(times_s))
    for one in times_s[:-1]:
        late.observe(A, one)
        assert late.delay_s(A) is None
    late.observe(A, times_s[-1])
    delay_s = late.delay_s(A)
    assert delay_s in times_s
    above = sum(one > delay_s for one in times_s)
    assert above <= (1.0 - quantile) * len(times_s)
    assert sum(one >= delay_s for one in times_s) >= (1.0 - quantile) * len(times_s)


def test_each_pair_has_times_of_its_own_and_old_ones_are_forgotten() -> None:
    late = hedger()
    for _ in range(40):
        late.observe(A, 0.1)
        late.observe(B, 5.0)
    assert (late.delay_s(A), late.delay_s(B)) == (0.1, 5.0)
    for _ in range(KEPT + RENEWED_EACH):
        late.observe(A, 2.0)
    assert late.delay_s(A) == 2.0
    late.forget_node("a")
    assert (late.delay_s(A), late.delay_s(B)) == (None, 5.0)


def test_nothing_is_late_while_it_is_off() -> None:
    late = Hedger()
    for _ in range(40):
        late.observe(A, 0.1)
    assert late.delay_s(A) is None
    late.configure(HedgingConfig(enabled=True))
    assert late.delay_s(A) == 0.1
    late.is_off = True
    assert late.delay_s(A) is None


# -- the budget


@given(EVENTS, st.sampled_from((0.0, 0.05, 0.3, 1.0)))
def test_second_requests_are_never_more_than_their_share_of_all(events: list[str], budget: float) -> None:
    late = hedger(budget=budget)
    requests = hedges = 0
    for event in events:
        if event == "request":
            late.deposit()
            requests += 1
        elif late.withdraw():
            hedges += 1
            if event == "nobody free":
                late.refund()
                hedges -= 1
        assert hedges <= budget * requests + 1e-9


def test_the_whole_share_can_be_used_and_a_quiet_day_pays_for_ten() -> None:
    late = hedger(budget=0.25)
    used = 0
    for _ in range(1000):
        late.deposit()
        used += late.withdraw()
    assert used == 250
    for _ in range(1000):
        late.deposit()
    assert sum(late.withdraw() for _ in range(100)) == SAVED_UP


# -- whom it goes to


def race(fleet: Fleet) -> Dispatch:
    """Begin a dispatch on the fleet's first node, and ask a second."""
    dispatch = dispatch_of(fleet)
    dispatch.begin(0.0)
    assert isinstance(dispatch.hedge(0.1), Send)
    return dispatch


def leased(fleet: Fleet) -> int:
    return len(fleet.ledger)


def test_a_second_node_is_asked_and_the_first_to_answer_keeps_its_lease() -> None:
    fleet = fleet_of("a", "b")
    dispatch = race(fleet)
    first, second = dispatch.decision, dispatch.rival
    assert first is not None
    assert second is not None
    assert (place(first), place(second), leased(fleet)) == ("a", "b", 2)
    assert dispatch.won(second, 0.2) is first
    assert (leased(fleet), dispatch.decision, dispatch.rival) == (1, second, None)
    assert dispatch.complete(OK, 0.3) is DONE
    assert leased(fleet) == 0
    totals = [fleet.models["m"][name].totals for name in "ab"]
    assert [(one.succeeded, one.failed) for one in totals] == [(0, 0), (1, 0)], "the loser is not blamed"


@pytest.mark.parametrize("first_fails", [True, False])
def test_where_one_of_two_fails_the_other_goes_on(first_fails: bool) -> None:
    fleet = fleet_of("a", "b", "c")
    dispatch = race(fleet)
    both = [dispatch.decision, dispatch.rival]
    fails, goes_on = both if first_fails else both[::-1]
    assert fails is not None
    assert dispatch.lost(fails, Fault.TRANSPORT, 0.2, 0.2)
    assert (dispatch.decision, dispatch.rival, leased(fleet)) == (goes_on, None, 1)
    assert dispatch.repeats == 0
    assert fleet.models["m"][place(fails)].totals.failed == 1
    assert not dispatch.lost(fails, Fault.TRANSPORT, 0.2, 0.2), "told twice"
    assert sent_to(dispatch.fail(Fault.TRANSPORT, 0.3, 0.3)) == "c", "neither is asked again"


def test_both_fail_and_nobody_is_left() -> None:
    fleet = fleet_of("a", "b")
    dispatch = race(fleet)
    assert dispatch.rival is not None
    assert dispatch.lost(dispatch.rival, Fault.TIMEOUT, 0.2, 0.2)
    assert refusal(dispatch.fail(Fault.TIMEOUT, 0.3, 0.3)).fault is Fault.TIMEOUT
    assert leased(fleet) == 0


@pytest.mark.parametrize("how", ["complete", "cancel", "fail", "rescue", "give_way"])
def test_whatever_ends_a_race_gives_both_leases_back(how: str) -> None:
    fleet = fleet_of("a", "b")
    dispatch = race(fleet)
    rival = dispatch.rival
    assert rival is not None
    match how:
        case "complete":
            dispatch.complete(OK, 0.2)
        case "cancel":
            dispatch.cancel(0.2)
        case "fail":
            dispatch.fail(Fault.CALLER, 0.2, 0.2)
        case "rescue":
            dispatch.rescue(Fault.CALLER, 0.2, 0.2, Rescue.SAME_MODEL)
        case _:
            dispatch.give_way(0.2)
    assert leased(fleet) == 0
    assert dispatch.won(rival, 0.3) is None, "it comes too late"
    assert not dispatch.lost(rival, Fault.TRANSPORT, 0.3, 0.3)


def test_what_an_attempt_of_before_does_is_not_taken_for_the_race() -> None:
    fleet = fleet_of("a", "b", "c")
    dispatch = dispatch_of(fleet)
    old = dispatch.begin(0.0)
    assert isinstance(old, Send)
    dispatch.fail(Fault.CONNECT, 0.1, 0.1)
    assert isinstance(dispatch.hedge(0.2), Send)
    assert dispatch.won(old.decision, 0.3) is None
    assert not dispatch.lost(old.decision, Fault.TRANSPORT, 0.3, 0.3)
    assert leased(fleet) == 2


def test_there_is_no_race_where_no_second_node_is_free() -> None:
    alone = dispatch_of(fleet_of("a"))
    assert alone.hedge(0.0) is DONE, "nothing was sent yet"
    alone.begin(0.0)
    assert alone.hedge(0.1) is DONE
    full = fleet_of("a", Node("b", slots=1))
    assert full.ledger.take(full.nodes["b"].account, None, 0.0, 60.0) is not None
    dispatch = dispatch_of(full)
    assert sent_to(dispatch.begin(0.0)) == "a"
    assert dispatch.hedge(0.1) is DONE
    assert (dispatch.phase, dispatch.attempts) == (Phase.SENT, 1)
    racing = race(fleet_of("a", "b", "c"))
    assert racing.hedge(0.2) is DONE, "two at once are enough"


@pytest.mark.parametrize("name", ["m", "auto", "pair"])
def test_a_race_is_for_the_same_model_never_for_one_that_would_stand_in(name: str) -> None:
    fleet = Fleet(make_strategy("round_robin"))
    fleet.add(Model("m"), Node("a"), 0.0)
    fleet.add(Model("small"), Node("b"), 0.0)
    fleet.name_fallbacks("m", ("small",))
    fleet.name_group("pair", ("m", "small"))
    dispatch = dispatch_of(fleet, task_of(model=name))
    dispatch.begin(0.0)
    assert dispatch.hedge(0.1) is DONE
    assert dispatch.attempts == 1


def test_the_second_node_shares_as_little_as_possible_with_the_first() -> None:
    near = [Node("a", region="eu", failure_domain="x"), Node("b", region="eu", failure_domain="x")]
    fleet = fleet_of(*near, Node("c", region="eu"), Node("d", region="us"))
    dispatch = race(fleet)
    assert dispatch.rival is not None
    assert place(dispatch.rival) == "d"


def test_who_lost_a_race_is_asked_last_to_finish_what_breaks() -> None:
    for key in range(8):
        fleet = fleet_of("a", "b", "c", strategy="random")
        dispatch = dispatch_of(fleet, task_of(key))
        dispatch.begin(0.0)
        dispatch.hedge(0.1)
        winner = dispatch.rival
        assert winner is not None
        loser = dispatch.won(winner, 0.2)
        assert loser is not None
        asked = sent_to(dispatch.rescue(Fault.TRANSPORT, 0.3, 0.3, Rescue.SAME_MODEL))
        assert asked not in {place(loser), place(winner)}
        assert sent_to(dispatch.rescue(Fault.TRANSPORT, 0.4, 0.3, Rescue.SAME_MODEL)) == place(loser)
