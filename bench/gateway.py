"""The gateway beside its peers: each proxy alone on one core, stub and load generator on the other.

Rounds are interleaved (A B C, A B C) and medians kept. Next to each figure stands how much other work had the proxy's
core meanwhile, and whether the generator's core was the limit.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import peers
from packaging.requirements import Requirement
from proc import PROXY_CORE, Process, Quiet, StartError, core_busy_s, free_ports, load, stub_running

PROXIES = ("fairlead", "sglang-router", "vllm-router", "litellm")
STREAMING = ("fairlead", "sglang-router", "vllm-router")
NODES = 4
EVENTS = 50
INTERVAL_MS = 5
CONNECTIONS = 64
_SLOW_RATE = 20.0


@dataclass
class Samples:
    """Everything that was measured of one contender in one phase, a list of rounds for each figure."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    problem: str = ""

    def add(self, figures: dict[str, float]) -> None:
        """Add one round."""
        for name, value in figures.items():
            self.rounds.setdefault(name, []).append(value)

    def medians(self) -> dict[str, Any]:
        """Return the median of each figure, and the problem where there was one."""
        return {name: median(values) for name, values in self.rounds.items()} | {"problem": self.problem}


@dataclass
class Field:
    """The stub and all proxies that are up in front of it."""

    stub: Process
    direct_port: int
    proxies: dict[str, peers.Proxy]
    problems: dict[str, str]
    first_answer_s: dict[str, float]


@contextmanager
def field_running(names: Sequence[str]) -> Iterator[Field]:
    """Start the stub and each proxy; one that does not start is a problem that is told, not an end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        nodes = free_ports(NODES)
        stub = stack.enter_context(stub_running(nodes, EVENTS, INTERVAL_MS))
        found = Field(stub, nodes[0], {}, {}, {})
        # Two ports each: the Rust routers take the next one for their metrics.
        ports = [_free_pair() for _ in names]
        for name, port in zip(names, ports, strict=True):
            try:
                proxy = peers.start(name, port, nodes, folder)
            except StartError as error:
                found.problems[name] = str(error)
                continue
            stack.callback(proxy.process.stop)
            found.proxies[name] = proxy
            found.first_answer_s[name] = proxy.first_answer_s
        yield found


def _free_pair() -> int:
    while True:
        port = free_ports(1)[0]
        try:
            _check_free(port + 1)
        except OSError:
            continue
        return port


def _check_free(port: int) -> None:
    socket.create_server(("127.0.0.1", port)).close()


def one_round(field_: Field, name: str, seed: int, **options: object) -> dict[str, float]:
    """Load one contender once and return its figures. Raises StartError where answers were wrong or missing."""
    proxy = field_.proxies.get(name)
    port = proxy.port if proxy else field_.direct_port
    key = proxy.key if proxy else "sk-bench"
    before = (
        proxy.process.cpu_s() if proxy else 0.0,
        core_busy_s(PROXY_CORE),
        field_.stub.cpu_s(),
        time.perf_counter(),
    )
    report = load(port=port, key=key, connections=CONNECTIONS, events=EVENTS, seed=seed, **options)
    wall_s = time.perf_counter() - before[3]
    cpu_s = proxy.process.cpu_s() - before[0] if proxy else 0.0
    busy_s = core_busy_s(PROXY_CORE) - before[1]
    stub_s = field_.stub.cpu_s() - before[2]
    units = report["chunks"] if report["mode"] == "stream" else report["sent"]
    if not report["answered"]:
        raise StartError(f"{name} answered nothing: {report['first_error'] or 'no error was told'}")
    figures = {
        "rps": report["rps"],
        "cpu_us": cpu_s / units * 1e6,
        "errors": report["errors"],
        "p50_ms": report["latency_ms"]["p50"],
        "p99_ms": report["latency_ms"]["p99"],
        "delay_p50_ms": report["delay_ms"]["p50"],
        "delay_p99_ms": report["delay_ms"]["p99"],
        "events_lost": report["events_lost"],
        "joined_share": report["events_joined"] / max(1, report["events_timed"]),
        "generator_us": report["generator_us"],
        "stub_us": stub_s / units * 1e6,
        "generator_core": min(1.0, report["generator_busy"] + stub_s / wall_s),
        "cpu_share": cpu_s / wall_s,
        "other_work": max(0.0, (busy_s - cpu_s) / wall_s),
    }
    if proxy:
        figures["rss_mb"] = proxy.process.rss_mb()
    return figures


_QUIET = Quiet(40.0)


def interleaved(
    field_: Field, names: Sequence[str], rounds: int, options: Callable[[str], dict[str, object]]
) -> dict[str, Any]:
    """Measure each contender once per round and return its medians."""
    samples = {name: Samples(problem=field_.problems.get(name, "")) for name in names}
    for number in range(rounds):
        for name, taken in samples.items():
            if taken.problem:
                continue
            _QUIET.wait()
            try:
                taken.add(one_round(field_, name, seed=number + 1, **options(name)))
            except StartError as error:
                taken.problem = str(error)
    return {name: taken.medians() for name, taken in samples.items()}


def unary_and_paced(*, is_quick: bool) -> dict[str, Any]:
    """Measure whole answers: at 64 connections as fast as it goes, and at 150 requests a second."""
    rounds, seconds = (1, 1.5) if is_quick else (3, 3.0)
    names = ("direct", *PROXIES)
    with field_running(PROXIES) as running_:
        unary = interleaved(running_, names, rounds, lambda _: {"mode": "closed", "seconds": seconds})

        def paced(name: str) -> dict[str, object]:
            # LiteLLM cannot sustain more.
            return {"mode": "open", "seconds": seconds, "rate": _SLOW_RATE if name == "litellm" else 150.0}

        slow = interleaved(running_, names, rounds, paced)
        peaks = {name: proxy.process.peak_rss_mb() for name, proxy in running_.proxies.items()}
        return {"unary": unary, "paced": slow, "peak_rss_mb": peaks, "first_answer_s": running_.first_answer_s}


def streaming(*, is_quick: bool) -> dict[str, Any]:
    """Measure 64 streams whose events arrive each in a read of its own."""
    rounds, seconds = (1, 1.5) if is_quick else (3, 3.0)
    with field_running(STREAMING) as running_:
        return interleaved(running_, ("direct", *STREAMING), rounds, lambda _: {"mode": "stream", "seconds": seconds})


def footprint(*, is_quick: bool) -> dict[str, Any]:
    """Measure launch to first answer, the time of `import fairlead`, and the packages of a plain install."""
    rounds = 3 if is_quick else 7
    launches: list[float] = []
    problem = ""
    nodes = free_ports(1)
    with stub_running(nodes, EVENTS, INTERVAL_MS), tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            try:
                proxy = peers.start("fairlead", free_ports(1)[0], nodes, Path(folder))
            except StartError as error:
                problem = str(error)
                break
            launches.append(proxy.first_answer_s)
            proxy.process.stop()
    return {
        "first_answer_s": median(launches) if launches else None,
        "problem": problem,
        "import_s": median(_import_s() for _ in range(rounds)),
        "packages": sorted(packages("fairlead")),
    }


def _import_s() -> float:
    code = "import time; t = time.perf_counter(); import fairlead; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def packages(name: str, found: set[str] | None = None) -> set[str]:
    """Return the names of all packages that a plain install of `name` brings, itself among them."""
    found = set() if found is None else found
    name = name.lower().replace("_", "-")
    if name in found:
        return found
    found.add(name)
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            packages(requirement.name, found)
    return found
