"""Which task is on which node, and what to do when too many come."""

from fairlead.balancing.balancer import LoadBalancer
from fairlead.balancing.config import LoadBalancerConfig

__all__ = ["LoadBalancer", "LoadBalancerConfig"]
