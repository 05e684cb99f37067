"""The command as people start it: a process of its own."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from fairlead.cli import main; sys.exit(main())"]
HEAVY = {"asyncio", "rich", "yaml", "httptools", "prometheus_client", "fairlead.config", "fairlead.gateway"}


def run(*args: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=False, timeout=60, cwd=cwd)


def test_a_problem_is_a_sentence_and_two(tmp_path: Path) -> None:
    done = run("check", "fairlead.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fairlead: fairlead.yaml: cannot be read: no such file or directory\n"


def test_check_and_route(fleet_file: Path) -> None:
    assert run("check", str(fleet_file)).returncode == 0
    done = run("route", "-c", str(fleet_file), "write a function that sorts")
    assert done.returncode == 0, done.stderr
    assert "goes to" in done.stdout
    assert done.stderr == ""


def test_serving_until_told_to_stop(fleet_file: Path) -> None:
    command = [*COMMAND, "serve", str(fleet_file), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        greeting = process.stderr.readline()
        port = int(greeting.partition(" at http://127.0.0.1:")[2].partition(";")[0])
        again = run("serve", str(fleet_file), "--listen", f"127.0.0.1:{port}")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith(f"fairlead: port {port} is in use: choose another with --listen")


def test_nobody_reads_on(fleet_file: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            [*COMMAND, "check", str(fleet_file)], stdout=out, stderr=subprocess.PIPE, text=True, check=False, timeout=60
        )
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_heavy() -> None:
    script = "import sys; from fairlead.cli import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not HEAVY & set(done.stderr.split())
