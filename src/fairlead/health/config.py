"""When a node's circuit opens and closes."""

from typing import Annotated

import msgspec

from fairlead.errors import ConfigError

_Count = Annotated[int, msgspec.Meta(gt=0)]


class CircuitBreakerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Thresholds of one circuit breaker, all above zero; raises ConfigError for any that is not."""

    failure_threshold: _Count = 5
    """Failures in a row that open the circuit."""
    success_threshold: _Count = 3
    """Successes while half open that close it."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    """How long an open circuit waits before it is probed."""
    half_open_requests: _Count = 2
    """Probes in flight at once while half open."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"circuit_breaker.{name} must be above 0, not {value}")
