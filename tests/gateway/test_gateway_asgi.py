"""The gateway mounted on another server: uvicorn, over real sockets."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection

import pytest
import uvicorn
from gateway_shared import config, node, run, until

from fairlead.config import Config, Limits, NodeConfig, NodeKind
from fairlead.gateway.asgi import Message, asgi_app
from fairlead.testing.provider import FakeProvider, Fate, Reply


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> Iterator[int]:
    port = free_port()
    nodes = (NodeConfig(name="sim", kind=NodeKind.SIMULATED),)
    app = asgi_app(Config(listen=f"127.0.0.1:{port}", nodes=nodes))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield port
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def post(port: int, path: str, body: object) -> tuple[int, dict[str, str], bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, {name.lower(): value for name, value in response.getheaders()}, data


def chat(**more: object) -> dict[str, object]:
    return {"model": "sim", "messages": [{"role": "user", "content": "write a test"}], **more}


def test_whole_answers(port: int) -> None:
    status, headers, body = post(port, "/v1/chat/completions", chat())
    assert status == 200
    assert headers["x-fairlead-node"] == "sim"
    assert headers["x-fairlead-category"] == "testing"
    assert "speaking" in json.loads(body)["choices"][0]["message"]["content"]


def test_streams_in_both_dialects(port: int) -> None:
    status, headers, body = post(port, "/v1/chat/completions", chat(stream=True))
    assert (status, headers["content-type"]) == (200, "text/event-stream")
    assert body.endswith(b"data: [DONE]\n\n")
    status, headers, body = post(port, "/api/chat", chat())
    assert (status, headers["content-type"]) == (200, "application/x-ndjson")
    assert json.loads(body.splitlines()[-1])["done"] is True


def test_errors_and_limits(port: int) -> None:
    status, _, body = post(port, "/v1/chat/completions", {"model": "nope", "messages": []})
    assert status == 404
    assert json.loads(body)["error"]["code"] == "model_not_found"


def test_a_caller_that_leaves_stops_the_work() -> None:
    """Driven without a server, so that the moment of leaving is exact."""

    async def scene() -> None:
        async with FakeProvider(default=Reply(fate=Fate.STALL)) as provider:
            app = asgi_app(config(node(provider)))
            life: asyncio.Queue[Message] = asyncio.Queue()
            life.put_nowait({"type": "lifespan.startup"})
            started: asyncio.Queue[Message] = asyncio.Queue()
            living = asyncio.ensure_future(app({"type": "lifespan"}, life.get, started.put))
            assert (await started.get())["type"] == "lifespan.startup.complete"
            coming: asyncio.Queue[Message] = asyncio.Queue()
            going: asyncio.Queue[Message] = asyncio.Queue()
            coming.put_nowait({"type": "http.request", "body": json.dumps(chat(model="m", stream=True)).encode()})
            headers = [(b"host", b"127.0.0.1")]
            scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
            answering = asyncio.ensure_future(app(scope, coming.get, going.put))
            assert (await going.get())["status"] == 200
            coming.put_nowait({"type": "http.disconnect"})
            await until(lambda: provider.abandoned == 1)
            await answering
            life.put_nowait({"type": "lifespan.shutdown"})
            await living

    run(scene())


def test_a_body_beyond_the_limit_is_refused() -> None:
    async def scene() -> None:
        app = asgi_app(config(limits=Limits(max_body_bytes=10)))
        coming: asyncio.Queue[Message] = asyncio.Queue()
        going: asyncio.Queue[Message] = asyncio.Queue()
        coming.put_nowait({"type": "http.request", "body": b"x" * 6, "more_body": True})
        coming.put_nowait({"type": "http.request", "body": b"x" * 6})
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
        await app(scope, coming.get, going.put)
        assert (await going.get())["status"] == 413

    run(scene())
