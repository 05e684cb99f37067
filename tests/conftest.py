"""What the tests of several folders share: real weights and a real server, files and a command line."""

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from fairlead.cli import cli
from fairlead.errors import FairleadError
from fairlead.local.cut import cut_layers
from fairlead.local.process import LocalServer, installed
from fairlead.local.weights import fetch_weights

# What a program under test keeps of its own goes with the tests.
os.environ["FAIRLEAD_STATE"] = tempfile.mkdtemp(prefix="fairlead-state-")
atexit.register(shutil.rmtree, os.environ["FAIRLEAD_STATE"], ignore_errors=True)

# The same examples each time, so that tests fail for a change and for nothing else.
settings.register_profile("steady", derandomize=True, deadline=None)
settings.load_profile("steady")

FLEET = """\
nodes:
  - name: gpu-1
    url: http://127.0.0.1:8000/v1
    models: [coder, small]
    api_key: sk-node-secret-1
    headers: {x-token: header-secret-2}
    weight: 2
    capacity: {slots: 16}
  - {name: claude, command: [/usr/bin/claude, --token, argument-secret-3], concurrency: 2}
models:
  - name: coder
    context_tokens: 32768
    capabilities: [tools, json]
    price: {input_usd_per_mtok: 0.05, output_usd_per_mtok: 0.15}
    skill: {coding: 0.8, debugging: 0.9}
groups: {fast: [coder, small]}
aliases: {gpt-4o: coder}
fallbacks: {coder: [small]}
keys:
  - {name: alice, key: caller-secret-4}
  - {name: ops, key: caller-secret-5, admin: true}
"""


@pytest.fixture
def fleet_file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def run_it(*args: object, text: str | None = None) -> Result:
        return CliRunner().invoke(cli, [str(arg) for arg in args], input=text, catch_exceptions=True)

    return run_it


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def weights() -> Path:
    if not installed():
        pytest.skip("xllamacpp is not installed")
    try:
        return fetch_weights()
    except FairleadError as error:
        pytest.skip(f"no real weights: {error}")


@pytest.fixture(scope="session")
def replica(weights: Path) -> Path:
    return cut_layers(weights, 2)


@pytest.fixture(scope="session")
def full(weights: Path) -> Iterator[LocalServer]:
    with LocalServer.start(weights, context_tokens=512) as server:
        yield server
