"""What is given up under pressure, step by step, and taken back when it is over.

hedging            no second requests
exploration        no tasks to learn from
cheaper_model      `auto` and groups lean to the cheaper model, where the caller says nothing of quality
shorter_answers    answers are cut, where the caller set no limit
queue              normal work waits before it takes the last part of a node
refuse             batch work is refused
"""

from typing import TYPE_CHECKING

import msgspec

from fairlead.dialects.contract import Call, Operation
from fairlead.domain import PriorityClass
from fairlead.engine.events import DegradationChanged
from fairlead.health.config import DegradationConfig, Step
from fairlead.health.ladder import Ladder
from fairlead.routing.contract import Explores

if TYPE_CHECKING:
    from fairlead.orchestrator.orchestrator import ModelOrchestrator

CHEAPER = 0.25
"""Of the configured weight of quality against price, what is left under `cheaper_model`."""
NORMAL_QUALITY = 0.5
_SHED = frozenset((PriorityClass.BATCH,))
_TEXT = frozenset((Operation.CHAT, Operation.COMPLETION))


class Spared(msgspec.Struct, frozen=True):
    """What is given up for one call."""

    quality: float | None
    """Weight of quality against price."""
    max_output_tokens: int | None
    """To what its answer is cut; None: it is not."""
    steps: str
    """What was given up, for the caller to read."""


class Degrading:
    """Carries out what the ladder says."""

    def __init__(self, orchestrator: "ModelOrchestrator", config: DegradationConfig | None = None) -> None:
        self._orchestrator = orchestrator
        self.config = config or DegradationConfig()
        self.ladder = Ladder(self.config)
        self.is_quiet = True
        """Whether calls are as usual, so that nothing has to be looked at for each."""

    def configure(self, config: DegradationConfig) -> None:
        """Go by another ladder, from its foot. Raises ConfigError for a step that there is not."""
        ladder = Ladder(config)
        self.config = config
        self.ladder = ladder
        self.carry_out()

    def climb(self, pressure: float, now_s: float) -> DegradationChanged | None:
        """Go up or down as the pressure says; returns what changed, for telling."""
        change = self.ladder.climb(pressure, now_s)
        if change is None:
            return None
        self.carry_out()
        return DegradationChanged(at_s=now_s, before=change.before, after=change.after, why=change.why)

    @property
    def shed(self) -> frozenset[PriorityClass]:
        """Classes that are refused."""
        return _SHED if self.ladder.is_given_up(Step.REFUSE) else frozenset()

    def apply(self, call: Call, quality: float | None) -> Spared:
        """Return what holds for a call now, whose caller gave this weight to quality."""
        is_choice = quality is None and self._orchestrator.fleet.stands_for_several(call.model)
        is_cheaper = is_choice and self.ladder.is_given_up(Step.CHEAPER_MODEL)
        is_open = call.max_output_tokens is None and call.operation in _TEXT
        is_cut = is_open and self.ladder.is_given_up(Step.SHORTER_ANSWERS)
        return Spared(
            self._quality if is_cheaper else quality,
            self.config.max_output_tokens if is_cut else None,
            ", ".join(
                step for step, holds in ((Step.CHEAPER_MODEL, is_cheaper), (Step.SHORTER_ANSWERS, is_cut)) if holds
            ),
        )

    @property
    def _quality(self) -> float:
        engine = self._orchestrator.fleet.engine
        return CHEAPER * (NORMAL_QUALITY if engine is None else engine.config.quality)

    def carry_out(self) -> None:
        """Let hold what is given up now, and nothing else."""
        orchestrator, is_given_up = self._orchestrator, self.ladder.is_given_up
        self.is_quiet = not (is_given_up(Step.CHEAPER_MODEL) or is_given_up(Step.SHORTER_ANSWERS))
        hedger = orchestrator.hedger
        hedger.is_off = not hedger.config.enabled or is_given_up(Step.HEDGING)
        explores = not is_given_up(Step.EXPLORATION)
        if explores != orchestrator.explores:
            orchestrator.explores = explores
            if isinstance(orchestrator.fleet.strategy, Explores):
                orchestrator.fleet.strategy.explore(is_on=explores)
            if orchestrator.fleet.engine is not None:
                orchestrator.fleet.engine.explore(is_on=explores)
        orchestrator.fleet.lessor.keeps_room = is_given_up(Step.QUEUE)
        orchestrator.tighten()
