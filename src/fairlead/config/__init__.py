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
    ModelTimeouts,
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
from fairlead.domain.rescue import Continuation, Rescue
from fairlead.health.config import (
    CheckingConfig,
    CircuitBreakerConfig,
    DegradationConfig,
    HealthConfig,
    HedgingConfig,
)
from fairlead.load.config import LoadMeasure, PrefixConfig
from fairlead.routing.config import RouteCacheConfig, RoutingConfig, Weights
from fairlead.scaling.config import ActuatorKind, ScalingConfig

__all__ = [
    "ActuatorKind",
    "Capacity",
    "CascadeConfig",
    "CheckConfig",
    "CheckingConfig",
    "CircuitBreakerConfig",
    "Config",
    "Continuation",
    "DegradationConfig",
    "HealthConfig",
    "HedgingConfig",
    "KeyConfig",
    "Limits",
    "LoadBalancerConfig",
    "LoadMeasure",
    "LogPrompts",
    "ModelConfig",
    "ModelTimeouts",
    "NodeConfig",
    "NodeKind",
    "NodeTimeouts",
    "PrefixConfig",
    "QueueConfig",
    "Rescue",
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
