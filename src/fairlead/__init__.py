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
from fairlead.engine.events import CircuitChanged, Event, StrategyChanged
from fairlead.errors import (
    DuplicateModelError,
    FairleadError,
    LeaseError,
    NoCandidateError,
    NoModelError,
    RoutingError,
    UnknownModelError,
    UnknownStrategyError,
    UnknownTaskError,
)
from fairlead.health import CircuitBreakerConfig
from fairlead.router import ModelMetrics, ModelPool, RoutedTask, TaskRouter
from fairlead.routing.config import RoutingConfig
from fairlead.routing.engine import RoutingEngine

if TYPE_CHECKING:
    from fairlead.balancing import LoadBalancer, LoadBalancerConfig

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
    "DuplicateModelError",
    "Event",
    "FairleadError",
    "FleetLoad",
    "Instance",
    "LeaseError",
    "LoadAdjustment",
    "LoadBalancer",
    "LoadBalancerConfig",
    "LoadDistribution",
    "LoadStrategy",
    "Model",
    "ModelChain",
    "ModelMetrics",
    "ModelPool",
    "Needs",
    "NoCandidateError",
    "NoModelError",
    "Node",
    "NodeLoad",
    "OptimizedRoute",
    "Price",
    "PriorityClass",
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
    "Task",
    "TaskCategory",
    "TaskLoad",
    "TaskRouter",
    "UnknownModelError",
    "UnknownStrategyError",
    "UnknownTaskError",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import what most programs do without, when it is asked for."""
    if name in ("LoadBalancer", "LoadBalancerConfig"):
        from fairlead import balancing

        return getattr(balancing, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
