"""What an exchange and its attempts need of whoever owns them: the fleet, the limits, and to be heard."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from fairlead.dialects.contract import ErrorInfo
from fairlead.domain.rescue import Rescue
from fairlead.engine.decision import Decision
from fairlead.engine.events import Event
from fairlead.engine.fleet import Fleet
from fairlead.engine.hedging import Hedger
from fairlead.engine.lobby import Lobby
from fairlead.errors import Fault
from fairlead.load.prefix_affinity import PrefixAffinity
from fairlead.orchestrator.protocols import ErrorRecovery
from fairlead.orchestrator.target import Target
from fairlead.orchestrator.timeouts import Timeouts
from fairlead.orchestrator.wishes import Wishes

if TYPE_CHECKING:
    from fairlead.orchestrator.exchange import Exchange


class Owner(Protocol):
    """Who owns exchanges: the orchestrator, as they see it."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that all of it runs on."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """The time that limits are kept in, in seconds."""
        ...

    @property
    def wall_clock(self) -> Callable[[], float]:
        """The time that people read, in Unix seconds."""
        ...

    @property
    def timeouts(self) -> Timeouts:
        """Where waiting is limited."""
        ...

    @property
    def targets(self) -> Mapping[str, Target]:
        """How each node is reached."""
        ...

    @property
    def fleet(self) -> Fleet:
        """Who is there."""
        ...

    @property
    def lobby(self) -> "Lobby[Exchange]":
        """Who waits for room."""
        ...

    @property
    def hedger(self) -> Hedger:
        """When a second node is asked."""
        ...

    @property
    def recovery(self) -> ErrorRecovery:
        """What is done where routing finds nobody."""
        ...

    @property
    def rescue(self) -> Rescue:
        """Who may finish an answer that breaks."""
        ...

    @property
    def prefixes(self) -> PrefixAffinity | None:
        """Who holds the beginning of which prompt."""
        ...

    @property
    def on_answer(self) -> Callable[[str], None] | None:
        """Is told the node of each answer."""
        ...

    def total_s(self, wishes: Wishes) -> float:
        """Return how long a task may take in all."""
        ...

    def tell(self, event: Event) -> None:
        """Publish an event once the step is over in which it happened."""
        ...

    def tell_others(self) -> None:
        """Do what one exchange's coming meant for others."""
        ...

    def lease_released(self) -> None:
        """Let those who wait try."""
        ...

    def attempt_failed(self, exchange: "Exchange", decision: Decision, fault: Fault, info: ErrorInfo) -> None:
        """Hear that an attempt failed."""
        ...

    def finished(self, exchange: "Exchange") -> None:
        """Hear that an exchange is over."""
        ...

    def stuck(self, exchange: "Exchange", error: Exception) -> None:
        """End an exchange that cannot go on."""
        ...
