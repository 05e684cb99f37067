"""A limit per minute that holds for every minute: charge before sending, settle afterwards.

What is charged counts for sixty seconds from the second in which it was charged, so no window of a minute ever holds
more than the limit. A token bucket would let up to twice as much through in a minute that begins with it full.
"""

from collections import deque

from fairlead.domain import Shortage

WINDOW_S = 60
_OVER_S = WINDOW_S + 1
"""From the beginning of a second to where it counts no more."""


class RateWindow:
    """What was charged in the last minute. One entry a second, so the memory it takes does not grow with traffic."""

    __slots__ = ("_entries", "_total", "limit", "name")

    def __init__(self, limit: int, name: str = "requests_per_minute") -> None:
        """Raises ValueError for a limit that is not above 0."""
        if not limit > 0:
            raise ValueError(f"{name} must be above 0, not {limit!r}")
        self.limit = limit
        self.name = name
        self._entries: deque[list[int]] = deque()
        """[second, amount], the oldest first."""
        self._total = 0

    def used(self, now_s: float) -> int:
        """Return what counts at this moment."""
        self._drop(now_s)
        return self._total

    def fits(self, amount: int, now_s: float) -> bool:
        """Tell whether so much may be charged now."""
        entries = self._entries
        if entries and entries[0][0] + _OVER_S <= now_s:
            self._drop(now_s)
        return self._total + amount <= self.limit

    def charge(self, amount: int, now_s: float) -> None:
        """Charge; the caller has asked `fits` in the same step."""
        second = int(now_s)
        if self._entries and self._entries[-1][0] >= second:
            self._entries[-1][1] += amount
        else:
            self._entries.append([second, amount])
        self._total += amount

    def settle(self, charged_s: float, charged: int, used: int) -> None:
        """Correct what was charged at `charged_s` to what was used; nothing where that minute is over.

        Less than nothing cannot have been used, whatever a node reports.
        """
        difference = max(used, 0) - charged
        if not difference:
            return
        second = int(charged_s)
        for entry in reversed(self._entries):
            if entry[0] <= second:
                if entry[0] == second:
                    entry[1] += difference
                    self._total += difference
                return

    def wait_s(self, amount: int, now_s: float) -> float:
        """Return in how many seconds so much may be charged; infinite where it is more than the limit."""
        self._drop(now_s)
        if amount > self.limit:
            return float("inf")
        excess = self._total + amount - self.limit
        for second, spent in self._entries:
            if excess <= 0:
                break
            excess -= spent
            if excess <= 0:
                return second + WINDOW_S + 1 - now_s
        return 0.0

    def shortage(self, amount: int, now_s: float) -> Shortage | None:
        """Say what is missing for so much, or None."""
        if self.fits(amount, now_s):
            return None
        return Shortage(self.name, amount, self.limit - self._total, self.limit, self.wait_s(amount, now_s))

    def _drop(self, now_s: float) -> None:
        entries = self._entries
        while entries and entries[0][0] + _OVER_S <= now_s:
            self._total -= entries.popleft()[1]
