"""Frozen values that every room shares: what is asked, what answers, where, and what came back."""

from fairlead.domain.features import PromptFeatures
from fairlead.domain.model import Model, Price
from fairlead.domain.node import Node
from fairlead.domain.outcome import Outcome
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
    "ChainKind",
    "Factor",
    "Model",
    "ModelChain",
    "Node",
    "OptimizedRoute",
    "Outcome",
    "Price",
    "PromptFeatures",
    "RankedRoute",
    "RouteOptions",
    "RouteRejection",
    "RoutingMetrics",
    "RoutingStrategy",
    "Task",
    "TaskCategory",
]
