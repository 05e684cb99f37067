"""What nodes tell of themselves, on its way into the fleet."""

import logging
from collections.abc import Iterable

import msgspec

from fairlead.config import NodeConfig
from fairlead.domain.report import NodeReport
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.polling import Poller, learnt_capacity

logger = logging.getLogger("fairlead")


class NodeWatching:
    """Polls the nodes of a gateway."""

    def __init__(self, orchestrator: ModelOrchestrator, seed: int = 0) -> None:
        self._orchestrator = orchestrator
        self._nodes: dict[str, NodeConfig] = {}
        self._poller = Poller(self._hear, _complain, self._is_in_use, clock=orchestrator.clock, seed=seed)

    def start(self, nodes: Iterable[NodeConfig]) -> None:
        """Begin to ask these nodes; those that are not to be polled are left alone."""
        for node in nodes:
            self._nodes[node.name] = node
            self._poller.start(node)

    def stop(self, name: str) -> None:
        """Ask a node no more."""
        self._poller.stop(name)
        self._nodes.pop(name, None)

    async def close(self) -> None:
        """Ask nobody any more."""
        await self._poller.close()

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
