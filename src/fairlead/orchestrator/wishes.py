"""What a caller asks of the router beside the task itself."""

import msgspec

from fairlead.domain import TaskCategory
from fairlead.domain.priority import LAST_LEVEL, NORMAL
from fairlead.domain.rescue import Rescue
from fairlead.errors import BadRequestError
from fairlead.orchestrator.limits import KeyLimits
from fairlead.orchestrator.target import CallLimits
from fairlead.routing import Strategy


class Wishes(msgspec.Struct, gc=False):
    """What a caller asks of the router beside the task itself."""

    category: TaskCategory | None = None
    session: str | None = None
    deadline_after_s: float | None = None
    max_cost_usd: float | None = None
    tenant: str | None = None
    strategy: Strategy | None = None
    quality: float | None = None
    min_quality: float | None = None
    max_latency_s: float | None = None
    priority: int = NORMAL
    min_output_tokens: int | None = None
    limits: KeyLimits | None = None
    """Of the caller's key."""
    limits_of_call: CallLimits | None = None
    """How long this call may take, where the caller says it."""
    rescue: Rescue | None = None
    """Who may finish an answer that breaks; None: as configured."""
    restart: bool = False
    """Whether the answer may begin anew where nothing else helps."""

    def check(self) -> None:
        """Raise BadRequestError for a time or a priority that cannot be."""
        if self.deadline_after_s is not None and not self.deadline_after_s > 0:
            raise BadRequestError(f"deadline_after_s is a time above 0, not {self.deadline_after_s!r}")
        if not 0 <= self.priority <= LAST_LEVEL:
            raise BadRequestError(f"priority is a level from 0 (first) to {LAST_LEVEL} (last), not {self.priority!r}")


NO_WISHES = Wishes()
