"""When to come again: those who are refused one after another are told times one after another.

They are spaced by the rate at which work goes away less the rate at which it usually comes, and begin when the work
that waits will be done. So the nodes are busy with what was put off for as long as it takes, and who comes meanwhile
unasked hardly waits.
"""

from fairlead.admission.arrivals import RecentRate

FILL = 0.95
"""Share of the rate left over that is promised; the rest is for estimates that are wrong."""
LEAST_LEFT = 0.1
"""Share of the drain rate that is promised at least, however much usually comes."""
LEAST_SHARE = 0.05
"""Of a class, however much of others is refused."""
LONGEST_S = 3600.0
RUSH_S = 20.0
"""A rush is expected to last so long from its first refusal; after that, to be over any moment."""
SAME_S = 2.0
"""Refusals that are not further apart belong to the same rush."""
UNKNOWN_S = 5.0
"""Told where nothing is known of how fast work goes away."""


class Appointments:
    """Until when the time of each class is given away, the most urgent class first.

    Classes that are refused at the same time share what is left over in proportion, so that nothing is promised twice;
    but a flood of batch work that is over does not put off normal work that is refused after it.
    """

    __slots__ = ("_booked_s", "_refused", "_rush_ends_s", "_until_s")

    def __init__(self, classes: int) -> None:
        self._until_s = [0.0] * classes
        self._refused = tuple(RecentRate() for _ in range(classes))
        self._booked_s = self._rush_ends_s = -LONGEST_S

    def next_s(self, kind: int, tokens: int, now_s: float, clear_s: float, left: float) -> float:
        """Return in how many seconds a task of that class should come.

        `clear_s`: until the work that waits is done, once the rush is over; `left`: tokens per second that may be
        promised.
        """
        if left <= 0:
            return UNKNOWN_S
        rush_ends_s = self._rush_ends_s if self._is_same_rush(now_s) else now_s + RUSH_S
        begin_s = max(max(now_s, rush_ends_s) + clear_s, self._until_s[kind])
        return min(begin_s + tokens / (left * self._share(kind, now_s)) - now_s, LONGEST_S)

    def book(self, kind: int, tokens: int, now_s: float, clear_s: float, left: float) -> float:
        """Return the same, and give the time away.

        While one after another has to be refused, those who come unasked leave nothing for those who were told to come:
        what was given away of that time is needed once more, and later.
        """
        if not self._is_same_rush(now_s):
            self._rush_ends_s = now_s + RUSH_S
        elif now_s > self._rush_ends_s:
            passed_s = now_s - self._booked_s
            self._until_s = [until_s + passed_s if until_s > now_s else until_s for until_s in self._until_s]
        self._booked_s = now_s
        self._refused[kind].add(tokens, now_s)
        after_s = self.next_s(kind, tokens, now_s, clear_s, left)
        self._until_s[kind] = now_s + after_s
        return after_s

    def _share(self, kind: int, now_s: float) -> float:
        """Return the share of a class in what is refused just now; the whole where nothing was."""
        whole = sum([one.rate(now_s) for one in self._refused])
        return max(self._refused[kind].rate(now_s) / whole, LEAST_SHARE) if whole > 0 else 1.0

    def _is_same_rush(self, now_s: float) -> bool:
        return now_s - self._booked_s <= SAME_S


def may_promise(drain: float, usual: float) -> float:
    """Return the tokens per second that may be promised, of what goes away and what usually comes."""
    return max(FILL * (drain - usual), LEAST_LEFT * drain)
