"""A gateway under chaos, in this process or in one of its own; what must hold afterwards; and the report."""

import asyncio
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import msgspec
from chaos_checker import Verdict
from chaos_load import Load
from chaos_nodes import Place, faults_of

from fairlead.config import loads
from fairlead.gateway import RunningGateway
from fairlead.gateway.serving import _loop_factory

NODE_TIMEOUTS = "{connect_s: 1, first_token_s: 1.5, idle_s: 1.5, total_s: 3}"
"""Of a node that has fallen silent; roomy enough for a busy machine, short enough to fail over within a call."""
CONFIGURATION = """\
listen: 127.0.0.1:0
state: {enabled: false}
drain_s: %(drain_s)s
timeouts: {connect_s: 1, first_token_s: 5, idle_s: 5, total_s: 20}
circuit_breaker: {failure_threshold: 3, success_threshold: 2, timeout_s: 0.3}
health: {window_s: 5, ejection_s: 0.5, check: {interval_s: 0.5, timeout_s: 0.5}}
load_balancer: {slow_start_s: 0.2, spike_threshold: 1000000}
degradation: {steps: []}
%(more)s
nodes:
%(nodes)s
"""
RECOVERY_S = 20.0
"""For all circuits to close, under load, once nothing fails any more: far more than their time, for busy machines."""


class Written(Protocol):
    """What can stand in a configuration as a node."""

    def written(self, timeouts: str) -> str: ...


def configuration(nodes: Sequence[Written], more: str = "rescue: same_model", drain_s: float = 2.0) -> str:
    """Return the text of a configuration with all times scaled down."""
    lines = "\n".join(node.written(NODE_TIMEOUTS) for node in nodes)
    return CONFIGURATION % {"nodes": lines, "more": more, "drain_s": drain_s}


def run(main: Coroutine[Any, Any, None], limit_s: float) -> None:
    """Run a coroutine on the event loop that is served with; nothing may be left in that loop at its end."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(asyncio.wait_for(_leaving_nothing(main), limit_s))


async def _leaving_nothing(main: Coroutine[Any, Any, None]) -> None:
    unheard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    before = asyncio.all_tasks(loop)
    loop.set_exception_handler(lambda _, context: unheard.append(context))
    await main
    await until(lambda: not (asyncio.all_tasks(loop) - before), 3.0)
    assert not unheard, unheard[:3]


async def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait for a condition, not for a time."""
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "the condition did not come true in time"
        await asyncio.sleep(0.005)


@asynccontextmanager
async def gateway_here(text: str) -> AsyncIterator[int]:
    """Run a gateway in this event loop; gives its port."""
    running = RunningGateway(loads(text, env={}))
    await running.start()
    try:
        yield running.port
        await until(lambda: not running.orchestrator.in_flight, 5.0)
        assert not len(running.orchestrator.fleet.ledger), "a lease is left"
    finally:
        await running.stop(0.0)


class GatewayProcess(msgspec.Struct):
    """A gateway in a process of its own."""

    process: asyncio.subprocess.Process
    port: int

    def rss_mb(self) -> float:
        """Return its resident memory."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


@asynccontextmanager
async def gateway_process(folder: Path, text: str) -> AsyncIterator[GatewayProcess]:
    """Run `fairlead serve`; at the end it must not have complained of itself."""
    path = folder / "chaos.yaml"
    path.write_text(text)
    told = folder / "gateway.log"
    with told.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "fairlead", "serve", str(path), "--log-level", "error", stderr=out
        )
    try:
        await until(lambda: b"127.0.0.1:" in told.read_bytes() or process.returncode is not None, 20.0)
        found = re.search(rb"at http://127\.0\.0\.1:(\d+)", told.read_bytes())
        assert found is not None, told.read_text()
        yield GatewayProcess(process, int(found[1]))
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(20.0):
                await process.wait()
    assert "Traceback" not in told.read_text(), told.read_text()[-3000:]
    assert process.returncode == 0


async def look(port: int, path: str) -> bytes:
    """Return the body of one of the gateway's own pages."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.partition(b"\r\n")[0], head
    return body


async def circuits(port: int) -> dict[str, str]:
    """Return the state of each node's circuit."""
    told = msgspec.json.decode(await look(port, "/admin/fleet"))
    return {node["name"]: node["circuit"] for node in told["nodes"]}


async def recovered(port: int) -> None:
    """Wait until every circuit is closed; needs load, since it is answers that close them."""
    end_s = time.monotonic() + RECOVERY_S
    while (found := await circuits(port)) and set(found.values()) != {"closed"}:
        assert time.monotonic() < end_s, f"not closed again: {found}"
        await asyncio.sleep(0.05)


async def counts(port: int) -> Counter[str]:
    """Return the gateway's own counts of outcomes, and of rescues by their kind."""
    found: Counter[str] = Counter()
    for line in (await look(port, "/metrics")).decode().splitlines():
        if (match := re.match(r'fairlead_requests_total\{.*outcome="(\w+)".*\} (\S+)', line)) is not None:
            found[match[1]] += int(float(match[2]))
        elif (match := re.match(r'fairlead_rescues_total\{how="(\w+)"\} (\S+)', line)) is not None:
            found[f"rescue {match[1]}"] += int(float(match[2]))
    return found


async def check_rest(port: int, load: Load) -> Counter[str]:
    """Check what must hold once all callers are gone: nothing is left, and the gateway has counted as we have."""
    end_s = time.monotonic() + 5.0
    while (left := await _left(port)) != (0, 0, 0):
        assert time.monotonic() < end_s, f"leases, in flight, waiting: {left}"
        await asyncio.sleep(0.02)
    tally = load.tally
    counted = await counts(port)
    requests = sum(count for name, count in counted.items() if not name.startswith("rescue "))
    gone = tally.verdicts[Verdict.LEFT]
    stayed = load.sent - gone
    assert stayed <= requests <= load.sent, (requests, load.sent, gone, counted)
    complete = tally.verdicts[Verdict.COMPLETE]
    assert complete <= counted["success"] <= complete + gone, (complete, gone, counted)
    return counted


async def _left(port: int) -> tuple[int, int, int]:
    fleet = msgspec.json.decode(await look(port, "/admin/fleet"))
    leases = msgspec.json.decode(await look(port, "/admin/leases"))
    queue = msgspec.json.decode(await look(port, "/admin/queue"))
    waiting = sum(one["waiting"] for one in queue["classes"].values())
    return leases["total"], sum(node["in_flight"] for node in fleet["nodes"]), waiting


def check_wires(nodes: list[Place]) -> Counter[str]:
    """Return what befell the nodes; nobody may have handed them a beginning that is not that of the right answer."""
    wrong = [wrong for place in nodes for wrong in place.stand_in.wrong_prefixes]
    assert not wrong, wrong[:3]
    return faults_of(nodes)


def report(title: str, load: Load, faults: Counter[str], counted: Counter[str]) -> None:
    """Print what happened; raises AssertionError where anything was wrong."""
    tally = load.tally
    verdicts = {verdict.value: tally.verdicts[verdict] for verdict in Verdict}
    quantiles = ", ".join(f"p{share * 100:g} {tally.quantile_ms(share):.0f} ms" for share in (0.5, 0.95, 0.99, 1.0))
    rescued = {name.removeprefix("rescue "): count for name, count in counted.items() if name.startswith("rescue ")}
    lines = (
        f"{title}: {tally.judged} requests, {tally.complete_share:.4%} of those who stayed answered completely",
        f"  faults: {dict(faults.most_common())}",
        f"  {verdicts}, turned away at the end: {tally.turned_away}",
        f"  rescued: {rescued}, failed over: {tally.failed_over}",
        f"  latency: {quantiles}",
        *(f"  {count} x {error}" for error, count in tally.errors.most_common(5)),
    )
    print("\n".join(lines))  # noqa: T201
    assert not tally.wrong, "\n".join([f"{tally.verdicts[Verdict.WRONG]} wrong:", *tally.wrong])
