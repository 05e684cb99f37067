"""What the fleet keeps of one node."""

from fairlead.allocation import Account
from fairlead.allocation.residency import LoadedModel, Residency
from fairlead.domain import Node
from fairlead.domain.report import NodeReport
from fairlead.health import Breaker, Circuit, CircuitBreakerConfig
from fairlead.routing.candidate import Candidate
from fairlead.routing.filters import Reason


class NodeState:
    """A node's account in the ledger, its breaker, and what else keeps tasks away from it."""

    __slots__ = (
        "account",
        "blocked",
        "breaker",
        "candidates",
        "cooling_until_s",
        "health_share",
        "is_draining",
        "is_ejected",
        "is_unreachable",
        "node",
        "report",
        "residency",
        "warms_since_s",
        "warmth",
    )

    def __init__(self, node: Node, breaker: CircuitBreakerConfig, account: Account) -> None:
        self.node = node
        self.account = account
        self.breaker = Breaker(breaker)
        self.candidates: dict[str, Candidate] = {}
        self.cooling_until_s: float | None = None
        self.is_draining = False
        self.report: NodeReport | None = None
        """What the node told of itself last."""
        self.residency: Residency | None = None
        """Which models it holds in memory; None where it does not tell."""
        self.is_ejected = False
        """Left out because it fails much more than its peers."""
        self.is_unreachable = False
        """Left out because it does not even answer when asked how it is."""
        self.health_share = 1.0
        """What it weighs, against what it would if it were well."""
        self.warmth = 1.0
        """What it weighs while it begins slowly."""
        self.warms_since_s: float | None = None
        """Since when it gets its share back, after it joined or recovered."""
        self.blocked: dict[str, float] = {}
        """Models that this node refuses, and until when."""

    @property
    def has_answered(self) -> bool:
        """Whether any task was done here of late."""
        return any(candidate.evidence.successes for candidate in self.candidates.values())

    @property
    def has_queue(self) -> bool:
        """Whether tasks waited inside the node when it was asked last, so that first tokens are late for a reason."""
        report = self.report
        return report is not None and bool(report.waiting)

    def weigh(self) -> None:
        """Let its candidates count as much as it has warmed up and is well."""
        self.account.warmth = self.warmth * self.health_share
        for candidate in self.candidates.values():
            candidate.reweigh()

    def hear(self, report: NodeReport) -> None:
        """Take over what the node told of itself."""
        self.report = report
        if report.loaded is None:
            return
        capacity = self.account.capacity
        if self.residency is None:
            self.residency = Residency(capacity.gpu_memory_bytes or capacity.memory_bytes)
        sizes = {
            name: LoadedModel((one.vram_bytes if capacity.gpu_memory_bytes else one.size_bytes) or 0)
            for name, one in report.loaded.items()
        }
        self.residency.update(sizes, report.sampled_at_s)

    def why_not(self, candidate: Candidate) -> Reason | None:
        """Say what keeps tasks away from this pair, or None when nothing does."""
        if self.breaker.state is Circuit.OPEN:
            return Reason.CIRCUIT_OPEN
        if self.cooling_until_s is not None:
            return Reason.COOLING
        if self.is_draining:
            return Reason.DRAINING
        if self.is_unreachable:
            return Reason.DOWN
        if self.is_ejected:
            return Reason.EJECTED
        return Reason.BLOCKED if candidate.model.name in self.blocked else None
