"""Whether a node is fit to be given tasks, and what a fleet gives up when too few are."""

from fairlead.health.breaker import Breaker, Cause, Circuit
from fairlead.health.checks import CheckSchedule
from fairlead.health.config import (
    CheckingConfig,
    CircuitBreakerConfig,
    DegradationConfig,
    HealthConfig,
    HedgingConfig,
    Step,
)
from fairlead.health.failover import choose_targets, detect_failover_need
from fairlead.health.ladder import STEPS, Ladder, StepChange
from fairlead.health.monitor import Change, HealthMonitor
from fairlead.health.pressure import Seen

__all__ = [
    "STEPS",
    "Breaker",
    "Cause",
    "Change",
    "CheckSchedule",
    "CheckingConfig",
    "Circuit",
    "CircuitBreakerConfig",
    "DegradationConfig",
    "HealthConfig",
    "HealthMonitor",
    "HedgingConfig",
    "Ladder",
    "Seen",
    "Step",
    "StepChange",
    "choose_targets",
    "detect_failover_need",
]
