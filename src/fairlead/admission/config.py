"""How long a queue may be, and how long anybody waits in it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from fairlead.domain import PriorityClass

_Seconds = Annotated[float, Meta(gt=0)]


class WaitLimits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Longest wait of each class, in seconds; who would wait longer is refused."""

    interactive: _Seconds = 15.0
    normal: _Seconds = 60.0
    batch: _Seconds = 300.0

    def of(self, kind: PriorityClass) -> float:
        """Return the limit of a class."""
        limit_s: float = getattr(self, kind.value)
        return limit_s


class QueueConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may wait for room on a node."""

    max_waiting: Annotated[int, Meta(ge=0)] = 1024
    """Tasks."""
    max_bytes: Annotated[int, Meta(gt=0)] = 256 * 2**20
    """Of requests that are kept meanwhile."""
    ageing_s: _Seconds | None = None
    """After this long a task that waits counts as one level more urgent; None: as long as it takes each level to be as
    urgent as `interactive` once nine tenths of its class's limit are over."""
    max_wait_s: WaitLimits = WaitLimits()
