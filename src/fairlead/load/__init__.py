"""How loaded is a node, and how to choose among nodes: two questions, answered apart, that compose."""

from fairlead.load.choosers import least, power_of_two, weighted
from fairlead.load.measures import Leasable, Loaded, Measure, is_saturated, pending, pending_per_worth, typical_pending

__all__ = [
    "Leasable",
    "Loaded",
    "Measure",
    "is_saturated",
    "least",
    "pending",
    "pending_per_worth",
    "power_of_two",
    "typical_pending",
    "weighted",
]
