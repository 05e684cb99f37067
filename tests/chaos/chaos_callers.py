"""Callers of all kinds: planned by a seed, in both dialects, over connections that they keep."""

import asyncio
import json
import random
from collections.abc import Iterator

import msgspec
from chaos_answers import MODEL
from chaos_checker import PATHS, Ask, Got

PATIENCE_S = 30.0
"""Nothing here may take so long; who waits longer is a caller that hangs."""
_PRIORITIES = ("interactive", "normal", "batch")


def asks_of(seed: int, *, leaving: float = 0.03, longest: int = 40) -> Iterator[Ask]:
    """Yield requests without end, the same for the same seed."""
    draw = random.Random(seed)
    number = 0
    while True:
        number += 1
        headers = {}
        if draw.random() < 0.3:
            headers["x-fairlead-session"] = f"s{draw.randrange(8)}"
        if draw.random() < 0.3:
            headers["x-fairlead-priority"] = draw.choice(_PRIORITIES)
        yield Ask(
            path=draw.choice(PATHS),
            stream=draw.random() < 0.6,
            key=f"{seed}-{number}",
            words=draw.randint(1, longest),
            headers=headers,
            leaves_after=draw.randrange(3) if draw.random() < leaving else None,
        )


def body_of(ask: Ask) -> bytes:
    """Return a request's body."""
    fields: dict[str, object] = {"model": MODEL, "stream": ask.stream}
    if ask.path.endswith("chat") or "/chat/" in ask.path:
        fields["messages"] = [{"role": "user", "content": ask.prompt}]
    else:
        fields["prompt"] = ask.prompt
    return json.dumps(fields).encode()


class Connection(msgspec.Struct):
    """A caller's connection, kept from one request to the next."""

    port: int
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    @property
    def is_open(self) -> bool:
        return self.reader is not None and not self.reader.at_eof()

    async def ask(self, ask: Ask) -> Got:
        """Ask once. Raises OSError where no connection can be had, TimeoutError where nothing ends the wait."""
        got = Got()
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.timeout(PATIENCE_S):
            if not self.is_open:
                self.leave()
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            await self._exchange(ask, got)
        got.took_s = loop.time() - began_s
        if not got.is_whole or got.headers.get("connection") == "close":
            self.leave()
        return got

    def leave(self) -> None:
        """Hang up."""
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    async def _exchange(self, ask: Ask, got: Got) -> None:
        reader, writer = self.reader, self.writer
        assert reader is not None
        assert writer is not None
        body = body_of(ask)
        lines = {"host": f"127.0.0.1:{self.port}", "content-length": str(len(body)), **ask.headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"POST {ask.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        try:
            if ask.leaves_after == 0:
                got.has_left = True
                return
            await self._read(reader, ask, got)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    async def _read(self, reader: asyncio.StreamReader, ask: Ask, got: Got) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        got.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        got.status = int(first.split(" ")[1])
        if "content-length" in got.headers:
            got.body = await reader.readexactly(int(got.headers["content-length"]))
        else:
            reads = 0
            while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
                got.body += (await reader.readexactly(size + 2))[:-2]
                reads += 1
                if reads == ask.leaves_after:
                    got.has_left = True
                    return
            await reader.readexactly(2)
        got.is_whole = True
