"""How many tasks arrived, and how many usually do at this time.

Three rings of counts, whose memory never grows: quarters of a second for a minute, ten seconds for a quarter of an
hour, ten minutes for a day and some. What is usual is the larger of two figures. The level: a double moving average
over `LEVEL_S` (the average E, its average D: 2 E - D, which follows a slope without lag; Mulloy, "Smoothing data with
faster moving averages", 1994), in which ten seconds count at most twice what was usual, so that a spike does not become
usual before it is over, and a lasting rise does within minutes. And the season: what came at this time yesterday, as
far as today is like yesterday.
"""

TICK_S = 0.25
LEVEL_S = 300.0
"""Time constant of the level."""
TEN_S = 10.0
SPAN_S = 600.0
DAY_SPANS = 144
HOUR_SPANS = 6
WARM_BUCKETS = 3
"""Buckets of ten seconds before which nothing is usual yet."""
USUAL_RISE = 2.0
"""How many times the usual rate ten seconds may count as."""
LEAST_RATE = 0.5
"""Arrivals per second that are always believed: from nothing, no multiple leads up."""
_ALPHA = TEN_S / LEVEL_S
_MOST_TENS = 90
"""Beyond a quarter of an hour without arrivals, the level is as good as nothing."""


class Ring:
    """Counts per stretch of time; the oldest make room for the newest."""

    __slots__ = ("_counts", "first", "head", "width_s")

    def __init__(self, width_s: float, size: int) -> None:
        self.width_s = width_s
        self._counts = [0] * size
        self.first: int | None = None
        """Number of the first bucket that was ever begun: time / width; None: nothing was."""
        self.head = 0
        """Number of the bucket that is being filled."""

    def add(self, n: int, now_s: float) -> None:
        """Count arrivals; a time before the newest bucket counts as in it."""
        self.advance(now_s)
        self._counts[self.head % len(self._counts)] += n

    def advance(self, now_s: float) -> None:
        """Begin the bucket of this time, with nothing in those that were skipped."""
        number = int(now_s // self.width_s)
        if self.first is None:
            self.first = self.head = number
        elif number > self.head:
            size = len(self._counts)
            for skipped in range(max(self.head, number - size) + 1, number + 1):
                self._counts[skipped % size] = 0
            self.head = number

    def count(self, start: int, end: int) -> int | None:
        """Return how many came in the buckets `start` to `end`, the last excluded; None if any is not kept."""
        counts = self._counts
        size = len(counts)
        if self.first is None or start < self.first or start <= self.head - size or end > self.head + 1:
            return None
        return sum(counts[number % size] for number in range(start, end))


class Arrivals:
    """The counts, and what is usual. Single-owner; O(1) per arrival and per time that passes."""

    __slots__ = ("_average", "_closed", "_of_average", "_season", "_season_span", "spans", "tens", "ticks")

    def __init__(self) -> None:
        self.ticks = Ring(TICK_S, 240)
        self.tens = Ring(TEN_S, _MOST_TENS + 2)
        self.spans = Ring(SPAN_S, DAY_SPANS + 2 * HOUR_SPANS)
        self._average = 0.0
        self._of_average = 0.0
        self._closed = 0
        self._season: float | None = None
        self._season_span = -1

    def add(self, n: int, now_s: float) -> None:
        """Count arrivals. Raises ValueError for a negative number."""
        if n < 0:
            raise ValueError(f"arrivals cannot be fewer than none: {n!r}")
        self.advance(now_s)
        self.ticks.add(n, now_s)
        self.tens.add(n, now_s)
        self.spans.add(n, now_s)

    def advance(self, now_s: float) -> None:
        """Let time pass: what is over goes into the level."""
        self.ticks.advance(now_s)
        tens = self.tens
        before, is_new = tens.head, tens.first is None
        tens.advance(now_s)
        self.spans.advance(now_s)
        if is_new or tens.head == before:
            return
        for number in range(max(before, tens.head - _MOST_TENS), tens.head):
            self._learn((tens.count(number, number + 1) or 0) / TEN_S)

    @property
    def usual_per_s(self) -> float | None:
        """Arrivals per second that are usual now; None in the first half minute."""
        if self._closed < WARM_BUCKETS:
            return None
        level = max(2.0 * self._average - self._of_average, 0.5 * self._average)
        season = self._seasonal()
        return level if season is None else max(level, season)

    def _learn(self, rate: float) -> None:
        self._closed += 1
        alpha = max(_ALPHA, 1.0 / self._closed)
        if self._closed > WARM_BUCKETS:
            rate = min(rate, max(USUAL_RISE * self._average, LEAST_RATE))
        self._average += alpha * (rate - self._average)
        self._of_average += alpha * (self._average - self._of_average)

    def _seasonal(self) -> float | None:
        """Return yesterday's rate in these ten minutes or the next, times how much today's last hour was like it."""
        head = self.spans.head
        if head != self._season_span:
            self._season_span = head
            self._season = self._look_back(head)
        return self._season

    def _look_back(self, head: int) -> float | None:
        then = head - DAY_SPANS
        before = self.spans.count(then - HOUR_SPANS, then)
        today = self.spans.count(head - HOUR_SPANS, head)
        if not before or today is None:
            return None
        rates = [(self.spans.count(number, number + 1) or 0) / SPAN_S for number in (then, then + 1)]
        return max(rates) * min(today / before, USUAL_RISE)
