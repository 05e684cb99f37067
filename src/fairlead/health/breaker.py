"""The circuit breaker of one node, as a table of transitions.

    closed --tripped--> open --waited, checked, needed--> half_open --recovered--> closed
                          ^                                   |
                          +-------------relapsed--------------+         forced: any state --> closed

`tripped` is `failure_threshold` failures in a row; `waited` is `timeout_s` gone by; `checked` is an active check that
succeeded after one that failed; `needed` is that nobody else is left who could be asked; `relapsed` is one failure
while half open; `recovered` is `success_threshold` successes while half open. How many probes a half-open node is given
at once is kept by the ledger, which counts everything that is in flight.

From a node's recovery to its first probe it takes at most

    2 x check.timeout_s + 1.2 x check.interval_s / 5    where a check failed while it was away: 5.2 s by default
                                                        (`CheckSchedule.notice_s`)
    timeout_s                                           where none did: too short an outage, checks that succeed while
                                                        tasks fail, or nobody who checks

and then until the next task that may go there. The second holds because the failure that opened the circuit was before
the recovery; only an attempt that hung over the recovery, and is given up after it, makes it longer by as much as that
attempt hung on. For the first, the failure of what was sent before `HealthMonitor.recovered_at_s` must not count.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from fairlead.errors import FairleadError
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
    CHECKED = "checked"
    NEEDED = "needed"
    RELAPSED = "relapsed"
    RECOVERED = "recovered"
    FORCED = "forced"


TRANSITIONS: dict[tuple[Circuit, Cause], Circuit] = {
    (Circuit.CLOSED, Cause.TRIPPED): Circuit.OPEN,
    (Circuit.OPEN, Cause.WAITED): Circuit.HALF_OPEN,
    (Circuit.OPEN, Cause.CHECKED): Circuit.HALF_OPEN,
    (Circuit.OPEN, Cause.NEEDED): Circuit.HALF_OPEN,
    (Circuit.HALF_OPEN, Cause.RELAPSED): Circuit.OPEN,
    (Circuit.HALF_OPEN, Cause.RECOVERED): Circuit.CLOSED,
    (Circuit.CLOSED, Cause.FORCED): Circuit.CLOSED,
    (Circuit.OPEN, Cause.FORCED): Circuit.CLOSED,
    (Circuit.HALF_OPEN, Cause.FORCED): Circuit.CLOSED,
}


LEAST_REST_S = 1.0
"""How long an open circuit is left alone even where nobody else is left."""
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Kept(msgspec.Struct, frozen=True):
    """A breaker as plain data."""

    state: Circuit
    opened_at_s: Annotated[float, msgspec.Meta(ge=0, le=1e15)]
    failures_in_a_row: _Count
    successes: _Count


class Breaker:
    """Counts a node's outcomes and says when its circuit changes: each method returns the cause, or None."""

    __slots__ = ("_config", "failures_in_a_row", "opened_at_s", "state", "successes")

    def __init__(self, config: CircuitBreakerConfig) -> None:
        self._config = config
        self.state = Circuit.CLOSED
        self.failures_in_a_row = 0
        self.successes = 0
        self.opened_at_s = 0.0
        """From when on the node failed: when the circuit opened, or when the silence began that opened it."""

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

    def checked(self, now_s: float) -> Cause | None:
        """Let an open circuit be probed at once: an active check succeeded after one that failed while it was open.

        A check that succeeded all along says nothing, since tasks failed meanwhile: it must not be reported here.
        """
        return self._move(Cause.CHECKED, now_s) if self.state is Circuit.OPEN else None

    def needed(self, now_s: float) -> Cause | None:
        """Let an open circuit be probed early, because nobody else is left who could be asked."""
        is_rested = now_s >= self.opened_at_s + LEAST_REST_S
        return self._move(Cause.NEEDED, now_s) if self.state is Circuit.OPEN and is_rested else None

    def force_closed(self, now_s: float) -> Cause | None:
        """Close the circuit because a person says so."""
        return self._move(Cause.FORCED, now_s)

    def kept(self) -> dict[str, Any]:
        """Return the state as plain data; its time is on the owner's clock, to mean the same after a restart."""
        return {
            "state": self.state.value,
            "opened_at_s": self.opened_at_s,
            "failures_in_a_row": self.failures_in_a_row,
            "successes": self.successes,
        }

    def take_over(self, kept: object) -> None:
        """Become what `kept` gave. Raises FairleadError for anything else, and is left as it was."""
        try:
            own = msgspec.convert(kept, _Kept)
        except msgspec.ValidationError as error:
            raise FairleadError(f"the kept state of a circuit breaker is damaged ({error})") from None
        self.state, self.opened_at_s = own.state, own.opened_at_s
        self.failures_in_a_row, self.successes = own.failures_in_a_row, own.successes

    def _move(self, cause: Cause, at_s: float) -> Cause | None:
        before = self.state
        self.state = TRANSITIONS[before, cause]
        self.failures_in_a_row = self.successes = 0
        if self.state is Circuit.OPEN:
            self.opened_at_s = at_s
        return cause if self.state is not before else None
