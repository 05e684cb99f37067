"""How much work may be repeated: a share of the traffic plus a trickle, so that an outage is not amplified.

The idea is Finagle's retry budget: each request deposits a fraction of a token, each repeat costs one.
"""

import msgspec


class RetryPolicy(msgspec.Struct, frozen=True):
    """Limits on trying again."""

    max_attempts: int = 3
    """Nodes asked for one task at most, the first included; moves after a refused connection not counted."""
    budget_ratio: float = 0.2
    """Repeats as a share of requests."""
    min_per_second: float = 3.0
    """Repeats allowed each second whatever the traffic."""
    max_wait_s: float = 10.0
    """Longest wait for a node that names a time to come back."""


class RetryBudget:
    """Counts what may still be repeated."""

    CAP = 100.0
    """Tokens saved up from traffic at most, so that a quiet day does not pay for a storm."""

    HEAD_START = 5
    """Requests counted in advance: with the trickle they pay until a dead node's circuit opens on its fifth failure."""

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._earned = policy.budget_ratio * self.HEAD_START
        self._trickle = policy.min_per_second
        self._at_s: float | None = None

    def deposit(self) -> None:
        """Count a request."""
        self._earned = min(self._earned + self._policy.budget_ratio, self.CAP)

    def withdraw(self, now_s: float) -> bool:
        """Take one repeat, if there is one left."""
        if self._at_s is not None:
            rate = self._policy.min_per_second
            self._trickle = min(self._trickle + max(now_s - self._at_s, 0.0) * rate, rate)
        self._at_s = now_s
        if self._trickle >= 1.0:
            self._trickle -= 1.0
        elif self._earned >= 1.0:
            self._earned -= 1.0
        else:
            return False
        return True
