"""How the nodes of a fleet fare: every outcome is counted, and what follows is looked at once a second."""

from collections.abc import Mapping

from fairlead.domain import Outcome
from fairlead.domain.health import HealthReport, SystemHealth
from fairlead.engine.events import HealthChanged
from fairlead.engine.node_state import NodeState
from fairlead.errors import Fault
from fairlead.health import Circuit
from fairlead.health.config import HealthConfig
from fairlead.health.monitor import HealthMonitor
from fairlead.health.pressure import Seen
from fairlead.load.pace import Pace

REVIEW_S = 1.0
USUAL_TOKENS_PER_S = 2000.0
"""How fast a prompt is read, until that is learnt."""
DEGRADED_SHARE = 0.5
"""What a degraded node weighs, against what it would if it were well."""


class FleetHealth:
    """Joins the monitor with the nodes of a fleet."""

    def __init__(self, nodes: Mapping[str, NodeState], config: HealthConfig | None = None) -> None:
        self.monitor = HealthMonitor(config)
        self._nodes = nodes
        self._pace = Pace(USUAL_TOKENS_PER_S)
        self._review_at_s = 0.0

    def learn(self, state: NodeState, outcome: Outcome, now_s: float) -> None:
        """Count an outcome. A node that asks to be left alone has not failed."""
        if outcome.fault is Fault.RATE_LIMITED:
            return
        excess_s = outcome.first_token_s
        if excess_s is not None:
            tokens = outcome.input_tokens
            self._pace.observe(tokens, excess_s)
            excess_s = None if state.has_queue else max(excess_s - tokens / self._pace.tokens_per_s, 0.0)
        self.monitor.record(state.node.name, outcome.success, now_s, excess_s)

    def is_due(self, now_s: float) -> bool:
        """Tell whether it is time for a review; the next one is due a while later."""
        if now_s < self._review_at_s:
            return False
        self._review_at_s = now_s + REVIEW_S
        return True

    def review(self, now_s: float, sole: frozenset[str]) -> list[HealthChanged]:
        """Judge every node, and keep with each what follows. `sole` are those that alone serve one of their models."""
        monitor = self.monitor
        changes = monitor.review(now_s, {name: _seen(state, name in sole) for name, state in self._nodes.items()})
        for name, state in self._nodes.items():
            state.is_ejected = name in monitor.ejected
            state.is_unreachable = name in monitor.unreachable
            state.health_share = DEGRADED_SHARE if name in monitor.degraded else 1.0
        return [
            HealthChanged(at_s=now_s, node=one.node, before=one.before.value, after=one.after.value, why=one.why)
            for one in changes
        ]

    def report(self, node: str, now_s: float) -> HealthReport:
        """Return how one node fares. Raises ValueError for one that is not there."""
        return self.monitor.report(node, now_s)

    def system(self, now_s: float) -> SystemHealth:
        """Return how the fleet fares, as of the last review."""
        return self.monitor.system(now_s)


def _seen(state: NodeState, is_sole: bool) -> Seen:
    return Seen(
        is_open=state.breaker.state is Circuit.OPEN,
        is_draining=state.is_draining,
        utilization=state.account.utilization,
        weight=state.node.weight,
        is_sole=is_sole,
    )
