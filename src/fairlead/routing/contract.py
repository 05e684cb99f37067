"""What a strategy is given and what it gives back."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

import msgspec

from fairlead.domain import Task
from fairlead.load import LoadMeasure, PrefixAffinity
from fairlead.rng import Draw
from fairlead.routing.candidate import Candidate
from fairlead.routing.exploration import REASONS

WIDE = 64
"""Beyond this many candidates a strategy compares a sample, so that its cost stays flat."""
SAMPLE = 12
"""How many it compares then."""


class Pool:
    """The candidates that qualify for a task, as they were registered. Never empty, never changed."""

    __slots__ = ("_by_node", "_cumulative", "_fresh_until_s", "_is_even", "_is_sized", "candidates", "key")

    def __init__(self, key: str, candidates: Sequence[Candidate]) -> None:
        self.key = key
        """The name that the task asked for: a model, a group, or `auto`."""
        self.candidates = candidates
        self._cumulative: list[float] | None = None
        self._by_node: dict[str, Candidate] | None = None
        self._fresh_until_s = -1.0
        self._is_even: bool | None = None
        self._is_sized: bool | None = None

    @property
    def is_sized(self) -> bool:
        """Whether how many tasks each node works on at once is known, and differs; found out once."""
        if self._is_sized is None:
            slots = {candidate.account.slots for candidate in self.candidates}
            self._is_sized = len(slots) > 1 and None not in slots
        return self._is_sized

    @property
    def is_even(self) -> bool:
        """Whether all weigh the same; found out once."""
        if self._is_even is None:
            self._is_even = len({candidate.weight for candidate in self.candidates}) == 1
        return self._is_even

    @property
    def cumulative_weights(self) -> list[float]:
        """Running sums of the candidates' weights, worked out once."""
        if self._cumulative is None:
            self._cumulative = list(accumulate(candidate.weight for candidate in self.candidates))
        return self._cumulative

    def freshen(self, now_s: float) -> None:
        """Let time wear all evidence away, once that makes a difference to any; outcomes only put that moment off."""
        if now_s > self._fresh_until_s:
            for candidate in self.candidates:
                candidate.catch_up(now_s)
            self._fresh_until_s = min(candidate.refresh_at_s for candidate in self.candidates)

    def on_node(self, name: str) -> Candidate | None:
        """Return the pool's first candidate on a node, or None."""
        if self._by_node is None:
            self._by_node = {candidate.node.name: candidate for candidate in reversed(self.candidates)}
        return self._by_node.get(name)


class Choice(msgspec.Struct, gc=False):
    """The candidate that a strategy picked, with what it compared, for the decision record."""

    picked: Candidate
    compared: Sequence[Candidate]
    scores: Sequence[float]
    """One for each of `compared`; up is good."""
    why: str
    factors: tuple[str, ...] = ()
    """Names of the factors that made the scores: attributes of each of `standings`."""
    standings: Sequence[object] = ()
    """One for each of `compared`: values that do not change. A factor that is None is not known and scored 0.5."""
    odds: "Callable[[Choice], float] | None" = None
    """Works out how likely the pick was; None where that is not known."""
    equals: int = 1
    """Among how many of the best it was drawn; 0: it is not one of them."""
    promised_tokens: int = 0
    """Tokens of the prompt that its node is believed to hold."""

    @property
    def propensity(self) -> float | None:
        """The chance that `picked` had, all that was known and in flight being equal; worked out when asked for."""
        return None if self.odds is None else self.odds(self)

    @property
    def is_explored(self) -> bool:
        """Whether it was picked to learn about it."""
        return self.why in REASONS


class Strategy(Protocol):
    """How one candidate is picked out of those that qualify. May keep state of its own; reads no clock."""

    name: str

    def choose(self, task: Task, pool: Pool, now_s: float, draw: Draw) -> Choice:
        """Pick a candidate of the pool for the task."""
        ...

    def forget(self) -> None:
        """Drop what was learnt, when metrics are reset."""
        ...


class RoutingSettings(msgspec.Struct, frozen=True):
    """What strategies are built with."""

    exploration: float = 0.1
    """Share of tasks in [0, 1] that go to candidates of which too little is known, while there are any; 0: none."""
    exploration_floor: float = 0.01
    """Share of tasks in [0, 1] that go to others than the best even then; never more than `exploration`."""
    max_sessions: int = 10_000
    """Sessions remembered, the least recently used forgotten first."""
    load_measure: LoadMeasure = LoadMeasure.REQUESTS
    """How busy a node is, where the least busy is taken: by `least_loaded`, and among equals by those that score."""
    prefixes: PrefixAffinity | None = None
    """What nodes hold of prompts, shared by all strategies that are built with these settings; None: it counts not."""


def without_exploring(settings: RoutingSettings) -> RoutingSettings:
    """Return the same settings for a time in which nothing is to be learnt."""
    return msgspec.structs.replace(settings, exploration=0.0)


@runtime_checkable
class Explores(Protocol):
    """A strategy that can be told to give exploring up for a while."""

    def explore(self, *, is_on: bool) -> None:
        """Explore, or not."""
        ...


StrategyFactory = Callable[[RoutingSettings], Strategy]


def shortlist(pool: Pool, now_s: float, draw: Draw) -> Sequence[Candidate]:
    """Return all candidates, or beyond `WIDE` a random sample, so that scoring stays flat; scores are up to date.

    The sample steps through the pool from a random start by a random stride: every candidate is equally likely to be
    in it, at the price of two draws.
    """
    candidates = pool.candidates
    n = len(candidates)
    if n <= WIDE:
        pool.freshen(now_s)
        return candidates
    start, stride = draw.below(n), 1 + draw.below(n // SAMPLE)
    sample = [candidates[(start + step * stride) % n] for step in range(SAMPLE)]
    for one in sample:
        one.catch_up(now_s)
    return sample
