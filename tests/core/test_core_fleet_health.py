"""What a fleet does with nodes that fare badly: left out, given less, asked again, and the same after a restart."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from core_shared import fleet_of, task_of, trip

from fairlead.domain import Model, Node, Outcome
from fairlead.domain.health import Verdict
from fairlead.engine.directory import FleetSettings
from fairlead.engine.events import CircuitChanged, HealthChanged
from fairlead.engine.fleet import Fleet
from fairlead.engine.fleet_health import DEGRADED_SHARE
from fairlead.engine.memory import recall, remember
from fairlead.errors import Fault, NoCandidateError
from fairlead.health import CheckSchedule, Circuit, CircuitBreakerConfig
from fairlead.health.config import CheckingConfig, HealthConfig
from fairlead.rng import Draw
from fairlead.routing import make_strategy

RATE = 10
"""Tasks each second."""
SLOW_START_S = 10.0
SETTINGS = FleetSettings(slow_start_s=SLOW_START_S)
Fails = Callable[[str, int], bool]
"""Whether a node fails the task of that number."""


def fails_some(node: str, share: float) -> Fails:
    return lambda name, number: name == node and Draw(7, number, 1).unit() < share


def nobody(_: str, __: int) -> bool:
    return False


class Traffic:
    """Tasks at a steady pace, each over before the next one comes, and a review every second."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.now_s = 0.0
        self.number = 0

    def run(self, seconds: float, fails: Fails = nobody, late_s: dict[str, float] | None = None) -> Counter[str]:
        """Let time pass; returns who was asked how often."""
        asked: Counter[str] = Counter()
        for _ in range(int(seconds * RATE)):
            self.now_s += 1 / RATE
            self.fleet.tick(self.now_s)
            self.fleet.review_health(self.now_s)
            self.number += 1
            decision = self.fleet.decide(task_of(self.number), self.now_s)
            name = decision.candidate.node.name
            asked[name] += 1
            has_failed = fails(name, self.number)
            first_s = None if has_failed else 0.05 + (late_s or {}).get(name, 0.0)
            fault = Fault.UNAVAILABLE if has_failed else None
            outcome = Outcome(not has_failed, 0.1, first_token_s=first_s, input_tokens=10, fault=fault)
            self.fleet.settle(decision.lease, decision.candidate, outcome, self.now_s)
        return asked

    def fail_checks(self, *names: str, times: int = 3) -> None:
        for _ in range(times):
            for name in names:
                self.fleet.checked(name, False, self.now_s, "connection refused")

    def review(self, after_s: float = 1.0) -> None:
        self.now_s += after_s
        self.fleet.tick(self.now_s)
        assert self.fleet.review_health(self.now_s)

    def is_panic(self) -> bool:
        return self.fleet.health.monitor.is_panic

    def verdict(self, name: str) -> Verdict:
        return self.fleet.health.report(name, self.now_s).verdict


def traffic(*names: str, strategy: str = "random", settings: FleetSettings = SETTINGS) -> Traffic:
    return Traffic(fleet_of(*names, strategy=strategy, settings=settings))


def health_events(fleet: Fleet, node: str) -> list[tuple[str, str]]:
    return [(one.before, one.after) for one in fleet.outbox if isinstance(one, HealthChanged) and one.node == node]


# -- outliers


@pytest.mark.parametrize("strategy", ["random", "round_robin"])
def test_a_node_that_fails_a_third_is_left_out_and_begins_slowly_when_it_is_back(strategy: str) -> None:
    it = traffic("a", "b", "c", "d", strategy=strategy)
    asked = it.run(60.0, fails_some("a", 0.3))
    assert "ejected" in {after for _, after in health_events(it.fleet, "a")}
    assert asked["a"] < asked["b"] / 1.5
    assert circuit(it.fleet, "a") is Circuit.CLOSED, "its circuit would never have opened"
    while it.fleet.nodes["a"].is_ejected:
        assert not it.run(1.0)["a"] or not it.fleet.nodes["a"].is_ejected
        assert it.now_s < 200.0, "it never came back"
    assert it.fleet.nodes["a"].account.warmth < 0.3
    it.run(SLOW_START_S + 1.0)
    assert it.fleet.nodes["a"].account.warmth == 1.0
    asked = it.run(40.0)
    assert asked["a"] > 0.6 * asked["b"]
    assert it.verdict("a") is Verdict.HEALTHY


def test_a_node_that_goes_on_failing_is_left_out_for_longer_each_time() -> None:
    it = traffic("a", "b", "c")
    lengths: list[float] = []
    out_since_s: float | None = None
    while len(lengths) < 3:
        it.run(1.0, fails_some("a", 0.3))
        is_out = it.fleet.nodes["a"].is_ejected
        if is_out and out_since_s is None:
            out_since_s = it.now_s
        elif not is_out and out_since_s is not None:
            lengths.append(it.now_s - out_since_s)
            out_since_s = None
        assert it.now_s < 1000.0
    assert lengths == pytest.approx([30.0, 60.0, 90.0], abs=2.0)


# -- degraded


def test_a_slow_node_gets_half_its_share_and_is_never_left_out() -> None:
    it = traffic("a", "b", "c")
    it.run(30.0, late_s={"a": 3.0})
    assert it.verdict("a") is Verdict.DEGRADED
    assert it.fleet.nodes["a"].account.warmth == DEGRADED_SHARE
    asked = it.run(100.0, late_s={"a": 3.0})
    assert asked["a"] == pytest.approx(0.2 * sum(asked.values()), rel=0.25)
    it.run(70.0)
    assert it.fleet.nodes["a"].account.warmth == 1.0


def test_a_request_to_come_later_is_no_failure_of_the_node() -> None:
    it = traffic("a", "b", "c")
    candidate = it.fleet.models["m"]["a"]
    for _ in range(100):
        it.fleet.learn(candidate, Outcome(False, 0.1, fault=Fault.RATE_LIMITED), it.now_s)
    it.review()
    assert it.fleet.health.report("a", it.now_s).outcomes == 0


# -- checks


def test_a_node_that_answers_no_check_is_left_out_and_is_back_within_the_notice_time() -> None:
    config = CheckingConfig(interval_s=5.0, timeout_s=2.0)
    schedule = CheckSchedule(config)
    it = traffic("a", "b", "c", settings=FleetSettings(health=HealthConfig(check=config)))
    for name in "abc":
        schedule.join(name, 0.0)
    gone_s, back_s = 10.0, 40.0
    left_out_s: float | None = None
    returned_s: float | None = None
    is_asked = True
    while it.now_s < 60.0:
        was_asked = is_asked
        asked = it.run(0.1, lambda name, _: name == "a" and gone_s <= it.now_s < back_s)
        for name in schedule.due(it.now_s):
            is_away = name == "a" and gone_s <= it.now_s < back_s
            schedule.result(name, not is_away, it.now_s)
            it.fleet.checked(name, not is_away, it.now_s)
        is_asked = it.fleet.nodes["a"].why_not(it.fleet.models["m"]["a"]) is None
        if not is_asked and it.now_s > gone_s:
            left_out_s = left_out_s or it.now_s
            assert was_asked or not asked["a"]
        elif left_out_s is not None and it.now_s >= back_s:
            returned_s = returned_s or it.now_s
    assert left_out_s is not None
    assert returned_s is not None
    assert returned_s - back_s <= schedule.notice_s + 1.1, "the notice, and a review"


def test_an_idle_node_is_left_out_by_its_checks_alone_and_the_reason_is_told() -> None:
    it = traffic("a", "b", "c")
    it.review()
    it.fail_checks("a")
    it.review()
    assert it.run(5.0)["a"] == 0
    assert it.fleet.health.report("a", it.now_s).why == "3 checks in a row failed (connection refused)"
    for name in "bc":
        it.fleet.drain(name, now_s=it.now_s)
    with pytest.raises(NoCandidateError, match=r"1 x does not answer \(a\), 2 x draining"):
        it.fleet.decide(task_of(0), it.now_s)
    it.fleet.checked("a", True, it.now_s)
    it.review()
    assert it.run(1.0)["a"] > 0


def test_with_most_nodes_unreachable_nobody_is_left_out_for_it() -> None:
    it = traffic("a", "b", "c", "d", "e")
    it.review()
    it.fail_checks("a", "b", "c")
    it.review()
    assert it.is_panic()
    assert it.fleet.lineup("m").nodes == set("abcde"), "checks may be wrong"
    assert [it.fleet.nodes[name].account.warmth for name in "abcde"] == [0.5, 0.5, 0.5, 1.0, 1.0]
    it.fleet.checked("a", True, it.now_s)
    it.review()
    assert not it.is_panic()
    assert it.fleet.lineup("m").nodes == set("ade")


def test_who_alone_serves_a_model_is_never_left_out() -> None:
    it = traffic("a", "b", "c", "d")
    it.fleet.add(Model("rare"), it.fleet.nodes["a"].node, 0.0)
    it.review()
    it.fail_checks("a")
    it.review()
    assert not it.fleet.nodes["a"].is_unreachable
    assert it.fleet.decide(task_of(0, model="rare"), it.now_s).candidate.node.name == "a"
    it.fleet.checked("a", True, it.now_s)
    it.run(60.0, fails_some("a", 0.4))
    assert it.verdict("a") is Verdict.DEGRADED
    it.fleet.add(Model("rare"), it.fleet.nodes["b"].node, it.now_s)
    it.run(3.0, fails_some("a", 0.4))
    assert it.fleet.nodes["a"].is_ejected, "now another can do it"


def test_a_person_who_says_that_a_node_is_well_is_believed_at_once() -> None:
    it = traffic("a", "b", "c", "d")
    it.run(60.0, fails_some("a", 0.4))
    it.now_s += 0.01
    it.fail_checks("b")
    it.review()
    assert it.fleet.nodes["b"].is_unreachable
    for name in "ab":
        it.fleet.force_recovery(name, it.now_s)
        assert not it.fleet.nodes[name].is_ejected
        assert not it.fleet.nodes[name].is_unreachable
    it.review()
    assert {name for name, count in it.run(10.0).items() if count} == set("abcd")


# -- after a restart


def circuit(fleet: Fleet, node: str) -> Circuit:
    return fleet.nodes[node].breaker.state


def restarted(fleet: Fleet, now_s: float, *names: str, joins_first: bool = True) -> Fleet:
    """Build the same fleet anew, give it what the old one kept as it would lie on a disk, and let the nodes join."""
    kept = msgspec.json.decode(msgspec.json.encode(remember(fleet)))
    fresh = Fleet(make_strategy("random"), SETTINGS)
    troubles: list[object] = []
    if joins_first:
        for name in names:
            fresh.add(Model("m"), Node(name), now_s)
    recall(fresh, kept, lambda *told: troubles.append(told), now_s)
    if not joins_first:
        for name in names:
            fresh.add(Model("m"), Node(name), now_s)
    assert not troubles
    return fresh


@pytest.mark.parametrize("joins_first", [True, False])
def test_an_open_circuit_stays_open_over_a_restart_and_is_probed_in_its_time(joins_first: bool) -> None:
    old = fleet_of("a", "b")
    trip(old, "a", 100.0)
    fresh = restarted(old, 110.0, "a", "b", joins_first=joins_first)
    assert circuit(fresh, "a") is Circuit.OPEN
    assert {fresh.decide(task_of(i), 110.0).candidate.node.name for i in range(20)} == {"b"}
    assert fresh.next_due_s() is not None
    fresh.tick(129.9)
    assert circuit(fresh, "a") is Circuit.OPEN
    fresh.tick(130.0)
    assert circuit(fresh, "a") is Circuit.HALF_OPEN
    assert fresh.nodes["a"].account.probe_limit == 2
    assert any(isinstance(one, CircuitChanged) and one.node == "a" for one in fresh.outbox)


@pytest.mark.parametrize("joins_first", [True, False])
def test_a_circuit_whose_time_is_over_meanwhile_is_probed_at_once(joins_first: bool) -> None:
    old = fleet_of("a", "b")
    trip(old, "a", 100.0)
    fresh = restarted(old, 500.0, "a", "b", joins_first=joins_first)
    assert circuit(fresh, "a") is Circuit.HALF_OPEN


@pytest.mark.parametrize("joins_first", [True, False])
def test_a_half_open_circuit_goes_on_being_probed(joins_first: bool) -> None:
    old = fleet_of("a", "b")
    trip(old, "a", 100.0)
    old.tick(130.0)
    fresh = restarted(old, 131.0, "a", "b", joins_first=joins_first)
    state = fresh.nodes["a"]
    assert (state.breaker.state, state.account.probe_limit) == (Circuit.HALF_OPEN, 2)
    it = Traffic(fresh)
    it.now_s = 131.0
    it.run(20.0)
    assert state.breaker.state is Circuit.CLOSED


def test_a_clock_that_was_set_back_keeps_no_circuit_open_for_longer() -> None:
    old = fleet_of("a", "b")
    trip(old, "a", 1e9)
    fresh = restarted(old, 100.0, "a", "b")
    assert circuit(fresh, "a") is Circuit.OPEN
    fresh.tick(100.0 + CircuitBreakerConfig().timeout_s)
    assert circuit(fresh, "a") is Circuit.HALF_OPEN


@pytest.mark.parametrize("joins_first", [True, False])
def test_who_was_left_out_as_an_outlier_still_is(joins_first: bool) -> None:
    it = traffic("a", "b", "c")
    while not it.fleet.nodes["a"].is_ejected:
        it.run(1.0, fails_some("a", 0.3))
    fresh = Traffic(restarted(it.fleet, it.now_s + 1.0, "a", "b", "c", joins_first=joins_first))
    fresh.now_s = it.now_s + 1.0
    assert fresh.run(20.0)["a"] == 0
    assert fresh.verdict("a") is Verdict.EJECTED
    assert fresh.run(30.0)["a"] > 0


def test_what_is_kept_of_nodes_that_never_came_is_kept_again() -> None:
    old = fleet_of("a", "b")
    trip(old, "a", 100.0)
    without = restarted(old, 110.0, "b")
    again = restarted(without, 115.0, "a", "b")
    assert circuit(again, "a") is Circuit.OPEN


@pytest.mark.parametrize(
    "damage",
    [[], {"circuits": []}, {"circuits": {"a": {"state": "ajar"}}}, {"circuits": {}, "ejections": {"a": "for ever"}}],
)
def test_damaged_circuits_are_told_and_change_nothing(damage: object) -> None:
    fleet = fleet_of("a", "b")
    troubles: list[str] = []
    recall(fleet, {"circuits": damage}, lambda name, _: troubles.append(name), 5.0)
    assert troubles == ["circuits"]
    assert circuit(fleet, "a") is Circuit.CLOSED
