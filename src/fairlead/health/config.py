"""When a node's circuit opens and closes, and what else counts as healthy."""

from enum import StrEnum
from typing import Annotated

import msgspec

from fairlead.errors import ConfigError

_Count = Annotated[int, msgspec.Meta(gt=0)]
_Seconds = Annotated[float, msgspec.Meta(gt=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


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


class CheckingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How nodes are asked whether they are there."""

    enabled: bool = True
    interval_s: _Seconds = 5.0
    """Between two checks of a node that is well and has answered nothing meanwhile; five times as often in doubt."""
    timeout_s: _Seconds = 2.0
    down_after: _Count = 3
    """Checks in a row that must fail."""


class HealthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What counts as healthy."""

    window_s: _Seconds = 60.0
    """How far back outcomes are looked at."""
    min_outcomes: _Count = 20
    """Fewer within the window say nothing."""
    max_error_rate: _Share = 0.05
    """Share of failures beyond which a node counts as degraded; success rate 0.95 is the same threshold."""
    max_excess_s: _Seconds = 0.5
    """Time to the first token, beyond what prompt and queue explain, from which on a node counts as degraded."""
    ejection_s: _Seconds = 30.0
    """How long an outlier is left out at first; longer each time it happens again."""
    max_ejected_share: _Share = 0.34
    """Of the nodes, the most that are left out as outliers at the same time."""
    panic_share: _Share = 0.5
    """With a smaller share of nodes left, nobody is left out as an outlier or for failed checks."""
    check: CheckingConfig = CheckingConfig()


class HedgingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a second node is asked for a first token that is late."""

    enabled: bool = False
    quantile: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.95
    """Of the node's own times to the first token: what is later than that is late."""
    budget: _Share = 0.05
    """Second requests as a share of all, at most."""
    min_outcomes: _Count = 20
    """Fewer known times of a node say nothing."""


class Step(StrEnum):
    """What can be given up."""

    HEDGING = "hedging"
    EXPLORATION = "exploration"
    CHEAPER_MODEL = "cheaper_model"
    SHORTER_ANSWERS = "shorter_answers"
    QUEUE = "queue"
    REFUSE = "refuse"

    __hash__ = str.__hash__  # Enum's own is written in Python, and steps are looked up for each task


class DegradationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The ladder of graceful degradation: what is given up, one after the other, as pressure rises."""

    steps: tuple[Step, ...] = tuple(Step)
    """In this order, from the first given up to the last."""
    begin_at: _Share = 0.75
    """Pressure at which the first step is taken; the last is taken at 1."""
    max_output_tokens: _Count = 512
    """To what `shorter_answers` cuts the answers of those who set no limit."""
    hold_s: _Seconds = 10.0
    """How long pressure must have been lower before a step is taken back."""
