"""A gateway in a thread of its own, before a node of each dialect, for plain blocking callers who try to upset it."""

import asyncio
import json
import logging
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

from fairlead.config import (
    CascadeConfig,
    Config,
    KeyConfig,
    Limits,
    NodeConfig,
    NodeKind,
    Secret,
    ServedModel,
    Timeouts,
)
from fairlead.gateway import RunningGateway
from fairlead.gateway.serving import _loop_factory
from fairlead.testing.provider import FakeProvider

T = TypeVar("T")
KEYS = {"alice": "caller-secret-of-alice", "bob": "caller-secret-of-bob", "ops": "caller-secret-of-ops"}
NODE_SECRET = "node-secret-that-nobody-sees"
CANARY = "the-prompt-that-only-alice-knows"
SECRETS = tuple(secret.encode() for secret in (*KEYS.values(), NODE_SECRET, CANARY))
"""What must stand in no answer to anybody else."""
LIMITS = Limits(max_body_bytes=100_000, max_header_bytes=4096, header_timeout_s=0.2, max_connections=256)
PATIENCE_S = 10.0


class House:
    """A gateway that listens, with its two nodes; leave it only when nothing is left of any request."""

    def __init__(self, limits: Limits = LIMITS, *, with_keys: bool = False) -> None:
        self._limits = limits
        self._with_keys = with_keys
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="house")
        self._ears = _Ears()
        self.troubles: list[str] = self._ears.heard
        """What reached the event loop's exception handler, or was logged as an error."""
        self.running: RunningGateway
        self.providers: tuple[FakeProvider, FakeProvider]
        self._loop: asyncio.AbstractEventLoop
        self._over: asyncio.Event

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._ears)
        self._thread.start()
        assert self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE_S)
        logging.getLogger().removeHandler(self._ears)

    @property
    def url(self) -> str:
        return self.running.url

    @property
    def port(self) -> int:
        return self.running.port

    def do(self, what: Callable[[], T]) -> T:
        """Do something where the gateway lives, and return what came of it."""

        async def there() -> T:
            return what()

        return asyncio.run_coroutine_threadsafe(there(), self._loop).result(PATIENCE_S)

    def check(self) -> None:
        """Wait until nothing is left of any request, and see that nothing went wrong behind the scenes."""
        end_s = time.monotonic() + PATIENCE_S
        while left := self.do(self._left):
            assert time.monotonic() < end_s, f"left over: {left}"
            time.sleep(0.002)
        troubles, self.troubles[:] = tuple(self.troubles), []
        assert troubles == ()

    def _left(self) -> str:
        orchestrator = self.running.orchestrator
        leased = [state.account.in_flight for state in orchestrator.fleet.nodes.values()]
        open_now = len(self.running._server.connections)
        if any(leased) or len(orchestrator.fleet.ledger) or orchestrator.in_flight or open_now:
            return f"leases {leased}, {len(orchestrator.in_flight)} tasks, {open_now} connections"
        return ""

    # -- its thread

    def _live(self) -> None:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self.troubles.append(repr(context)))
        self._over = asyncio.Event()
        openai = FakeProvider(models=("m", "both"), remembers=False)
        ollama = FakeProvider("ollama", models=("o", "both"), remembers=False)
        async with openai, ollama:
            self.providers = (openai, ollama)
            self.running = RunningGateway(self._config())
            await self.running.start()
            self._ready.set()
            await self._over.wait()
            await self.running.stop(0.0)

    def _config(self) -> Config:
        keys = [KeyConfig(name=name, key=Secret(text), admin=name == "ops") for name, text in KEYS.items()]
        return Config(
            listen="127.0.0.1:0",
            nodes=tuple(_node(provider, name) for provider, name in zip(self.providers, ("a", "b"), strict=True)),
            groups={"fast": ("m", "o")},
            cascades=(CascadeConfig(name="careful", models=("m", "o")),),
            keys=tuple(keys) if self._with_keys else (),
            limits=self._limits,
            timeouts=Timeouts(connect_s=10.0, first_token_s=20.0, idle_s=20.0, total_s=25.0),
        )


def _node(provider: FakeProvider, name: str) -> NodeConfig:
    return NodeConfig(
        name=name,
        url=provider.url,
        kind=NodeKind.OLLAMA if provider.dialect == "ollama" else NodeKind.OPENAI,
        models=tuple(ServedModel(name=model) for model in provider.models),
        api_key=Secret(NODE_SECRET),
        poll=False,
    )


class _Ears(logging.Handler):
    """Hears of every error that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(self.format(record))


# -- one connection


@contextmanager
def wire(house: House) -> Iterator[socket.socket]:
    """Open a connection."""
    with socket.create_connection(("127.0.0.1", house.port), PATIENCE_S) as sock:
        yield sock


def reset(sock: socket.socket) -> None:
    """Leave without a farewell."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def send(sock: socket.socket, data: bytes) -> None:
    """Send as much as the other side takes: it may have closed already."""
    with suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(data)


def rest(sock: socket.socket) -> bytes:
    """Return everything that comes until the connection ends."""
    got = b""
    try:
        while data := sock.recv(2**16):
            got += data
    except ConnectionResetError:
        pass
    return got


def talk(house: House, data: bytes) -> bytes:
    """Send bytes and return all that comes; a last request asks for the connection to be closed."""
    with wire(house) as sock:
        send(sock, data)
        return rest(sock)


def post(path: str, body: object, *headers: str) -> bytes:
    """Return a good request after whose answer the connection is closed."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = ["host: localhost", "connection: close", f"content-length: {len(data)}", *headers]
    head = "".join(f"{line}\r\n" for line in (f"POST {path} HTTP/1.1", *lines))
    return head.encode() + b"\r\n" + data


def chat(prompt: str = "hello", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def still_serves(house: House) -> None:
    """Check that a stranger's good request is answered."""
    answer = talk(house, post("/v1/chat/completions", chat()))
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]
    assert b"echo: hello" in answer
