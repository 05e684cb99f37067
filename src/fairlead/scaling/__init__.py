"""How many nodes there should be."""

from fairlead.scaling.config import ActuatorKind, ScalingConfig
from fairlead.scaling.policy import ScalingPolicy
from fairlead.scaling.queueing import slots_needed, wait_probability, wait_tail
from fairlead.scaling.view import FleetView, Phase, ScaledNode, ScalingAction

__all__ = [
    "ActuatorKind",
    "FleetView",
    "Phase",
    "ScaledNode",
    "ScalingAction",
    "ScalingConfig",
    "ScalingPolicy",
    "slots_needed",
    "wait_probability",
    "wait_tail",
]
