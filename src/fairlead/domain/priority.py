"""How urgent a task is: a level from 0 (first) to 9 (last), in three classes.

Low is urgent, as in HTTP's own priorities (RFC 9218) and in vLLM.
"""

from enum import StrEnum


class PriorityClass(StrEnum):
    """Somebody waits for it; as usual; any time will do."""

    INTERACTIVE = "interactive"
    NORMAL = "normal"
    BATCH = "batch"

    __hash__ = str.__hash__  # Enum's own is written in Python


FIRST_LEVEL = 0
LAST_LEVEL = 9
LEVELS: dict[str, int] = {"interactive": 1, "normal": 4, "batch": 8}
"""The level that a class's name stands for."""
NORMAL = LEVELS["normal"]

_CLASSES = (PriorityClass.INTERACTIVE,) * 3 + (PriorityClass.NORMAL,) * 4 + (PriorityClass.BATCH,) * 3


def class_of(level: int) -> PriorityClass:
    """Return the class of a level: 0 to 2 interactive, 3 to 6 normal, 7 to 9 batch. Raises ValueError for others."""
    if not FIRST_LEVEL <= level <= LAST_LEVEL:
        raise ValueError(f"a priority is a level from {FIRST_LEVEL} (first) to {LAST_LEVEL} (last), not {level!r}")
    return _CLASSES[level]


def read_priority(text: str) -> int:
    """Return the level that a class's name or a digit says. Raises ValueError for anything else."""
    level = LEVELS.get(text)
    if level is not None:
        return level
    if len(text) == 1 and text.isascii() and text.isdigit():
        return int(text)
    names = ", ".join(LEVELS)
    raise ValueError(
        f"a priority is one of {names}, or a digit from {FIRST_LEVEL} (first) to {LAST_LEVEL} (last), not {text!r}"
    )
