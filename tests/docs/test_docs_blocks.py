"""Every command, configuration and piece of Python in README and docs does what the page says.

`console` blocks hold lines that begin with `$ ` and what they print, where `...` stands for anything. `make` targets
only have to exist; `curl`, and what asks a running gateway, is played against one that serves the first configuration
of the page, or of the page on the HTTP interface where it has none.
"""

import doctest
import http.client
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from docs_shared import FAIRLEAD, ROOT, STAGED, Block, blocks, make_targets

from fairlead.categories import catalog as detectors
from fairlead.config import loads
from fairlead.orchestrator import checks
from fairlead.routing import catalog as strategies

ENV = {"OPS_KEY": "a-key-for-the-docs", "GPU1_KEY": "another-key"}
TAGS = {"console", "sh", "yaml", "toml", "python", "mermaid", "text", "js", "ini", "dockerfile", ""}
ASK_A_GATEWAY = ("nodes", "queue", "leases")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Command(NamedTuple):
    place: str
    page: Path
    text: str
    printed: str

    def __str__(self) -> str:
        return self.place


def is_asking(text: str) -> bool:
    """Tell whether a command asks a gateway that runs."""
    first, *rest = text.split()
    return first == "curl" or (first == "fairlead" and rest[0] in ASK_A_GATEWAY)


def commands(*, asking: bool = False) -> list[Command]:
    """Return what asks a gateway, or everything else; of pages with a stage of their own only the `make` targets."""
    found = []
    for block in blocks("console"):
        first, *rest = ("\n" + block.text).split("\n$ ")
        assert not first.strip(), f"{block} begins with output"
        for at, text in enumerate(rest, 1):
            command, _, printed = text.partition("\n")
            is_staged = block.page.name in STAGED and not command.startswith("make ")
            if is_asking(command) == asking and not is_staged:
                found.append(Command(f"{block}-{at}", block.page, command, printed))
    return found


@contextmanager
def gateway(page: Path, folder: Path) -> Iterator[int]:
    """Serve the first configuration of a page; gives the port."""
    file = folder / f"{page.stem}.yaml"
    file.write_text(next(block.text for block in blocks("yaml") if block.page == page))
    command = [*FAIRLEAD, "serve", str(file), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        greeting = process.stderr.readline()
        yield int(greeting.partition(" at http://127.0.0.1:")[2].partition(";")[0])
        process.terminate()
        assert process.wait(30) == 0


@pytest.fixture(scope="module")
def port_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], int]]:
    """Give what starts the gateway of a page, once."""
    folder = tmp_path_factory.mktemp("docs")
    pages = {block.page for block in blocks("yaml")}
    with ExitStack() as running:
        start = cache(lambda page: running.enter_context(gateway(page, folder)))
        yield lambda page: start(page if page in pages else ROOT / "docs" / "http-api.md")


def play(port: int, words: list[str]) -> str:
    method, body, headers, url = "", None, {"content-type": "application/json"}, ""
    rest = iter(words)
    for word in rest:
        if word == "-d":
            body = next(rest)
        elif word == "-H":
            name, _, value = next(rest).partition(":")
            headers[name] = value.strip()
        elif word == "-X":
            method = next(rest)
        elif word != "-s":
            url = word
    path = url.removeprefix("http://127.0.0.1:8400")
    assert path.startswith("/"), f"curl goes elsewhere: {url}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method or ("POST" if body else "GET"), path, body, headers)
    answer = connection.getresponse().read().decode()
    connection.close()
    return answer


def run(command: str) -> str:
    program, *words = shlex.split(command)
    starts = {"fairlead": FAIRLEAD, "python": [sys.executable]}
    assert program in starts, f"this test cannot run {program}"
    done = subprocess.run([*starts[program], *words], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(command: Command, said: str) -> None:
    if command.printed:
        is_right = doctest.OutputChecker().check_output(command.printed, said, _FLAGS)
        assert is_right, f"{command.place} shows otherwise:\n{said}"


@pytest.mark.parametrize("command", commands(), ids=str)
def test_commands(command: Command) -> None:
    if command.text.startswith("make "):
        assert command.text.split()[1] in make_targets()
    else:
        check(command, run(command.text))


@pytest.mark.parametrize("command", commands(asking=True), ids=str)
def test_requests(command: Command, port_of: Callable[[Path], int]) -> None:
    port = port_of(command.page)
    if command.text.startswith("curl "):
        check(command, play(port, shlex.split(command.text)[1:]))
    else:
        check(command, run(f"{command.text} --url http://127.0.0.1:{port}"))


def test_only_known_kinds_of_block() -> None:
    assert {block.tag for block in blocks()} <= TAGS
    for block in blocks("sh"):
        assert all(line.startswith("pip install ") for line in block.text.splitlines())


@pytest.mark.parametrize("block", [block for block in blocks("yaml") if "alert:" not in block.text], ids=str)
def test_configurations(block: Block) -> None:
    assert loads(block.text, str(block), ENV).nodes


@pytest.mark.parametrize("block", [one for one in blocks("python") if "127.0.0.1:8400" not in one.text], ids=str)
def test_python(block: Block, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "fairlead.yaml", tmp_path)
    command = [sys.executable, "-W", "error", "-c", block.text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_entry_points_are_named_right(block: Block) -> None:
    groups = tomllib.loads(block.text)["project"]["entry-points"]
    assert set(groups) <= {strategies.ENTRY_POINTS, detectors.ENTRY_POINTS, checks.ENTRY_POINTS}
