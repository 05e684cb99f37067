"""A caller of the mounted gateway that leaves while it still sends: half a request is carried out by nobody."""

import asyncio
import json
from collections.abc import Iterable

import pytest

from fairlead.config import Config, Limits, NodeConfig, NodeKind
from fairlead.gateway.asgi import Message, asgi_app

BODY = json.dumps({"model": "sim", "messages": [], "stream": False}).encode()


def sent(path: str, messages: Iterable[Message]) -> list[Message]:
    """Return what the application answers to a request whose messages are given."""
    out: list[Message] = []

    async def scene() -> None:
        nodes = (NodeConfig(name="sim", kind=NodeKind.SIMULATED),)
        app = asgi_app(Config(listen="127.0.0.1:8400", nodes=nodes, limits=Limits(max_body_bytes=1000)))
        begin: asyncio.Queue[Message] = asyncio.Queue()
        begin.put_nowait({"type": "lifespan.startup"})
        started: asyncio.Queue[Message] = asyncio.Queue()
        life = asyncio.ensure_future(app({"type": "lifespan"}, begin.get, started.put))
        await asyncio.wait_for(started.get(), 5.0)
        coming: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            coming.put_nowait(message)

        async def take(message: Message) -> None:
            out.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope: Message = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await asyncio.wait_for(app(scope, coming.get, take), 5.0)
        begin.put_nowait({"type": "lifespan.shutdown"})
        await life

    asyncio.run(scene())
    return out


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/chat"])
@pytest.mark.parametrize("half", [b"", BODY[:10], BODY])
def test_who_leaves_before_the_end_of_its_request_has_asked_nothing(path: str, half: bytes) -> None:
    piece = {"type": "http.request", "body": half, "more_body": True}
    assert sent(path, [piece, {"type": "http.disconnect"}]) == []


def test_a_request_in_pieces_is_answered() -> None:
    pieces = [{"type": "http.request", "body": BODY[at : at + 1], "more_body": True} for at in range(len(BODY))]
    answer = sent("/v1/chat/completions", [*pieces, {"type": "http.request"}])
    assert answer[0]["status"] == 200


@pytest.mark.parametrize(("path", "shape"), [("/v1/chat/completions", dict), ("/api/chat", str)])
def test_too_large_a_body_is_refused_in_the_dialect_of_its_path(path: str, shape: type) -> None:
    head, body = sent(path, [{"type": "http.request", "body": b"x" * 2000}])
    assert head["status"] == 413
    assert isinstance(json.loads(body["body"])["error"], shape)
