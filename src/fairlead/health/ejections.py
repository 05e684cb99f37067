"""Who is left out for failing more than its peers, for how long, and how often that has happened.

The n-th time lasts n x `ejection_s`, at most `MAX_TIMES` of them. A node that is back for as long as its last ejection
lasted has one time forgiven, then the next. (Envoy's outlier detection multiplies and forgives in the same way.)
"""

from typing import Annotated

import msgspec

from fairlead.errors import FairleadError

MAX_TIMES = 10


class _Term(msgspec.Struct, frozen=True, array_like=True):
    """One node's ejections."""

    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    """Not forgiven yet."""
    until_s: Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
    """When the last one ends, or when the last time was forgiven."""


class Ejections:
    """The ejections of a fleet. Single-owner, told the time."""

    def __init__(self, ejection_s: float) -> None:
        self._ejection_s = ejection_s
        self._terms: dict[str, _Term] = {}

    def begin(self, node: str, now_s: float) -> float:
        """Leave a node out from now on, and return for how long."""
        term = self._terms.get(node)
        times = min(term.times if term else 0, MAX_TIMES - 1) + 1
        length_s = self._length_s(times)
        self._terms[node] = _Term(times, now_s + length_s)
        return length_s

    def is_out(self, node: str, now_s: float) -> bool:
        """Tell whether a node is left out."""
        term = self._terms.get(node)
        return term is not None and now_s < term.until_s

    def forgive(self, now_s: float) -> None:
        """Forget the times that were long enough ago, and those that a clock set back has put out of reach."""
        for node, term in list(self._terms.items()):
            times, until_s = term.times, term.until_s
            if until_s > now_s + self._length_s(times):
                times = 0
            while times and now_s >= until_s + self._length_s(times):
                until_s += self._length_s(times)
                times -= 1
            if times == 0:
                del self._terms[node]
            elif times != term.times:
                self._terms[node] = _Term(times, until_s)

    def drop(self, node: str) -> None:
        """Forget all of a node."""
        self._terms.pop(node, None)

    def kept(self) -> dict[str, list[float]]:
        """Return everything as plain data: of each node how often, and until when, on the owner's clock."""
        return {node: [term.times, term.until_s] for node, term in self._terms.items()}

    def take_over(self, kept: object) -> None:
        """Become what `kept` gave. Raises FairleadError for anything else, and is left as it was."""
        try:
            terms = msgspec.convert(kept, dict[str, _Term])
        except msgspec.ValidationError as error:
            raise FairleadError(f"the kept ejections of nodes are damaged ({error})") from None
        self._terms = {node: _Term(min(term.times, MAX_TIMES), term.until_s) for node, term in terms.items()}

    def _length_s(self, times: int) -> float:
        return self._ejection_s * times
