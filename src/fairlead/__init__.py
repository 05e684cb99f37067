"""fairlead leads every task to the model, and the machine, that will do it best."""

from fairlead.backends.instance import CommandInstance, Instance
from fairlead.domain import RoutingStrategy, TaskCategory
from fairlead.engine.events import CircuitChanged, Event, StrategyChanged
from fairlead.errors import (
    DuplicateModelError,
    FairleadError,
    NoCandidateError,
    NoModelError,
    RoutingError,
    UnknownModelError,
    UnknownStrategyError,
)
from fairlead.health import CircuitBreakerConfig
from fairlead.router import ModelMetrics, ModelPool, RoutedTask, TaskRouter

__version__ = "0.1.0"

__all__ = [
    "CircuitBreakerConfig",
    "CircuitChanged",
    "CommandInstance",
    "DuplicateModelError",
    "Event",
    "FairleadError",
    "Instance",
    "ModelMetrics",
    "ModelPool",
    "NoCandidateError",
    "NoModelError",
    "RoutedTask",
    "RoutingError",
    "RoutingStrategy",
    "StrategyChanged",
    "TaskCategory",
    "TaskRouter",
    "UnknownModelError",
    "UnknownStrategyError",
    "__version__",
]
