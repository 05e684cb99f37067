"""What the tests of reloading share: a file as it is written, and a gateway that serves it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway_shared import is_at_rest, until

from fairlead.config import load
from fairlead.engine.events import ConfigChanged
from fairlead.gateway import RunningGateway
from fairlead.gateway.reload import Reloader
from fairlead.testing.provider import FakeProvider


def entry(provider: FakeProvider, name: str, **more: object) -> dict[str, object]:
    """Return a node as the file has it."""
    kind = "ollama" if provider.dialect == "ollama" else "openai"
    return {"name": name, "url": provider.url, "kind": kind, "models": list(provider.models), "poll": False} | more


def write(path: Path, *nodes: dict[str, object], **more: object) -> None:
    """Write a configuration as JSON, which is YAML too."""
    settings = {
        "listen": "127.0.0.1:0",
        "nodes": nodes,
        "timeouts": {"connect_s": 10, "first_token_s": 20, "idle_s": 20, "total_s": 25},
        "load_balancer": {"slow_start_s": 0},
        "drain_s": 2,
        "reload": False,
    }
    path.write_text(json.dumps(settings | more))


@asynccontextmanager
async def serving_file(path: Path) -> AsyncIterator[tuple[RunningGateway, Reloader]]:
    """Serve a file; at the end nothing may be left of any request."""
    running = RunningGateway(load(path), path)
    await running.start()
    assert running._reloader is not None
    try:
        yield running, running._reloader
        await until(lambda: is_at_rest(running))
    finally:
        await running.stop(0.0)
    assert is_at_rest(running)


def events(running: RunningGateway) -> list[ConfigChanged]:
    told: list[ConfigChanged] = []
    running.orchestrator.bus.subscribe(ConfigChanged, told.append)
    return told


def names(running: RunningGateway) -> set[str]:
    return set(running.orchestrator.fleet.nodes)
