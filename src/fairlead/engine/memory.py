"""What a fleet learnt, as plain data: taken out to be kept, and put back after a restart.

Several documents, so that a damaged one costs no more than itself. Times in them are on the owner's clock, which has to
mean the same after a restart (`fairlead.clock.steady_s`), so that evidence goes on wearing away while nothing runs.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fairlead.engine.fleet import Fleet
from fairlead.errors import FairleadError

DOCUMENTS = ("candidates", "needs", "engine", "scorer", "circuits")
Trouble = Callable[[str, FairleadError], None]
"""Is told the name of a document that cannot be used, and why."""


def remember(fleet: Fleet) -> dict[str, object]:
    """Return everything that a fleet learnt, by document."""
    documents: dict[str, object] = {"candidates": fleet.kept(), "needs": fleet.allocator.needs.snapshot()}
    documents["circuits"] = fleet.kept_circuits()
    if fleet.engine is not None:
        documents["engine"] = fleet.engine.snapshot()
        documents["scorer"] = fleet.engine.scorer.snapshot()
    return documents


def recall(fleet: Fleet, documents: Mapping[str, Any], trouble: Trouble, now_s: float) -> None:
    """Give a fleet back what it learnt; `trouble` is told of a document that is damaged, and that one is left out."""
    takers: dict[str, Callable[[Any], None]] = {
        "candidates": fleet.take_over,
        "needs": fleet.allocator.needs.restore,
        "circuits": lambda kept: fleet.take_over_circuits(kept, now_s),
    }
    if fleet.engine is not None:
        takers["engine"] = fleet.engine.restore
        takers["scorer"] = fleet.engine.scorer.restore
    for name, take in takers.items():
        if documents.get(name) is not None:
            try:
                take(documents[name])
            except FairleadError as error:
                trouble(name, error)
