"""What ends, and what does not: late deaths of nodes, leases of long calls, whatever a command has started."""

import asyncio
import json
import logging
import sys
from pathlib import Path

import pytest
from gateway_shared import CHAT, ask, caller, chat, gateway, node, retries, run, until

from fairlead.backends import command_backend, http_connection
from fairlead.backends.command_backend import CommandBackend
from fairlead.backends.contract import Headers
from fairlead.config import Config, NodeConfig, NodeKind, NodeTimeouts
from fairlead.dialects.contract import NodeRequest
from fairlead.errors import Fault
from fairlead.orchestrator.build import fleet_settings
from fairlead.testing.provider import FakeProvider, Fate, Reply


@pytest.mark.parametrize(("stale_s", "attempts"), [(60.0, 3), (0.0, 2)])
def test_only_a_connection_that_ends_at_once_counts_as_stale(
    stale_s: float, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connection, "STALE_S", stale_s)

    async def main() -> None:
        async with FakeProvider() as provider, gateway(node(provider), retries=retries(max_attempts=1)) as running:
            assert (await ask(running, CHAT, chat())).status == 200
            provider.script(Reply(fate=Fate.RESET), Reply(fate=Fate.RESET))
            assert (await ask(running, CHAT, chat())).status == 502
            assert provider.attempts == attempts

    run(main())


def test_no_lease_ends_before_the_longest_call_may() -> None:
    patient = NodeConfig(name="a", url="http://127.0.0.1:9/v1", timeouts=NodeTimeouts(total_s=5000))
    settings = fleet_settings(Config(nodes=(patient,), pending_timeout_s=10))
    assert settings.lease_ttl_s > 5000
    assert settings.probe_ttl_s == settings.lease_ttl_s


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_whatever_a_command_started_ends_with_its_caller() -> None:
    script = (
        "import os, subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "os.write(1, b'%d;' % child.pid); time.sleep(60)"  # in one piece
    )

    async def main() -> None:
        agent = NodeConfig(name="agent", kind=NodeKind.COMMAND, command=(sys.executable, "-c", script))
        async with gateway(agent) as running:
            async with caller(running) as one:
                one.send("POST", CHAT, chat(model="agent", stream=True))
                await one.head()
                event = (await one.chunk()).decode()
                child = int(event.partition('"content":"')[2].partition(";")[0])
                assert is_alive(child)
                one.hang_up()
            await until(lambda: not is_alive(child))

    run(main())


@pytest.mark.parametrize("steps", range(6))
def test_a_command_given_up_has_ended_when_its_backend_is_closed(steps: int) -> None:
    async def main() -> None:
        program = "import time; print('ready', flush=True); time.sleep(60)"
        backend = CommandBackend((sys.executable, "-c", program))
        listener = Listener()
        run = backend.send(NodeRequest("/chat/completions", json.dumps(chat(stream=True)).encode()), b"", listener)
        await listener.has_begun.wait()
        run.cancel()
        for _ in range(steps):  # the program is being killed
            await asyncio.sleep(0)
        await backend.close()

    run(main())  # an event loop that still has a process or a pipe does not close


LARGE = "x" * 2**20
"""More than a pipe holds."""


@pytest.mark.parametrize(
    ("command", "answer"),
    [((sys.executable, "-c", "print('hi')"), "hi\n"), (("echo", "hi"), "hi\n"), (("true",), "")],
)
def test_a_program_that_does_not_read_its_input_answers_all_the_same(command: tuple[str, ...], answer: str) -> None:
    async def main() -> None:
        backend = CommandBackend(command)
        for number in range(40):
            listener = await told_by(backend, LARGE if number % 2 else "short")
            assert (listener.error, listener.text) == (None, answer), number
        await backend.close()

    run(main(), 60.0)


@pytest.mark.parametrize("error", [RuntimeError("the handler is closed"), BrokenPipeError(), ConnectionResetError()])
def test_an_input_that_is_closed_already_is_no_failure(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(writer: asyncio.StreamWriter, data: bytes) -> None:
        raise error

    async def main() -> None:
        monkeypatch.setattr(asyncio.StreamWriter, "write", refuse)
        listener = await told_by(CommandBackend(("echo", "hi")), "hello")
        assert (listener.error, listener.text) == (None, "hi\n")

    run(main())


@pytest.mark.parametrize("part", ["prompt_of", "_feed", "_end"])
def test_a_fault_of_our_own_is_told_and_logged(
    part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends = command_backend._end

    async def broken_end(process: asyncio.subprocess.Process) -> None:
        await ends(process)
        raise ZeroDivisionError

    def broken(*words: object) -> str:
        raise ZeroDivisionError

    async def main() -> None:
        monkeypatch.setattr(command_backend, part, broken_end if part == "_end" else broken)
        listener = await told_by(CommandBackend(("false",)), "hello")
        assert listener.error is not None
        assert listener.error[0] is Fault.UNAVAILABLE
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR, "fairlead"):
        run(main())
    assert "ZeroDivisionError" in caplog.text


class Listener:
    """Keeps what a backend tells."""

    def __init__(self) -> None:
        self.has_begun = asyncio.Event()
        self.is_over = asyncio.Event()
        self.data = b""
        self.error: tuple[Fault, str] | None = None

    @property
    def text(self) -> str:
        """What was said by an answer that was not streamed."""
        return str(json.loads(self.data)["choices"][0]["message"]["content"]) if self.data else ""

    def on_head(self, status: int, headers: Headers) -> None:
        self.has_begun.set()

    def on_data(self, data: bytes) -> None:
        self.data += data

    def on_end(self) -> None:
        self.is_over.set()

    def on_error(self, fault: Fault, message: str) -> None:
        self.error = fault, message
        self.is_over.set()


async def told_by(backend: CommandBackend, prompt: str) -> Listener:
    """Ask a backend, and wait until it has told the end."""
    listener = Listener()
    backend.send(NodeRequest("/chat/completions", json.dumps(chat(prompt)).encode()), b"", listener)
    await asyncio.wait_for(listener.is_over.wait(), 10.0)
    return listener


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
