"""A model server that misbehaves on demand, over real sockets: OpenAI's, Ollama's and Anthropic's wire formats.

    async with FakeProvider(models=("m",)) as node:
        node.script(Reply(status=503), Reply(fate=Fate.CUT))   # the next two requests; then `node.default` again
        ... talk to node.url ...
        assert node.attempts == 2

How a request goes is a plain value, a `Reply`; `fairlead.testing.faults` has one for each fault worth surviving. The
provider counts what reaches it, and notices when the other side hangs up before its answer is complete (`abandoned`),
so a test can assert that work was stopped.

What it tells of itself is a `Reply` too, by path; a page such as `/metrics` that is not among its `pages` is not there:

    node.pages["/metrics"] = Reply(body=b"vllm:num_requests_running 3")
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from fairlead.testing.answers import Continues, FakeDialect, echo, model_list
from fairlead.testing.fates import Chooser, Fate, Received, Reply
from fairlead.testing.wire import Wire

__all__ = ["FakeProvider", "Fate", "Received", "Reply"]
_TELLING = ("/metrics", "/props", "/slots", "/get_server_info", "/server_info", "/api/ps")
"""Pages on which servers tell of themselves; each server has but some of them."""


class FakeProvider:
    """A model server on loopback. Use it as an async context manager, or `start` and `stop` it."""

    def __init__(
        self,
        dialect: FakeDialect = "openai",
        models: tuple[str, ...] = ("m",),
        default: Reply | None = None,
        *,
        hangs_up_after_streams: bool = False,
        remembers: bool = True,
        says: Callable[[str], str] = echo,
        continues: Continues = Continues.IGNORES,
    ) -> None:
        self.dialect: FakeDialect = dialect
        self.models = models
        self.default = default or Reply()
        self.choose: Chooser | None = None
        """Picks the reply by the request, where it returns one; goes before the script."""
        self.pages: dict[str, Reply] = {}
        """How looks at the server itself (GET) are answered, by path; a `body` is needed."""
        if dialect == "ollama":
            self.pages["/api/ps"] = Reply(body=b'{"models":[]}')
        self.looks: list[str] = []
        """Paths of all looks so far (none where `remembers` is False)."""
        self.hangs_up_after_streams = hangs_up_after_streams
        """Closes after every streamed answer though it promised to keep the connection: llama.cpp's habit."""
        self.remembers = remembers
        self.says = says
        """What it answers to a prompt. The same on several providers: they answer alike, word by word."""
        self.continues = continues
        """What it makes of a request that ends in the beginning of an answer."""
        self.requests: list[Received] = []
        """All requests for answers so far (none where `remembers` is False)."""
        self.attempts = 0
        """Requests for answers that came in whole."""
        self.connections = 0
        """Open now."""
        self.peak_connections = 0
        self.accepted = 0
        self.answering = 0
        """Requests that are being answered now."""
        self.peak_answering = 0
        self.abandoned = 0
        """Answers that the other side did not wait for."""
        self.sent_bytes = 0
        self.released = asyncio.Event()
        self.port = 0
        self._script: deque[Reply] = deque()
        self._server: asyncio.Server | None = None
        self._closed_door: list[socket.socket] = []
        self.wires: set[Wire] = set()
        """The connections themselves."""

    @property
    def url(self) -> str:
        """The node's address, as a configuration has it."""
        return f"http://127.0.0.1:{self.port}" + ("" if self.dialect == "ollama" else "/v1")

    def script(self, *replies: Reply) -> None:
        """Say how the next requests are answered, one after the other."""
        self._script.extend(replies)

    def release(self) -> None:
        """Let the answers that are held back or stalled go on."""
        self.released.set()

    async def start(self) -> None:
        """Listen on a free port; the same one again after `stop`."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Wire(self), "127.0.0.1", self.port, backlog=1024, start_serving=False
        )  # known before it serves, so that `stop` finds it whenever this is interrupted
        await self._server.start_serving()
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Keep a port on which every connection is refused."""
        door = socket.socket()
        door.bind(("127.0.0.1", 0))
        self.port = door.getsockname()[1]
        self._closed_door.append(door)

    async def be_unreachable(self) -> None:
        """Keep a port on which no attempt to connect gets any answer: its line of waiting connections is full."""
        await self.refuse()
        self._closed_door[0].listen(0)
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(("127.0.0.1", self.port))
            self._closed_door.append(filler)

    def close_idle(self) -> None:
        """Close every connection that waits for a request, as servers do after some seconds."""
        for wire in tuple(self.wires):
            wire.close_if_idle()

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
        for wire in tuple(self.wires):
            wire.drop()
        for door in self._closed_door:
            door.close()
        self._closed_door.clear()
        await asyncio.sleep(0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def page_for(self, request: Received) -> Reply:
        """Take note of a look at the server itself, and return how it is answered."""
        path = request.path.partition("?")[0]
        if self.remembers:
            self.looks.append(path)
        page = self.pages.get(path)
        if page is not None:
            return page
        if path in _TELLING:
            return Reply(status=404)
        return Reply(body=b'{"version":"0.0.0"}' if path == "/api/version" else model_list(self.dialect, self.models))

    def reply_for(self, request: Received) -> Reply:
        """Take note of a request, and return how it is answered."""
        self.attempts += 1
        if self.remembers:
            self.requests.append(request)
        chosen = None if self.choose is None else self.choose(request)
        if chosen is not None:
            return chosen
        return self._script.popleft() if self._script else self.default
