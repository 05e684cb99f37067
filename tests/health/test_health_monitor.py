"""What the monitor says of nodes that are told of by hand: thresholds, checks, ejections, panic, sums."""

from collections.abc import Iterable

import hypothesis.strategies as st
import msgspec
import pytest
from health_shared import only
from hypothesis import given, settings

from fairlead.domain.health import Verdict
from fairlead.errors import FairleadError
from fairlead.health import CheckingConfig, HealthConfig, HealthMonitor, Seen

CONFIG = HealthConfig()
HEALTHY, DEGRADED, EJECTED, DOWN = Verdict.HEALTHY, Verdict.DEGRADED, Verdict.EJECTED, Verdict.DOWN
NOTHING: dict[str, Seen] = {}


def monitor_of(*nodes: str, config: HealthConfig | None = None) -> HealthMonitor:
    monitor = HealthMonitor(config)
    for node in nodes:
        monitor.join(node)
    return monitor


def tell(monitor: HealthMonitor, node: str, failures: int, outcomes: int, now_s: float = 1.0) -> None:
    """Tell of outcomes, the failures spread evenly."""
    for i in range(outcomes):
        monitor.record(node, (i + 1) * failures // outcomes == i * failures // outcomes, now_s)


def tell_late(monitor: HealthMonitor, node: str, excesses_s: Iterable[float], now_s: float = 1.0) -> None:
    for excess_s in excesses_s:
        monitor.record(node, success=True, now_s=now_s, excess_s=excess_s)


def fail_checks(monitor: HealthMonitor, node: str, times: int, now_s: float = 1.0) -> None:
    for i in range(times):
        monitor.checked(node, is_well=False, now_s=now_s + i, why="nothing listens there")


def verdict(monitor: HealthMonitor, node: str, now_s: float = 2.0) -> Verdict:
    return monitor.report(node, now_s).verdict


# -- passive


@pytest.mark.parametrize(
    ("failures", "outcomes", "wanted"),
    [(0, 20, HEALTHY), (1, 20, HEALTHY), (2, 20, DEGRADED), (19, 19, HEALTHY), (5, 100, HEALTHY), (6, 100, DEGRADED)],
)
def test_error_rate_counts_beyond_its_threshold_and_from_enough_outcomes_on(
    failures: int, outcomes: int, wanted: Verdict
) -> None:
    monitor = monitor_of("a")
    tell(monitor, "a", failures, outcomes)
    monitor.review(2.0, NOTHING)
    report = monitor.report("a", 2.0)
    assert report.verdict is wanted
    assert report.outcomes == outcomes
    assert report.error_rate == (failures / outcomes if outcomes >= 20 else None)
    assert (monitor.degraded == only("a")) is (wanted is DEGRADED)


def test_a_changed_verdict_is_told_once_with_its_reason() -> None:
    monitor = monitor_of("a", "b")
    tell(monitor, "a", 5, 50)
    (change,) = monitor.review(2.0, NOTHING)
    assert (change.node, change.before, change.after) == ("a", HEALTHY, DEGRADED)
    assert change.why == "5 of 50 tasks failed" == monitor.report("a", 2.0).why
    assert monitor.review(3.0, NOTHING) == []
    assert monitor.report("a", 3.0).since_s == 2.0


def test_one_on_the_verge_does_not_change_back_and_forth() -> None:
    monitor = monitor_of("a")
    tell(monitor, "a", 6, 100)
    assert len(monitor.review(2.0, NOTHING)) == 1
    tell(monitor, "a", 0, 30, 2.0)  # 6 of 130: below the threshold, not by much
    assert monitor.review(3.0, NOTHING) == []
    tell(monitor, "a", 0, 30, 3.0)  # 6 of 160
    (change,) = monitor.review(4.0, NOTHING)
    assert change.after is HEALTHY


def test_what_is_older_than_the_window_is_forgotten_and_nothing_younger_than_most_of_it() -> None:
    monitor = monitor_of("a")
    tell(monitor, "a", 10, 20, 100.0)
    assert monitor.report("a", 100.0 + CONFIG.window_s * 0.83).error_rate == 0.5
    assert monitor.report("a", 100.0 + CONFIG.window_s).error_rate is None
    assert monitor.report("a", 100.0 + CONFIG.window_s).outcomes == 0


@given(st.lists(st.tuples(st.floats(0.0, 30.0), st.booleans()), max_size=80))
@settings(derandomize=True, deadline=None)
def test_the_window_holds_what_came_within_it(steps: list[tuple[float, bool]]) -> None:
    monitor, told, now_s = monitor_of("a"), [], 0.0
    for by_s, success in steps:
        now_s += by_s
        monitor.record("a", success, now_s)
        told.append(now_s)
        outcomes = monitor.report("a", now_s).outcomes
        assert sum(now_s - at_s < CONFIG.window_s * 5 / 6 - 1e-6 for at_s in told) <= outcomes
        assert outcomes <= sum(now_s - at_s <= CONFIG.window_s + 1e-6 for at_s in told)


@pytest.mark.parametrize(
    ("excesses_s", "wanted"),
    [
        ([0.6] * 20, DEGRADED),
        ([0.6] * 19, HEALTHY),
        ([0.4] * 20, HEALTHY),
        ([0.0] * 19 + [1e6], HEALTHY),
        ([0.0] * 8 + [0.6] * 12, DEGRADED),
        ([0.0, 0.0, 60.0] * 8, HEALTHY),
    ],
)
def test_lateness_is_judged_by_its_median_and_never_leaves_out(excesses_s: list[float], wanted: Verdict) -> None:
    monitor = monitor_of("a", "b", "c")
    tell_late(monitor, "a", excesses_s)
    for node in "bc":
        tell_late(monitor, node, [0.0] * 50)
    monitor.review(2.0, NOTHING)
    assert verdict(monitor, "a") is wanted
    assert not monitor.ejected
    assert monitor.degraded == (only("a") if wanted is DEGRADED else only())


def test_lateness_of_many_tasks_is_the_median_of_the_newest_in_each_part_of_the_window() -> None:
    monitor = monitor_of("a")
    tell_late(monitor, "a", [9.0] * 1000 + [0.25] * 16)
    assert monitor.report("a", 2.0).excess_s == 0.25


# -- checks


def test_only_checks_that_fail_in_a_row_make_a_node_unreachable() -> None:
    monitor = monitor_of("a", "b", "c")
    assert monitor.report("a", 0.0).is_reachable is None
    fail_checks(monitor, "a", 2)
    monitor.checked("a", is_well=True, now_s=3.0)
    fail_checks(monitor, "a", 2, 4.0)
    assert monitor.review(6.0, NOTHING) == []
    fail_checks(monitor, "a", 1, 6.0)
    (change,) = monitor.review(7.0, NOTHING)
    assert change.after is DOWN
    assert change.why == "3 checks in a row failed (nothing listens there)"
    assert (monitor.unreachable, monitor.report("a", 7.0).is_reachable) == (only("a"), False)
    monitor.checked("a", is_well=True, now_s=8.0)
    (change,) = monitor.review(9.0, NOTHING)
    assert change.after is HEALTHY
    assert monitor.unreachable == only()


@pytest.mark.parametrize(("answers_at_s", "is_out"), [(0.5, True), (1.5, False), (3.5, False), (50.0, False)])
def test_a_node_that_answers_tasks_is_not_taken_out_by_checks_that_fail(answers_at_s: float, is_out: bool) -> None:
    monitor = monitor_of("a", "b", "c")
    told = [(1.0, None), (2.0, None), (3.0, None), (answers_at_s, "task")]
    for at_s, what in sorted(told, key=lambda one: one[0]):
        if what is None:
            fail_checks(monitor, "a", 1, at_s)
        else:
            monitor.record("a", success=True, now_s=at_s)
    fail_checks(monitor, "a", 20, 51.0)
    monitor.review(80.0, NOTHING)
    assert (monitor.unreachable == only("a")) is is_out


def test_a_check_tells_whether_the_node_is_back() -> None:
    monitor = monitor_of("a")
    assert monitor.checked("a", is_well=True, now_s=1.0) is False
    assert monitor.checked("a", is_well=False, now_s=2.0) is False
    assert monitor.recovered_at_s("a") is None
    assert monitor.checked("a", is_well=True, now_s=3.0) is True
    assert monitor.checked("a", is_well=True, now_s=4.0) is False
    assert monitor.recovered_at_s("a") == 3.0


# -- outliers


def fleet_with(bad: tuple[int, int], good: tuple[int, int], peers: int = 2) -> HealthMonitor:
    monitor = monitor_of("bad", *(f"good-{i}" for i in range(peers)))
    tell(monitor, "bad", *bad)
    for i in range(peers):
        tell(monitor, f"good-{i}", *good)
    return monitor


@pytest.mark.parametrize(
    ("bad", "good", "peers", "is_out"),
    [
        ((10, 20), (0, 20), 2, True),
        ((20, 20), (0, 20), 1, False),  # of two, nobody can tell which one is odd
        ((10, 19), (0, 20), 2, False),  # too few outcomes
        ((10, 20), (0, 19), 2, False),  # too few to compare with
        ((30, 300), (0, 300), 2, True),
        ((28, 300), (0, 300), 2, False),  # significant, and less than the gap
        ((50, 100), (50, 100), 2, False),  # all alike: it is not the node
        ((100, 100), (100, 100), 2, False),
        ((60, 100), (30, 100), 5, True),
        ((3, 20), (0, 20), 2, False),  # may be chance
        ((6, 27), (5, 100), 9, False),  # happens twice in a thousand windows
    ],
)
def test_an_outlier_fails_significantly_and_by_a_gap_more_than_its_peers(
    bad: tuple[int, int], good: tuple[int, int], peers: int, is_out: bool
) -> None:
    monitor = fleet_with(bad, good, peers)
    monitor.review(2.0, NOTHING)
    assert monitor.ejected == (only("bad") if is_out else only())


def test_the_reason_says_what_was_compared() -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    report = monitor.report("bad", 2.0)
    assert report.verdict is EJECTED
    assert report.why == "50% of 20 tasks failed, 0% on its peers; left out for 30 s"


@pytest.mark.parametrize(
    ("nodes", "share", "most"), [(3, 0.34, 1), (3, 0.1, 1), (3, 0.0, 0), (10, 0.34, 3), (9, 1.0, 4)]
)
def test_never_more_are_left_out_than_the_share_allows_and_never_into_panic(
    nodes: int, share: float, most: int
) -> None:
    config = HealthConfig(max_ejected_share=share)
    monitor = monitor_of(*(f"n{i}" for i in range(nodes)), config=config)
    for i in range(nodes):
        tell(monitor, f"n{i}", 90 - 20 * i if i < nodes // 2 else 0, 100)
    monitor.review(2.0, NOTHING)
    assert len(monitor.ejected) == most
    assert monitor.ejected == frozenset(f"n{i}" for i in range(most))  # the worst
    assert not monitor.is_panic


def test_each_time_lasts_longer_and_is_forgiven_in_time() -> None:
    monitor, lengths_s, now_s = monitor_of("bad", "b", "c"), [], 0.0

    def eject() -> None:
        nonlocal now_s
        tell(monitor, "bad", 10, 20, now_s)
        for node in "bc":
            tell(monitor, node, 0, 20, now_s)
        monitor.review(now_s, NOTHING)
        assert monitor.ejected == only("bad")
        began_s = now_s
        while monitor.ejected:
            now_s += 1.0
            monitor.review(now_s, NOTHING)
        lengths_s.append(now_s - began_s)
        assert monitor.report("bad", now_s).outcomes == 0  # it begins anew

    for _ in range(3):
        eject()
    assert lengths_s == [30.0, 60.0, 90.0]
    now_s += 90.0  # as long as the last one lasted: one time is forgiven
    monitor.review(now_s, NOTHING)
    eject()
    now_s += 10_000.0
    monitor.review(now_s, NOTHING)
    assert monitor.kept() == {}
    eject()
    assert lengths_s == [30.0, 60.0, 90.0, 90.0, 30.0]


def test_what_came_late_while_it_was_left_out_is_not_held_against_it() -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    tell(monitor, "bad", 20, 20, 3.0)
    monitor.review(32.0, NOTHING)
    assert monitor.ejected == only()
    assert monitor.report("bad", 32.0).outcomes == 0


@pytest.mark.parametrize("how", ["circuit", "checks"])
def test_what_failed_before_a_node_went_out_is_not_held_against_it_when_it_is_back(how: str) -> None:
    monitor = fleet_with((0, 40), (0, 40))
    tell(monitor, "bad", 5, 5)
    fail_checks(monitor, "bad", 3 if how == "checks" else 0, 2.0)
    monitor.review(4.0, {"bad": Seen(is_open=how == "circuit")})
    assert (verdict(monitor, "bad"), monitor.ejected) == (DOWN, only())
    monitor.checked("bad", is_well=True, now_s=4.5)
    monitor.review(5.0, NOTHING)
    assert (verdict(monitor, "bad"), monitor.ejected) == (HEALTHY, only())
    assert monitor.report("bad", 5.0).outcomes == 0


def test_a_person_may_forgive() -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    fail_checks(monitor, "bad", 3, 2.0)
    monitor.review(4.0, NOTHING)
    assert (monitor.ejected, monitor.unreachable) == (only("bad"), only("bad"))
    monitor.forgive("bad")
    (change,) = monitor.review(5.0, NOTHING)
    assert (change.before, change.after) == (DOWN, HEALTHY)
    assert not monitor.unreachable | monitor.degraded


# -- panic


def test_with_few_left_nobody_is_left_out_for_record_or_checks() -> None:
    monitor = fleet_with((10, 20), (0, 20), peers=3)
    monitor.review(2.0, NOTHING)
    assert monitor.ejected == only("bad")
    fail_checks(monitor, "good-0", 3, 3.0)
    monitor.review(6.0, NOTHING)
    assert (monitor.ejected, monitor.unreachable, monitor.is_panic) == (only("bad"), only("good-0"), False)
    monitor.review(7.0, {"good-1": Seen(is_draining=True)})
    assert (monitor.ejected, monitor.unreachable, monitor.is_panic) == (only(), only(), True)
    assert monitor.degraded == only("bad", "good-0")
    assert "still asked, since most nodes are out" in monitor.report("bad", 7.0).why
    assert [verdict(monitor, node) for node in ("bad", "good-0", "good-1")] == [DEGRADED, DEGRADED, Verdict.DRAINED]
    monitor.review(8.0, NOTHING)
    assert (monitor.ejected, monitor.is_panic) == (only("bad"), False)


def test_an_ejection_that_would_bring_panic_is_not_made() -> None:
    monitor = fleet_with((10, 20), (0, 20), peers=3)
    seen = {"good-0": Seen(is_open=True)}
    monitor.review(2.0, seen)
    assert monitor.ejected == only("bad")
    monitor = fleet_with((10, 20), (0, 20), peers=4)
    monitor.review(2.0, {"good-0": Seen(is_open=True), "good-1": Seen(is_draining=True)})
    assert (monitor.ejected, monitor.is_panic) == (only(), False)


def test_the_only_one_that_serves_a_model_is_not_left_out() -> None:
    monitor = fleet_with((10, 20), (0, 20))
    tell(monitor, "good-0", 10, 20)
    fail_checks(monitor, "good-1", 3, 2.0)
    monitor.review(4.0, {"bad": Seen(is_sole=True), "good-1": Seen(is_sole=True)})
    assert (monitor.ejected, monitor.unreachable) == (only(), only())
    assert verdict(monitor, "good-1") is DEGRADED
    assert [monitor.fails_checks(node) for node in ("bad", "good-1", "nobody")] == [False, True, False]
    assert "it alone serves a model" in monitor.report("good-1", 4.0).why


NODES = [f"n{i}" for i in range(6)]
TOLD = st.one_of(
    st.tuples(st.just("tasks"), st.sampled_from(NODES), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("checks"), st.sampled_from(NODES), st.integers(0, 1), st.integers(0, 4)),
    st.tuples(st.just("review"), st.sets(st.sampled_from(NODES)), st.sets(st.sampled_from(NODES)), st.integers(1, 90)),
)


@given(st.lists(TOLD, max_size=40))
@settings(derandomize=True, deadline=None, max_examples=200)
def test_whatever_is_told_enough_nodes_are_left(steps: list[tuple[str, object, object, int]]) -> None:
    monitor, now_s = monitor_of(*NODES), 0.0
    for what, who, how, many in steps:
        if what == "tasks":
            assert isinstance(who, str)
            tell(monitor, who, min(int(str(how)), many), many, now_s)
        elif what == "checks":
            assert isinstance(who, str)
            for _ in range(many):
                monitor.checked(who, bool(how), now_s)
        else:
            assert isinstance(who, set)
            assert isinstance(how, set)
            now_s += many
            seen = {node: Seen(is_open=node in who, is_draining=node in how) for node in NODES}
            changes = monitor.review(now_s, seen)
            assert all(change.before is not change.after for change in changes)
            out = who | how | monitor.ejected | monitor.unreachable
            allowed = max(int(CONFIG.max_ejected_share * len(NODES)), 1)
            assert len(monitor.ejected) <= allowed
            if monitor.ejected | monitor.unreachable:
                assert len(NODES) - len(out) >= CONFIG.panic_share * len(NODES)
            health = monitor.system(now_s)
            assert 0.0 <= health.pressure <= 1.0
            for node, report in health.nodes.items():
                is_out = report.verdict in {DOWN, EJECTED, Verdict.DRAINED}
                assert is_out == (node in out)


# -- the fleet


def test_verdicts_that_the_owner_sees() -> None:
    monitor = monitor_of("a", "b", "c", "d")
    seen = {
        "a": Seen(is_open=True, is_draining=True, utilization=1.0),
        "b": Seen(is_draining=True, utilization=1.0),
        "c": Seen(utilization=1.0),
    }
    monitor.review(1.0, seen)
    verdicts = [verdict(monitor, node) for node in "abcd"]
    assert verdicts == [DOWN, Verdict.DRAINED, Verdict.SATURATED, HEALTHY]
    health = monitor.system(1.0)
    assert health.of(Verdict.SATURATED) == ("c",)
    assert (health.capacity_share, health.utilization) == (0.5, 0.5)


def test_a_node_that_is_full_now_and_then_stays_saturated_until_there_is_room() -> None:
    monitor = monitor_of("a")
    changes = [monitor.review(float(i), {"a": Seen(utilization=u)}) for i, u in enumerate([1.0, 0.95, 1.0, 0.95, 0.8])]
    assert [len(some) for some in changes] == [1, 0, 0, 0, 1]


def pressure(monitor: HealthMonitor, seen: dict[str, Seen]) -> float:
    for i in range(60):
        monitor.review(float(i), seen)
    return monitor.system(60.0).pressure


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10.0), st.booleans()), min_size=1, max_size=8),
    st.integers(0, 7),
    st.floats(0, 1),
)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_pressure_rises_with_load_and_with_what_is_lost(
    nodes: list[tuple[float, float, bool]], which: int, more: float
) -> None:
    names = [f"n{i}" for i in range(len(nodes))]

    def told(load: float, lost: int | None = None) -> float:
        seen = {
            name: Seen(utilization=load, weight=weight, is_draining=gone or i == lost)
            for i, (name, (_, weight, gone)) in enumerate(zip(names, nodes, strict=True))
        }
        return pressure(monitor_of(*names), seen)

    load = nodes[0][0]
    assert 0.0 <= told(load) <= told(max(load, more)) + 1e-9 <= 1.0 + 2e-9
    assert told(load) <= told(load, which % len(nodes)) + 1e-9


def test_pressure_at_its_corners() -> None:
    def told(load: float, lost: int) -> float:
        names = [f"n{i}" for i in range(3)]
        seen = {name: Seen(utilization=load, is_open=i < lost) for i, name in enumerate(names)}
        return round(pressure(monitor_of(*names), seen), 2)

    assert [told(load, 0) for load in (0.0, 0.5, 0.8, 0.9, 1.0)] == [0.0, 0.05, 0.32, 0.51, 0.78]
    assert [told(0.8, lost) for lost in (0, 1, 2, 3)] == [0.32, 0.47, 0.69, 1.0]
    assert told(0.0, 2) == 0.0
    assert pressure(monitor_of(), {}) == 0.0


def test_a_moment_of_full_load_is_not_yet_pressure() -> None:
    monitor = monitor_of("a")
    for i in range(60):
        monitor.review(float(i), {"a": Seen(utilization=0.2)})
    monitor.review(60.0, {"a": Seen(utilization=1.0)})
    assert monitor.system(60.0).pressure < 0.1


# -- who is there, and what is kept


def test_who_has_not_joined_or_has_left_is_passed_over() -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    monitor.leave("bad")
    assert not monitor.ejected | monitor.degraded
    tell(monitor, "bad", 10, 20, 3.0)
    assert monitor.checked("bad", is_well=False, now_s=3.0) is False
    assert monitor.review(4.0, {"bad": Seen(is_open=True)}) == []
    with pytest.raises(ValueError, match="no node 'bad' has joined"):
        monitor.report("bad", 4.0)
    monitor.join("bad")
    assert monitor.report("bad", 4.0).outcomes == 0
    assert monitor.kept() == {}


def test_a_node_that_joins_twice_keeps_its_record() -> None:
    monitor = monitor_of("a")
    tell(monitor, "a", 1, 20)
    monitor.join("a")
    assert monitor.report("a", 2.0).outcomes == 20


@pytest.mark.parametrize("joins_first", [True, False])
def test_ejections_outlive_a_restart(joins_first: bool) -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    kept = msgspec.json.decode(msgspec.json.encode(monitor.kept()))
    restarted = HealthMonitor()
    for step in ("join", "take") if joins_first else ("take", "join"):
        if step == "take":
            restarted.take_over(kept)
        else:
            for node in ("bad", "good-0", "good-1"):
                restarted.join(node)
    restarted.review(31.9, NOTHING)
    assert restarted.ejected == {"bad"}
    assert restarted.report("bad", 31.9).why == "left out since before a restart"
    restarted.review(32.0, NOTHING)
    assert restarted.ejected == frozenset()
    assert restarted.kept() == {"bad": [1, 32.0]}


def test_an_ejection_beyond_any_length_is_not_believed() -> None:
    monitor = monitor_of("a", "b", "c")
    monitor.take_over({"a": [2, 1e12]})
    monitor.review(5.0, NOTHING)
    monitor.review(6.0, NOTHING)
    assert (monitor.ejected, monitor.kept()) == (only(), {})


@pytest.mark.parametrize(
    "damage", [None, [], "a", {"a": 1}, {"a": [0, 1.0]}, {"a": [1]}, {"a": [1, "soon"]}, {1: [1, 1.0]}]
)
def test_damaged_ejections_are_refused_and_change_nothing(damage: object) -> None:
    monitor = fleet_with((10, 20), (0, 20))
    monitor.review(2.0, NOTHING)
    with pytest.raises(FairleadError, match="ejections of nodes are damaged"):
        monitor.take_over(damage)
    assert monitor.kept() == {"bad": [1, 32.0]}


def test_its_thresholds_can_be_set() -> None:
    config = HealthConfig(min_outcomes=2, max_error_rate=0.5, check=CheckingConfig(down_after=1))
    monitor = monitor_of("a", "b", config=config)
    tell(monitor, "a", 2, 2)
    fail_checks(monitor, "b", 1, 2.0)
    monitor.review(3.0, NOTHING)
    assert [verdict(monitor, node) for node in "ab"] == [DEGRADED, DOWN]
