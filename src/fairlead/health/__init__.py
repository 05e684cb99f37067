"""Whether a node is fit to be given tasks."""

from fairlead.health.breaker import Breaker, Cause, Circuit
from fairlead.health.config import CircuitBreakerConfig

__all__ = ["Breaker", "Cause", "Circuit", "CircuitBreakerConfig"]
