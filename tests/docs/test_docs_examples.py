"""Each example runs by itself, soon ends, says something, and keeps its own assertions."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from docs_shared import EXAMPLES, ROOT

from fairlead.config import load

LIMIT_S = 20.0
"""What an example may take here, beside everything else that runs; alone it takes well below two seconds."""
WANTED = {
    "round_robin", "performance", "affinity", "circuit_breaker", "hybrid", "switch_strategy", "own_detector", "metrics",
    "learn_then_perform", "specialists", "failover", "cli_agent", "own_strategy",
}  # fmt: skip


def run(path: Path, hash_seed: str) -> str:
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert time.monotonic() - began_s < LIMIT_S
    return done.stdout


def test_there_is_one_for_each_thing() -> None:
    assert {path.stem for path in EXAMPLES} >= WANTED


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs_and_says_the_same_each_time(path: Path) -> None:
    said = run(path, "0")
    assert said.strip()
    assert run(path, "1") == said


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_is_short_and_the_readme_knows_it(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 70
    assert f"(examples/{path.name})" in (ROOT / "README.md").read_text()


def test_the_configuration_is_right() -> None:
    config = load(ROOT / "examples" / "fairlead.yaml", env={})
    assert len(config.nodes) == 3
