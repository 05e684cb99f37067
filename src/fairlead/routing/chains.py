"""Chains of models: a fallback chain tries in order, a cascade asks a cheap model first and escalates.

A cascade competes with single models on equal terms, by what it is expected to cost and to be worth:

    E[cost]    = c1 + P(1 escalates) c2 + P(1 and 2 escalate) c3 ...
    E[quality] = (1 - P(1 escalates)) q(accepted from 1) + P(1 escalates) (...)

How often a step escalates and what the answers are worth that it lets through is learnt from what happened, forgotten
at half-life speed. Until then a check is taken to catch half of the bad answers and no good one: a step of quality q
escalates 0.5 (1 - q) of its tasks, and what it accepts is worth q / (1 - 0.5 (1 - q)). The idea of the cascade and the
terms are those of FrugalGPT (Chen, Zaharia, Zou, 2023).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fairlead.domain import ChainKind, ModelChain
from fairlead.errors import ConfigError
from fairlead.routing.decayed import DecayedMean

CAUGHT = 0.5
"""Share of the bad answers that a check catches, as long as nothing was seen of it."""
PRIOR_WEIGHT = 4.0
"""How many outcomes that assumption is worth."""
MOVED = 0.01
"""How far an expectation may move before rankings that rest on it are worked out anew."""


class Cascade(msgspec.Struct, frozen=True):
    """A cheap model first, the next one where its answer fails a check. Raises ConfigError for less than two models."""

    name: str
    models: tuple[str, ...]
    """From cheap to dear; an answer of the last is taken as it is."""
    check: Any = None
    """What an answer must pass: the caller's own, never looked at here."""

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("a cascade needs a name")
        if len(self.models) < 2 or len(set(self.models)) < len(self.models):
            raise ConfigError(f"cascade {self.name!r} needs two or more different models, not {list(self.models)}")

    @property
    def chain(self) -> ModelChain:
        """The cascade as a chain."""
        return ModelChain(self.models, ChainKind.CASCADE, self.name)


def fallback_chain(models: Iterable[str]) -> ModelChain:
    """Return the chain that asks each model once, in order, until one answers."""
    names = tuple(dict.fromkeys(models))
    return ModelChain(names, ChainKind.FALLBACK if len(names) > 1 else ChainKind.SINGLE)


class _Step:
    __slots__ = ("accepted", "escalated", "told")

    def __init__(self, half_life_s: float) -> None:
        self.escalated = DecayedMean(half_life_s)
        self.accepted = DecayedMean(half_life_s)
        self.told = (0.0, 0.0)
        """What the last `version` stood for."""

    def now(self) -> tuple[float, float]:
        """Return the escalation rate and the accepted quality, as nobody's prior would have them."""
        return (self.escalated.towards(0.5, PRIOR_WEIGHT), self.accepted.towards(0.5, PRIOR_WEIGHT))


class CascadeBook:
    """What happened in each step of each cascade."""

    def __init__(self, cascades: Sequence[Cascade], half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self.cascades = {one.name: one for one in cascades}
        if len(self.cascades) < len(cascades):
            raise ConfigError("two cascades have the same name")
        self._steps: dict[tuple[str, int], _Step] = {}
        self.version = 0
        """Rises whenever an expectation has moved."""

    def record(self, name: str, step: int, accepted: bool, score: float | None, now_s: float) -> None:
        """Learn what became of an answer: whether it was taken, and what it was worth where that is known.

        Raises ConfigError for a cascade or step that there is not.
        """
        cascade = self.cascades.get(name)
        if cascade is None:
            raise ConfigError(f"no cascade is named {name!r}; there are: {', '.join(self.cascades) or 'none'}")
        if not 0 <= step < len(cascade.models):
            raise ConfigError(f"cascade {name!r} has steps 0 to {len(cascade.models) - 1}, not {step}")
        one = self._steps.get((name, step))
        if one is None:
            one = self._steps[name, step] = _Step(self._half_life_s)
        one.escalated.add(0.0 if accepted else 1.0, now_s)
        if accepted and score is not None:
            one.accepted.add(score, now_s)
        now = one.now()
        if max(abs(now[0] - one.told[0]), abs(now[1] - one.told[1])) > MOVED:
            one.told = now
            self.version += 1

    def expect(self, cascade: Cascade, qualities: Sequence[float]) -> tuple[tuple[float, ...], float]:
        """Return the chance that each step is asked, and the expected quality of the answer.

        `qualities` are the expected ones of the cascade's models, each on its own.
        """
        reach, worth = [1.0], 0.0
        last = len(qualities) - 1
        for step, quality in enumerate(qualities):
            escalates = CAUGHT * (1.0 - quality) if step < last else 0.0
            accepted = quality / (1.0 - escalates)
            seen = self._steps.get((cascade.name, step))
            if seen is not None:
                accepted = seen.accepted.towards(accepted, PRIOR_WEIGHT)
                if step < last:
                    escalates = seen.escalated.towards(escalates, PRIOR_WEIGHT)
            worth += reach[-1] * (1.0 - escalates) * accepted
            if step < last:
                reach.append(reach[-1] * escalates)
        return tuple(reach), min(worth, 1.0)

    def forget(self) -> None:
        """Drop what was seen."""
        self._steps.clear()
        self.version += 1

    def snapshot(self) -> list[list[Any]]:
        """Return what was seen, as plain data."""
        return [[name, step, one.escalated.state(), one.accepted.state()] for (name, step), one in self._steps.items()]

    def restore(self, state: list[list[Any]]) -> None:
        """Take over a snapshot; steps that are configured no longer are dropped. Raises ValueError or TypeError."""
        steps: dict[tuple[str, int], _Step] = {}
        for name, step, escalated, accepted in state:
            cascade = self.cascades.get(name)
            if cascade is None or not 0 <= step < len(cascade.models):
                continue
            one = steps[name, step] = _Step(self._half_life_s)
            one.escalated.restore(escalated)
            one.accepted.restore(accepted)
            one.told = one.now()
        self._steps = steps
        self.version += 1
