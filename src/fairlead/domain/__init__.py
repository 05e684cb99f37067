"""Frozen values that every room shares: what is asked, what answers, where, and what came back."""

from fairlead.domain.allocation import Allocation, AllocationResult, Constraint, ResourceMetrics
from fairlead.domain.features import PromptFeatures
from fairlead.domain.load import (
    BalanceMetrics,
    FleetLoad,
    LoadAdjustment,
    LoadDistribution,
    LoadStrategy,
    Move,
    NodeHealth,
    NodeLoad,
    Placement,
    TaskLoad,
    Unplaced,
)
from fairlead.domain.model import Model, Price
from fairlead.domain.node import Node
from fairlead.domain.outcome import Outcome
from fairlead.domain.priority import PriorityClass, class_of, read_priority
from fairlead.domain.resources import ONE_SLOT, Capacity, Needs, Shortage
from fairlead.domain.route import (
    ChainKind,
    Factor,
    ModelChain,
    OptimizedRoute,
    RankedRoute,
    RouteOptions,
    RouteRejection,
    RoutingMetrics,
)
from fairlead.domain.task import RoutingStrategy, Task, TaskCategory

__all__ = [
    "ONE_SLOT",
    "Allocation",
    "AllocationResult",
    "BalanceMetrics",
    "Capacity",
    "ChainKind",
    "Constraint",
    "Factor",
    "FleetLoad",
    "LoadAdjustment",
    "LoadDistribution",
    "LoadStrategy",
    "Model",
    "ModelChain",
    "Move",
    "Needs",
    "Node",
    "NodeHealth",
    "NodeLoad",
    "OptimizedRoute",
    "Outcome",
    "Placement",
    "Price",
    "PriorityClass",
    "PromptFeatures",
    "RankedRoute",
    "ResourceMetrics",
    "RouteOptions",
    "RouteRejection",
    "RoutingMetrics",
    "RoutingStrategy",
    "Shortage",
    "Task",
    "TaskCategory",
    "TaskLoad",
    "Unplaced",
    "class_of",
    "read_priority",
]
