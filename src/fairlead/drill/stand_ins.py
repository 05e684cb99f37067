"""Stand-ins for the nodes of a shape, on loopback: one of them, or all, does what a row of the catalogue says."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from fairlead.config import Config, NodeConfig, NodeKind
from fairlead.domain.rescue import Continuation
from fairlead.testing.answers import Continues, numbered
from fairlead.testing.fates import Chooser, Received, Reply
from fairlead.testing.faults import ProviderFault
from fairlead.testing.provider import FakeProvider

SAY = numbered(48)
"""What every stand-in says, so that no word may be lost, repeated or out of place."""
_CONTINUES = {
    Continuation.TRAILING: Continues.TRAILING,
    Continuation.CONTINUE_FINAL: Continues.CONTINUE_FINAL,
    Continuation.PREFIX: Continues.PREFIX,
}


class StandIns:
    """All stand-ins of one scene. The one that is asked first is the one that misbehaves, unless all do."""

    def __init__(self, fault: ProviderFault, *, is_everyone: bool) -> None:
        self.providers: dict[str, FakeProvider] = {}
        self._fault = fault
        self._is_everyone = is_everyone
        self._culprit: str | None = None

    @property
    def attempts(self) -> int:
        """Requests that reached any of them."""
        return sum(provider.attempts for provider in self.providers.values())

    @property
    def asked(self) -> int:
        """How many of them were asked."""
        return sum(provider.attempts > 0 for provider in self.providers.values())

    @asynccontextmanager
    async def config(self, config: Config) -> AsyncIterator[Config]:
        """Start them all; gives the configuration with their addresses."""
        async with AsyncExitStack() as stack:
            nodes = []
            for node in config.nodes:
                provider = self._provider(node)
                stack.push_async_callback(provider.stop)
                await provider.start()
                self.providers[node.name] = provider
                nodes.append(msgspec.structs.replace(node, url=provider.url))
            yield msgspec.structs.replace(config, nodes=tuple(nodes))

    async def unplug(self) -> None:
        """Take away the one that was asked first, or all."""
        for name, provider in self.providers.items():
            if self._is_everyone or name == self._culprit:
                await provider.stop()

    def _provider(self, node: NodeConfig) -> FakeProvider:
        declared = Continues.IGNORES if node.continuation is None else _CONTINUES.get(node.continuation)
        provider = FakeProvider(
            "ollama" if node.kind is NodeKind.OLLAMA else "openai",
            tuple(model.name for model in node.models or ()),
            remembers=False,
            says=SAY,
            continues=declared or Continues.IGNORES,
        )
        if self._fault.rescuer is not Continues.IGNORES:
            provider.continues = self._fault.rescuer
        provider.choose = self._chooser(node.name)
        return provider

    def _chooser(self, name: str) -> Chooser:
        misbehaves = self._fault.chooser()

        def choose(request: Received) -> Reply | None:
            if self._culprit is None:
                self._culprit = name
            return misbehaves(request) if self._is_everyone or self._culprit == name else None

        return choose
