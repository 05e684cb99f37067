"""Microseconds per decision: `TaskRouter.route_task` for each strategy and fleet size, beside LiteLLM's `Router`.

Rounds are interleaved (each round times every case once, LiteLLM's in its own process in between) and medians are kept.
CPU time is counted, so that other work on the machine disturbs little. The category is given, as LiteLLM detects none;
detection is timed apart. Pending tasks are closed outside the clock.
"""

import gc
import json
import os
import subprocess
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from peers import missing, python_of
from proc import BENCH, PROXY_CORE
from prompts import prompts

from fairlead import RoutingStrategy, TaskCategory, TaskRouter

SIZES = (10, 100, 1_000, 10_000)
STRATEGIES = tuple(strategy.value for strategy in RoutingStrategy)
PEERS = {"random": "simple-shuffle", "least_loaded": "least-busy", "performance": "latency-based-routing"}
PEER_SIZES = (10, 1_000)
_ROUND_S = 0.02
_PEER_ROUND_S = 0.08
_CATEGORIES = tuple(TaskCategory)

Results = dict[str, dict[int, float]]


def build(strategy: str, nodes: int) -> TaskRouter:
    """Return a router over `nodes` models, each of which has done some tasks, well or not."""
    router = TaskRouter(strategy, seed=7)
    for n in range(nodes):
        router.register_model(f"model-{n}")
    for n in range(nodes):
        for k in range(3):
            category = _CATEGORIES[(n + k) % len(_CATEGORIES)]
            router.record_task_result(f"model-{n}", (n + k) % 11 != 0, 0.1 + n % 7 * 0.05, category)
    return router


def timed_us(router: TaskRouter, texts: Sequence[str], category: TaskCategory) -> float:
    """Return microseconds per `route_task` over one call for each text."""
    route = router.route_task
    gc.collect()
    gc.disable()
    began_s = time.thread_time()
    chosen = [route(text, category=category) for text in texts]
    spent_s = time.thread_time() - began_s
    gc.enable()
    for model_id in chosen:
        router.record_task_result(model_id, True, 0.2, category)
    return spent_s / len(texts) * 1e6


class Peer:
    """LiteLLM's router in a process of its own."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [str(python_of("litellm")), str(BENCH / "litellm_decisions.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # on the core of its parent

    def timed_us(self, strategy: str, nodes: int, calls: int) -> float:
        """Return microseconds per decision. Raises RuntimeError with LiteLLM's reason."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps({"strategy": strategy, "nodes": nodes, "calls": calls}) + "\n")
        self._child.stdin.flush()
        answer = json.loads(self._child.stdout.readline() or '{"error": "it ended"}')
        if "error" in answer:
            raise RuntimeError(f"LiteLLM's {strategy} over {nodes}: {answer['error']}")
        return float(answer["us"])

    def stop(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.communicate()


def detection_us(texts: Sequence[str]) -> float:
    """Return microseconds per detected category of a 1 KB prompt."""
    detect = TaskRouter().task_category
    began_s = time.thread_time()
    for text in texts:
        detect(text)
    return (time.thread_time() - began_s) / len(texts) * 1e6


def measure(*, is_quick: bool) -> dict[str, Any]:
    """Return medians: `ours` and `peer` (strategy, nodes, microseconds), `detection_us`, `peer_missing`."""
    rounds = 3 if is_quick else 7
    texts = prompts(4096, seed=5)
    was_allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {PROXY_CORE})
    problem = missing("litellm")
    peer = None if problem else Peer()
    try:
        return _rounds(rounds, texts, peer) | {"peer_missing": problem or ""}
    finally:
        os.sched_setaffinity(0, was_allowed)
        if peer:
            peer.stop()


def _rounds(rounds: int, texts: Sequence[str], peer: Peer | None) -> dict[str, Any]:
    cases = {(strategy, nodes): build(strategy, nodes) for strategy in STRATEGIES for nodes in SIZES}
    gc.freeze()  # or each collection below would go through all the fleets
    calls = {case: _calls(timed_us(router, texts[:20], TaskCategory.CODING)) for case, router in cases.items()}
    peer_cases = [(theirs, nodes) for theirs in PEERS.values() for nodes in PEER_SIZES] if peer else []
    peer_calls = {}
    for case in peer_cases:
        assert peer
        peer_calls[case] = max(2, min(500, int(_PEER_ROUND_S / (peer.timed_us(*case, 2) * 1e-6))))
    ours: dict[tuple[str, int], list[float]] = {case: [] for case in cases}
    theirs: dict[tuple[str, int], list[float]] = {case: [] for case in peer_cases}
    detections = []
    for number in range(rounds):
        category = _CATEGORIES[number % len(_CATEGORIES)]
        for case, router in cases.items():
            ours[case].append(timed_us(router, texts[: calls[case]], category))
        for case in peer_cases:
            assert peer
            theirs[case].append(peer.timed_us(*case, peer_calls[case]))
        detections.append(detection_us(texts[:1000]))
    return {"ours": _medians(ours), "peer": _medians(theirs), "detection_us": median(detections)}


def _calls(us: float) -> int:
    return max(20, min(4000, int(_ROUND_S / (us * 1e-6))))


def _medians(samples: dict[tuple[str, int], list[float]]) -> Results:
    results: Results = {}
    for (strategy, nodes), values in samples.items():
        results.setdefault(strategy, {})[nodes] = median(values)
    return results
