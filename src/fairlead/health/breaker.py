"""The circuit breaker of one node, as a table of transitions.

    closed --tripped--> open --waited--> half_open --recovered--> closed
                          ^                  |
                          +-----relapsed-----+         forced: any state --> closed

`tripped` is `failure_threshold` failures in a row; `waited` is `timeout_s` gone by; `relapsed` is one failure while
half open; `recovered` is `success_threshold` successes while half open. How many probes a half-open node is given at
once is kept by the ledger, which counts everything that is in flight.
"""

from enum import StrEnum

from fairlead.health.config import CircuitBreakerConfig


class Circuit(StrEnum):
    """Whether a node is given tasks."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Cause(StrEnum):
    """Why a circuit changes."""

    TRIPPED = "tripped"
    WAITED = "waited"
    RELAPSED = "relapsed"
    RECOVERED = "recovered"
    FORCED = "forced"


TRANSITIONS: dict[tuple[Circuit, Cause], Circuit] = {
    (Circuit.CLOSED, Cause.TRIPPED): Circuit.OPEN,
    (Circuit.OPEN, Cause.WAITED): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, Cause.RELAPSED): Circuit.OPEN,
    (Circuit.HALF_OPEN, Cause.RECOVERED): Circuit.CLOSED,
    (Circuit.CLOSED, Cause.FORCED): Circuit.CLOSED,
    (Circuit.OPEN, Cause.FORCED): Circuit.CLOSED,
    (Circuit.HALF_OPEN, Cause.FORCED): Circuit.CLOSED,
}


class Breaker:
    """Counts a node's outcomes and says when its circuit changes: each method returns the cause, or None."""

    __slots__ = ("_config", "failures_in_a_row", "opened_at_s", "state", "successes")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self.state = Circuit.CLOSED
        self.failures_in_a_row = 0
        self.successes = 0
        self.opened_at_s = 0.0

    @property
    def reopens_at_s(self) -> float:
        """When an open circuit may be probed."""
        return self.opened_at_s + self._config.timeout_s

    def succeeded(self, now_s: float) -> Cause | None:
        """Note a success. One that began before the circuit opened proves nothing and is passed over."""
        if self.state is Circuit.CLOSED:
            self.failures_in_a_row = 0
            return None
        if self.state is Circuit.HALF_OPEN:
            self.successes += 1
            if self.successes >= self._config.success_threshold:
                return self._move(Cause.RECOVERED, now_s)
        return None

    def failed(self, now_s: float) -> Cause | None:
        """Note a failure."""
        if self.state is Circuit.CLOSED:
            self.failures_in_a_row += 1
            if self.failures_in_a_row >= self._config.failure_threshold:
                return self._move(Cause.TRIPPED, now_s)
            return None
        return self._move(Cause.RELAPSED, now_s) if self.state is Circuit.HALF_OPEN else None

    def waited(self, now_s: float) -> Cause | None:
        """Let an open circuit be probed once its time is over."""
        if self.state is Circuit.OPEN and now_s >= self.reopens_at_s:
            return self._move(Cause.WAITED, now_s)
        return None

    def force_closed(self, now_s: float) -> Cause | None:
        """Close the circuit because a person says so."""
        return self._move(Cause.FORCED, now_s)

    def _move(self, cause: Cause, now_s: float) -> Cause | None:
        before = self.state
        self.state = TRANSITIONS[before, cause]
        self.failures_in_a_row = self.successes = 0
        if self.state is Circuit.OPEN:
            self.opened_at_s = now_s
        return cause if self.state is not before else None
