"""What a RoutingEngine is built with."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.errors import ConfigError

_Share = Annotated[float, Meta(ge=0, le=1)]
_Amount = Annotated[float, Meta(ge=0)]
_Seconds = Annotated[float, Meta(gt=0)]


class SettingError(ConfigError):
    """A value of `routing` that does not fit."""

    def __init__(self, key: str, reason: str) -> None:
        """Name the key below `routing`; `reason` reads on from it."""
        super().__init__(f"routing.{key} {reason}")
        self.key = key
        self.reason = reason


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much each factor counts in a route's score; they are used in proportion to their sum."""

    capability: _Amount = 0.4
    performance: _Amount = 0.3
    resource_efficiency: _Amount = 0.2
    historical_success: _Amount = 0.1

    def __post_init__(self) -> None:
        values = msgspec.structs.astuple(self)
        if not all(0 <= value < float("inf") for value in values) or sum(values) <= 0:
            raise SettingError("weights", f"must be 0 or more, and one above 0, not {values}")


class RouteCacheConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many rankings of models are remembered, and for how long."""

    capacity: Annotated[int, Meta(ge=0)] = 10_000
    ttl_s: _Seconds = 3600.0


class RoutingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How `auto`, and every other name that stands for several models, finds its model."""

    quality: _Share = 0.5
    """From 0, the cheapest that is good enough, to 1, the best whatever it costs."""
    min_quality: _Share = 0.0
    """Least expected quality of a model that may do a task."""
    max_cost_usd: Annotated[float, Meta(gt=0)] | None = None
    """Most that one task may be expected to cost."""
    max_latency_ms: Annotated[float, Meta(gt=0)] | None = None
    """Longest expected time to the whole answer."""
    weights: Weights = Weights()
    tolerance: _Share = 0.02
    """Models whose scores differ by no more count as equal: load and cost decide among them."""
    explore_min: _Share = 0.01
    """Least share of tasks that goes to a model which is not the best, so that evidence never dries up."""
    explore_max: _Share = 0.1
    """Largest such share."""
    cache: RouteCacheConfig = RouteCacheConfig()

    def __post_init__(self) -> None:
        for name in ("quality", "min_quality", "tolerance", "explore_min", "explore_max"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingError(name, f"must be between 0 and 1, not {value}")
        if self.explore_min > self.explore_max:
            reason = f"must not be above explore_max ({self.explore_max:g}), and is {self.explore_min:g}"
            raise SettingError("explore_min", reason)
