"""What a LoadBalancer is built with."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.errors import ConfigError

_Share = Annotated[float, Meta(gt=0, le=1)]
_Above = Annotated[float, Meta(gt=0)]


class LoadBalancerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Targets and thresholds of balancing; raises ConfigError for one out of range."""

    target_load_variance: _Share = 0.1
    """Coefficient of variation of the nodes' loads that is good enough."""
    max_node_utilization: _Share = 0.8
    """Beyond this share of a node `batch` work never goes, and other work only where no node is below."""
    spike_threshold: _Above = 100.0
    """Arrivals per second above the forecast."""
    healthy_response_time_ms: _Above = 200.0
    healthy_success_rate: _Share = 0.95
    max_error_rate: _Share = 0.05
    rebalance_interval_ms: _Above = 60_000.0
    min_rebalance_improvement: _Share = 0.1
    """Least share by which moves must lessen the deviation of the loads, and each the load that its task meets."""
    slow_start_s: Annotated[float, Meta(ge=0)] = 10.0
    """How long a node that joins or recovers takes to get its whole share; 0: at once."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if not (0 <= value < float("inf")) or (value == 0 and name != "slow_start_s"):
                raise ConfigError(f"load_balancer.{name} must be above 0, not {value!r}")
        for name in ("target_load_variance", "max_node_utilization", "healthy_success_rate", "max_error_rate"):
            if getattr(self, name) > 1:
                raise ConfigError(f"load_balancer.{name} must be at most 1, not {getattr(self, name)!r}")
