"""fairlead leads every task to the model, and the machine, that will do it best."""

from fairlead.backends.instance import CommandInstance, Instance
from fairlead.capability.scorer import CapabilityScorer
from fairlead.domain import (
    Model,
    ModelChain,
    OptimizedRoute,
    Price,
    RouteOptions,
    RoutingMetrics,
    RoutingStrategy,
    Task,
    TaskCategory,
)
from fairlead.engine.events import CircuitChanged, Event, StrategyChanged
from fairlead.errors import (
    DuplicateModelError,
    FairleadError,
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

__version__ = "0.1.0"

__all__ = [
    "CapabilityScorer",
    "CircuitBreakerConfig",
    "CircuitChanged",
    "CommandInstance",
    "DuplicateModelError",
    "Event",
    "FairleadError",
    "Instance",
    "Model",
    "ModelChain",
    "ModelMetrics",
    "ModelPool",
    "NoCandidateError",
    "NoModelError",
    "OptimizedRoute",
    "Price",
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
    "TaskRouter",
    "UnknownModelError",
    "UnknownStrategyError",
    "UnknownTaskError",
    "__version__",
]
