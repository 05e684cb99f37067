"""What autoscaling needs of a gateway: how busy its fleet is, and nodes that come and go while it serves."""

from collections.abc import Awaitable, Callable

from fairlead.config import Capacity, Config, NodeConfig
from fairlead.discovery import ModelSeen
from fairlead.errors import ConfigError, FairleadError
from fairlead.gateway.watching import NodeWatching
from fairlead.health import Circuit
from fairlead.orchestrator.build import models_of, target_of
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.scaling.view import FleetView, Phase, ScaledNode

Ask = Callable[[NodeConfig], Awaitable[tuple[ModelSeen, ...] | None]]
"""Asks a node for its models; None where it does not say."""


class GatewayFleet:
    """The fleet of a gateway, as a `FleetPort`."""

    def __init__(self, config: Config, orchestrator: ModelOrchestrator, watching: NodeWatching, ask: Ask) -> None:
        self._config = config
        self._orchestrator = orchestrator
        self._watching = watching
        self._ask = ask

    def use(self, config: Config) -> None:
        """Find nodes in another configuration from now on."""
        self._config = config

    def view(self) -> FleetView:
        """Return the fleet as it is now, without nodes whose circuit is open."""
        orchestrator = self._orchestrator
        usual_slots = self._config.scaling.node_slots
        nodes = [
            ScaledNode(
                name,
                state.account.slots or usual_slots,
                state.account.in_flight,
                Phase.DRAINING if state.is_draining else Phase.SERVING,
            )
            for name, state in orchestrator.fleet.nodes.items()
            if state.breaker.state is not Circuit.OPEN
        ]
        return FleetView(
            nodes=tuple(nodes),
            arrived=orchestrator.arrived,
            waiting=len(orchestrator.lobby.queue),
            service_s=orchestrator.fleet.service_s() or self._oldest_s(),
        )

    def _oldest_s(self) -> float | None:
        """Return how long the longest task has been at work: before the first has ended, the best that is known."""
        orchestrator = self._orchestrator
        now_s = orchestrator.clock()
        return max((now_s - lease.taken_s for lease in orchestrator.fleet.ledger), default=None)

    async def add(self, name: str, url: str | None) -> None:
        """Let a node that was started take tasks. Raises FairleadError where it cannot be used."""
        node = self._node(name, url)
        seen = {} if node.models is not None else {name: await self._ask(node) or ()}
        pairs = models_of(self._config, node, seen)
        if not pairs:
            raise FairleadError(f"it does not say which models it serves (at {node.url})")
        target = target_of(self._config, node, seen)
        for model, _ in pairs:
            self._orchestrator.add(model, node.to_node(), target)
        self._watching.start([node])

    def drain(self, name: str, is_draining: bool) -> None:
        """Give a node no new tasks, or give it tasks again."""
        if name in self._orchestrator.fleet.nodes:
            self._orchestrator.change_node(name, "drain" if is_draining else "undrain")

    async def remove(self, name: str) -> None:
        """Forget a drained node."""
        self._watching.stop(name)
        await self._orchestrator.remove_node(name)

    def _node(self, name: str, url: str | None) -> NodeConfig:
        """Return what is said of a node by this name, or what follows from its address alone."""
        for node in self._config.nodes:
            if node.name == name:
                return node
        if url is None:
            raise FairleadError("nobody says where it answers: print its url, or list it under nodes")
        try:
            return NodeConfig(name=name, url=url, capacity=Capacity(slots=self._config.scaling.node_slots))
        except ValueError as error:
            raise ConfigError(f"{url!r} is no address of a node: {error}") from None
