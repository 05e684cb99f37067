"""Nodes that are processes on this machine: real llama.cpp servers, one for each node. Needs `fairlead[local]`."""

import asyncio
from functools import partial
from pathlib import Path

from fairlead.actuators.contract import Report
from fairlead.errors import FairleadError
from fairlead.local.process import LocalServer
from fairlead.local.weights import ALIAS, find_weights


class Processes:
    """Starts and stops local model servers on free ports; none outlives this process."""

    outlives = False

    def __init__(
        self,
        gguf: Path | None = None,
        alias: str = ALIAS,
        *,
        slots: int = 2,
        context_tokens: int = 2048,
        threads: int = 1,
        timeout_s: float = 60.0,
    ) -> None:
        """`gguf` is the model file, without it the one in the cache; `slots` share `context_tokens` between them."""
        self._gguf = gguf
        self._launch = partial(
            LocalServer.start,
            alias=alias,
            parallel=slots,
            context_tokens=context_tokens,
            threads=threads,
            timeout_s=timeout_s,
        )
        self._servers: dict[str, LocalServer] = {}

    async def start(self, name: str) -> Report:
        """Start a server and return when it answers; cancelled, it is stopped as soon as it has started."""
        if name in self._servers:
            return Report(f"there is a server for {name} already")
        gguf = self._gguf or find_weights()
        if gguf is None:
            return Report("there are no weights to serve: run `python -m fairlead.local`, or name a model file")
        starting = asyncio.ensure_future(asyncio.to_thread(self._launch, gguf))
        try:
            server = await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _undo(starting)
            raise
        except FairleadError as error:
            return Report(str(error))
        self._servers[name] = server
        return Report(url=server.url)

    async def stop(self, name: str) -> Report:
        """Stop the server, if there is one."""
        server = self._servers.pop(name, None)
        if server is not None:
            await _end(server)
        return Report()

    async def close(self) -> None:
        """Stop every server."""
        servers = list(self._servers.values())
        self._servers.clear()
        await asyncio.gather(*(_end(server) for server in servers))


async def _undo(starting: "asyncio.Future[LocalServer]") -> None:
    """Wait for a start that can no longer be called off, and end what it started."""
    await asyncio.wait([starting])
    if starting.exception() is None:
        await _end(starting.result())


async def _end(server: LocalServer) -> None:
    await asyncio.shield(asyncio.to_thread(server.stop))
