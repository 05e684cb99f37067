"""Candidates with a load of their own choosing, for the tests of measures and choosers."""

import msgspec

from fairlead.load import PeakLatency, Report


class Busy(msgspec.Struct):
    """All that a measure may look at."""

    order: int
    in_flight: int = 0
    slots: int | None = None
    tokens: int = 0
    worth: float = 1.0
    latency: PeakLatency = msgspec.field(default_factory=PeakLatency)
    report: Report | None = None
    kv_tokens: int | None = None

    @property
    def holder(self) -> tuple[str, str]:
        return ("m", f"n{self.order}")

    @property
    def is_full(self) -> bool:
        return self.slots is not None and self.in_flight >= self.slots


def slow(seconds: float, at_s: float = 0.0) -> PeakLatency:
    latency = PeakLatency()
    latency.observe(seconds, at_s)
    return latency
