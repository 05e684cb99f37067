"""The main job on real models: three llama.cpp servers, the gateway in front, tasks of all six categories.

Run it with `make demo`. It ends by itself, with exit code 0, or with one sentence that says what is missing.
"""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from fairlead.errors import FairleadError
from fairlead.local.process import LocalServer
from fairlead.local.weights import fetch_weights

AT_ONCE = 3
WORDS_BEFORE = 20
"""Of an answer, after which its server is switched off."""
SHORT, LONG = "smollm2-135m", "smollm2-135m-4k"
LISTING = "\n".join(f"def step_{i}(state): return state.advance({i})  # part {i} of the pipeline" for i in range(32))
TASKS = [
    ("chat", "Write a function that reverses the words of a sentence."),
    ("stream", "Implement a queue with two stacks in Python."),
    ("chat", "Debug the crash in the parser: KeyError: 'section' in load_config."),
    ("stream", "Why does this loop never end? It raises a RecursionError after a while."),
    ("ollama", "Refactor this function to remove the duplicated branches."),
    ("stream", "Rename the variables and simplify the nested conditions, same behaviour."),
    ("chat", "Write unit tests for the function slugify."),
    ("ollama", "Add a pytest test for the empty list."),
    ("stream", "Write a docstring for the class ConnectionPool."),
    ("chat", "Document the REST API of the user service in the README."),
    ("stream", "Review this pull request: it replaces the lock with an atomic counter."),
    ("ollama", "Please do a code review of this diff for security problems."),
    ("stream", f"Review this code:\n{LISTING}"),
]


@dataclass
class Answer:
    """What came back, and how fast."""

    headers: dict[str, str]
    text: str
    first_s: float
    total_s: float
    tokens: int

    @property
    def tokens_per_s(self) -> float:
        """Speed of the answer after its first token."""
        spent_s = self.total_s - (self.first_s if self.first_s < self.total_s else 0.0)
        return self.tokens / spent_s if spent_s > 0 else 0.0


def ask(port: int, door: str, prompt: str) -> Answer:
    """Send one task over HTTP, in one of three ways, and take the time."""
    message = {"messages": [{"role": "user", "content": prompt}], "model": "auto"}
    path = "/api/chat" if door == "ollama" else "/v1/chat/completions"
    limits = {"options": {"num_predict": 40}} if door == "ollama" else {"max_tokens": 40}
    wanted = {} if door == "ollama" else {"stream": door == "stream"}
    if door == "stream":
        wanted["stream_options"] = {"include_usage": True}  # type: ignore[assignment]  # JSON, of any shape
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    began_s = time.perf_counter()
    connection.request("POST", path, json.dumps(message | limits | wanted), {"content-type": "application/json"})
    response = connection.getresponse()
    headers = {name.lower(): value for name, value in response.getheaders()}
    first_s, pieces = 0.0, []
    while line := response.readline():
        if line.strip() and not first_s:
            first_s = time.perf_counter() - began_s
        pieces.append(line)
    total_s = time.perf_counter() - began_s
    connection.close()
    if response.status != 200:
        raise FairleadError(f"the gateway answered {response.status}: {b''.join(pieces).decode()[:300]}")
    text, tokens = read_answer(door, pieces)
    return Answer(headers, text, total_s if door == "chat" else first_s, total_s, tokens)


def read_answer(door: str, pieces: list[bytes]) -> tuple[str, int]:
    """Return the text of an answer and its number of tokens."""
    if door == "chat":
        whole = json.loads(b"".join(pieces))
        return whole["choices"][0]["message"]["content"], whole["usage"]["completion_tokens"]
    text, tokens = "", 0
    for piece in pieces:
        line = piece.removeprefix(b"data: ").strip()
        if line and line != b"[DONE]" and not line.startswith(b":"):
            event = json.loads(line)
            if door == "ollama":
                text += event["message"]["content"]
                tokens = event.get("eval_count", tokens)
            else:
                text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
                tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
    return text, tokens


def get(port: int, path: str) -> dict[str, object]:
    """Fetch JSON from the gateway."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    found: dict[str, object] = json.loads(connection.getresponse().read())
    connection.close()
    return found


@contextlib.contextmanager
def gateway(config: str) -> Iterator[int]:
    """Run `fairlead serve` on a configuration; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fairlead.yaml"
        file.write_text(config)
        command = [sys.executable, "-m", "fairlead", "serve", str(file), "--listen", f"127.0.0.1:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603 - our own
        try:
            for _ in range(200):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                if process.poll() is not None and process.stderr is not None:
                    raise FairleadError(f"the gateway did not start: {process.stderr.read().decode().strip()}")
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.communicate(timeout=40)


def configuration(servers: dict[str, LocalServer]) -> str:
    """Write the configuration of the fleet, as a user would."""
    lines = ["strategy: hybrid", "timeouts: {first_token_s: 120}", "nodes:"]
    for name, server in servers.items():
        lines += [f"  - name: {name}", f"    url: {server.url}", f"    models: [{server.alias}]"]
        lines += ["    capacity: {slots: 2}", "    continuation: trailing"]
    lines += ["models:", f"  - {{name: {SHORT}, context_tokens: 512}}", f"  - {{name: {LONG}, context_tokens: 4096}}"]
    lines += [f"fallbacks: {{{SHORT}: [{LONG}]}}"]
    return "\n".join(lines) + "\n"


def show(console: Console, port: int, tasks: list[tuple[str, str]]) -> None:
    """Send tasks and print the table that says what became of them."""
    table = Table(box=None, pad_edge=False, header_style="bold", row_styles=["", "dim"])
    for title in ("task", "category", "model", "node", "why"):
        table.add_column(title, no_wrap=title != "why", overflow="ellipsis", max_width=30 if title == "task" else None)
    for title in ("first", "tok/s"):
        table.add_column(title, justify="right")
    with console.status(f"asking, {AT_ONCE} at a time ..."), ThreadPoolExecutor(AT_ONCE) as pool:
        answers = pool.map(lambda task: ask(port, *task), tasks)
        for (door, prompt), answer in zip(tasks, answers, strict=True):
            headers = answer.headers
            record = get(port, f"/v1/decisions/{headers['x-fairlead-decision']}")
            decision = record["decision"]
            why = decision["why"] if isinstance(decision, dict) else ""
            if headers["x-fairlead-attempts"] != "1":
                why = f"{why}, after {record['failures'][0]['node']} failed"  # type: ignore[index]  # plain JSON
            mark = {"chat": " ", "stream": "~", "ollama": "@"}[door]
            table.add_row(
                f"{mark} {' '.join(prompt.split())}",
                headers["x-fairlead-category"],
                headers["x-fairlead-model"],
                headers["x-fairlead-node"],
                why,
                f"{answer.first_s * 1000:.0f} ms",
                f"{answer.tokens_per_s:.0f}",
            )
    console.print(table)


def break_in_the_middle(console: Console, port: int, servers: dict[str, LocalServer]) -> str:
    """Switch a server off while it answers, show who finished the answer, and return the server's name."""
    wanted = {"model": SHORT, "stream": True, "max_tokens": 90, "temperature": 0}
    wanted |= {"messages": [{"role": "user", "content": "Tell me a story about a lighthouse keeper."}]}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", "/v1/chat/completions", json.dumps(wanted), {"content-type": "application/json"})
    response = connection.getresponse()
    name = response.getheader("x-fairlead-node", "")
    before, after, is_off = "", "", False
    note: dict[str, str] = {}
    for line in response:
        data = line.removeprefix(b"data: ").strip()
        if not data or data == b"[DONE]":
            continue
        event = json.loads(data)
        text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))
        before, after = (before, after + text) if is_off else (before + text, after)
        note = event.get("fairlead", note)
        if not is_off and len(before.split()) >= WORDS_BEFORE:
            servers[name].stop()
            is_off = True
    connection.close()
    if not note:
        raise FairleadError(f"the answer that {name} began was not finished by another server")
    console.print(Text.assemble((before.replace("\n", " "), "dim"), (after.replace("\n", " "), "green")))
    told = f"{name} began it and was switched off; {note['node']} {note['how']} it: one unbroken answer."
    console.print(f"\n[dim]{told}[/]\n")
    return name


def main() -> int:
    """Run the demonstration."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    with contextlib.ExitStack() as stack:
        with console.status("fetching the weights of SmolLM2-135M (about 98 MB, once) and starting three servers ..."):
            weights = fetch_weights()
            wanted = {"anchor": (SHORT, 512), "beacon": (SHORT, 512), "capstan": (LONG, 4096)}
            servers = {
                name: stack.enter_context(LocalServer.start(weights, alias, parallel=2, context_tokens=2 * context))
                for name, (alias, context) in wanted.items()
            }
        port = stack.enter_context(gateway(configuration(servers)))
        console.print(Panel.fit("Three real model servers, one address in front of them", style="bold"))
        for name, server in servers.items():
            console.print(f"  {name:8} llama.cpp, {server.alias}, process {server.pid}")
        console.print(f"  [bold]gateway[/]  http://127.0.0.1:{port}, strategy hybrid\n")
        show(console, port, TASKS)
        console.print("\n[dim]~ streamed   @ over Ollama's API   first: time to the first token[/]\n")
        console.print("[bold]Now a server is switched off in the middle of an answer:[/]\n")
        gone = break_in_the_middle(console, port, servers)
        console.print(f"[bold]{gone} stays off.[/] Its tasks go on elsewhere:\n")
        show(console, port, TASKS[:6])
        fleet = get(port, "/admin/fleet")
        nodes = fleet["nodes"] if isinstance(fleet["nodes"], list) else []
        console.print("\ncircuits: " + ", ".join(f"{node['name']} {node['circuit']}" for node in nodes))
        console.print("[green]Every task was answered.[/]")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    try:
        sys.exit(main())
    except FairleadError as problem:
        sys.exit(f"fairlead: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
