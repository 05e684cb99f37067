"""How much of what could be found in caches is found there: the Mooncake traces over eight equal simulated nodes.

`python bench/capacity_prefix.py [FOLDER] [--json FILE]` replays each trace in virtual time through the real strategies.
A block of 512 tokens is *reusable* where it was in any earlier prompt (one infinite store shared by all). The figure is
the share of the reusable blocks that lie in the chosen node's cache, from the beginning of the prompt, when it is read;
beside it the deviation: the coefficient of variation, over the nodes, of the tokens sent to each within 60 s, as the
mean over all whole windows. `computed` counts the tokens that had to be read or written there, `sent` all of them.

What is fixed here: a node reads 11,000 tokens/s, one prompt after the other (an H100 pair's order of magnitude for a
70 B model); writes a token in 35 ms whatever else runs; keeps 3,000 blocks, or four times as many, the least recently
used forgotten first; tells how much of each prompt it found; and takes any number of tasks. The router begins with its
defaults (2,000 tokens/s) and learns.
"""

import argparse
import gzip
import json
import sys
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, pstdev

import msgspec

from fairlead.allocation import Account, Ledger
from fairlead.domain import Capacity, Model, Needs, Node, Outcome, Task
from fairlead.load import PrefixAffinity
from fairlead.rng import Draw
from fairlead.routing import Candidate, Choice, Pool, RoutingSettings, Strategy, make_strategy
from fairlead.testing import VirtualTime

TRACES = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "traces"
NODES = 8
BLOCK_TOKENS = 512
KV_BLOCKS = 3_000
READ_TOKENS_PER_S = 11_000.0
WRITE_TOKEN_S = 0.035
WINDOW_S = 60.0
STRATEGIES = ("random", "least_loaded", "affinity", "hybrid")


class Request(msgspec.Struct, frozen=True):
    """One line of a trace."""

    timestamp: float
    """In milliseconds."""
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...]

    @property
    def at_s(self) -> float:
        """When it arrives."""
        return self.timestamp / 1000.0


class Replay(msgspec.Struct):
    """What came out of one replay."""

    reusable: int = 0
    found: int = 0
    promised_tokens: int = 0
    found_tokens: int = 0
    first_token_s: list[float] = []
    sent: dict[int, list[int]] = {}
    """Window -> tokens by node."""
    computed: dict[int, list[int]] = {}

    @property
    def hit_share(self) -> float:
        """Of the reusable blocks, those found on the chosen node."""
        return self.found / max(self.reusable, 1)

    def figures(self) -> dict[str, float]:
        """Return what is printed."""
        times = sorted(self.first_token_s)
        return {
            "hits": self.hit_share,
            "sent": _deviation(self.sent),
            "computed": _deviation(self.computed),
            "first_token_p50_s": times[len(times) // 2],
            "first_token_p95_s": times[len(times) * 95 // 100],
            "kept_promises": self.found_tokens / max(self.promised_tokens, 1),
        }


class SimulatedNode:
    """Reads one prompt after the other, and keeps blocks."""

    def __init__(self, kv_blocks: int) -> None:
        self._kv_blocks = kv_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()
        self._free_s = 0.0

    def serve(self, request: Request, now_s: float) -> tuple[int, float]:
        """Return how many blocks were found, and when the first token is written."""
        found = 0
        for block in request.hash_ids:
            if block not in self._blocks:
                break
            found += 1
        for block in reversed(request.hash_ids):
            self._blocks[block] = None
            self._blocks.move_to_end(block)
        while len(self._blocks) > self._kv_blocks:
            self._blocks.popitem(last=False)
        unread = max(request.input_length - found * BLOCK_TOKENS, 0)
        self._free_s = max(self._free_s, now_s) + unread / READ_TOKENS_PER_S
        return found, self._free_s


def replay(requests: Sequence[Request], strategy: str, kv_blocks: int = KV_BLOCKS, nodes: int = NODES, seed: int = 1) \
        -> Replay:  # fmt: skip
    """Send every request of a trace through a strategy."""
    return _Fleet(strategy, kv_blocks, nodes, seed).run(requests)


class _Fleet:
    def __init__(self, strategy: str, kv_blocks: int, nodes: int, seed: int) -> None:
        self._prefixes = PrefixAffinity()
        self._strategy: Strategy = make_strategy(strategy, RoutingSettings(prefixes=self._prefixes))
        capacity = Capacity(tokens=kv_blocks * BLOCK_TOKENS)
        named = [Node(f"n{i}", capacity=capacity) for i in range(nodes)]
        # leases are not held to the capacity here: it is the size of the cache, which running tasks share
        self._candidates = [Candidate(Model("m"), node, _Open(capacity), i, 3600.0) for i, node in enumerate(named)]
        self._pool = Pool("m", self._candidates)
        self._nodes = [SimulatedNode(kv_blocks) for _ in named]
        self._ledger, self._time, self._seed = Ledger(), VirtualTime(), seed
        self._seen: set[int] = set()
        self._result = Replay()

    def run(self, requests: Sequence[Request]) -> Replay:
        for number, request in enumerate(requests):
            self._time.at(request.at_s, lambda number=number, request=request: self._arrive(number, request))
        self._time.run()
        return self._result

    def _arrive(self, number: int, request: Request) -> None:
        now_s, result = self._time.now_s, self._result
        task = Task(f"t{number}", number, model="m", input_tokens=request.input_length, prefix=request.hash_ids)
        choice = self._strategy.choose(task, self._pool, now_s, Draw(self._seed, number))
        picked = choice.picked
        needs = Needs(1, request.input_length, request.output_length)
        lease = self._ledger.take(picked.account, task, now_s, 1e9, needs)
        assert lease is not None
        found, first_s = self._nodes[picked.order].serve(request, now_s)
        result.reusable += sum(block in self._seen for block in request.hash_ids)
        result.found += found
        self._seen.update(request.hash_ids)
        unread = max(request.input_length - found * BLOCK_TOKENS, 0)
        result.first_token_s.append(first_s - now_s)
        for tokens, windows in (
            (request.input_length + request.output_length, result.sent),
            (unread + request.output_length, result.computed),
        ):
            windows.setdefault(int(now_s // WINDOW_S), [0] * len(self._nodes))[picked.order] += tokens
        self._time.at(first_s, lambda: self._first_token(choice, request, found, unread, first_s - now_s))
        end_s = first_s + request.output_length * WRITE_TOKEN_S
        outcome = Outcome(True, end_s - now_s, first_token_s=first_s - now_s)

        def end() -> None:
            self._ledger.give_back(lease)
            picked.record(outcome, end_s)

        self._time.at(end_s, end)

    def _first_token(self, choice: Choice, request: Request, found: int, unread: int, took_s: float) -> None:
        cached = min(found * BLOCK_TOKENS, request.input_length)
        self._result.promised_tokens += choice.promised_tokens
        self._result.found_tokens += min(cached, choice.promised_tokens)
        self._prefixes.record_hit(choice.picked.holder, cached, choice.promised_tokens)
        self._prefixes.record_first_token(unread, took_s)


class _Open(Account):
    """An account whose capacity limits nothing."""

    __slots__ = ()

    def __init__(self, capacity: Capacity) -> None:
        super().__init__(capacity=capacity)
        self.is_roomy = True


def load_trace(path: Path) -> list[Request]:
    """Read a trace. Raises OSError where it is not there."""
    with gzip.open(path) as lines:
        decoder = msgspec.json.Decoder(Request)
        return [decoder.decode(line) for line in lines]


def measure(folder: Path = TRACES, strategies: Iterable[str] = STRATEGIES) -> list[dict[str, object]]:
    """Return one row of figures for each trace, size and strategy."""
    rows: list[dict[str, object]] = []
    for kind in ("conversation", "synthetic"):
        requests = load_trace(folder / f"mooncake_{kind}.jsonl.gz")
        for kv_blocks in (KV_BLOCKS, 4 * KV_BLOCKS):
            for strategy in strategies:
                figures = replay(requests, strategy, kv_blocks).figures()
                rows.append({"trace": kind, "kv_blocks": kv_blocks, "strategy": strategy, **figures})
    return rows


def main() -> int:
    """Print the table; 1 where the traces are not there."""
    parser = argparse.ArgumentParser(description="Cache hits of routing by prefix, on the Mooncake traces.")
    parser.add_argument("folder", type=Path, nargs="?", default=TRACES)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    try:
        rows = measure(args.folder)
    except OSError as error:
        print(f"The traces cannot be read ({error}): give the folder that holds mooncake_*.jsonl.gz.", file=sys.stderr)
        return 1
    print(f"{'trace':13} {'KV blocks':>9} {'strategy':13} {'hits':>7} {'deviation sent':>15} {'computed':>9} ", end="")
    print(f"{'first token p50':>16} {'p95':>7} {'promises kept':>14}")
    for row in rows:
        print("{trace:13} {kv_blocks:9} {strategy:13} {hits:7.1%} {sent:15.1%} {computed:9.1%} "
              "{first_token_p50_s:14.2f} s {first_token_p95_s:5.2f} s {kept_promises:14.1%}".format(**row))  # fmt: skip
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


def _deviation(windows: dict[int, list[int]]) -> float:
    whole = [windows[window] for window in sorted(windows)[:-1]] or list(windows.values())
    return mean(pstdev(tokens) / mean(tokens) for tokens in whole if any(tokens))


if __name__ == "__main__":
    sys.exit(main())
