"""The load generator: many connections over loopback, chat requests all different, every answer checked.

Prints one JSON object. Modes: `closed` (each connection sends its next request when it has its answer), `open`
(requests start at random moments, `--rate` a second, whatever the answers do) and `stream` (each connection reads one
stream after the other, and measures for each stamped event how long it was on its way).

    python bench/load.py --port 9101 --mode closed --connections 64 --seconds 3
"""

import argparse
import asyncio
import json
import os
import random
import re
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

from prompts import Requests
from stub import ENDING, MARK, MODEL, run

_STAMP = re.compile(rb"@([0-9a-f]{16})@")
_GRACE_S = 15.0
MAX_REQUESTS = 2_000_000


class Run:
    """What the connections share: the clock's limits and what was counted."""

    def __init__(self, requests: Iterator[bytes], warmup_s: float, seconds: float, events: int) -> None:
        self.requests = requests
        self.events = events
        self.started_s = time.perf_counter()
        self.from_s = self.started_s + warmup_s
        self.until_s = self.from_s + seconds
        self.sent = self.answered = self.errors = self.streams = 0
        self.chunks = self.events_seen = self.events_lost = self.events_joined = 0
        self.latencies_s = array("d")
        self.delays_ns = array("d")
        self.last_s = self.from_s
        self.first_error = ""
        self.finished = asyncio.Event()
        self.active = 0
        self.on_idle: Callable[[Client], None] | None = None

    def fail(self, why: str) -> None:
        """Count a request that did not get its whole answer."""
        self.errors += 1
        self.first_error = self.first_error or why

    def left(self) -> None:
        """Take note that a connection is done."""
        self.active -= 1
        if self.active == 0:
            self.finished.set()


class Client(asyncio.Protocol):
    """One keep-alive connection that waits for one whole answer at a time."""

    _write: Callable[[bytes], None]
    _transport: asyncio.Transport

    def __init__(self, run: Run) -> None:
        self.run = run
        self._rest = b""
        self._began_s = 0.0
        self._needle = b"content-length: "
        self.is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclass of asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        self._write = self._transport.write

    def connection_lost(self, exc: Exception | None) -> None:
        if self.is_waiting:
            self.is_waiting = False
            self.run.fail(f"the connection was closed before the answer: {exc or 'end of file'}")
        self.run.left()

    def start(self, began_s: float) -> None:
        """Send the next request; its latency counts from `began_s`."""
        self._began_s = began_s
        self.is_waiting = True
        self.run.sent += 1
        self._write(next(self.run.requests))

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        end = data.find(b"\r\n\r\n")
        at = data.find(self._needle, 0, end) if end >= 0 else -1
        if at < 0:
            self._unusual(data, end)
            return
        at += len(self._needle)
        if len(data) < end + 4 + int(data[at : data.find(b"\r", at)]):
            self._rest = data
            return
        self._take(data, end)

    def _unusual(self, data: bytes, end: int) -> None:
        """Handle a head that is not complete, spelt otherwise, or a chunked body."""
        head = data[:end].lower() if end >= 0 else b""
        if (at := head.find(b"content-length:")) >= 0:
            self._needle = data[at : at + 15 + (data[at + 15 : at + 16] == b" ")]
            self.data_received(data)
        elif end >= 0 and b"chunked" in head and data.endswith(b"0\r\n\r\n"):
            self._take(data, end)
        else:
            self._rest = data

    def _take(self, data: bytes, end: int) -> None:
        run = self.run
        now_s = time.perf_counter()
        if data[9:12] != b"200":
            run.fail(data[:300].decode("latin-1"))
        elif data.find(MARK, end) < 0:
            run.fail("the answer lacks its end")
        elif self._began_s >= run.from_s:
            run.answered += 1
            run.latencies_s.append(now_s - self._began_s)
            run.last_s = now_s
        self.is_waiting = False
        if run.on_idle is not None:
            run.on_idle(self)
        elif now_s < run.until_s and run.sent < MAX_REQUESTS:
            self.start(now_s)
        else:
            self._transport.close()


class StreamClient(Client):
    """Reads one stream after the other."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._seen = 0
        self._is_done = False

    def start(self, began_s: float) -> None:
        self._seen = 0
        self._is_done = False
        super().start(began_s)

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        run = self.run
        if self._seen == 0 and not self._rest and not data.startswith(b"HTTP/1.1 200"):
            run.fail(data[:300].decode("latin-1"))
            self.is_waiting = False
            self._transport.close()
            return
        text = self._rest + data
        stamps = list(_STAMP.finditer(text))
        if stamps:
            self._seen += len(stamps)
            if self._began_s >= run.from_s:
                run.delays_ns.extend(now_ns - int(stamp[1], 16) for stamp in stamps)
                run.events_joined += len(stamps) - 1
        self._is_done = self._is_done or b"[DONE]" in text
        if self._is_done and text.endswith(b"0\r\n\r\n"):
            self._rest = b""
            self._end()
        else:
            # What may be the first part of a stamp or of the end; never a stamp that was counted.
            self._rest = text[max(stamps[-1].end() if stamps else 0, len(text) - 24) :]

    def _end(self) -> None:
        run = self.run
        now_s = time.perf_counter()
        self.is_waiting = False
        run.streams += 1
        run.events_lost += run.events - self._seen
        run.events_seen += self._seen
        run.chunks += self._seen + len(ENDING)
        if self._seen != run.events:
            run.fail(f"a stream had {self._seen} events instead of {run.events}")
        elif self._began_s >= run.from_s:
            run.answered += 1
            run.latencies_s.append(now_s - self._began_s)
            run.last_s = now_s
        if now_s < run.until_s:
            self.start(now_s)
        else:
            self._transport.close()


class OpenLoop:
    """Starts requests at random moments; one that finds no idle connection waits, and its wait counts."""

    def __init__(self, run: Run, clients: list[Client], rate: float, seed: int) -> None:
        self._run = run
        self._idle = clients
        self._rate = rate
        self._draw = random.Random(seed)
        self._waiting: deque[float] = deque()
        self._loop = asyncio.get_running_loop()
        self._due_s = self._loop.time()
        run.on_idle = self._on_idle
        self._next()

    def _next(self) -> None:
        now_s = time.perf_counter()
        if now_s >= self._run.until_s:
            self._run.on_idle = None
            for client in self._idle:
                client._transport.close()  # noqa: SLF001 - of this file
            return
        if self._idle:
            self._idle.pop().start(now_s)
        else:
            self._waiting.append(now_s)
        self._due_s += self._draw.expovariate(self._rate)
        self._loop.call_at(self._due_s, self._next)

    def _on_idle(self, client: Client) -> None:
        if self._waiting:
            client.start(self._waiting.popleft())
        else:
            self._idle.append(client)


async def drive(args: argparse.Namespace) -> None:
    """Run the load and print what came of it."""
    requests = Requests(
        f"127.0.0.1:{args.port}", args.model, is_stream=args.mode == "stream", seed=args.seed, key=args.key
    )
    loop = asyncio.get_running_loop()
    shared = Run(iter(requests), args.warmup, args.seconds, args.events)
    kind = StreamClient if args.mode == "stream" else Client
    clients = [
        (await loop.create_connection(lambda: kind(shared), "127.0.0.1", args.port))[1] for _ in range(args.connections)
    ]
    shared.active = len(clients)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    if args.mode == "open":
        OpenLoop(shared, list(clients), args.rate, args.seed)
    else:
        for client in clients:
            client.start(time.perf_counter())
    limit_s = args.warmup + args.seconds + _GRACE_S
    try:
        await asyncio.wait_for(shared.finished.wait(), limit_s)
    except TimeoutError:
        for client in clients:
            if client.is_waiting:
                client.is_waiting = False
                shared.fail(f"no answer within {_GRACE_S:.0f} s of the end")
    busy = (time.process_time() - cpu_s) / (time.perf_counter() - wall_s)
    print(json.dumps(summary(shared, args, busy, time.process_time() - cpu_s)))


def summary(run: Run, args: argparse.Namespace, busy: float, cpu_s: float) -> dict[str, object]:
    """Return the counts, rates and percentiles of a run as plain data."""
    window_s = max(run.last_s - run.from_s, 1e-9)
    units = run.chunks if args.mode == "stream" else run.sent
    return {
        "mode": args.mode,
        "sent": run.sent,
        "answered": run.answered,
        "errors": run.errors,
        "first_error": run.first_error,
        "rps": run.answered / window_s,
        "latency_ms": percentiles(run.latencies_s, 1e3),
        "streams": run.streams,
        "chunks": run.chunks,
        "events_lost": run.events_lost,
        "events_joined": run.events_joined,
        "events_timed": len(run.delays_ns),
        "delay_ms": percentiles(run.delays_ns, 1e-6),
        "generator_busy": busy,
        "generator_us": cpu_s / units * 1e6 if units else 0.0,
    }


def percentiles(values: "array[float]", scale: float) -> dict[str, float]:
    """Return the usual percentiles, scaled; all 0 when there is no value."""
    ordered = sorted(values) or [0.0]
    last = len(ordered) - 1
    return {f"p{share:g}": ordered[round(last * share / 100)] * scale for share in (50, 90, 99, 99.9, 100)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A load generator for loopback, for the benchmark.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mode", choices=("closed", "open", "stream"), default="closed")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second, mode open")
    parser.add_argument("--events", type=int, default=50, help="content events of a stream, as the stub was told")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--key", default="sk-bench", help="API key that the proxy asks for")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--core", type=int, help="core to stay on")
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    run(drive(arguments))
