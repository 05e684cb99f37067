"""How fast work goes away while there is more of it than room: the measure of every wait."""

from math import exp

MEMORY_S = 10.0
"""Time constant, where enough leases end in it."""
ENOUGH = 32
"""What is remembered reaches back over so many ends of leases at least, however long ago they were."""
LEAST = 4
"""Of fewer ends than these nothing is concluded."""
EXPECTED = 4.0
"""Ends of leases that what is expected counts like, when a backlog begins; it fades in the time that one task takes."""
PRIOR_S = 0.25
"""What is known before the first backlog counts like so many seconds of one: it is the least that there may be."""
MEAN_OVER = 256
"""Ends of leases over which the mean size of a task is taken."""


class DrainRate:
    """Tokens of leases that ended, per second during which somebody waited; both fade with the same time constant.

    Time without a backlog does not count, and nothing fades in it: what was learnt in the last one is where the next
    begins. Work that ends while nobody waits says what was asked for, not what the nodes can do.

    The rate is the mean of two estimates: tokens ended, which is too low in the first seconds of a backlog, since the
    long tasks that began in it have not ended; and ends times the mean size of a task, which is not, but varies more.

    Where answers take long, nothing ends for a while: what is at work and how long that usually takes say what to
    expect (Little's law), and count like a few ends of leases, the less the longer it lasts.
    """

    __slots__ = (
        "_at_s",
        "_ends",
        "_expected",
        "_expected_s",
        "_fades_s",
        "_is_backlogged",
        "_mean",
        "_seconds",
        "_seen",
        "_tokens",
    )

    def __init__(self) -> None:
        self._tokens = 0.0
        self._ends = 0.0
        self._seconds = 0.0
        self._at_s = 0.0
        self._is_backlogged = False
        self._mean = 0.0
        self._seen = 0
        self._expected = 0.0
        self._expected_s = 0.0
        """For so many seconds counts what is expected."""
        self._fades_s = 1.0

    def begin(self, now_s: float, prior: float) -> None:
        """The first one waits; `prior` is a rate to start with where nothing was learnt before."""
        self._is_backlogged = True
        self._at_s = now_s
        if not self._seconds and prior > 0 and self._seen >= LEAST:
            self._seconds = PRIOR_S
            self._tokens = prior * PRIOR_S
            self._ends = self._tokens / max(self._mean, 1.0)

    def expect(self, tokens: int, takes_s: float) -> None:
        """Say what is at work as a backlog begins, and how long a task usually takes."""
        if tokens > 0 and takes_s > 0 and self._mean:
            self._expected = tokens / takes_s
            self._expected_s = EXPECTED * self._mean / self._expected
            self._fades_s = max(takes_s, self._expected_s)

    def end(self, now_s: float) -> None:
        """Nobody waits any more."""
        self._pass(now_s)
        self._is_backlogged = False

    def add(self, tokens: int, now_s: float) -> None:
        """A lease ended."""
        self._seen = min(self._seen + 1, MEAN_OVER)
        self._mean += (tokens - self._mean) / self._seen
        if self._is_backlogged:
            self._pass(now_s)
            self._tokens += tokens
            self._ends += 1.0

    def rate(self, now_s: float) -> float:
        """Return tokens per second; 0.0 where nothing is known."""
        ends = self.ends_per_s(now_s)
        seen = 0.5 * (self._tokens / self._seconds + self._mean * ends) if ends else 0.0
        weight = self._expected_s
        if not weight:
            return seen
        return (seen * self._seconds + self._expected * weight) / (self._seconds + weight)

    def ends_per_s(self, now_s: float) -> float:
        """Return leases ended per second; 0.0 where nothing is known."""
        self._pass(now_s)
        return self._ends / self._seconds if self._seconds > 0 and self._seen >= LEAST else 0.0

    def _pass(self, now_s: float) -> None:
        spent_s = now_s - self._at_s
        if not self._is_backlogged or spent_s <= 0:
            return
        self._at_s = now_s
        self._expected_s *= exp(-spent_s / self._fades_s)
        kept = exp(-spent_s / MEMORY_S)
        if self._ends * kept >= ENOUGH:
            self._seconds = self._seconds * kept + MEMORY_S * (1.0 - kept)
        else:
            kept = min(1.0, ENOUGH / self._ends) if self._ends else 1.0
            self._seconds = self._seconds * kept + spent_s
        self._tokens *= kept
        self._ends *= kept
