"""How a simulated node behaves: how long it takes, and when and how it fails."""

from collections.abc import Callable

import msgspec

from fairlead.domain import Task
from fairlead.errors import Fault
from fairlead.rng import Draw
from fairlead.testing.service_times import ServiceTimes

FailureRule = Callable[[Task, float, Draw], Fault | None]
"""Given the task, the time it was sent and the attempt's own dice: how it fails, or None when it goes well."""


def never(task: Task, now_s: float, draw: Draw) -> Fault | None:
    """Everything goes well."""
    del task, now_s, draw
    return None


def always(fault: Fault) -> FailureRule:
    """Every attempt fails."""
    return lambda _task, _now_s, _draw: fault


def sometimes(share: float, fault: Fault) -> FailureRule:
    """Of all attempts, a share in [0, 1] fails, by the attempt's own dice."""
    return lambda _task, _now_s, draw: fault if draw.unit() < share else None


def during(start_s: float, end_s: float, fault: Fault) -> FailureRule:
    """Attempts fail that are sent from `start_s` until just before `end_s`."""
    return lambda _task, now_s, _draw: fault if start_s <= now_s < end_s else None


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What a simulated node does with a task that it is sent."""

    service_s: float = 0.1
    """How long an answer takes."""
    times: ServiceTimes | None = None
    """Its speeds, where answers take time by their tokens; None: `service_s`, whatever their length."""
    jitter: float = 0.0
    """Each answer takes up to this share longer or shorter, by the attempt's own dice."""
    fails: FailureRule = never
    failure_s: float = 0.001
    """How long a failure takes."""
    retry_after_s: float | None = None
    """What the node names with a failure, as `Retry-After` would."""
    context_tokens: int | None = None
    """A prompt that is longer fails as too long, whatever the model is said to hold."""

    def fate(self, task: Task, now_s: float, draw: Draw) -> tuple[Fault | None, float]:
        """Return how an attempt fails, or None, and after how many seconds."""
        if self.context_tokens is not None and task.input_tokens > self.context_tokens:
            return Fault.CONTEXT, self.failure_s
        fault = self.fails(task, now_s, draw)
        if fault is not None:
            return fault, self.failure_s
        return None, self.service_s * (1.0 + self.jitter * (2.0 * draw.unit() - 1.0))
