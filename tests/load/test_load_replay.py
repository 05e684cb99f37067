"""Conversations over eight nodes in virtual time: what could be found in caches is found, and work stays even."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from fairlead.rng import Draw

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).parents[2]
TRACES = ROOT.parent / "shared" / "data" / "traces"


@pytest.fixture(scope="module")
def bench() -> Iterator[ModuleType]:
    sys.path.append(str(ROOT / "bench"))
    try:
        import capacity_prefix  # type: ignore[import-not-found]  # lies beside the project, not in it

        yield capacity_prefix
    finally:
        sys.path.remove(str(ROOT / "bench"))


def conversations(bench: ModuleType, n: int = 2000) -> list[object]:
    """A quarter begin anew after a shared first block, the others are the next turn of one of the last hundred.

    Nodes are busy enough for waiting to cost something: where it does not, nothing is worth being evened out.
    """
    talks: list[tuple[int, ...]] = []
    requests = []
    block = 1
    for i in range(n):
        draw = Draw(7, i)
        if len(talks) < 20 or draw.unit() < 0.25:
            before: tuple[int, ...] = (0,)
            talks.append(before)
            which = len(talks) - 1
        else:
            which = max(len(talks) - 100, 0) + draw.below(min(len(talks), 100))
            before = talks[which]
        longer = 2 + draw.below(12)
        talks[which] = whole = (*before, *range(block, block + longer))
        block += longer
        requests.append(bench.Request(i * 120.0, len(whole) * 512, 50 + draw.below(500), whole))
    return requests


def test_on_conversations_made_up_here(bench: ModuleType) -> None:
    requests = conversations(bench)
    figures = {name: bench.replay(requests, name, 12_000).figures() for name in ("hybrid", "affinity", "random")}
    for name in ("hybrid", "affinity"):
        assert figures[name]["hits"] > 0.9
        assert figures[name]["hits"] > 1.5 * figures["random"]["hits"]
        assert figures[name]["first_token_p95_s"] < figures["random"]["first_token_p95_s"]
        assert figures[name]["kept_promises"] > 0.95
        assert figures[name]["sent"] < 0.2


@pytest.mark.skipif(not TRACES.is_dir(), reason=f"the traces are not at {TRACES}")
@pytest.mark.parametrize("kind", ["conversation", "synthetic"])
def test_on_real_traffic(bench: ModuleType, kind: str) -> None:
    figures = bench.replay(bench.load_trace(TRACES / f"mooncake_{kind}.jsonl.gz"), "hybrid", 12_000).figures()
    assert figures["hits"] >= 0.9
    assert figures["sent"] < 0.2
