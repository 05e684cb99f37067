"""What the strategies that score have in common: exploring, stepping round saturated nodes, breaking ties."""

from collections import OrderedDict
from collections.abc import Sequence
from operator import attrgetter

from fairlead.load import is_saturated, typical_pending
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate, Standing
from fairlead.routing.contract import Choice, Pool, RoutingSettings
from fairlead.routing.exploration import Limits, most_owed, owed, propensity

_outcomes = attrgetter("outcomes")
KEPT = "serves this session"
RIVAL_SHARE = 0.1
"""Share of the exploration that goes to a well known candidate which may be as good as the best."""
Picked = tuple[Candidate, str | None, int]
"""Who was picked, why where it is not for the best score, and among how many equals (0: not one of the best)."""


class Explorer:
    """Picks the best score that is not saturated or, for a share of the tasks, one of which too little is known."""

    def __init__(self, settings: RoutingSettings, tolerance: float, hope: str = "hope") -> None:
        """Build one that reads `hope`, an attribute of standings: what the score may well be."""
        ceiling = settings.exploration
        self._limits = Limits(min(settings.exploration_floor, ceiling), ceiling, RIVAL_SHARE * ceiling)
        self._most = most_owed(self._limits) if ceiling > 0.0 else 0.0
        self._tolerance = tolerance
        self._hope = attrgetter(hope)

    def pick(
        self, compared: Sequence[Candidate], standings: Sequence[Standing], scores: Sequence[float], draw: Draw
    ) -> Picked:
        """Pick one. What is owed to whom is only looked at where the draw may lead there."""
        luck = draw.unit() if self._most else 1.0
        if luck < self._limits.ceiling or (luck < self._most and not min(map(_outcomes, standings))):
            for turn in owed(scores, list(map(self._hope, standings)), self._tolerance, self._limits):
                luck -= turn.share
                if luck < 0.0:
                    picked = compared[turn.indices[draw.below(len(turn.indices))]]
                    tied = best(compared, scores, self._tolerance)
                    return picked, turn.why, len(tied) if picked in tied else 0
        tied = best(compared, scores, self._tolerance)
        if len(tied) == 1:
            return tied[0], None, 1
        return tied[draw.below(len(tied))], None, len(tied)

    def propensity(self, choice: Choice) -> float:
        """Return how likely a choice was that this explorer made."""
        turns = owed(choice.scores, list(map(self._hope, choice.standings)), self._tolerance, self._limits)
        return propensity(turns, list(choice.compared).index(choice.picked), choice.equals)


def best(compared: Sequence[Candidate], scores: Sequence[float], tolerance: float) -> Sequence[Candidate]:
    """Return the highest scores that are not saturated: the least loaded of all within `tolerance` of the highest.

    With every candidate saturated, scores no longer matter and the least loaded are returned.
    """
    bar = max(scores) - tolerance
    if min(scores) >= bar:  # equals, the usual case: the least loaded of all is not busier than its peers
        return lightest(compared)
    tied = _top(compared, scores, bar)
    account = tied[0].account
    if account.in_flight <= 2 and account.slots is None:  # cannot be saturated: spare the median
        return tied
    typical = typical_pending([one.account for one in compared])
    if not is_saturated(account, typical):
        return tied
    free = [i for i, one in enumerate(compared) if not is_saturated(one.account, typical)]
    if not free:
        return lightest(compared)
    scores = [scores[i] for i in free]
    return _top([compared[i] for i in free], scores, max(scores) - tolerance)


def lightest(candidates: Sequence[Candidate]) -> Sequence[Candidate]:
    """Return the candidates with the least in flight for their worth."""
    if len(candidates) == 1:
        return candidates
    loads = [(one.account.in_flight + 1) / one.worth for one in candidates]
    smallest = min(loads)
    count = loads.count(smallest)
    if count == 1:
        return (candidates[loads.index(smallest)],)
    if count == len(loads):
        return candidates
    return [candidates[i] for i, load in enumerate(loads) if load == smallest]


def _top(compared: Sequence[Candidate], scores: Sequence[float], bar: float) -> Sequence[Candidate]:
    return lightest([compared[i] for i, score in enumerate(scores) if score >= bar])


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
    """Picks by score and explores, but keeps sessions on their nodes: what affinity and hybrid share."""

    def __init__(self, settings: RoutingSettings, tolerance: float, hope: str = "hope") -> None:
        self._explorer = Explorer(settings, tolerance, hope)
        self.sessions = Sessions(settings.max_sessions)

    def pick(
        self,
        session: str | None,
        pool: Pool,
        compared: Sequence[Candidate],
        standings: Sequence[Standing],
        scores: Sequence[float],
        draw: Draw,
    ) -> Picked:
        """Pick the session's node, else as the explorer does."""
        if session is None:
            return self._explorer.pick(compared, standings, scores, draw)
        kept = self.sessions.recall(session, pool)
        picked = self._explorer.pick(compared, standings, scores, draw) if kept is None else (kept, KEPT, 1)
        self.sessions.keep(session, picked[0])
        return picked

    def propensity(self, choice: Choice) -> float:
        """Return how likely a choice was that this keeper made; a session that is kept leaves nothing to chance."""
        return 1.0 if choice.why == KEPT else self._explorer.propensity(choice)
