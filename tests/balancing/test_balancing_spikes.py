"""What is done about a spike: batch goes first, all comes back step by step, and an idle fleet refuses nobody."""

import pytest

from fairlead.balancing import LoadBalancer, LoadBalancerConfig
from fairlead.domain import Capacity, Needs, PriorityClass
from fairlead.domain.load import LoadStrategy, NodeLoad, TaskLoad


def tell(balancer: LoadBalancer, rate: int, start_s: int, end_s: int, **more: float) -> list[LoadStrategy]:
    """Let tasks arrive evenly, ten times a second."""
    said = []
    for tenth in range(start_s * 10, end_s * 10):
        n = rate * (tenth + 1) // 10 - rate * tenth // 10
        said.append(balancer.handle_spikes(n, tenth / 10.0 + 0.05, **more))
    return said


def test_a_tenfold_minute_from_beginning_to_end() -> None:
    balancer = LoadBalancer()
    calm = tell(balancer, 20, 0, 120)
    assert {said.stage for said in calm} == {"calm"}
    assert calm[-1] == LoadStrategy(stage="calm", why="20.0 arrivals/s, 20.0 usual")

    spike = tell(balancer, 200, 120, 180)
    order = [said.stage for said in spike]
    assert order == sorted(order, key=["calm", "rising", "spike"].index)
    assert order.index("spike") <= 30, "within three seconds"
    at_height = spike[-1]
    assert at_height.shed == {PriorityClass.BATCH}
    assert at_height.queue_share == 0.25
    assert at_height.affinity_worth == 0.25
    assert at_height.wants_more_nodes
    assert at_height.why.startswith("200.0 arrivals/s, ")

    after = tell(balancer, 20, 180, 220)
    assert after[-1].stage == "calm"
    assert after[300].stage == "calm", "half a minute later"
    shares = [said.queue_share for said in after if said.stage != "spike"]
    assert shares == sorted(shares)
    assert len(set(shares)) >= 4
    ramp = [said for said in after if said.stage == "ramping_down"]
    assert ramp[0].shed
    assert not ramp[-1].shed
    assert not any(said.wants_more_nodes for said in ramp)


def test_a_spike_that_the_fleet_has_room_for_refuses_nobody() -> None:
    balancer = LoadBalancer()
    tell(balancer, 20, 0, 120, utilization=0.3)
    said = tell(balancer, 200, 120, 130, utilization=0.3)[-1]
    assert said.stage == "spike"
    assert not said.shed
    assert said.queue_share == 1.0
    assert said.wants_more_nodes
    assert said.why.endswith("the fleet is not full")
    assert balancer.handle_spikes(0, 129.96, utilization=0.8).shed, "as soon as it is full"


@pytest.mark.parametrize(("threshold", "is_found"), [(100.0, True), (300.0, False)])
def test_the_threshold_is_arrivals_above_the_forecast(threshold: float, is_found: bool) -> None:
    balancer = LoadBalancer(LoadBalancerConfig(spike_threshold=threshold))
    tell(balancer, 200, 0, 120)
    assert (tell(balancer, 400, 120, 126)[-1].stage == "spike") == is_found


def test_a_forecast_may_come_from_outside() -> None:
    balancer = LoadBalancer()
    tell(balancer, 20, 0, 120, usual_per_s=20.0)
    assert tell(balancer, 200, 120, 130, usual_per_s=200.0)[-1].stage == "calm"


def test_tasks_can_be_given_instead_of_their_number() -> None:
    one, two = LoadBalancer(), LoadBalancer()
    for tenth in range(1500):
        n = 2 if tenth < 1200 else 20
        said = one.handle_spikes([TaskLoad("t")] * n, tenth / 10.0)
        assert said == two.handle_spikes(n, tenth / 10.0)
    assert said.stage == "spike"


def test_in_a_spike_affinity_yields_to_load() -> None:
    """At home a quarter of the work is saved: usually worth a quarter of a node, in a spike a sixteenth."""
    balancer = LoadBalancer()
    work = TaskLoad("t", Needs(1, 3000, 9), home="home", saved_tokens=1500)
    nodes = [NodeLoad("away", Capacity(slots=100)), NodeLoad("home", Capacity(slots=100), Needs(20))]
    assert balancer.place(work, nodes).node == "home"
    tell(balancer, 20, 0, 120)
    tell(balancer, 200, 120, 130)
    assert balancer.place(work, nodes).node == "away"


def test_nothing_is_said_before_it_is_known_what_is_usual() -> None:
    said = tell(LoadBalancer(), 500, 0, 20)
    assert {one.stage for one in said} == {"calm"}
    assert said[0].why == "too early to say what is usual"
