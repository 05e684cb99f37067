"""`fairlead local` from the outside."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from fairlead.cli.local import local
from fairlead.local import process, weights

COMMAND = [sys.executable, "-c", "from fairlead.cli.local import local; local()"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(replica: Path, number: signal.Signals) -> None:
    command = [*COMMAND, "--gguf", str(replica), "--alias", "twin", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        line = running.stdout.readline()
        assert line.startswith("twin answers on http://127.0.0.1:")
        with urllib.request.urlopen(line.split()[3] + "/models") as answer:
            assert json.load(answer)["data"][0]["id"] == "twin"
        running.send_signal(number)
        _, stderr = running.communicate()
        assert (running.returncode, stderr) == (0, "stopped\n")


def test_a_server_that_ends_by_itself_is_an_error(replica: Path) -> None:
    command = [*COMMAND, "--gguf", str(replica), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        os.kill(int(running.stdout.readline().partition("(process ")[2].partition(")")[0]), signal.SIGKILL)
        _, stderr = running.communicate()
        assert running.returncode == 1
        assert stderr.startswith("Error: the model server ended by itself with exit code -9")


def test_it_asks_before_it_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path))
    monkeypatch.setattr(process, "installed", lambda: True)
    monkeypatch.setattr(weights, "fetch_weights", None)
    done = CliRunner().invoke(local, [], input="n\n")
    assert done.exit_code == 1
    assert "Download the weights of SmolLM2-135M (93 MB" in done.output


def test_yes_downloads_without_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(progress: weights.Progress) -> Path:
        progress("downloading")
        return tmp_path / "gone.gguf"

    monkeypatch.setenv("FAIRLEAD_CACHE", str(tmp_path))
    monkeypatch.setattr(process, "installed", lambda: True)
    monkeypatch.setattr(weights, "fetch_weights", fetch)
    done = CliRunner().invoke(local, ["--yes"])
    assert done.exit_code == 1
    assert done.output.startswith("downloading\nError: there is no model file at")


def test_a_missing_engine_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "installed", lambda: False)
    done = CliRunner().invoke(local, [])
    assert (done.exit_code, done.output) == (1, "Error: the engine is not installed: pip install 'fairlead[local]'\n")
