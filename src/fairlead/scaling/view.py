"""What scaling looks at, and what it says should be done."""

from enum import StrEnum

import msgspec


class Phase(StrEnum):
    """Where a node stands in its life."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    """Given no new tasks; it ends those it has."""


class ScaledNode(msgspec.Struct, frozen=True):
    """One node, as far as scaling is concerned."""

    name: str
    slots: int
    """How many tasks it works on at once, at least 1."""
    busy: int = 0
    """Tasks it works on."""
    phase: Phase = Phase.SERVING
    may_stop: bool = True
    """False for a node that scaling did not start: it counts, and stays."""


class FleetView(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet as it is now."""

    nodes: tuple[ScaledNode, ...] = ()
    arrived: int = 0
    """Tasks that have come since counting began."""
    waiting: int = 0
    """Tasks in the queue."""
    service_s: float | None = None
    """Mean time that a task holds its slot; None while no task has ended."""
    variability: float = 1.0
    """Half the sum of the squared coefficients of variation of arrivals and service: 1 for Poisson and exponential."""


class ScalingAction(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, bounded by the configuration, and why."""

    target: int
    """Nodes there will be, starting ones counted and draining ones not."""
    why: str
    """One sentence for people."""
    start: int = 0
    """Nodes to start."""
    keep: tuple[str, ...] = ()
    """Draining nodes that shall serve again."""
    drain: tuple[str, ...] = ()
    """Nodes that shall get no new tasks."""
    stop: tuple[str, ...] = ()
    """Drained nodes that have ended their last task."""
    needed_slots: int = 0
    """Slots that are needed by the time a node started now would serve."""

    @property
    def change(self) -> int:
        """Nodes more (or fewer, below zero) that will take tasks."""
        return self.start + len(self.keep) - len(self.drain)

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.start or self.keep or self.drain or self.stop)
