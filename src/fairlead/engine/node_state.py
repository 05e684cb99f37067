"""What the fleet keeps of one node."""

from fairlead.allocation import Account
from fairlead.domain import Node
from fairlead.health import Breaker, Circuit, CircuitBreakerConfig
from fairlead.routing.candidate import Candidate
from fairlead.routing.filters import Reason


class NodeState:
    """A node's account in the ledger, its breaker, and what else keeps tasks away from it."""

    __slots__ = ("account", "blocked", "breaker", "candidates", "cooling_until_s", "is_draining", "node")

    def __init__(self, node: Node, breaker: CircuitBreakerConfig) -> None:
        self.node = node
        self.account = Account(node.slots)
        self.breaker = Breaker(breaker)
        self.candidates: dict[str, Candidate] = {}
        self.cooling_until_s: float | None = None
        self.is_draining = False
        self.blocked: dict[str, float] = {}
        """Models that this node refuses, and until when."""

    def why_not(self, candidate: Candidate) -> Reason | None:
        """Say what keeps tasks away from this pair, or None when nothing does."""
        if self.breaker.state is Circuit.OPEN:
            return Reason.CIRCUIT_OPEN
        if self.cooling_until_s is not None:
            return Reason.COOLING
        if self.is_draining:
            return Reason.DRAINING
        return Reason.BLOCKED if candidate.model.name in self.blocked else None
