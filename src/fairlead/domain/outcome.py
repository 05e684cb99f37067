"""What came back."""

import msgspec

from fairlead.domain.task import TaskCategory
from fairlead.errors import Fault


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How one attempt at a task ended."""

    success: bool
    latency_s: float
    category: TaskCategory = TaskCategory.UNKNOWN
    first_token_s: float | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    fault: Fault | None = None
