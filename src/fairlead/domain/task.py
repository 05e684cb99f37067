"""What is asked: a task, its category and what it needs of a model."""

from enum import StrEnum

import msgspec

from fairlead.domain.features import PromptFeatures
from fairlead.domain.priority import NORMAL


class TaskCategory(StrEnum):
    """What kind of work a task is."""

    CODING = "coding"
    REFACTORING = "refactoring"
    TESTING = "testing"
    DOCUMENTATION = "documentation"
    DEBUGGING = "debugging"
    CODE_REVIEW = "code_review"
    UNKNOWN = "unknown"

    __hash__ = str.__hash__  # Enum's own is written in Python, and decisions look up a category for every candidate


class RoutingStrategy(StrEnum):
    """The six strategies that come with fairlead; others join by entry point under names of their own."""

    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    RANDOM = "random"
    PERFORMANCE = "performance"
    AFFINITY = "affinity"
    HYBRID = "hybrid"


class Task(msgspec.Struct, frozen=True, gc=False):
    """A unit of work as the decision core sees it; the prompt itself stays outside."""

    id: str
    key: int
    """The number that seeds this task's draws."""
    category: TaskCategory = TaskCategory.UNKNOWN
    model: str = "auto"
    """A model's name, a group, or `auto`."""
    needs: frozenset[str] = frozenset()
    """Capabilities that a model must have, such as `tools`."""
    input_tokens: int = 0
    """Of the prompt, estimated; 0 where unknown."""
    output_tokens: int = 0
    """Of the answer, as far as the caller limits it; 0 where unknown."""
    session: str | None = None
    deadline_s: float | None = None
    """On the clock of `now_s`, not a duration."""
    max_cost_usd: float | None = None
    tenant: str | None = None
    quality: float | None = None
    """In [0, 1]: from "cheapest that is good enough" to "best whatever it costs"; None: as configured."""
    min_quality: float | None = None
    """Least expected quality, in [0, 1], of a model that may do it; None: as configured."""
    max_latency_s: float | None = None
    """Longest expected time to the whole answer; None: as configured."""
    features: PromptFeatures | None = None
    """What may be learnt from of the prompt; None where it was not looked at."""
    priority: int = NORMAL
    """From 0, first, to 9, last; see `domain.priority`."""
    min_output_tokens: int | None = None
    """To how few tokens the answer may be cut where a node has no room for more; None: it may not be."""
    prefix: tuple[int, ...] = ()
    """What the prompt begins with, block by block: each number stands for all the text up to the end of its block."""
