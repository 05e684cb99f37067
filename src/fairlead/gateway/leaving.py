"""What is left of former configurations: closed once nobody works with it any more."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from typing import Any

from fairlead.backends.contract import Backend
from fairlead.config import NodeConfig
from fairlead.orchestrator.exchange import Exchange
from fairlead.orchestrator.orchestrator import ModelOrchestrator
from fairlead.orchestrator.target import Target

logger = logging.getLogger("fairlead")
LOOK_S = 0.05
"""How often it is looked whether somebody still works with what is to be closed."""


class Leaving:
    """Nodes that get no further tasks, and connections to where nodes were reached before.

    None of them is waited for longer than an answer of that node may take at most.
    """

    def __init__(self, orchestrator: ModelOrchestrator) -> None:
        self._orchestrator = orchestrator
        self._nodes: dict[str, tuple[NodeConfig, asyncio.Task[None]]] = {}
        self._backends: set[Backend] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def nodes(self) -> dict[str, NodeConfig]:
        """The nodes that have not left yet, as they were configured last."""
        return {name: node for name, (node, _) in self._nodes.items()}

    def send_off(self, node: NodeConfig) -> None:
        """Let a drained node finish what it is working on, then forget it."""
        self._nodes[node.name] = node, self._begin(self._forget(node.name))

    def call_back(self, name: str) -> None:
        """Let a node stay after all."""
        self._nodes.pop(name)[1].cancel()

    def close_later(self, target: Target) -> None:
        """Close connections in whose place others were put, once all that may use them are over."""
        self._backends.add(target.backend)
        self._begin(self._close(target, frozenset(self._orchestrator.in_flight)))

    async def close(self) -> None:
        """Wait for nobody any more. Nodes that have not left yet are left to whoever closes the orchestrator."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        for backend in tuple(self._backends):
            await backend.close()

    # -- inside

    async def _forget(self, name: str) -> None:
        orchestrator = self._orchestrator
        state, target = orchestrator.fleet.nodes[name], orchestrator.targets[name]
        await _until(lambda: not state.account.in_flight, target)
        del self._nodes[name]  # from here on there is no way back
        await orchestrator.remove_node(name)
        logger.info("configuration: node %s has left", name)

    async def _close(self, target: Target, exchanges: Collection[Exchange]) -> None:
        await _until(lambda: all(one.is_over for one in exchanges), target)
        await target.backend.close()
        self._backends.discard(target.backend)

    def _begin(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _until(is_done: Callable[[], bool], target: Target) -> None:
    """Wait for as long as an answer of that node may take at most."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + target.timeouts.total_s
    while not is_done() and loop.time() < end_s:  # noqa: ASYNC110 - leases end without telling anybody
        await asyncio.sleep(LOOK_S)
