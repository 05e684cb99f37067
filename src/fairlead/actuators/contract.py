"""What starts and stops nodes, and what scaling needs of the fleet it scales."""

from typing import Protocol

import msgspec

from fairlead.scaling.view import FleetView


class Report(msgspec.Struct, frozen=True):
    """What became of starting or stopping a node."""

    problem: str = ""
    """Why it did not happen, for people; empty when it did."""
    url: str | None = None
    """Where a started node answers; None: it is reached as the configuration says."""
    is_done: bool = True
    """False when nothing was done on purpose, as in a dry run."""


class Actuator(Protocol):
    """Starts and stops nodes. What goes wrong is told in the report and never raised."""

    outlives: bool
    """Whether nodes go on running when this process ends."""

    async def start(self, name: str) -> Report:
        """Start a node and return when it answers; cancelled, it leaves nothing running that nobody knows of."""
        ...

    async def stop(self, name: str) -> Report:
        """Stop a node that has no tasks left; of one that is not there, nothing is left to do."""
        ...

    async def close(self) -> None:
        """Let go of everything: nodes that cannot outlive this process are stopped."""
        ...


class FleetPort(Protocol):
    """What scaling needs of the fleet; the orchestrator has it."""

    def view(self) -> FleetView:
        """Return the fleet as it is now, without nodes that serve nothing at present (an open circuit)."""
        ...

    async def add(self, name: str, url: str | None) -> None:
        """Let a node that was started take tasks, and return when it does. Raises FairleadError saying why not."""
        ...

    def drain(self, name: str, is_draining: bool) -> None:
        """Give a node no new tasks, or give it tasks again."""
        ...

    async def remove(self, name: str) -> None:
        """Forget a drained node."""
        ...
