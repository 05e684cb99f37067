"""The ladder of graceful degradation: what is given up as pressure rises, and taken back as it falls.

Of n steps the k-th (from 0) is taken at a pressure of begin_at + (1 - begin_at) k / (n - 1), a single one at
`begin_at`. Up at once, several steps if need be; down one step at a time, each after the pressure has been below what
that step is taken at for `hold_s`. So a step that is taken is kept for `hold_s` at least.
"""

import msgspec

from fairlead.errors import ConfigError
from fairlead.health.config import DegradationConfig, Step

STEPS = tuple(Step)
NOTHING = "nothing"
"""In a change: no step is taken."""


class StepChange(msgspec.Struct, frozen=True, kw_only=True):
    """More is given up, or less; each end is named by its last step."""

    before: str
    after: str
    why: str
    is_up: bool
    """More is given up."""


class Ladder:
    """Says what is given up. Single-owner, told the time."""

    def __init__(self, config: DegradationConfig | None = None) -> None:
        """Raises ConfigError for a step that there is not, or that is named twice."""
        config = config or DegradationConfig()
        self._steps = tuple(_read(name) for name in config.steps)
        if len(set(self._steps)) < len(self._steps):
            raise ConfigError(f"degradation.steps names a step twice: {', '.join(config.steps)}")
        begin, last = config.begin_at, max(len(self._steps) - 1, 1)
        self._taken_at = [min(begin + (1.0 - begin) * k / last, 1.0) for k in range(len(self._steps))]
        self._hold_s = config.hold_s
        self._given_up: frozenset[Step] = frozenset()
        self._lower_since_s: float | None = None
        """Since when the pressure has been below what the last step taken was taken at."""

    @property
    def given_up(self) -> tuple[Step, ...]:
        """What is given up now, in the order of the ladder."""
        return self._steps[: len(self._given_up)]

    def is_given_up(self, step: Step) -> bool:
        """Tell whether something is given up now. O(1)."""
        return step in self._given_up

    def climb(self, pressure: float, now_s: float) -> StepChange | None:
        """Go up or down as the pressure says, and return what changed. Raises ValueError for one outside [0, 1]."""
        if not 0.0 <= pressure <= 1.0:
            raise ValueError(f"pressure must be within 0 and 1, not {pressure!r}")
        level = len(self._given_up)
        wanted = sum(at <= pressure for at in self._taken_at)
        if wanted >= level:
            self._lower_since_s = None
            return self._go(wanted, pressure) if wanted > level else None
        if self._lower_since_s is None:
            self._lower_since_s = now_s
        if now_s - self._lower_since_s < self._hold_s:
            return None
        self._lower_since_s = now_s
        return self._go(level - 1, pressure)

    def _go(self, level: int, pressure: float) -> StepChange:
        before, is_up = self._name(), level > len(self._given_up)
        self._given_up = frozenset(self._steps[:level])
        why = f"the pressure is {pressure:.2f}" if is_up else f"the pressure has been lower for {self._hold_s:g} s"
        return StepChange(before=before, after=self._name(), why=why, is_up=is_up)

    def _name(self) -> str:
        return self.given_up[-1].value if self._given_up else NOTHING


def _read(name: str) -> Step:
    try:
        return Step(name)
    except ValueError:
        known = ", ".join(STEPS)
        raise ConfigError(f"degradation.steps: {name!r} is no step; there are {known}") from None
