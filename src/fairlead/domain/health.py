"""How a node fares, how the fleet fares, and what is done about it."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How a node fares, the worst that holds."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Slower or more faulty than it should be: ranked lower, still asked."""
    SATURATED = "saturated"
    """All that it has is leased: nothing is wrong with it."""
    DRAINED = "drained"
    """A person takes it out of service: no new tasks."""
    EJECTED = "ejected"
    """Fails much more than its peers: left out for a while."""
    DOWN = "down"
    """Its circuit is open, or it does not even answer when asked how it is."""


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """How one node fares."""

    node: str
    verdict: Verdict
    why: str = ""
    outcomes: int = 0
    """Within the window."""
    error_rate: float | None = None
    """None while there are too few outcomes to say."""
    excess_s: float | None = None
    """Median time to the first token beyond what the prompt and the queue explain."""
    is_reachable: bool | None = None
    """What active checks say; None where nobody checks, or not yet."""
    since_s: float = 0.0
    """When the verdict was reached."""

    @property
    def success_rate(self) -> float | None:
        """The other view of the error rate."""
        return None if self.error_rate is None else 1.0 - self.error_rate


class SystemHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the fleet fares at one moment."""

    at_s: float
    nodes: Mapping[str, HealthReport]
    capacity_share: float
    """Of the fleet's weight, what is on nodes that may be given tasks, in [0, 1]."""
    utilization: float
    """Mean leased share of the nodes that may be given tasks, in [0, 1]."""
    pressure: float
    """How hard things are, in [0, 1]: what the ladder of degradation goes by."""

    def of(self, verdict: Verdict) -> tuple[str, ...]:
        """Return the nodes with that verdict."""
        return tuple(name for name, report in self.nodes.items() if report.verdict is verdict)


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Something befell a node."""

    node: str
    verdict: Verdict
    at_s: float
    why: str = ""


class FailoverPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a node's work when the node is left."""

    node: str
    targets: Mapping[str, tuple[str, ...]]
    """Of each of its models, the nodes that take over, those that share least with it first."""
    finishing: tuple[str, ...] = ()
    """Tasks that have begun to answer and are let finish."""
    moving: tuple[str, ...] = ()
    """Tasks that are sent elsewhere."""
    stranded: tuple[str, ...] = ()
    """Models that nobody else serves now."""


class Remedy(StrEnum):
    """What can be done about trouble."""

    NONE = "none"
    RETRY = "retry"
    """Ask another node."""
    WAIT = "wait"
    """Let the task wait for room."""
    FAIL_OVER = "fail_over"
    """Leave a node: let finish what can, move the rest."""
    EJECT = "eject"
    """Leave a node out for a while."""
    DEGRADE = "degrade"
    """Go one step down the ladder."""
    RESTORE = "restore"
    """Go one step back up, or give a node its share back."""
    REFUSE = "refuse"
    """Say no, with the reason."""


class RecoveryAction(msgspec.Struct, frozen=True, kw_only=True):
    """What was done about trouble: carried out already when it is returned, and recorded."""

    remedy: Remedy
    subject: str
    """A node, a task, or a step of the ladder."""
    why: str
    at_s: float
    detail: Mapping[str, str] = {}
