"""What happens seldom and is worth telling: events, and the bus that carries them to whoever listens.

Nothing is published per chunk. The fleet puts its events into an outbox; its owner publishes them after the step that
made them, so no subscriber ever runs inside a decision.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events; `at_s` is on the clock of the fleet's owner."""

    at_s: float


class CircuitChanged(Event, frozen=True, kw_only=True):
    """A node's circuit opened, half-opened or closed."""

    node: str
    before: str
    after: str
    cause: str


class StrategyChanged(Event, frozen=True, kw_only=True):
    """Another strategy chooses from now on."""

    before: str
    after: str


class NodeCooling(Event, frozen=True, kw_only=True):
    """A node asked to be left alone for a while."""

    node: str
    until_s: float


class PairBlocked(Event, frozen=True, kw_only=True):
    """A node refuses a model that it was listed with, or its key."""

    model: str
    node: str
    fault: str
    until_s: float


class LeasesExpired(Event, frozen=True, kw_only=True):
    """Leases whose owners vanished were taken back."""

    node: str
    count: int


class LoadStageChanged(Event, frozen=True, kw_only=True):
    """What arrives became a spike, or calmed down."""

    before: str
    after: str
    why: str


class FleetChanged(Event, frozen=True, kw_only=True):
    """A model was registered on a node, or left it."""

    model: str
    node: str
    joined: bool


class HealthChanged(Event, frozen=True, kw_only=True):
    """A node fares otherwise than before."""

    node: str
    before: str
    after: str
    why: str


class FailedOver(Event, frozen=True, kw_only=True):
    """A task was sent to another node because the first one failed it."""

    task: str
    node: str
    fault: str
    to_node: str
    to_model: str


class Rescued(Event, frozen=True, kw_only=True):
    """An answer that broke in the middle was finished by another node."""

    task: str
    node: str
    to_node: str
    to_model: str
    how: str
    """`continued`, `spliced` or `restarted`."""
    kept_bytes: int
    """Of text, that the caller had by then."""


class RescueFailed(Event, frozen=True, kw_only=True):
    """An answer broke in the middle and could not be finished; the caller was told so."""

    task: str
    node: str
    why: str


class Hedged(Event, frozen=True, kw_only=True):
    """A second node was asked because the first token of the first was late."""

    task: str
    node: str
    to_node: str
    after_s: float


class NodeDraining(Event, frozen=True, kw_only=True):
    """A node gets no further tasks, or gets them again, because a person says so."""

    node: str
    is_draining: bool


class DegradationChanged(Event, frozen=True, kw_only=True):
    """The fleet gives something up under pressure, or takes it back."""

    before: str
    after: str
    why: str


class Recovered(Event, frozen=True, kw_only=True):
    """Something was done about trouble."""

    remedy: str
    subject: str
    why: str


class ConfigChanged(Event, frozen=True, kw_only=True):
    """The configuration was read again: what changed, or why the last good one was kept."""

    changes: tuple[str, ...] = ()
    refused: str = ""


E = TypeVar("E", bound=Event)
Subscriber = Callable[[E], None]


class EventBus:
    """Hands each event to those who subscribed to its type, in the order in which they did."""

    def __init__(self) -> None:
        self._subscribers: dict[type[Event], list[Callable[[Event], None]]] = {}

    def subscribe(self, kind: type[E], subscriber: "Subscriber[E]") -> Callable[[], None]:
        """Call `subscriber` for each event of that type (`Event` for all); returns what ends it."""

        def receive(event: Event) -> None:
            subscriber(event)  # type: ignore[arg-type]  # publish looks it up by the event's own type

        self._subscribers.setdefault(kind, []).append(receive)
        return lambda: self._subscribers[kind].remove(receive)

    def publish(self, event: Event) -> None:
        """Hand one event to its subscribers."""
        for kind in (type(event), Event):
            for receive in tuple(self._subscribers.get(kind, ())):
                receive(event)
