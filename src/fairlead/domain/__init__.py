"""Frozen values that every room shares: what is asked, what answers, where, and what came back."""

from fairlead.domain.model import Model, Price
from fairlead.domain.node import Node
from fairlead.domain.outcome import Outcome
from fairlead.domain.task import RoutingStrategy, Task, TaskCategory

__all__ = ["Model", "Node", "Outcome", "Price", "RoutingStrategy", "Task", "TaskCategory"]
