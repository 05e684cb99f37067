"""What the strategies that score have in common: exploring, stepping round saturated nodes, breaking ties."""

from collections import OrderedDict
from collections.abc import Sequence
from operator import attrgetter

from fairlead.load import is_saturated, typical_pending
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate, Standing
from fairlead.routing.contract import Pool, RoutingSettings

_outcomes = attrgetter("outcomes")
TRUSTED_OUTCOMES = 3.0
"""Outcomes in a category after which a candidate is no newcomer to it."""
UNTRIED_FACTOR = 3.0


def explore(compared: Sequence[Candidate], standings: Sequence[Standing], share: float, draw: Draw) -> Candidate | None:
    """Return a newcomer, in `share` of the cases in which there is one beside known candidates.

    Without this a strategy that trusts its evidence would never gather any on a newcomer, and one unlucky first
    outcome would shut a candidate out. One that was never tried at anything is looked at three times as often, so that
    a new node soon takes part.
    """
    if min(standings, key=_outcomes).outcomes >= TRUSTED_OUTCOMES:
        return None
    pairs = zip(compared, standings, strict=True)
    owed = [one for one, standing in pairs if standing.outcomes < TRUSTED_OUTCOMES]
    if len(owed) == len(compared):
        return None
    luck = draw.unit()
    if luck >= UNTRIED_FACTOR * share:
        return None
    if luck >= share:
        owed = [one for one in owed if not one.overall.outcomes]
    return least_loaded(owed, draw) if owed else None


def best(compared: Sequence[Candidate], scores: Sequence[float], tolerance: float, draw: Draw) -> Candidate:
    """Return the highest score that is not saturated; of those within `tolerance` of it, the least loaded.

    With every candidate saturated, scores no longer matter and the least loaded is returned.
    """
    floor = max(scores) - tolerance
    if min(scores) >= floor:  # equals, the usual case: the least loaded of all is not busier than its peers
        return least_loaded(compared, draw)
    picked = _top(compared, scores, floor, draw)
    account = picked.account
    if account.in_flight <= 2 and account.slots is None:  # cannot be saturated: spare the median
        return picked
    typical = typical_pending([one.account for one in compared])
    if not is_saturated(account, typical):
        return picked
    free = [i for i, one in enumerate(compared) if not is_saturated(one.account, typical)]
    if not free:
        return least_loaded(compared, draw)
    scores = [scores[i] for i in free]
    return _top([compared[i] for i in free], scores, max(scores) - tolerance, draw)


def _top(compared: Sequence[Candidate], scores: Sequence[float], floor: float, draw: Draw) -> Candidate:
    top = [one for one, score in zip(compared, scores, strict=True) if score >= floor]
    return top[0] if len(top) == 1 else least_loaded(top, draw)


def least_loaded(candidates: Sequence[Candidate], draw: Draw) -> Candidate:
    """Return a candidate with the least in flight for its worth: `least` with its measure written out, for speed."""
    loads = [(one.account.in_flight + 1) / one.worth for one in candidates]
    smallest = min(loads)
    count = loads.count(smallest)
    if count == 1:
        return candidates[loads.index(smallest)]
    if count == len(loads):
        return candidates[draw.below(count)]
    tied = [one for one, load in zip(candidates, loads, strict=True) if load == smallest]
    return tied[draw.below(count)]


class Sessions:
    """Which node served each session last; bounded, the least recently used forgotten first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._nodes: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    def recall(self, session: str, pool: Pool) -> Candidate | None:
        """Return the candidate on the session's node, unless it has left the pool or is saturated."""
        node = self._nodes.get(session)
        candidate = pool.on_node(node) if node is not None else None
        if candidate is None or is_saturated(
            candidate.account, typical_pending([one.account for one in pool.candidates[:64]])
        ):
            return None
        return candidate

    def keep(self, session: str, picked: Candidate) -> None:
        """Remember where a session went."""
        self._nodes[session] = picked.node.name
        self._nodes.move_to_end(session)
        if len(self._nodes) > self._size:
            self._nodes.popitem(last=False)

    def clear(self) -> None:
        """Forget every session."""
        self._nodes.clear()


class Keeper:
    """Picks by score, but keeps sessions on their nodes and looks at newcomers: what affinity and hybrid share."""

    def __init__(self, settings: RoutingSettings, tolerance: float) -> None:
        self._exploration = settings.exploration
        self._tolerance = tolerance
        self.sessions = Sessions(settings.max_sessions)

    def pick(
        self,
        session: str | None,
        pool: Pool,
        compared: Sequence[Candidate],
        standings: Sequence[Standing],
        scores: Sequence[float],
        draw: Draw,
    ) -> tuple[Candidate, str | None]:
        """Return the pick, and why where it is not the best score: the session's node, or a newcomer."""
        picked, why = None if session is None else self.sessions.recall(session, pool), "serves this session"
        if picked is None:
            picked, why = explore(compared, standings, self._exploration, draw), "explores a newcomer"
        is_best = picked is None
        if picked is None:
            picked = best(compared, scores, self._tolerance, draw)
        if session is not None:
            self.sessions.keep(session, picked)
        return picked, None if is_best else why
