"""How those who wait become more urgent: by class, never one tenant against another inside a class.

    level = max(0, base - floor(waited / pace of base))

`waited` is that of the one whom fair share would let in next of its base level. So a class that is not served rises
past the others, and inside it nothing changes: a tenant whose tasks wait long because it asks for more than its share
gains nothing by it.
"""

from fairlead.admission.config import QueueConfig
from fairlead.domain import PriorityClass, class_of
from fairlead.domain.priority import LEVELS as NAMED

LEVELS = 10
CLASSES = tuple(PriorityClass)
"""The most urgent first."""
KIND_OF = tuple(CLASSES.index(class_of(level)) for level in range(LEVELS))
"""Of each level the number of its class."""
AGED = 0.9
"""Share of the longest wait after which a task is as urgent as interactive ones, where no `ageing_s` is set."""


class Ageing:
    """What waiting does, by level."""

    __slots__ = ("limits_s", "paces_s")

    def __init__(self, config: QueueConfig) -> None:
        self.limits_s = tuple(config.max_wait_s.of(CLASSES[KIND_OF[level]]) for level in range(LEVELS))
        """The longest wait."""
        self.paces_s = tuple(config.ageing_s or _pace_s(level, self.limits_s[level]) for level in range(LEVELS))
        """How long it takes to count as one level more urgent."""

    def level(self, base: int, waited_s: float) -> int:
        """Return the level that one who came with `base` counts as by now."""
        return max(0, base - int(waited_s / self.paces_s[base]))

    def aged_share(self, base: int, level: int, oldest_s: float) -> float:
        """Return which share of those of a base level counts as that level or a more urgent one.

        The oldest has waited `oldest_s`, and the others are taken to have come evenly since.
        """
        needed_s = (base - level) * self.paces_s[base]
        return 1.0 - needed_s / oldest_s if oldest_s > needed_s else 0.0


def _pace_s(level: int, limit_s: float) -> float:
    return AGED * limit_s / max(level - NAMED["interactive"], 1)
