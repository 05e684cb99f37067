"""What is done about trouble, as others may rely on it: routing that minds health, and recovery from errors.

Each method returns what it did, carried out already and told on the bus (`Recovered`); where nothing was to be done the
remedy is `none`, and nothing is told. `orchestrator.recovery.Recovery` is both.
"""

from typing import Protocol

from fairlead.domain import Task
from fairlead.domain.health import FailoverPlan, Incident, RecoveryAction, SystemHealth
from fairlead.errors import RoutingError


class HealthAwareRouting(Protocol):
    """Routing that minds how nodes fare."""

    def check_system_health(self) -> SystemHealth:
        """Return how the fleet fares now."""
        ...

    def adjust_for_degradation(self, health: SystemHealth) -> RecoveryAction:
        """Give up under pressure what can be given up, or take it back."""
        ...

    def trigger_failover(self, incident: Incident) -> FailoverPlan:
        """Leave a node: let finish what can, send elsewhere what cannot. The same incident twice is one."""
        ...


class ErrorRecovery(Protocol):
    """What is done when something went wrong."""

    def handle_routing_failure(self, task: Task, error: RoutingError) -> RecoveryAction:
        """Do what can be done for a task for which routing found nobody."""
        ...

    def mitigate_resource_exhaustion(self, node: str | None = None) -> RecoveryAction:
        """Make room on a node, or in the fleet, when all of it is leased."""
        ...

    def restore_balance(self) -> RecoveryAction:
        """Take back into service what is well again."""
        ...
