"""What autoscaling is told."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

_Count = Annotated[int, Meta(gt=0)]
_Whole = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(gt=0)]


class ActuatorKind(StrEnum):
    """What starts and stops nodes."""

    NONE = "none"
    DRY_RUN = "dry-run"
    """Says what it would do."""
    COMMAND = "command"
    """Runs a program of the user's."""
    PROCESSES = "processes"
    """Starts local model servers; needs fairlead[local]."""


class ScalingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many nodes there may be, and when that changes."""

    actuator: ActuatorKind = ActuatorKind.NONE
    command: tuple[str, ...] | None = None
    """Program and arguments; `up NODE` or `down NODE` is added."""
    min_nodes: _Whole = 1
    max_nodes: _Count = 4
    max_step: _Count = 2
    """Nodes started or stopped at once, each time it is looked at."""
    node_slots: _Count = 8
    """How many tasks a node that is started works on at once."""
    wait_target_s: _Seconds = 2.0
    """How long a task may wait for a slot..."""
    wait_share: Annotated[float, Meta(gt=0, lt=1)] = 0.99
    """...for this share of the tasks."""
    cold_start_s: _Seconds = 60.0
    """Until a node that was started serves; learnt from there on."""
    cooldown_s: _Seconds = 300.0
    """How long less must have been needed before a node is stopped: the most needed over this time stays."""
    interval_s: _Seconds = 10.0
    """How often it is looked at."""
    scale_to_zero_after_s: _Seconds | None = None
    """Idle time after which the last node may go; None: one stays, unless `min_nodes` is 0 and nothing ever came."""
