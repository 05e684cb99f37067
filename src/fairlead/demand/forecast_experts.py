"""The guesses that a forecast is blended from: level, trend, and how the same time of earlier days went on.

Each window of demand is told once, and five guesses can be asked for any number of windows ahead:

- *last*: what came in the last window;
- *smooth*: an exponential average of the last few windows, for demand that is mostly noise;
- *trend*: the last window, plus half of what it rose by;
- *season*: the last window, plus half of what the profile of the day rises by from here to there;
- *yesterday*: the profile of the day, shifted by how far the last windows were above it.

The profile holds one smoothed rate per slot of the season (at most `MAX_SLOTS`), as a multiple of a moving average over
one season, so that a fleet whose demand has doubled keeps its profile. Half of a rise is taken because days resemble
each other only in part: the whole rise was the worse guess on the production traces it was tried on.
"""

from typing import Any

MAX_SLOTS = 288
"""Slots of a season at most: five minutes each for a day."""
SMOOTH = 0.4
"""Weight of the last window in the exponential average."""
RISE = 0.5
"""How much of a rise, in the last window or in the profile, is taken to go on."""
SHIFT = 0.3
"""Weight of the last window in the distance to the profile."""
NEW_SEASON = 0.3
"""Weight of the last season in the profile."""
BLUR_S = 1800.0 / 86400.0
"""Half-width of the average over neighbouring slots, as a share of the season."""
COUNT = 5
"""How many guesses there are."""


class Profile:
    """What is usual at each time of the season, relative to the season's mean."""

    def __init__(self, season_s: float, window_s: float) -> None:
        n_slots = max(1, min(MAX_SLOTS, round(season_s / window_s)))
        self._season_s = season_s
        self._slot_s = season_s / n_slots
        self._reach = min(max(1, round(n_slots * BLUR_S)), (n_slots - 1) // 2)
        self._slots: list[float | None] = [None] * n_slots
        self._at = -1
        self._sum = 0.0
        self._n = 0

    def add(self, at_s: float, relative: float) -> None:
        """Count one window's relative rate to its slot; the slot is entered when the time moves on to another."""
        slot = self._slot_of(at_s)
        if slot != self._at:
            self._enter()
            self._at, self._sum, self._n = slot, 0.0, 0
        self._sum += relative
        self._n += 1

    def _enter(self) -> None:
        if self._n:
            mean, old = self._sum / self._n, self._slots[self._at]
            self._slots[self._at] = mean if old is None else old + NEW_SEASON * (mean - old)

    def usual(self, at_s: float) -> float | None:
        """Return the usual relative rate at a time, between the centres of slots in proportion; None where unknown."""
        place = (at_s % self._season_s) / self._slot_s - 0.5
        slot = int(place // 1)
        before, after = self._blurred(slot), self._blurred(slot + 1)
        if before is None or after is None:
            return None
        return before + (place - slot) * (after - before)

    def _slot_of(self, at_s: float) -> int:
        return int((at_s % self._season_s) / self._slot_s) % len(self._slots)

    def _blurred(self, slot: int) -> float | None:
        """Return the mean of a slot and its neighbours; None unless the slot itself is known."""
        slots, n = self._slots, len(self._slots)
        if slots[slot % n] is None:
            return None
        near = (slots[(slot + step) % n] for step in range(-self._reach, self._reach + 1))
        known = [value for value in near if value is not None]
        return sum(known) / len(known)

    def snapshot(self) -> dict[str, Any]:
        """Return plain data."""
        return {"slots": list(self._slots), "at": self._at, "sum": self._sum, "n": self._n}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made; raises ValueError when its season was cut otherwise."""
        if len(data["slots"]) != len(self._slots):
            raise ValueError(f"the snapshot has {len(data['slots'])} slots, not {len(self._slots)}")
        self._slots = list(data["slots"])
        self._at, self._sum, self._n = data["at"], data["sum"], data["n"]


class Experts:
    """The level, trend and season of one stream of windows."""

    def __init__(self, season_s: float, window_s: float) -> None:
        self._window_s = window_s
        self._per_season = max(1.0, season_s / window_s)
        self._profile = Profile(season_s, window_s)
        self._at_s = 0.0
        self._n = 0
        self._last = 0.0
        self._rise = 0.0
        self._smooth = 0.0
        self._shift = 0.0
        self._mean = 0.0

    @property
    def windows(self) -> int:
        """How many windows were told."""
        return self._n

    @property
    def last(self) -> float:
        """The rate of the last window."""
        return self._last

    def add(self, at_s: float, rate: float) -> None:
        """Count the window whose middle is `at_s`, later than the one before."""
        is_next = self._n > 0 and at_s - self._at_s < 1.5 * self._window_s
        usual = self._profile.usual(at_s)
        self._n += 1
        self._rise = rate - self._last if is_next else 0.0
        self._smooth = rate if self._n == 1 else self._smooth + SMOOTH * (rate - self._smooth)
        self._mean += (rate - self._mean) * max(1.0 / self._n, 1.0 / self._per_season)
        if usual is not None:
            self._shift += SHIFT * (rate - usual * self._mean - self._shift)
        if self._mean > 0:
            self._profile.add(at_s, rate / self._mean)
        self._last, self._at_s = rate, at_s

    def guesses(self, ahead_s: float) -> tuple[float, ...]:
        """Return what each expert expects `ahead_s` after the middle of the last window, none below zero."""
        last, smooth = self._last, self._smooth
        here, there = self._profile.usual(self._at_s), self._profile.usual(self._at_s + ahead_s)
        season, yesterday = last, smooth
        if here is not None and there is not None and self._n > self._per_season:
            season = last + RISE * (there - here) * self._mean
            yesterday = there * self._mean + self._shift
        trend = last + RISE * self._rise
        return (last, smooth, max(0.0, trend), max(0.0, season), max(0.0, yesterday))

    def snapshot(self) -> dict[str, Any]:
        """Return plain data."""
        fields = (self._at_s, self._n, self._last, self._rise, self._smooth, self._shift, self._mean)
        return {"profile": self._profile.snapshot(), "fields": list(fields)}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made; raises ValueError when its season was cut otherwise."""
        self._profile.restore(data["profile"])
        self._at_s, self._n, self._last, self._rise, self._smooth, self._shift, self._mean = data["fields"]
