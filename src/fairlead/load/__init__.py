"""How loaded is a node, and how to choose among nodes: two questions, answered apart, that compose."""

from fairlead.load.choosers import in_proportion, least, power_of_two, rendezvous, weighted
from fairlead.load.config import LoadMeasure, PrefixConfig
from fairlead.load.measures import (
    Leasable,
    Loaded,
    Measure,
    is_saturated,
    measure_of,
    pending,
    pending_per_worth,
    tokens_per_worth,
    typical_pending,
    with_room,
)
from fairlead.load.prefix import PrefixIndex
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.load.signal import PeakLatency, Report, freshness, reported
from fairlead.load.slow_start import warmth

__all__ = [
    "Leasable",
    "LoadMeasure",
    "Loaded",
    "Measure",
    "PeakLatency",
    "PrefixAffinity",
    "PrefixConfig",
    "PrefixIndex",
    "Report",
    "freshness",
    "in_proportion",
    "is_saturated",
    "least",
    "measure_of",
    "pending",
    "pending_per_worth",
    "power_of_two",
    "rendezvous",
    "reported",
    "tokens_per_worth",
    "typical_pending",
    "warmth",
    "weighted",
    "with_room",
]
