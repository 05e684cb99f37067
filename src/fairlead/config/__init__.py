"""The configuration: from a file as written to values that cannot be wrong."""

from fairlead.admission.config import QueueConfig, WaitLimits
from fairlead.balancing.config import LoadBalancerConfig
from fairlead.config.loading import load, loads, validate
from fairlead.config.schema import (
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
from fairlead.domain import Capacity
from fairlead.health.config import CircuitBreakerConfig
from fairlead.load.config import LoadMeasure, PrefixConfig
from fairlead.routing.config import RouteCacheConfig, RoutingConfig, Weights
from fairlead.scaling.config import ActuatorKind, ScalingConfig

__all__ = [
    "ActuatorKind",
    "Capacity",
    "CascadeConfig",
    "CheckConfig",
    "CircuitBreakerConfig",
    "Config",
    "KeyConfig",
    "Limits",
    "LoadBalancerConfig",
    "LoadMeasure",
    "LogPrompts",
    "ModelConfig",
    "NodeConfig",
    "NodeKind",
    "NodeTimeouts",
    "PrefixConfig",
    "QueueConfig",
    "Retries",
    "RouteCacheConfig",
    "RoutingConfig",
    "ScalingConfig",
    "Secret",
    "ServedModel",
    "StateConfig",
    "Timeouts",
    "WaitLimits",
    "Weights",
    "load",
    "loads",
    "validate",
]
