"""Laws of the policy: bounded, calm, never below the least, nothing busy stopped, every action explained."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.rng import Draw
from fairlead.scaling import FleetView, Phase, ScaledNode, ScalingAction, ScalingConfig, ScalingPolicy

INTERVAL_S = 10.0


def config(**changes: object) -> ScalingConfig:
    settings = {"max_nodes": 20, "max_step": 3, "node_slots": 4, "cooldown_s": 120.0, "interval_s": INTERVAL_S}
    return ScalingConfig(**(settings | changes))  # type: ignore[arg-type]


class Fleet:
    """Does what a policy says; nodes serve one cold start later, and drained ones become idle after a while."""

    def __init__(self, policy: ScalingPolicy, nodes: int = 1, service_s: float | None = 2.0) -> None:
        self.policy, self.now_s, self.made = policy, 0.0, 0
        self.service_s = service_s
        self.ready: dict[str, float] = {}
        self.drained: dict[str, float] = {}
        self.log: list[tuple[float, ScalingAction]] = []
        for _ in range(nodes):
            self._make(0.0)

    def _make(self, ready_s: float) -> None:
        self.ready[f"n{self.made}"] = ready_s
        self.made += 1

    def view(self, rate: float, waiting: int) -> FleetView:
        serving = [name for name, at_s in self.ready.items() if at_s <= self.now_s and name not in self.drained]
        slots = self.policy.config.node_slots
        each = min(slots, math.ceil(rate * (self.service_s or 0.0) / len(serving))) if serving else 0
        nodes = []
        for name, at_s in self.ready.items():
            if name in self.drained:
                nodes.append(
                    ScaledNode(name, slots, int(rate > 0 and self.now_s < self.drained[name] + 25), Phase.DRAINING)
                )
            elif at_s > self.now_s:
                nodes.append(ScaledNode(name, slots, 0, Phase.STARTING))
            else:
                nodes.append(ScaledNode(name, slots, each))
        return FleetView(nodes=tuple(nodes), waiting=waiting, service_s=self.service_s)

    def step(self, rate: float, waiting: int = 0, arrivals: float | None = None) -> ScalingAction:
        self.now_s += INTERVAL_S
        self.policy.observe(rate * INTERVAL_S if arrivals is None else arrivals, self.now_s)
        view = self.view(rate, waiting)
        action = self.policy.plan(view, self.now_s)
        check_bounds(self.policy.config, view, action)
        for name in action.keep:
            del self.drained[name]
        for name in action.drain:
            self.drained[name] = self.now_s
        for name in action.stop:
            del self.ready[name], self.drained[name]
        for _ in range(action.start):
            self._make(self.now_s + self.policy.config.cold_start_s)
        self.log.append((self.now_s, action))
        return action

    @property
    def active(self) -> int:
        return len(self.ready) - len(self.drained)


def check_bounds(config: ScalingConfig, view: FleetView, action: ScalingAction) -> None:
    by_name = {node.name: node for node in view.nodes}
    before = sum(node.phase is not Phase.DRAINING for node in view.nodes)
    assert abs(action.change) <= config.max_step
    assert action.target == before + action.change
    assert action.change <= 0 or action.target <= config.max_nodes
    assert action.change >= 0 or action.target >= config.min_nodes
    assert not action.start or len(view.nodes) + action.start <= config.max_nodes
    assert all(by_name[name].busy == 0 and by_name[name].phase is Phase.DRAINING for name in action.stop)
    assert all(by_name[name].phase is Phase.SERVING and by_name[name].may_stop for name in action.drain)
    assert all(by_name[name].phase is Phase.DRAINING for name in action.keep)
    assert "\n" not in action.why
    assert f"{action.target} node" in action.why


demands = st.lists(st.tuples(st.floats(0, 60), st.integers(0, 50)), min_size=1, max_size=80)


@settings(max_examples=60)
@given(demands, st.integers(0, 3), st.integers(3, 12), st.integers(1, 4), st.sampled_from([None, 30.0]))
def test_whatever_comes_every_action_is_bounded_and_the_cooldown_is_kept(
    demand: list[tuple[float, int]], least: int, most: int, step: int, sleep_s: float | None
) -> None:
    policy = ScalingPolicy(config(min_nodes=least, max_nodes=most, max_step=step, scale_to_zero_after_s=sleep_s))
    fleet = Fleet(policy, nodes=max(1, least))
    for rate, waiting in demand:
        fleet.step(rate, waiting)
    grown_s = -math.inf
    for at_s, action in fleet.log:
        if action.drain:
            assert at_s - grown_s > policy.config.cooldown_s
        if action.change > 0 and action.needed_slots > 0:
            grown_s = at_s
    assert fleet.active >= least


@pytest.mark.parametrize("rate", [0.4, 1.9, 4.0, 11.0, 23.0])
def test_constant_demand_does_not_flap(rate: float) -> None:
    fleet = Fleet(ScalingPolicy(config()))
    for _ in range(2160):
        fleet.step(rate)
    assert all(action.change <= 0 for at_s, action in fleet.log if at_s > 120)  # less head room the more is known
    assert not any(action.change for at_s, action in fleet.log if at_s > 4 * 3600)


@pytest.mark.parametrize("rate", [1.9, 8.0, 23.0])
def test_random_arrivals_at_a_constant_rate_hardly_change_anything(rate: float) -> None:
    fleet, draw = Fleet(ScalingPolicy(config(cooldown_s=300.0))), Draw(5, 0)
    for _ in range(1440):
        count = sum(draw.unit() < rate / 40 for _ in range(400))
        fleet.step(rate, arrivals=count)
    later = [action.change for at_s, action in fleet.log if at_s > 3600]
    assert sum(change != 0 for change in later) <= 6 * 3  # hours
    assert max(map(abs, later)) <= 2


def test_it_grows_for_more_demand_one_step_at_a_time_and_shrinks_when_it_is_over() -> None:
    fleet = Fleet(ScalingPolicy(config()))
    for _ in range(60):
        fleet.step(1.0)
    quiet = fleet.active
    for _ in range(60):
        fleet.step(20.0)
    assert fleet.active * 4 >= 20.0 * 2.0
    assert [action.start for _, action in fleet.log[60:62]] == [3, 3]
    for _ in range(200):
        fleet.step(1.0)
    assert fleet.active <= quiet + 1  # it has seen a jump now
    assert len(fleet.ready) == fleet.active  # drained ones were stopped


def test_it_starts_ahead_of_the_daily_rise() -> None:
    """At the same demand more is needed before the rise of the day than before its fall."""
    policy = ScalingPolicy(config(max_nodes=200, max_step=50, interval_s=60.0, cold_start_s=1800.0))
    needed: dict[int, int] = {}
    for minute in range(4 * 1440):
        rate = 10.0 - 8.0 * math.cos(2 * math.pi * minute / 1440)
        policy.observe(rate * 60.0, minute * 60.0)
        needed[minute % 1440] = policy.plan(FleetView(service_s=2.0), minute * 60.0).needed_slots
    assert needed[480] > needed[960]


def test_tasks_that_wait_are_cleared_within_a_cold_start() -> None:
    few, many = (Fleet(ScalingPolicy(config()), nodes=3) for _ in range(2))
    for _ in range(30):
        few.step(2.0)
        many.step(2.0)
    assert many.step(2.0, waiting=600).needed_slots == few.step(2.0).needed_slots + 600 * 2 / 60


def test_drained_nodes_are_taken_back_before_others_are_started() -> None:
    fleet = Fleet(ScalingPolicy(config()), nodes=6)
    while not fleet.drained:
        fleet.step(0.5)
    drained = set(fleet.drained)
    action = fleet.step(30.0, waiting=100)
    assert set(action.keep) == drained
    assert action.start == 3 - len(drained)


def test_the_least_busy_node_is_drained_and_only_one_that_scaling_started() -> None:
    policy = ScalingPolicy(config())
    nodes = (ScaledNode("own-busy", 4, 3), ScaledNode("mine", 4, 0, may_stop=False), ScaledNode("own-idle", 4, 1))
    plans = []
    for second in range(0, 400, 10):
        policy.observe(0, float(second))
        plans.append(policy.plan(FleetView(nodes=nodes, service_s=1.0), float(second)))
    assert plans[0].drain == ()
    assert plans[-1].drain == ("own-idle", "own-busy")
    assert plans[-1].target == 1


def test_to_zero_after_idling_and_back_for_the_first_task() -> None:
    fleet = Fleet(ScalingPolicy(config(min_nodes=0, scale_to_zero_after_s=300.0)))
    for _ in range(10):
        fleet.step(1.0)
    for _ in range(28):
        fleet.step(0.0)
    assert fleet.active == 1
    for _ in range(40):
        fleet.step(0.0)
    assert len(fleet.ready) == 0
    action = fleet.step(0.0, waiting=1)
    assert action.start == 1
    assert "1 wait" in action.why


def test_without_that_setting_one_stays_unless_nothing_ever_came() -> None:
    fleet = Fleet(ScalingPolicy(config(min_nodes=0)))
    fleet.step(1.0)
    for _ in range(500):
        fleet.step(0.0)
    assert fleet.active == 1
    unused = Fleet(ScalingPolicy(config(min_nodes=0)), nodes=0)
    assert all(unused.step(0.0).is_nothing for _ in range(100))


def test_while_no_task_has_ended_nothing_is_stopped() -> None:
    fleet = Fleet(ScalingPolicy(config()), nodes=5, service_s=None)
    for _ in range(200):
        action = fleet.step(1.0)
    assert fleet.active == 5
    assert "no task has ended yet" in action.why


def test_cold_starts_are_learnt_longer_ones_at_once() -> None:
    policy = ScalingPolicy(config())
    policy.started(180.0)
    assert policy.horizon_s == 190.0
    for _ in range(30):
        policy.started(20.0)
    assert policy.cold_start_s == pytest.approx(20.0, rel=0.01)


def test_after_failed_starts_it_pauses_twice_as_long_each_time() -> None:
    policy = ScalingPolicy(config())
    asked = []
    for second in range(0, 400, 10):
        policy.observe(100, float(second))
        action = policy.plan(FleetView(service_s=2.0), float(second))
        if action.start:
            asked.append(second)
            policy.failed(float(second))
        else:
            assert "starts failed" in action.why
    assert asked == [0, 10, 30, 70, 150, 310]


def test_more_than_the_most_is_drained_at_once() -> None:
    policy = ScalingPolicy(config(max_nodes=2))
    nodes = tuple(ScaledNode(f"n{n}", 4, 1) for n in range(4))
    assert policy.plan(FleetView(nodes=nodes, service_s=None), 0.0).drain == ("n0", "n1")


def test_a_snapshot_plans_as_the_original() -> None:
    fleet = Fleet(ScalingPolicy(config()))
    for step in range(100):
        fleet.step(5.0 + step % 7)
    other = ScalingPolicy(config())
    other.restore(json.loads(json.dumps(fleet.policy.snapshot())))
    view = fleet.view(5.0, 0)
    assert other.plan(view, fleet.now_s).needed_slots == fleet.policy.plan(view, fleet.now_s).needed_slots


def test_a_least_above_the_most_is_refused() -> None:
    with pytest.raises(ValueError, match="more than max_nodes"):
        ScalingPolicy(config(min_nodes=5, max_nodes=4))
