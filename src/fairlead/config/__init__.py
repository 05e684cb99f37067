"""The configuration: from a file as written to values that cannot be wrong."""

from fairlead.config.loading import load, loads, validate
from fairlead.config.schema import (
    Capacity,
    CascadeConfig,
    CheckConfig,
    Config,
    KeyConfig,
    Limits,
    LogPrompts,
    ModelConfig,
    NodeConfig,
    NodeKind,
    NodeTimeouts,
    Retries,
    ServedModel,
    StateConfig,
    Timeouts,
)
from fairlead.config.secret import Secret
from fairlead.health.config import CircuitBreakerConfig
from fairlead.routing.config import RouteCacheConfig, RoutingConfig, Weights

__all__ = [
    "Capacity",
    "CascadeConfig",
    "CheckConfig",
    "CircuitBreakerConfig",
    "Config",
    "KeyConfig",
    "Limits",
    "LogPrompts",
    "ModelConfig",
    "NodeConfig",
    "NodeKind",
    "NodeTimeouts",
    "Retries",
    "RouteCacheConfig",
    "RoutingConfig",
    "Secret",
    "ServedModel",
    "StateConfig",
    "Timeouts",
    "Weights",
    "load",
    "loads",
    "validate",
]
