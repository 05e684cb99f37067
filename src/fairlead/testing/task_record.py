"""What became of a task in a simulation."""

import msgspec

from fairlead.domain import Task
from fairlead.errors import Fault, NoCandidateError, OverloadedError, RoutingError


class TaskRecord(msgspec.Struct):
    """What became of one task."""

    task: Task
    submitted_s: float
    nodes: list[str] = []
    """Every node asked, in order."""
    sent_s: list[float] = []
    """When each of them was asked."""
    began_s: float | None = None
    """When the first token came, where its node tells of tokens."""
    ended_s: float | None = None
    succeeded: bool = False
    fault: Fault | None = None
    """What the caller is told, where it did not succeed and a node is to blame."""
    error: RoutingError | None = None
    """Why routing gave up, where it did."""
    is_cancelled: bool = False
    answer_tokens: int = 0
    """How long the answer is that it would get, and at the end the one that it got."""
    queued_s: float = 0.0
    """How long it waited for room."""
    gave_way: int = 0
    """How often it was taken off a node for more urgent work."""

    @property
    def node(self) -> str | None:
        """The node asked last, or None when none was."""
        return self.nodes[-1] if self.nodes else None

    @property
    def attempts(self) -> int:
        """How many times a node was asked."""
        return len(self.nodes)

    @property
    def first_token_s(self) -> float | None:
        """How long the first token took, from the arrival on; None where none came."""
        return None if self.began_s is None else self.began_s - self.submitted_s

    @property
    def retry_after_s(self) -> float | None:
        """What the caller was told of when to come again; None where it was told nothing."""
        return self.error.retry_after_s if isinstance(self.error, NoCandidateError | OverloadedError) else None
