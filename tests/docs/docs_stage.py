"""A stage for pages that tell operators what to type: a real gateway, stand-ins for its nodes, and things that befall.

The page's first configuration is served; every address in it on this machine belongs to a stand-in, and the commands
that a page shows are run against all of that. Some commands are played, since a test has neither units nor machines:
`systemctl` and `journalctl` do with the gateway what the unit of docs/deployment.md says, `ssh NODE systemctl` stops
and starts the stand-in of that node. In what is printed ports are put back to those of the page.
"""

import asyncio
import http.client
import io
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import yaml
from docs_shared import FAIRLEAD, ROOT

from fairlead.cli import main
from fairlead.testing.provider import FakeProvider

ASK_A_GATEWAY = (
    "nodes", "queue", "leases", "events", "drain", "undrain", "recover", "reload", "explain",
)  # fmt: skip
"""Commands that ask a gateway that runs."""
OWN_PROCESS = ("serve", "drill")
"""Commands that change what is common to a process: signals, logging."""
PORT = 8400
"""Of the gateway, as pages write it."""
SOONER = {
    "listen": "127.0.0.1:8400",
    "health": "{window_s: 20, min_outcomes: 6, check: {interval_s: 1, timeout_s: 1}}",
    "load_balancer": "{slow_start_s: 0.1}",
    "drain_s": "5",
    "reload": "false",
}
"""Put under the configuration of a page: the same things happen, nobody waits for them long, or races with them."""
_LOCAL = re.compile(r"127\.0\.0\.1:(\d+)")


_ports = itertools.cycle(range(20_000 + os.getpid() % 10_000, 32_000))
"""Below those that systems give away by themselves: what is stopped and started again finds its port free."""


def free_port() -> int:
    """Return a port that nobody listens on, another each time."""
    for port in _ports:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is always a next one")


def until(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    """Wait for something to come about."""
    end_s = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.05)


class Stage:
    """One gateway with its nodes; a context manager."""

    def __init__(self, config: str, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "fairlead.yaml"
        self.log = folder / "gateway.log"
        self.providers: dict[str, FakeProvider] = {}
        self._config = config
        self._ports: dict[int, int] = {PORT: free_port()}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._process: subprocess.Popen[bytes] | None = None
        self._calls = ThreadPoolExecutor(64)
        self.env = {**os.environ, "FAIRLEAD_STATE": str(folder), "COLUMNS": "120", "FAIRLEAD_KEY": ""}

    def __enter__(self) -> Self:
        self._thread.start()
        written = yaml.safe_load(self._config)
        for node in written["nodes"]:
            found = _LOCAL.search(node.get("url", ""))
            if found is not None:
                models = tuple(node["models"])
                self.providers[node["name"]] = provider = FakeProvider(models=models, remembers=False)
                provider.port = free_port()
                self.do(provider.start())
                self._ports[int(found[1])] = provider.port
        more = "".join(f"{key}: {value}\n" for key, value in SOONER.items() if key not in written)
        self.file.write_text(self.real(self._config + more))
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
        for provider in self.providers.values():
            provider.release()
            self.do(provider.stop())
        self._calls.shutdown(wait=True, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    # -- the gateway as a service

    @property
    def port(self) -> int:
        """Of the gateway."""
        return self._ports[PORT]

    @property
    def url(self) -> str:
        """Where the gateway is."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            command = [*FAIRLEAD, "serve", str(self.file)]
            self._process = subprocess.Popen(command, stderr=log, cwd=self.folder, env=self.env)
        until(lambda: not self.is_running or b"fairlead leads to" in self.log.read_bytes()[before:])
        assert self.is_running, self.log.read_text()

    def end(self, number: int = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    def systemctl(self, verb: str, *rest: str) -> str:
        """Do what the unit says."""
        assert rest[-1] == "fairlead", rest
        if verb == "kill":
            assert rest == ("--signal=KILL", "fairlead"), rest
            self.end(signal.SIGKILL)
            self.start()  # Restart=always
        elif verb == "reload":
            said = self.log.stat().st_size
            assert self._process is not None
            self._process.send_signal(signal.SIGHUP)
            until(lambda: b"configuration: " in self.log.read_bytes()[said:].partition(b"reading")[2])
        elif verb == "is-active":
            return "active\n"
        else:
            assert verb in ("start", "stop", "restart"), verb
            if verb != "start" and self.is_running:
                assert self.end() == 0
            if verb != "stop" and not self.is_running:
                self.start()
        return ""

    @property
    def is_running(self) -> bool:
        """Whether the gateway runs."""
        return self._process is not None and self._process.poll() is None

    def ssh(self, node: str, *command: str) -> str:
        """Start or stop the server of a node; its machine is a stand-in's."""
        assert command[0] == "systemctl", command
        provider = self.providers[node]
        if command[1] != "start":
            self.unplug(node)
        if command[1] != "stop":
            provider.choose = None
            self.do(provider.start())
        return ""

    # -- what befalls

    def do(self, job: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(job, self._loop).result(30)

    def unplug(self, *nodes: str) -> None:
        """Take nodes away."""
        for node in nodes:
            self.do(self.providers[node].stop())

    def ask_later(self, count: int) -> None:
        """Send requests at once, and do not wait for them."""
        for _ in range(count):
            self._calls.submit(self._ask)

    def ask(self, count: int, at_once: int = 4) -> bool:
        """Send requests, a few at a time; true when all are over."""
        for _ in range(0, count, at_once):
            calls = [self._calls.submit(self._ask) for _ in range(at_once)]
            assert all(call.result(60) for call in calls)
        return True

    def _ask(self) -> str:
        body = {"model": "auto", "messages": [{"role": "user", "content": "Debug the crash"}], "stream": True}
        return self.request("POST", "/v1/chat/completions", json.dumps(body), {})

    def request(self, method: str, path: str, body: str | None, headers: dict[str, str], *, head: bool = False) -> str:
        """Ask the gateway; returns the body, before it the status and the headers where they are wanted."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, {"content-type": "application/json", **headers})
            answer = connection.getresponse()
            lines = [f"HTTP/1.1 {answer.status} {answer.reason}", *(f"{n}: {v}" for n, v in answer.getheaders()), ""]
            try:
                said = answer.read().decode()
            except http.client.IncompleteRead as broken:  # an answer that breaks is cut
                said = broken.partial.decode()
            return ("\n".join(lines) + "\n" if head else "") + said
        finally:
            connection.close()

    def told(self, path: str) -> Any:
        """Return what the gateway answers an administrator."""
        return json.loads(self.request("GET", path, None, {}))

    def happened(self, kind: str, words: str = "") -> bool:
        """Tell whether there was such an event."""
        return any(words in one["text"] for one in self.told(f"/admin/events?limit=1000&kind={kind}")["events"])

    # -- commands

    def play(self, command: str) -> str:
        """Run a command of a page, and return what it prints."""
        program, *words = shlex.split(self.real(command))
        words = [str(ROOT / word) if word.startswith("examples/") else word for word in words]
        if program == "sudo":
            program, *words = words
        doing: dict[str, Callable[..., str]] = {
            "systemctl": self.systemctl,
            "ssh": self.ssh,
            "journalctl": lambda *_: self.log.read_text(),
            "curl": self._curl,
        }
        if program in doing:
            return self.shown(doing[program](*words))
        assert program in ("fairlead", "sed"), f"this test cannot play {program}"
        start = FAIRLEAD if program == "fairlead" else [program]
        if program == "fairlead" and words[0] not in OWN_PROCESS:
            is_asking = words[0] in ASK_A_GATEWAY and "--url" not in words
            return self.shown(self._tell([*words, "--url", self.url] if is_asking else words))
        done = subprocess.run(
            [*start, *words], capture_output=True, text=True, check=False, timeout=60, cwd=self.folder, env=self.env
        )
        assert done.returncode in (0, 1, 2), done.stderr
        return self.shown(done.stdout + done.stderr)

    def _tell(self, words: list[str]) -> str:
        """Run a command without the time that a process of its own takes to start."""
        said = io.StringIO()
        with (
            mock.patch.dict(os.environ, self.env), chdir(self.folder), redirect_stdout(said), redirect_stderr(said),
        ):  # fmt: skip
            assert main(words) in (0, 2)
        return said.getvalue()

    def _curl(self, *words: str) -> str:
        method, body, headers, url, head = "", None, {}, "", False
        rest = iter(words)
        for word in rest:
            if word == "-d":
                body = next(rest)
            elif word == "-H":
                name, _, value = next(rest).partition(":")
                headers[name] = value.strip()
            elif word == "-X":
                method = next(rest)
            elif word in ("-i", "-si", "-sNi"):
                head = True
            elif word not in ("-s", "-sN"):
                url = word
        path = url.removeprefix(self.url)
        assert path.startswith("/"), f"curl goes elsewhere: {url}"
        return self.request(method or ("POST" if body else "GET"), path, body, headers, head=head)

    def real(self, text: str) -> str:
        """Put the ports of this stage in place of those of the page."""
        return _LOCAL.sub(lambda found: f"127.0.0.1:{self._ports.get(int(found[1]), found[1])}", text)

    def shown(self, text: str) -> str:
        """The other way round."""
        back = {real: told for told, real in self._ports.items()}
        text = (
            text.replace(f"{self.folder}/", "").replace(f"{ROOT}/", "").replace(f"port {self.port} ", f"port {PORT} ")
        )
        return _LOCAL.sub(lambda found: f"127.0.0.1:{back.get(int(found[1]), found[1])}", text)
