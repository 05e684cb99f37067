"""How one candidate is picked out of those that qualify."""

from fairlead.routing.candidate import Candidate
from fairlead.routing.catalog import make_strategy
from fairlead.routing.contract import Choice, Pool, RoutingSettings, Strategy

__all__ = ["Candidate", "Choice", "Pool", "RoutingSettings", "Strategy", "make_strategy"]
