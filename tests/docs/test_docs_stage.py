"""Every command of the pages for operators does what the page says, in the situation in which it is shown.

Each section of these pages that holds commands is played in order; `SCENES` says what has befallen by then. A command
that only looks is given some time to show what the page shows, since gateways notice things after a moment.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from docs_shared import ROOT, STAGED, Block, blocks
from docs_stage import PORT, Stage, until

from fairlead.testing.fates import flapping
from fairlead.testing.provider import Fate, Reply

PATIENCE_S = 15.0
_LOOKS = ("fairlead nodes", "fairlead queue", "fairlead leases", "fairlead events", "fairlead state show", "journalctl")


def _dead(stage: Stage) -> None:
    stage.ask(8)
    stage.unplug("beacon")
    until(lambda: stage.ask(4) and stage.happened("failed_over", "beacon"))


def _slow(stage: Stage) -> None:
    stage.ask(60)
    stage.providers["beacon"].default = Reply(late_s=0.8)
    until(lambda: stage.ask(24, at_once=8) and stage.happened("health_changed", "beacon: healthy -> degraded"))


def _flapping(stage: Stage) -> None:
    stage.ask(8)
    stage.providers["beacon"].choose = flapping(Reply(status=503), good=1, bad_ones=7)
    until(lambda: stage.ask(16) and stage.happened("circuit_changed", "beacon: circuit closed -> open"))


def _provider_is_down(stage: Stage) -> None:
    stage.ask(8)
    stage.unplug("anchor", "beacon")
    until(lambda: stage.ask(8) and stage.happened("circuit_changed", "anchor: circuit closed -> open"))
    until(lambda: stage.ask(8) and stage.happened("circuit_changed", "beacon: circuit closed -> open"))


def _damaged(stage: Stage) -> None:
    stage.ask(4)
    stage.systemctl("stop", "fairlead")
    state = stage.folder / "state.db"
    (stage.folder / "backup.db").write_bytes(state.read_bytes())
    state.write_bytes(b"rubbish" * 1000)


def _full(stage: Stage) -> None:
    for provider in stage.providers.values():
        provider.default = Reply(fate=Fate.HOLD)
    stage.ask_later(20)
    until(lambda: stage.told("/admin/queue")["classes"]["normal"]["waiting"] == 8)


def _used(stage: Stage) -> None:
    stage.ask(4)


SCENES: dict[str, Callable[[Stage], None]] = {
    "A node is dead": _dead,
    "A node is slow": _slow,
    "A node is flapping": _flapping,
    "A whole provider is down": _provider_is_down,
    "The gateway crashed": _used,
    "The state file is damaged": _damaged,
    "There is no room": _full,
}
"""What befell before the commands under a heading; such a section has a gateway of its own."""

Section = tuple[Path, str, list[Block]]


def sections() -> list[Section]:
    """Return the commands of the staged pages, section by section."""
    shown = [block for block in blocks("console") if block.page.name in STAGED]
    return [
        (page, heading, list(some)) for (page, heading), some in groupby(shown, lambda one: (one.page, one.heading))
    ]


def config_of(page: Path) -> str:
    """Return the configuration that a page's gateway has: the first with an address to listen on, else the first."""
    written = [block.text for block in blocks("yaml") if block.page == page]
    return next((text for text in written if text.startswith("listen:")), written[0])


@pytest.fixture(scope="module")
def stage_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Stage]]:
    """Give what returns the stage of a page, which its sections without a scene share."""
    with ExitStack() as running:
        yield cache(lambda page: running.enter_context(Stage(config_of(page), tmp_path_factory.mktemp(page.stem))))


def play(stage: Stage, block: Block) -> None:
    """Run the commands of a block, each as soon as the one before it showed what the page shows."""
    first, *rest = ("\n" + block.text).split("\n$ ")
    assert not first.strip(), f"{block} begins with output"
    for text in rest:
        command, _, printed = text.partition("\n")
        if command.startswith("make "):
            continue  # `test_commands` knows the targets
        end_s = time.monotonic() + (PATIENCE_S if command.startswith(_LOOKS) or command.startswith("curl -s ") else 0.0)
        said = stage.play(command)
        while not is_as(printed, said):
            assert time.monotonic() < end_s, f"{block}: {command} shows otherwise:\n{said}"
            time.sleep(0.1)
            said = stage.play(command)


def is_as(printed: str, said: str) -> bool:
    """Tell whether a command printed what the page shows, `...` for anything; nothing shown is nothing said of it."""
    wanted = ".*".join(re.escape("".join(part.split())) for part in printed.split("..."))
    return not printed.strip() or re.fullmatch(wanted, "".join(said.split()), re.DOTALL) is not None


@pytest.mark.parametrize("section", sections(), ids=lambda one: f"{one[0].stem}: {one[1]}")
def test_a_section(section: Section, stage_of: Callable[[Path], Stage], tmp_path: Path) -> None:
    page, heading, shown = section
    if heading in SCENES:
        with Stage(config_of(page), tmp_path) as stage:
            SCENES[heading](stage)
            for block in shown:
                play(stage, block)
    else:
        for block in shown:
            play(stage_of(page), block)


def test_every_scene_is_on_a_page() -> None:
    assert set(SCENES) <= {heading for _, heading, _ in sections()}


def asking() -> list[Block]:
    """Return the Python that asks a gateway."""
    return [block for block in blocks("python") if f"127.0.0.1:{PORT}" in block.text]


@pytest.mark.parametrize("block", asking(), ids=str)
def test_python_that_asks_a_gateway(block: Block, stage_of: Callable[[Path], Stage]) -> None:
    stage = stage_of(block.page)
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    command = [sys.executable, "-c", stage.real(block.text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
