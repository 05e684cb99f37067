"""How much work arrives: as usual, and just now."""

from collections import deque
from math import exp

BUCKET_S = 20
BUCKETS = 20
"""Over six minutes. The usual rate is the mean of the middle half of them, so a spike of a minute does not show."""
LEAST = 4
"""With fewer buckets than these the usual rate is the mean of all that is known."""
MEMORY_S = 5.0
"""Time constant of the rate just now."""


class RecentRate:
    """Tokens per second as they come just now: an exponentially weighted mean."""

    __slots__ = ("_faded_s", "_tokens")

    def __init__(self) -> None:
        self._tokens = 0.0
        self._faded_s = 0.0

    def add(self, tokens: int, now_s: float) -> None:
        """A task came."""
        self._tokens = self.rate(now_s) * MEMORY_S + tokens

    def rate(self, now_s: float) -> float:
        """Return tokens per second."""
        if now_s > self._faded_s:
            self._tokens *= exp((self._faded_s - now_s) / MEMORY_S)
            self._faded_s = now_s
        return self._tokens / MEMORY_S


class UsualRate:
    """Tokens per second as they come in ordinary minutes, whether they are let in, wait or are refused.

    What came by appointment is not counted: it came before, when it was refused.
    """

    __slots__ = ("_bucket", "_first_s", "_past", "_promised", "_rate", "_tokens")

    def __init__(self) -> None:
        self._bucket = 0
        self._tokens = 0.0
        """In the current bucket."""
        self._past: deque[float] = deque(maxlen=BUCKETS)
        self._promised: dict[int, float] = {}
        """By bucket, what was told to come then."""
        self._rate: float | None = None
        self._first_s: float | None = None

    def add(self, tokens: int, now_s: float) -> None:
        """A task came."""
        self._roll(now_s)
        self._tokens += tokens

    def promise(self, tokens: int, at_s: float) -> None:
        """A task was told to come at that time."""
        bucket = int(at_s) // BUCKET_S
        self._promised[bucket] = self._promised.get(bucket, 0.0) + tokens

    def rate(self, now_s: float) -> float:
        """Return tokens per second; 0.0 where it is not known yet."""
        self._roll(now_s)
        if self._rate is not None:
            return self._rate
        if self._first_s is None or now_s - self._first_s < BUCKET_S:
            return 0.0
        return (sum(self._past) + self._tokens) / (now_s - self._first_s)

    def _roll(self, now_s: float) -> None:
        bucket = int(now_s) // BUCKET_S
        if self._first_s is None:
            self._first_s, self._bucket = now_s, bucket
        if bucket <= self._bucket:
            return
        for _ in range(min(bucket - self._bucket, BUCKETS)):
            self._past.append(max(0.0, self._tokens - self._promised.pop(self._bucket, 0.0)))
            self._tokens = 0.0
            self._bucket += 1
        self._bucket = bucket
        if self._promised:
            self._promised = {when: tokens for when, tokens in self._promised.items() if when >= bucket}
        if len(self._past) >= LEAST:
            cut = len(self._past) // 4
            middle = sorted(self._past)[cut : len(self._past) - cut]
            self._rate = sum(middle) / len(middle) / BUCKET_S
