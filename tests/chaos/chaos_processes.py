"""Model stand-ins in processes of their own, to be killed. Run as a program it is one of them.

python chaos_processes.py NUMBER SEED PORT
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from chaos_nodes import KINDS, line_of, stand_in_of

PAUSE_S = 0.001


class ProcessPlace(msgspec.Struct):
    """A node whose server is a process."""

    number: int
    seed: int
    port: int = 0
    process: asyncio.subprocess.Process | None = None
    killed: int = 0

    async def restart(self) -> None:
        """Begin anew, on the same port."""
        argv = [sys.executable, __file__, str(self.number), str(self.seed), str(self.port)]
        self.process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        assert self.process.stdout is not None
        self.port = int(await asyncio.wait_for(self.process.stdout.readline(), 20.0))

    async def crash(self) -> None:
        """End at once, as `kill -9` does."""
        assert self.process is not None
        self.killed += 1
        self.process.kill()
        await self.process.communicate()

    def written(self, timeouts: str) -> str:
        """Return the node as a line of a configuration."""
        return line_of(f"n{self.number}", self.port, *KINDS[self.number % len(KINDS)], timeouts)


@asynccontextmanager
async def process_places(count: int, seed: int) -> AsyncIterator[list[ProcessPlace]]:
    """Run so many nodes."""
    nodes = [ProcessPlace(number, seed) for number in range(count)]
    try:
        for node in nodes:
            await node.restart()
        yield nodes
    finally:
        for node in nodes:
            if node.process is not None and node.process.returncode is None:
                await node.crash()


async def _serve(number: int, seed: int, port: int) -> None:
    provider = stand_in_of(number, seed, PAUSE_S).provider
    provider.port = port
    await provider.start()
    print(provider.port, flush=True)  # noqa: T201 - read by who started it
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
