"""When a node is to be left, and where its work goes."""

from collections.abc import Sequence

from fairlead.domain import Node
from fairlead.domain.health import HealthReport, Incident, Verdict

_LEAVING = {Verdict.DRAINED: 1, Verdict.EJECTED: 1, Verdict.DOWN: 2}
"""How urgently a node is left: what has begun may finish; nothing can."""


def detect_failover_need(report: HealthReport, previous: Verdict) -> Incident | None:
    """Return the incident for which a node is to be left, or None where its verdict gives no new cause.

    A node is left when it is drained, ejected or down, and once more when it goes down after one of the others: what
    was let finish cannot now. A degraded or saturated node is ranked lower, never left.
    """
    if _LEAVING.get(report.verdict, 0) <= _LEAVING.get(previous, 0):
        return None
    return Incident(node=report.node, verdict=report.verdict, at_s=report.since_s, why=report.why)


def choose_targets(failed: Node, candidates: Sequence[Node]) -> tuple[str, ...]:
    """Return the nodes that may take over from a failed one, the one that shares least with it first.

    First those of another failure domain (`Node.fate`; a host or a provider, as the caller has declared or derived),
    then those of another region, where both are known; among equals the heavier, then by name. The failed node itself
    is none. Another failure domain comes before another region, because a node in the same region fails with it less
    often than one on the same host.
    """

    def shared(one: Node) -> tuple[bool, bool, float, str]:
        shares_region = failed.region is not None and one.region == failed.region
        return one.fate == failed.fate, shares_region, -one.weight, one.name

    return tuple(one.name for one in sorted(candidates, key=shared) if one.name != failed.name)
