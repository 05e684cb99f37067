"""When a node is left, and who takes over from it."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.domain import Node
from fairlead.domain.health import HealthReport, Verdict
from fairlead.health import choose_targets, detect_failover_need

LEAVING = {
    (before, after)
    for before, after in itertools.product(Verdict, Verdict)
    if (after is Verdict.DOWN and before is not Verdict.DOWN)
    or (
        after in {Verdict.DRAINED, Verdict.EJECTED} and before in {Verdict.HEALTHY, Verdict.DEGRADED, Verdict.SATURATED}
    )
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(Verdict, Verdict)))
def test_a_node_is_left_when_its_verdict_gives_new_cause(before: Verdict, after: Verdict) -> None:
    report = HealthReport(node="a", verdict=after, why="its circuit is open", since_s=7.0)
    incident = detect_failover_need(report, before)
    assert (incident is not None) is ((before, after) in LEAVING)
    if incident is not None:
        assert (incident.node, incident.verdict, incident.at_s) == ("a", after, 7.0)
        assert incident.why == "its circuit is open"


PLACES = st.sampled_from([None, "x", "y"])
NODES = st.lists(
    st.builds(
        Node, st.sampled_from("abcdefgh"), weight=st.sampled_from([1.0, 2.0]), region=PLACES, failure_domain=PLACES
    ),
    unique_by=lambda node: node.name,
    min_size=1,
)


@given(NODES, st.randoms(use_true_random=False))
@settings(derandomize=True, deadline=None)
def test_targets_share_ever_more_with_the_failed_node(nodes: list[Node], shuffler: object) -> None:
    failed, by_name = nodes[0], {node.name: node for node in nodes}
    targets = choose_targets(failed, nodes)
    assert sorted(targets) == sorted(set(by_name) - {failed.name})
    fates = [by_name[name].fate == failed.fate for name in targets]
    assert fates == sorted(fates)
    for first, second in itertools.pairwise(by_name[name] for name in targets):
        if (first.fate == failed.fate) is not (second.fate == failed.fate):
            continue
        regions = [failed.region is not None and one.region == failed.region for one in (first, second)]
        assert regions == sorted(regions)
        if regions[0] is regions[1]:
            assert first.weight >= second.weight
    shuffled = list(nodes)
    shuffler.shuffle(shuffled)  # type: ignore[attr-defined]
    assert choose_targets(failed, shuffled) == targets


def test_another_host_then_another_region_then_the_heavier() -> None:
    failed = Node("a", region="eu", failure_domain="host-1")
    candidates = [
        failed,
        Node("same-host", region="eu", failure_domain="host-1", weight=9.0),
        Node("same-region", region="eu", failure_domain="host-2"),
        Node("far", region="us", failure_domain="host-3"),
        Node("far-and-heavy", region="us", failure_domain="host-4", weight=3.0),
    ]
    assert choose_targets(failed, candidates) == ("far-and-heavy", "far", "same-region", "same-host")


def test_unknown_regions_and_nobody_else() -> None:
    assert choose_targets(Node("a"), [Node("a")]) == ()
    assert choose_targets(Node("a"), [Node("c"), Node("b", weight=2.0), Node("d", region="eu")]) == ("b", "c", "d")
