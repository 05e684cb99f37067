"""fairlead leads every task to the model, and the machine, that will do it best."""

from typing import TYPE_CHECKING

from fairlead.allocation import AllocationConfig, ResourceAllocator
from fairlead.backends.instance import CommandInstance, Instance
from fairlead.capability.scorer import CapabilityScorer
from fairlead.domain import (
    Allocation,
    AllocationResult,
    Capacity,
    FleetLoad,
    LoadAdjustment,
    LoadDistribution,
    LoadStrategy,
    Model,
    ModelChain,
    Needs,
    Node,
    NodeLoad,
    OptimizedRoute,
    Price,
    PriorityClass,
    ResourceMetrics,
    RouteOptions,
    RoutingMetrics,
    RoutingStrategy,
    Task,
    TaskCategory,
    TaskLoad,
)
from fairlead.domain.health import FailoverPlan, HealthReport, Incident, RecoveryAction, SystemHealth, Verdict
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.engine.events import CircuitChanged, Event, StrategyChanged
from fairlead.errors import (
    DuplicateModelError,
    FairleadError,
    LeaseError,
    NoCandidateError,
    NoModelError,
    RoutingError,
    TaskFailedError,
    UnknownModelError,
    UnknownStrategyError,
    UnknownTaskError,
)
from fairlead.health import CircuitBreakerConfig, HealthConfig, HealthMonitor
from fairlead.router import ModelMetrics, ModelPool, RoutedTask, TaskRouter
from fairlead.routing.config import RoutingConfig
from fairlead.routing.engine import RoutingEngine

if TYPE_CHECKING:
    from fairlead.balancing import LoadBalancer, LoadBalancerConfig
    from fairlead.orchestrator.orchestrator import ModelOrchestrator
    from fairlead.orchestrator.processing import TaskResult
    from fairlead.orchestrator.target import Target, http_target
    from fairlead.orchestrator.wishes import Wishes
    from fairlead.telemetry.metrics import MetricsCollector

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "AllocationConfig",
    "AllocationResult",
    "CapabilityScorer",
    "Capacity",
    "CircuitBreakerConfig",
    "CircuitChanged",
    "CommandInstance",
    "Continuation",
    "DuplicateModelError",
    "Event",
    "FailoverPlan",
    "FairleadError",
    "FleetLoad",
    "HealthConfig",
    "HealthMonitor",
    "HealthReport",
    "Incident",
    "Instance",
    "LeaseError",
    "LoadAdjustment",
    "LoadBalancer",
    "LoadBalancerConfig",
    "LoadDistribution",
    "LoadStrategy",
    "MetricsCollector",
    "Model",
    "ModelChain",
    "ModelMetrics",
    "ModelOrchestrator",
    "ModelPool",
    "Needs",
    "NoCandidateError",
    "NoModelError",
    "Node",
    "NodeLoad",
    "OptimizedRoute",
    "Price",
    "PriorityClass",
    "RecoveryAction",
    "Rescue",
    "ResourceAllocator",
    "ResourceMetrics",
    "RouteOptions",
    "RoutedTask",
    "RoutingConfig",
    "RoutingEngine",
    "RoutingError",
    "RoutingMetrics",
    "RoutingStrategy",
    "StrategyChanged",
    "SystemHealth",
    "Target",
    "Task",
    "TaskCategory",
    "TaskFailedError",
    "TaskLoad",
    "TaskResult",
    "TaskRouter",
    "UnknownModelError",
    "UnknownStrategyError",
    "UnknownTaskError",
    "Verdict",
    "Wishes",
    "__version__",
    "http_target",
]


_LATER = {
    "LoadBalancer": "fairlead.balancing",
    "LoadBalancerConfig": "fairlead.balancing",
    "MetricsCollector": "fairlead.telemetry.metrics",
    "ModelOrchestrator": "fairlead.orchestrator.orchestrator",
    "Target": "fairlead.orchestrator.target",
    "TaskResult": "fairlead.orchestrator.processing",
    "Wishes": "fairlead.orchestrator.wishes",
    "http_target": "fairlead.orchestrator.target",
}


def __getattr__(name: str) -> object:
    """Import what most programs do without, when it is asked for."""
    place = _LATER.get(name)
    if place is not None:
        from importlib import import_module

        return getattr(import_module(place), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
