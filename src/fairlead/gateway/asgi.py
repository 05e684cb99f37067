"""The gateway as an ASGI application, to be mounted on any ASGI server.

    uvicorn 'myapp:app'        with        app = asgi_app(load(Path("fairlead.yaml")))

`listen` in the configuration must be the address of that server: callers may address it by no other name.
fairlead's own server is faster and is what `fairlead serve` runs; this is for those who have a server already. The
server's own limits hold for headers and slow callers; the limit on bodies is kept here.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fairlead.config import Config
from fairlead.dialects.contract import Dialect, ErrorInfo
from fairlead.gateway.http import Request
from fairlead.gateway.reply import send_error
from fairlead.gateway.serving import RunningGateway

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]
HIGH_WATER = 64
"""Messages waiting for a slow caller, beyond which no more is taken from the node."""


def asgi_app(config: Config) -> ASGIApp:
    """Return an application that serves a configuration; it starts and stops with the server's lifespan."""
    running = RunningGateway(config)

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(running, receive, send)
        elif scope["type"] == "http":
            await _answer(running, config.limits.max_body_bytes, scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1003})

    return app


class _GoneError(Exception):
    """The caller left before its request was whole: half of one must not be carried out."""


class AsgiResponder:
    """Turns the gateway's callbacks into ASGI messages, in order."""

    def __init__(self) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_pressure: Callable[[bool], None] | None = None
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer."""
        lines = headers + b"content-length: %d\r\n" % len(body)
        self._start(status, lines)
        self.messages.put_nowait({"type": "http.response.body", "body": body})
        self.messages.put_nowait(None)

    def begin(self, status: int, headers: bytes, first: bytes) -> None:
        """Send the head of a streamed answer with its first piece."""
        self._start(status, headers)
        self.write(first)

    def write(self, data: bytes) -> None:
        """Send a further piece."""
        if data:
            self.messages.put_nowait({"type": "http.response.body", "body": data, "more_body": True})

    def end(self, trailers: bytes = b"") -> None:
        """End a streamed answer; ASGI servers hardly know trailers, so there are none."""
        del trailers
        self.messages.put_nowait({"type": "http.response.body", "body": b""})
        self.messages.put_nowait(None)

    def break_off(self) -> None:
        """End without the last message: the server then drops the connection."""
        self.messages.put_nowait(None)

    def leave(self, task: "asyncio.Task[None]") -> None:
        """Take note that the caller went away before its answer was complete."""
        if not task.cancelled():
            gone, self.on_gone = self.on_gone, None
            if gone is not None:
                gone()
            self.messages.put_nowait(None)

    def _start(self, status: int, headers: bytes) -> None:
        pairs = [tuple(line.split(b": ", 1)) for line in headers.split(b"\r\n") if line]
        self.messages.put_nowait({"type": "http.response.start", "status": status, "headers": pairs})


async def _answer(running: RunningGateway, max_body_bytes: int, scope: Message, receive: Receive, send: Send) -> None:
    responder = AsgiResponder()
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    try:
        body = await _body(receive, max_body_bytes)
    except _GoneError:
        return
    if body is None:
        error = ErrorInfo(413, f"the body exceeds {max_body_bytes} bytes", "invalid_request_error")
        send_error(responder, Dialect.OLLAMA if path.startswith("/api/") else Dialect.OPENAI, error)
    else:
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("latin-1")
        running.gateway(Request(scope["method"], path, query, headers, body), responder)
    leaving = asyncio.get_running_loop().create_task(_leaving(receive))
    leaving.add_done_callback(responder.leave)
    try:
        while (message := await responder.messages.get()) is not None:
            if message["type"] == "http.response.body" and not message.get("more_body"):
                responder.on_gone = None  # complete: nobody can go away from it any more
            if responder.on_pressure is not None and responder.messages.qsize() > HIGH_WATER:
                responder.on_pressure(True)
            await send(message)
            if responder.on_pressure is not None and responder.messages.empty():
                responder.on_pressure(False)
    finally:
        gone, responder.on_gone = responder.on_gone, None
        if gone is not None:
            gone()
        leaving.cancel()


async def _body(receive: Receive, limit: int) -> bytes | None:
    """Read a whole body; None where it exceeds the limit. Raises _GoneError where the caller leaves before its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _live(running: RunningGateway, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await running.prepare()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await running.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
