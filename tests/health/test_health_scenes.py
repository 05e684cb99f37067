"""Fleets that misbehave for minutes of made-up time: which verdicts the nodes get, and that they come back."""

import pytest
from health_shared import Scene, constant, during, only

from fairlead.domain.health import Verdict
from fairlead.health import Cause, CircuitBreakerConfig, HealthConfig

HEALTHY, DEGRADED, EJECTED, DOWN = Verdict.HEALTHY, Verdict.DEGRADED, Verdict.EJECTED, Verdict.DOWN
THREE = ("a", "b", "c")


def test_a_fleet_that_is_well_stays_so() -> None:
    nodes = [f"n{i}" for i in range(5)]
    scene = Scene(nodes, fails=dict.fromkeys(nodes, constant(0.01)), per_tick=0.3).run(1200.0)
    assert sum(scene.failed.values()) > 100
    assert {verdict for node in nodes for verdict in scene.history(node)} <= {HEALTHY, DEGRADED}
    assert len(scene.changes) <= 10


@pytest.mark.parametrize("share", [0.03, 0.2, 0.5])
def test_nodes_that_are_equally_bad_are_not_left_out(share: float) -> None:
    nodes = [f"n{i}" for i in range(8)]
    scene = Scene(nodes, fails=dict.fromkeys(nodes, constant(share)), per_tick=0.5).run(400.0)
    assert not any(EJECTED in scene.history(node) for node in nodes)


def test_a_half_broken_node_is_left_out_and_tried_again_less_and_less() -> None:
    scene = Scene(THREE, fails={"a": constant(0.5)}).run(600.0)
    history = scene.history("a")
    assert history[:3] == [HEALTHY, EJECTED, HEALTHY] or history[:4] == [HEALTHY, DEGRADED, EJECTED, HEALTHY]
    began = [at_s for at_s, change in scene.changes if change.node == "a" and change.after is EJECTED]
    assert began[0] <= 10.0
    assert began[0] + 30.0 <= began[1] <= began[0] + 45.0
    assert began[1] + 60.0 <= began[2] <= began[1] + 75.0
    assert scene.asked["a"] < 0.2 * scene.asked["b"]
    assert scene.history("b") == scene.history("c") == [HEALTHY]


def test_a_half_broken_node_that_was_mended_is_forgiven() -> None:
    scene = Scene(THREE, fails={"a": during(0.0, 60.0, 0.5)}).run(600.0)
    assert scene.verdict("a") is HEALTHY
    assert scene.monitor.kept() == {}
    assert max(scene.answered_s["a"]) > 599.0


def test_a_slow_node_is_degraded_and_never_left_out() -> None:
    scene = Scene(THREE, late_s={"a": during(100.0, 300.0, 2.0)}).run(600.0)
    assert scene.history("a") == [HEALTHY, DEGRADED, HEALTHY]
    (slow_s, slow), (well_s, _) = scene.changes
    assert 100.0 < slow_s <= 160.0
    assert 300.0 < well_s <= 360.0
    assert slow.why == "first tokens come 2 s later than prompt and queue explain"
    assert scene.asked["a"] == scene.asked["b"] == scene.asked["c"]


def test_a_node_that_goes_away_and_comes_back() -> None:
    scene = Scene(THREE, away={"a": during(100.0, 160.0)}).run(300.0)
    assert scene.history("a") == [HEALTHY, DOWN, HEALTHY] or scene.history("a") == [HEALTHY, DOWN, DEGRADED, HEALTHY]
    (down_s, down), *_ = scene.changes
    assert down_s <= 102.0
    assert down.why == "its circuit is open"
    back_s = min(at_s for at_s in scene.answered_s["a"] if at_s >= 160.0)
    assert back_s - 160.0 <= scene.schedule.notice_s + 1.0
    assert scene.failed["a"] <= CircuitBreakerConfig().failure_threshold
    assert (scene.causes[0][2], scene.causes[-1][2]) == (Cause.TRIPPED, Cause.RECOVERED)


@pytest.mark.parametrize("is_checked", [True, False])
@pytest.mark.parametrize(("up_s", "away_s"), [(20.0, 5.0), (7.0, 40.0), (45.0, 45.0), (3.0, 0.7)])
def test_a_flapping_node_is_back_within_thirty_seconds_each_time(up_s: float, away_s: float, is_checked: bool) -> None:
    def away(now_s: float) -> float:
        return 1.0 if now_s % (up_s + away_s) >= up_s else 0.0

    scene = Scene(THREE, away={"a": away})
    if not is_checked:
        scene.schedule.leave("a")
    scene.run(900.0)
    waited_s = longest_s = 0.0
    answered = {round(at_s, 1) for at_s in scene.answered_s["a"]}
    for tick in range(1, 9000):
        now_s = round(tick / 10, 1)
        was_away = away(now_s) > 0.0
        waited_s = 0.0 if was_away or now_s in answered else waited_s + 0.1
        longest_s = max(longest_s, waited_s)
    limit_s = CircuitBreakerConfig().timeout_s if not is_checked or away_s < 1.0 else scene.schedule.notice_s
    assert longest_s <= limit_s + 1.2  # of which 1 s until the next review
    assert EJECTED not in scene.history("b")
    assert scene.failed["a"] <= 0.2 * (scene.asked["b"] + scene.asked["c"])


def test_the_whole_fleet_fails_and_comes_back() -> None:
    scene = Scene(THREE, away=dict.fromkeys(THREE, during(100.0, 200.0)))
    scene.run(150.0)
    assert [scene.verdict(node) for node in THREE] == [DOWN] * 3
    assert (scene.monitor.ejected, scene.monitor.unreachable) == (only(), only())
    assert scene.monitor.system(150.0).pressure == 1.0
    assert scene.monitor.is_panic
    scene.run(300.0)
    assert [scene.verdict(node) for node in THREE] == [HEALTHY] * 3
    for node in THREE:
        assert min(at_s for at_s in scene.answered_s[node] if at_s >= 200.0) <= 200.0 + scene.schedule.notice_s
    assert scene.monitor.system(300.0).pressure < 0.1


def test_a_fleet_whose_checks_all_fail_falsely_goes_on() -> None:
    scene = Scene(THREE)
    for second in range(1, 120):
        for node in THREE:
            scene.monitor.checked(node, is_well=False, now_s=float(second), why="status 404")
        scene.run(float(second))
    assert not scene.changes
    assert sum(scene.failed.values()) == 0


def test_with_panic_those_that_are_out_help() -> None:
    config = HealthConfig(panic_share=0.7)
    scene = Scene(THREE, fails={"a": constant(0.4)}, config=config).run(20.0)
    assert scene.monitor.ejected == only()  # two of three are fewer than 0.7
    scene = Scene(THREE, fails={"a": constant(0.4)}).run(20.0)
    assert scene.monitor.ejected == only("a")
    scene.draining = {"b"}
    before = scene.asked["a"]
    scene.run(25.0)
    assert scene.asked["a"] > before
    assert scene.verdict("a") is DEGRADED
