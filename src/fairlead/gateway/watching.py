"""What nodes tell of themselves, on its way into the fleet."""

import asyncio
import logging
from collections.abc import Iterable

import msgspec

from fairlead.config import Config, Continuation, NodeConfig
from fairlead.domain.report import NodeReport
from fairlead.engine.events import CircuitChanged
from fairlead.health import Circuit
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.probing import ProbeError, probe_continuation
from fairlead.polling import NodeChecker, Poller, learnt_capacity
from fairlead.rng import key_of

logger = logging.getLogger("fairlead")
PROBE_S = 30.0
"""For all requests of a probe together."""
PROBE_AGAIN_S = 5.0
MOST_PROBE_PAUSE_S = 300.0


class NodeWatching:
    """Asks the nodes of a gateway how busy they are, whether they are there, and how they go on from a text."""

    def __init__(self, orchestrator: ModelOrchestrator, config: Config | None = None) -> None:
        config = config or Config()
        seed = config.seed
        self._orchestrator = orchestrator
        self._nodes: dict[str, NodeConfig] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}
        own_seed = key_of(orchestrator.prefix)  # gateways that start together must not ask together
        self._checker: NodeChecker | None = None
        if config.health.check.enabled:
            self._checker = NodeChecker(
                orchestrator.checked, config.health.check, clock=orchestrator.clock, seed=own_seed
            )
            orchestrator.on_answer = self._checker.answered
            orchestrator.bus.subscribe(CircuitChanged, self._doubt)
        self._poller = Poller(self._hear, _complain, self._is_in_use, clock=orchestrator.clock, seed=seed)

    def start(self, nodes: Iterable[NodeConfig]) -> None:
        """Begin to ask these nodes; those that are not to be polled are left alone."""
        for node in nodes:
            self._nodes[node.name] = node
            self._poller.start(node)
            if self._checker is not None:
                self._checker.start(node)
            self._stop_probe(node.name)
            if node.continuation is Continuation.PROBE:
                self._probes[node.name] = asyncio.get_running_loop().create_task(self._probe(node.name))

    def stop(self, name: str) -> None:
        """Ask a node no more."""
        self._poller.stop(name)
        if self._checker is not None:
            self._checker.stop(name)
        self._stop_probe(name)
        self._nodes.pop(name, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._poller.close()
        if self._checker is not None:
            await self._checker.close()
        for name in tuple(self._probes):
            self._stop_probe(name)

    def _doubt(self, event: CircuitChanged) -> None:
        if self._checker is not None and event.after == Circuit.OPEN:
            self._checker.doubt(event.node)

    def _stop_probe(self, name: str) -> None:
        probe = self._probes.pop(name, None)
        if probe is not None:
            probe.cancel()

    async def _probe(self, name: str) -> None:
        """Find out how a node goes on from the beginning of an answer, again and again until it can be told."""
        orchestrator, pause_s = self._orchestrator, PROBE_AGAIN_S
        while True:
            target, state = orchestrator.targets.get(name), orchestrator.fleet.nodes.get(name)
            if target is not None and state is not None and state.candidates:
                model = next(iter(state.candidates))
                try:
                    own_name = target.own_names.get(model, model)
                    how = await probe_continuation(target.backend, own_name, PROBE_S)
                except ProbeError as error:
                    logger.info("node %s: how it goes on from a text is not known yet (%s)", name, error)
                else:
                    target.continuation = how
                    logger.info("node %s: goes on from a text: continuation %s", name, how.value)
                    return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_PROBE_PAUSE_S)

    def _is_in_use(self, name: str) -> bool:
        state = self._orchestrator.fleet.nodes.get(name)
        return state is not None and state.account.in_flight > 0

    def _hear(self, report: NodeReport) -> None:
        node, target = self._nodes.get(report.node), self._orchestrator.targets.get(report.node)
        if node is None:  # it left while it was asked
            return
        if report.loaded is not None and target is not None:
            public = {own: name for name, own in target.own_names.items()}
            loaded = {public.get(own, own): model for own, model in report.loaded.items()}
            report = msgspec.structs.replace(report, loaded=loaded)
        self._orchestrator.hear(report, learnt_capacity(report, node.capacity))


def _complain(node: str, message: str) -> None:
    logger.warning("node %s: %s", node, message)
