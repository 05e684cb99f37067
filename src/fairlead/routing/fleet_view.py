"""What routing may ask about the machines behind a model, where somebody can tell."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class NodeStanding(msgspec.Struct, frozen=True, gc=False):
    """How a node that serves a model stands."""

    name: str
    fate: str = ""
    """What it fails together with: a host, a rack, a provider; empty: with nothing but itself."""
    load: float = 0.0
    """Leased share of its slots; 1 and more is full. Of nodes whose slots are unknown: tasks in flight / 100."""
    is_healthy: bool = True
    sampled_at_s: float | None = None
    """When this was seen; None: it is as of now."""

    @property
    def domain(self) -> str:
        """Its failure domain."""
        return self.fate or self.name


class FleetView(Protocol):
    """Tells which nodes serve a model."""

    def nodes_of(self, model: str) -> Sequence[NodeStanding]:
        """Return the nodes that serve a model, healthy or not; none where nobody does."""
        ...
