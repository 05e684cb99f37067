"""Who serves: nodes that join, change, say how they are, and leave, each with how it is reached."""

from collections.abc import Callable

from fairlead.clock import steady_s
from fairlead.domain import Capacity, Model, Node
from fairlead.domain.health import SystemHealth
from fairlead.domain.report import NodeReport
from fairlead.engine.events import Event, EventBus
from fairlead.engine.fleet import Fleet
from fairlead.engine.hedging import Hedger
from fairlead.health import Circuit
from fairlead.orchestrator.attempt import RENEWAL_S
from fairlead.orchestrator.target import CallTimeouts, Target
from fairlead.orchestrator.timeouts import Timeouts
from fairlead.routing import RoutingSettings, Strategy
from fairlead.routing.contract import Explores


class Membership:
    """The part of an orchestrator that knows its nodes."""

    def __init__(self, fleet: Fleet, timeouts: CallTimeouts, routing: RoutingSettings, hedger: Hedger) -> None:
        self.clock: Callable[[], float] = steady_s
        self.fleet = fleet
        self.bus = EventBus()
        self.targets: dict[str, Target] = {}
        self.timeouts_of_calls = timeouts
        self.timeouts = Timeouts((timeouts.first_token_s, timeouts.total_s, RENEWAL_S))
        self.routing_settings = routing
        self.prefixes = routing.prefixes
        """Who holds the beginning of which prompt; None where nobody asks."""
        self.hedger = hedger
        self.explores = True
        """Whether tasks are given to models and nodes of which little is known."""

    def lease_released(self) -> None:
        """Let those who wait try."""

    def add(self, model: Model, node: Node, target: Target) -> None:
        """Serve a model on a node."""
        self.fleet.add(model, node, self.clock())
        self.targets[node.name] = target
        self._expect(target)
        self._publish()

    def replace_target(self, name: str, target: Target) -> Target:
        """Reach a node otherwise from now on; returns how it was reached, for what is still under way there.

        Raises KeyError for a node that is not there.
        """
        before, self.targets[name] = self.targets[name], target
        self._expect(target)
        return before

    def _expect(self, target: Target) -> None:
        """Let the usual limits of a node share a timer."""
        for limits in (target.timeouts, *target.by_model.values()):
            self.timeouts.expect((limits.first_token_s, limits.total_s))

    async def remove_node(self, name: str) -> None:
        """Forget a node, and give up its connections; what it is still working on is not waited for."""
        now_s = self.clock()
        state = self.fleet.nodes.get(name)
        for model in tuple(state.candidates) if state is not None else ():
            self.fleet.remove(model, name, now_s)
        self._publish()
        target = self.targets.pop(name, None)
        if target is not None:
            await target.backend.close()
        if self.prefixes is not None:
            self.prefixes.forget_node(name)
        self.hedger.forget_node(name)

    def set_strategy(self, strategy: Strategy) -> None:
        """Choose by another strategy from now on."""
        if isinstance(strategy, Explores):
            strategy.explore(is_on=self.explores)
        self.fleet.set_strategy(strategy, self.clock())
        self._publish()

    def change_node(self, node: str, verb: str) -> None:
        """Recover, drain or undrain a node."""
        if verb == "recover":
            self.fleet.force_recovery(node, self.clock())
        else:
            self.fleet.drain(node, verb == "drain", self.clock())
        self._publish()

    def hear(self, report: NodeReport, capacity: Capacity) -> None:
        """Take note of what a node told of itself, and of the capacity that follows from it."""
        self.fleet.hear(report, capacity)
        self.lease_released()

    def system_health(self) -> SystemHealth:
        """Return how the fleet fares now."""
        return self.fleet.health.system(self.clock())

    def checked(self, node: str, is_well: bool, why: str = "") -> None:
        """Note what came of asking a node whether it is there."""
        self.fleet.checked(node, is_well, self.clock(), why)
        self.lease_released()

    def is_ready(self) -> bool:
        """Tell whether any node may be given tasks."""
        return any(state.breaker.state is not Circuit.OPEN for state in self.fleet.nodes.values())

    def tell(self, event: Event) -> None:
        """Publish an event once the step is over in which it happened."""
        self.fleet.outbox.append(event)

    def _publish(self) -> None:
        events, self.fleet.outbox = self.fleet.outbox, []
        for event in events:
            self.bus.publish(event)
