"""Whether a second node is asked for a first token that is late: after the node's own usual time, within a budget.

The idea is the hedged request of J. Dean and L. A. Barroso, "The tail at scale", Communications of the ACM 56(2), 2013:
a second request after the 95th percentile of the expected latency adds a few percent of load and cuts the tail.
"""

from fairlead.health.config import HedgingConfig

Pair = tuple[str, str]
"""(model, node)."""

KEPT = 128
"""Times to the first token that are remembered of each pair."""
RENEWED_EACH = 8
"""Outcomes after which the quantile is worked out anew: sorting for each one would cost more than it tells."""
SAVED_UP = 10.0
"""Hedges saved up at most, so that a quiet day does not pay for a storm."""


class _Times:
    """The last times to the first token of one pair, and their quantile."""

    __slots__ = ("count", "late_s", "seen")

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.count = 0
        self.late_s: float | None = None


class Hedger:
    """Knows when a first token is late, and how many second requests the budget still pays for."""

    def __init__(self, config: HedgingConfig | None = None) -> None:
        self.config = config or HedgingConfig()
        self.is_off = not self.config.enabled
        """Also while hedging is given up under pressure."""
        self._times: dict[Pair, _Times] = {}
        self._tokens = 0.0

    def configure(self, config: HedgingConfig) -> None:
        """Go by another configuration; what is known stays."""
        self.config = config
        self.is_off = not config.enabled

    def deposit(self) -> None:
        """Count a request."""
        self._tokens = min(self._tokens + self.config.budget, SAVED_UP)

    def withdraw(self) -> bool:
        """Take one hedge, if the budget pays for it: never more than `budget` of the requests, plus nothing."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def refund(self) -> None:
        """Put a hedge back that nobody could take."""
        self._tokens += 1.0

    def observe(self, pair: Pair, first_token_s: float) -> None:
        """Take in how long one first token took."""
        times = self._times.get(pair)
        if times is None:
            times = self._times[pair] = _Times()
        seen = times.seen
        if len(seen) < KEPT:
            seen.append(first_token_s)
        else:
            seen[times.count % KEPT] = first_token_s
        times.count += 1
        if times.count >= self.config.min_outcomes and (times.late_s is None or not times.count % RENEWED_EACH):
            times.late_s = sorted(seen)[min(int(self.config.quantile * len(seen)), len(seen) - 1)]

    def delay_s(self, pair: Pair) -> float | None:
        """Return after how long a first token of this pair is late; None while nobody knows, or hedging is off."""
        if self.is_off:
            return None
        times = self._times.get(pair)
        return None if times is None else times.late_s

    def forget_node(self, node: str) -> None:
        """Drop what is known of a node."""
        self._times = {pair: times for pair, times in self._times.items() if pair[1] != node}
