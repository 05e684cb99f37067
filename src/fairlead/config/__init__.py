"""The configuration: from a file as written to values that cannot be wrong."""

from fairlead.config.loading import load, loads, validate
from fairlead.config.schema import (
    Capacity,
    Config,
    KeyConfig,
    Limits,
    ModelConfig,
    NodeConfig,
    NodeKind,
    NodeTimeouts,
    Retries,
    ServedModel,
    Timeouts,
)
from fairlead.config.secret import Secret
from fairlead.health.config import CircuitBreakerConfig

__all__ = [
    "Capacity",
    "CircuitBreakerConfig",
    "Config",
    "KeyConfig",
    "Limits",
    "ModelConfig",
    "NodeConfig",
    "NodeKind",
    "NodeTimeouts",
    "Retries",
    "Secret",
    "ServedModel",
    "Timeouts",
    "load",
    "loads",
    "validate",
]
