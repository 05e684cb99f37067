"""Processes under measurement: each on the core it is given, with its CPU time, memory and time to first answer.

CPU time is that of the process and all its descendants, from /proc, to the clock tick (10 ms).
"""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE = _CORES[0]
"""Where the proxy under measurement runs, alone."""
LOAD_CORE = _CORES[-1]
"""Where stub and load generator run."""


class StartError(Exception):
    """A process did not come up; says why, with the end of its output."""


class Process:
    """A child process on one core, its output in a temporary file."""

    def __init__(self, argv: Sequence[str], core: int, env: Mapping[str, str] | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self.launched_s = time.perf_counter()
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=tempfile.gettempdir(),
            start_new_session=True,
        )
        # From here, not in the child between fork and exec; its threads are made later and inherit it.
        os.sched_setaffinity(self._child.pid, {core})

    def pids(self) -> list[int]:
        """Return the process and its descendants."""
        return _tree(self._child.pid)

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far."""
        return sum(_cpu_ticks(pid) for pid in self.pids()) * _TICK_S

    def rss_mb(self) -> float:
        """Return the resident memory now."""
        return sum(_status_kb(pid, "VmRSS:") for pid in self.pids()) / 1024

    def peak_rss_mb(self) -> float:
        """Return the sum of each process's highest resident memory."""
        return sum(_status_kb(pid, "VmHWM:") for pid in self.pids()) / 1024

    def wait_answer(self, port: int, request: bytes, limit_s: float) -> float:
        """Wait until `request` is answered with 200; returns seconds since launch. Raises StartError."""
        last = "nothing listens"
        while time.perf_counter() - self.launched_s < limit_s:
            if self._child.poll() is not None:
                raise StartError(f"it ended with code {self._child.returncode}: {self.output_end()}")
            try:
                status = _status_of(port, request)
            except OSError as error:
                last = str(error)
            else:
                if status == 200:
                    return time.perf_counter() - self.launched_s
                last = f"status {status}"
            time.sleep(0.003)
        raise StartError(f"no answer within {limit_s:.0f} s ({last}): {self.output_end()}")

    def output_end(self) -> str:
        """Return the last few lines of what it printed."""
        self._log.seek(0)
        return self._log.read()[-800:].decode(errors="replace").strip()

    def stop(self) -> None:
        """End the process and what it started."""
        for sign, wait_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 3.0)):
            try:
                # The session, and so the group, is this child's own.
                os.killpg(self._child.pid, sign)
                self._child.wait(wait_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        self._log.close()


@contextmanager
def running(argv: Sequence[str], core: int, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a process for the length of a block."""
    process = Process(argv, core, env)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def stub_running(ports: Sequence[int], events: int, interval_ms: int) -> Iterator[Process]:
    """Run the stub on `ports`, ready to answer."""
    argv = [sys.executable, str(BENCH / "stub.py"), "--ports", ",".join(map(str, ports))]
    argv += ["--events", str(events), "--interval-ms", str(interval_ms)]
    with running(argv, LOAD_CORE) as process:
        for port in ports:
            process.wait_answer(port, b"GET /health HTTP/1.1\r\nhost: stub\r\n\r\n", 10.0)
        yield process


def load(**options: object) -> dict[str, Any]:
    """Run the load generator on its core and return what it reports. Raises StartError."""
    argv = [sys.executable, str(BENCH / "load.py")]
    for name, value in options.items():
        argv += ["--" + name.replace("_", "-"), str(value)]
    argv += ["--core", str(LOAD_CORE)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode or not done.stdout:
        raise StartError(f"the load generator failed: {done.stderr[-600:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def free_ports(count: int) -> list[int]:
    """Return loopback ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def core_busy_s(core: int) -> float:
    """Return the seconds that a core has been busy since boot, whoever kept it so."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
            return (user + nice + system + irq + softirq + steal) * _TICK_S
    return 0.0


def speed_ms() -> float:
    """Return the CPU time of a fixed loop: how fast the machine is just now."""
    total, began_s = 0, time.thread_time()
    for number in range(1_000_000):
        total += number
    return (time.thread_time() - began_s) * 1e3


class Quiet:
    """Waits for other work on the machine to end, for so many seconds in all and not longer."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s

    def wait(self) -> None:
        """Return as soon as both cores are idle, or the budget is spent."""
        while self._budget_s > 0:
            before_s = [core_busy_s(core) for core in (PROXY_CORE, LOAD_CORE)]
            time.sleep(0.2)
            after_s = [core_busy_s(core) for core in (PROXY_CORE, LOAD_CORE)]
            self._budget_s -= 0.2
            if max(b - a for a, b in zip(before_s, after_s, strict=True)) < 0.2 * 0.2:
                return


def _status_of(port: int, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer: {error!r}") from error
        response.read()
        return response.status


def _tree(root: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = int(fields[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, none for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_ticks(pid: int) -> int:
    return sum(map(int, _stat(pid)[11:15]))


def _status_kb(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)
