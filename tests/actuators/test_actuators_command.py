"""Scaling by the user's program: a real script, its address, its failures, and nothing left behind."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from fairlead.actuators import Command, Report
from fairlead.errors import ConfigError

SCRIPT = """\
import os, pathlib, subprocess, sys, time
log, mode, verb, node = sys.argv[1:]
with open(log, "a") as file:
    print(verb, node, os.getpid(), file=file, flush=True)
if mode == "fail":
    print("no quota left", file=sys.stderr)
    sys.exit(3)
if mode == "hang" and verb == "up":
    time.sleep(60)
if mode == "server" and verb == "up":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print(f"http://127.0.0.1:{child.pid}/v1", flush=True)
elif mode == "address" and verb == "up":
    print("https://10.0.0.7:8000/v1\\nready")
elif mode == "chatty":
    print("x" * 1_000_000)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "scale.py"
    path.write_text(SCRIPT)
    return path


def command(script: Path, mode: str, timeout_s: float = 30.0) -> Command:
    return Command([sys.executable, "-S", str(script), str(script.parent / "log"), mode], timeout_s)


def calls(script: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (script.parent / "log").read_text().splitlines()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split() if Path("/proc").exists() else True


def test_up_gives_the_address_and_down_takes_the_node_away(script: Path) -> None:
    async def both() -> tuple[Report, Report]:
        actuator = command(script, "address")
        return await actuator.start("auto-1"), await actuator.stop("auto-1")

    assert asyncio.run(both()) == (Report(url="https://10.0.0.7:8000/v1"), Report())
    assert calls(script) == ["up auto-1", "down auto-1"]


def test_without_an_address_the_node_is_known_by_its_name_however_much_is_printed(script: Path) -> None:
    assert asyncio.run(command(script, "chatty").start("gpu-2")) == Report()


def test_a_failure_is_told_in_its_own_words_and_cleaned_up(script: Path) -> None:
    report = asyncio.run(command(script, "fail").start("auto-1"))
    assert "up auto-1 ended with status 3: no quota left" in report.problem
    assert calls(script) == ["up auto-1", "down auto-1"]
    assert "down auto-1 ended with status 3" in asyncio.run(command(script, "fail").stop("auto-1")).problem


def test_one_that_takes_too_long_is_ended_and_cleaned_up(script: Path) -> None:
    report = asyncio.run(command(script, "hang", timeout_s=1.0).start("auto-1"))
    assert "up auto-1 took longer than 1 s" in report.problem
    assert calls(script) == ["up auto-1", "down auto-1"]
    pid = int((script.parent / "log").read_text().split()[2])
    assert not alive(pid)


def test_a_program_that_is_not_there_is_a_report(tmp_path: Path) -> None:
    report = asyncio.run(Command([str(tmp_path / "none")]).start("auto-1"))
    assert "cannot start" in report.problem
    with pytest.raises(ConfigError, match="needs a command"):
        Command([])


def test_cancelled_it_leaves_no_process_behind(script: Path) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(command(script, "hang").start("auto-1"))
        while not (script.parent / "log").exists() or not (script.parent / "log").read_text().endswith("\n"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    pid = int((script.parent / "log").read_text().split()[2])
    assert not alive(pid)


def test_a_server_that_up_leaves_running_stays(script: Path) -> None:
    report = asyncio.run(command(script, "server").start("auto-1"))
    assert report.url is not None
    pid = int(report.url.rpartition(":")[2].partition("/")[0])
    assert alive(pid)
    os.kill(pid, 9)
