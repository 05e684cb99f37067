"""How each node fares, from what came of its tasks (passive) and from being asked (active).

Every outcome is counted as it comes, at a cost that does not depend on how many there are. Once a second or so the
owner has everything reviewed: it says what it sees of each node, gets back whose verdict changed, and reads `ejected`,
`unreachable` and `degraded` from then on. In the order of the review:

1. A node that was out (ejected, unreachable, or by its circuit) and is back begins with an empty window: else it would
   be ejected for the failures of an outage that is over.
2. A node is *faulty* with more than `max_error_rate` of at least `min_outcomes` failed, *slow* with a median lateness
   above `max_excess_s`: degraded, ranked lower and never left out for that.
3. A node is *unreachable* after `down_after` failed checks in a row, unless a task succeeded after the first of them.
4. With a share of nodes left (no open circuit, not draining, not ejected, not unreachable) below `panic_share` there is
   panic: nobody is left out as an outlier or for failed checks, since those who are left could not carry it all.
5. Otherwise outliers (`outliers`) are ejected, the worst first, up to `max_ejected_share` of the nodes, though one of
   three or more at least, and never so many that panic would follow.

When it is the wrong tool: nodes that get less than `min_outcomes` in `window_s` are judged by circuit and checks alone.
"""

from collections.abc import Mapping

import msgspec

from fairlead.domain.health import HealthReport, SystemHealth, Verdict
from fairlead.health.config import HealthConfig
from fairlead.health.ejections import Ejections
from fairlead.health.outliers import LEAST_NODES, worst_outlier
from fairlead.health.pressure import NOTHING_SEEN, Seen, Tide, pressure_of
from fairlead.health.standing import Standing

OUT = frozenset({Verdict.DOWN, Verdict.EJECTED, Verdict.DRAINED})
"""Verdicts with which a node is given no tasks."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A node fares otherwise than before."""

    node: str
    before: Verdict
    after: Verdict
    why: str


class HealthMonitor:
    """Judges nodes. Single-owner, told the time; what it is told of a node that has not joined is passed over."""

    def __init__(self, config: HealthConfig | None = None) -> None:
        self.config = config or HealthConfig()
        self.ejected: frozenset[str] = frozenset()
        """Nodes to leave out as outliers; as of the last review, like the others."""
        self.unreachable: frozenset[str] = frozenset()
        """Nodes to leave out for failed checks."""
        self.degraded: frozenset[str] = frozenset()
        """Nodes to rank lower."""
        self.is_panic = False
        """Whether so few nodes are left that nobody is left out for either."""
        self._nodes: dict[str, Standing] = {}
        self._ejections = Ejections(self.config.ejection_s)
        self._tide = Tide()

    # -- who is there

    def join(self, node: str) -> None:
        """Judge this node from now on. One that is there already stays as it is."""
        if node not in self._nodes:
            self._nodes[node] = Standing(node, self.config)

    def leave(self, node: str) -> None:
        """Judge this node no more and forget all about it."""
        self._nodes.pop(node, None)
        self._ejections.drop(node)
        self.ejected, self.unreachable, self.degraded = (
            names - {node} for names in (self.ejected, self.unreachable, self.degraded)
        )

    def forgive(self, node: str) -> None:
        """Forget everything against a node, because a person says that it is well; the next review tells."""
        former = self._nodes.get(node)
        if former is not None:
            self._nodes[node] = fresh = Standing(node, self.config)
            fresh.verdict, fresh.why, fresh.since_s = former.verdict, former.why, former.since_s
            self._ejections.drop(node)

    # -- what is told

    def record(self, node: str, success: bool, now_s: float, excess_s: float | None = None) -> None:
        """Count one outcome.

        `excess_s` is the time to the first token beyond what the prompt and the queue explain, where that is known.
        """
        standing = self._nodes.get(node)
        if standing is not None:
            standing.window.add(success, now_s, excess_s)

    def checked(self, node: str, is_well: bool, now_s: float, why: str = "") -> bool:
        """Note what an active check found.

        Returns whether the node has recovered, which is that the check before it failed: then an open circuit may be
        told so (`Breaker.checked`).
        """
        standing = self._nodes.get(node)
        return standing is not None and standing.checked(is_well, now_s, why)

    def fails_checks(self, node: str) -> bool:
        """Tell whether checks find the node unreachable, be it left out for that or not: for `Seen.is_sole`."""
        standing = self._nodes.get(node)
        return standing is not None and standing.is_unreachable

    def recovered_at_s(self, node: str) -> float | None:
        """Return when checks last saw a node recover, None where they never did.

        The failure of an attempt that began before that says nothing about the node as it is now.
        """
        standing = self._nodes.get(node)
        return None if standing is None else standing.recovered_at_s

    # -- the judgement

    def review(self, now_s: float, seen: Mapping[str, Seen]) -> list[Change]:
        """Judge every node and return whose verdict changed, in the order in which they joined."""
        nodes = self._nodes.values()
        for one in nodes:
            is_ejected = self._ejections.is_out(one.name, now_s)
            one.see(seen.get(one.name, NOTHING_SEEN), now_s, is_ejected=is_ejected)
        self._ejections.forgive(now_s)
        self.is_panic = self._left() < self.config.panic_share * len(nodes)
        if not self.is_panic:
            self._eject(now_s)
        changes = [change for one in nodes if (change := self._judge(one, now_s)) is not None]
        self.ejected = frozenset(one.name for one in nodes if one.is_ejected and self._is_enforced(one))
        self.unreachable = frozenset(one.name for one in nodes if one.is_unreachable and self._is_enforced(one))
        self.degraded = frozenset(one.name for one in nodes if one.is_degraded)
        self._tide.observe(
            {one.name: one.seen for one in nodes if one.verdict not in OUT},
            {one.name: one.seen for one in nodes},
            now_s,
        )
        return changes

    def report(self, node: str, now_s: float) -> HealthReport:
        """Return how one node fares: the verdict of the last review, the figures of now.

        Raises ValueError for a node that has not joined.
        """
        standing = self._nodes.get(node)
        if standing is None:
            raise ValueError(f"no node {node!r} has joined")
        return standing.report(now_s)

    def system(self, now_s: float) -> SystemHealth:
        """Return how the fleet fares, as of the last review; how its pressure is made up says `pressure`."""
        tide = self._tide
        return SystemHealth(
            at_s=now_s,
            nodes={one.name: one.report(now_s) for one in self._nodes.values()},
            capacity_share=tide.capacity_share,
            utilization=tide.utilization,
            pressure=pressure_of(tide.utilization, tide.capacity_share),
        )

    # -- what outlives a restart

    def kept(self) -> dict[str, list[float]]:
        """Return the ejections as plain data; times are on the owner's clock, to mean the same after a restart."""
        return self._ejections.kept()

    def take_over(self, kept: object) -> None:
        """Take over the ejections that `kept` gave, for the next review. Raises FairleadError for anything else."""
        self._ejections.take_over(kept)

    def _left(self) -> int:
        """Count the nodes that nothing is held against, panic or not."""
        return sum(
            not (one.seen.is_open or one.seen.is_draining or one.is_ejected or one.is_unreachable)
            for one in self._nodes.values()
        )

    def _eject(self, now_s: float) -> None:
        """Leave out the outliers, the worst first."""
        config, n = self.config, len(self._nodes)
        allowed = max(int(config.max_ejected_share * n), 1) if config.max_ejected_share and n >= LEAST_NODES else 0
        spared = {one.name for one in self._nodes.values() if one.seen.is_sole}
        spare = self._left() - config.panic_share * n
        for _ in range(allowed - sum(one.is_ejected for one in self._nodes.values())):
            compared = {one.name: one.figures for one in self._nodes.values() if one.is_comparable}
            found = worst_outlier(compared, config.max_error_rate, spared)
            if found is None or spare < 1.0:
                return
            spare -= 1.0
            node, why = found
            length_s = self._ejections.begin(node, now_s)
            self._nodes[node].eject(f"{why}; left out for {length_s:.0f} s")

    def _judge(self, one: Standing, now_s: float) -> Change | None:
        before, since_s = one.verdict, one.since_s
        verdict, one.why = one.judge(is_panic=self.is_panic)
        one.since_s = since_s if verdict is before and since_s else now_s
        one.verdict = verdict
        return None if verdict is before else Change(node=one.name, before=before, after=verdict, why=one.why)

    def _is_enforced(self, one: Standing) -> bool:
        return not self.is_panic and not one.seen.is_sole
