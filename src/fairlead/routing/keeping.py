"""Keeping to a node: what affinity and hybrid do for sessions, and for prompts of which a node holds the beginning.

A session's node, named by the caller, serves it until it is saturated. A prompt says by its own beginning where it has
been: of the nodes that may take it the one is picked where reading the rest and waiting cost least
(`load.prefix_affinity`), so a node keeps a conversation until the wait there costs more than it saves. Both are decided
node by node. A conversation under way, at least half of it held somewhere, is not explored with.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from fairlead.domain import Task
from fairlead.load import is_saturated, typical_pending
from fairlead.load.prefix import Holder
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate, Standing
from fairlead.routing.contract import WIDE, Choice, Pool, RoutingSettings
from fairlead.routing.scored import Explorer, Picked, smallest

KEPT = "serves this session"
HOLDS = "holds "
"""How a reason begins that names what a node holds of the prompt."""
LEFT = "the wait where more of the prompt is held would cost more than that saves"
_SURE = frozenset({KEPT, LEFT})
UNDER_WAY = 0.5
"""Share of a prompt's blocks from which on it is a conversation that goes on, and not just the same first words."""
PRICED_TOLERANCE = 0.15
"""How far below the best score one may be to be picked for its price; at least that of the strategy."""
MOST_HOLDERS = 4
"""How many that hold the prompt are compared beside a sample."""
Placed = tuple[Candidate, str | None, int, int]
"""Who was picked, why where it is not for the best score, among how many equals, and the prompt's tokens it holds."""


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
    """Picks by score and explores, but keeps sessions and conversations on their nodes."""

    def __init__(
        self, settings: RoutingSettings, tolerance: float, hope: str = "hope", sessions: Sessions | None = None
    ) -> None:
        self._explorer = Explorer(settings, tolerance, hope)
        self.prefixes = settings.prefixes
        self.sessions = sessions or Sessions(settings.max_sessions)

    def pick(
        self,
        session: str | None,
        pool: Pool,
        compared: Sequence[Candidate],
        standings: Sequence[Standing],
        scores: Sequence[float],
        now_s: float,
        draw: Draw,
    ) -> Picked:
        """Pick the session's node, else as the explorer does."""
        if session is None:
            return self._explorer.pick(compared, standings, scores, now_s, draw)
        kept = self.sessions.recall(session, pool)
        picked = (kept, KEPT, 1) if kept else self._explorer.pick(compared, standings, scores, now_s, draw)
        self.sessions.keep(session, picked[0])
        return picked

    def place(
        self,
        task: Task,
        pool: Pool,
        compared: Sequence[Candidate],
        standings: Sequence[Standing],
        scores: Sequence[float],
        now_s: float,
        draw: Draw,
    ) -> Placed:
        """Pick for a task whose prompt may be held somewhere; raises ValueError where the settings name no prefixes."""
        prefixes, session = self.prefixes, task.session
        if prefixes is None:
            raise ValueError("this strategy was built without RoutingSettings.prefixes: use pick")
        prefix, blocks = task.prefix, len(task.prefix)
        tokens = prefixes.tokens_of(prefix, task.input_tokens)
        held = prefixes.index.held(prefix)
        kept = None if session is None or held else self.sessions.recall(session, pool)
        picked: Candidate
        why: str | None
        if kept is not None:
            picked, why, equals = kept, KEPT, 1
        else:
            find = _Cheapest(prefixes.prices(blocks, tokens, held, compared, now_s))
            if _is_under_way(held, compared, blocks):
                tied = find(compared, scores)
                picked, equals = tied[draw.below(len(tied))], len(tied)
                why = _reason(held, picked, blocks)
            else:
                picked, why, equals = self._explorer.pick(compared, standings, scores, now_s, draw, find)
        if session is not None:
            self.sessions.keep(session, picked)
        return picked, why, equals, prefixes.sent(prefix, tokens, picked, held.get(picked.holder, 0), now_s)

    def with_holders(self, task: Task, pool: Pool, compared: Sequence[Candidate], now_s: float) -> Sequence[Candidate]:
        """Return what is compared, and of a sample's absentees those that hold most of the prompt."""
        if self.prefixes is None or len(pool.candidates) <= WIDE:
            return compared
        runs = self.prefixes.index.held(task.prefix)
        holders = [pool.on_node(node) for _, node in sorted(runs, key=runs.__getitem__, reverse=True)[:MOST_HOLDERS]]
        absent = [one for one in holders if one is not None and one.holder in runs and one not in compared]
        for one in absent:
            one.catch_up(now_s)
        return [*compared, *absent]

    def propensity(self, choice: Choice) -> float:
        """Return how likely a choice was that this keeper made; keeping leaves nothing to chance but equals."""
        why = choice.why
        if why in _SURE or why.startswith(HOLDS):
            return 1.0 / choice.equals
        return self._explorer.propensity(choice)

    def forget(self) -> None:
        """Drop the sessions, and what nodes hold."""
        self.sessions.clear()
        if self.prefixes is not None:
            self.prefixes.forget()


class _Cheapest:
    """Finds the lowest price among those that are not saturated and score within the tolerance of the best of them."""

    def __init__(self, prices: Sequence[float]) -> None:
        self._prices = prices

    def __call__(
        self, compared: Sequence[Candidate], scores: Sequence[float], tolerance: float = 0.0
    ) -> Sequence[Candidate]:
        tolerance, prices = max(tolerance, PRICED_TOLERANCE), self._prices
        bar = max(scores) - tolerance
        if min(scores) >= bar:
            tied = smallest(compared, prices)
        else:
            tied = self._among(compared, scores, range(len(scores)), bar)
        account = tied[0].account
        if account.in_flight <= 2 and account.slots is None:  # cannot be saturated: spare the median
            return tied
        typical = typical_pending([one.account for one in compared])
        if not is_saturated(account, typical):
            return tied
        free = [i for i, one in enumerate(compared) if not is_saturated(one.account, typical)]
        if not free:
            return smallest(compared, prices)
        return self._among(compared, scores, free, max([scores[i] for i in free]) - tolerance)

    def _among(
        self, compared: Sequence[Candidate], scores: Sequence[float], which: Sequence[int], bar: float
    ) -> Sequence[Candidate]:
        fit = [i for i in which if scores[i] >= bar]
        return smallest([compared[i] for i in fit], [self._prices[i] for i in fit])


def _is_under_way(held: Mapping[Holder, int], compared: Sequence[Candidate], blocks: int) -> bool:
    least = UNDER_WAY * blocks
    if not held or max(held.values()) < least:
        return False
    return any(held.get(one.holder, 0) >= least for one in compared)


def _reason(held: Mapping[Holder, int], picked: Candidate, blocks: int) -> str:
    own = held.get(picked.holder, 0)
    return f"{HOLDS}{own} of {blocks} blocks of the prompt" if own >= UNDER_WAY * blocks else LEFT
