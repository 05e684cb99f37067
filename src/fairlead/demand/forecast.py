"""What demand will be: level, trend and daily season, with an interval, learnt online in bounded memory.

Demand is cut into windows. With each window that is over, five simple guesses for `ahead_s` later are written down
(`forecast_experts`), and those that were written down for this window are compared with what came. The forecast is
their mean, weighted by recent errors (Bates, Granger: "The combination of forecasts", Operational Research Quarterly
1969): it leans to "as in the last window" where demand wanders, to smoothing where it is noise, and to the profile of
the day where days are alike. The interval is made of the quantiles of its own past errors as factors (conformal
prediction, the newest errors weighing most: Barber et al., "Conformal prediction beyond exchangeability", Annals of
Statistics 2023), so it holds for jumps and for bursts alike, without a law of errors.

When it is the wrong choice: for demand that is announced (a batch at midnight), tell the announcement instead.
"""

from collections import deque
from math import ceil, floor, isfinite, sqrt
from typing import Any

import msgspec

from fairlead.demand.forecast_errors import Spread, Weights, windows_in
from fairlead.demand.forecast_experts import COUNT, Experts

MAX_GAP = 10
"""Windows between two calls of `add` beyond which nobody was looking, and the count says nothing."""


class Forecast(msgspec.Struct, frozen=True):
    """Expected demand in tasks per second, and the interval it stays in with the share that was asked for."""

    mean: float
    low: float
    high: float
    windows: int = 0
    """Windows that stand behind it; 0: nothing is known, and the rates are 0."""


class DemandForecaster:
    """Forecasts the rate of one stream of tasks; told either counts as they come (`add`) or rates (`observe`)."""

    def __init__(
        self, window_s: float = 60.0, season_s: float = 86_400.0, *, ahead_s: float | None = None, share: float = 0.9
    ) -> None:
        """Begin knowing nothing.

        `ahead_s` is how far ahead forecasts are learnt, one window unless given; `share` is how often the interval
        shall hold, half of the rest on each side. Raises ValueError for times that are not positive, a window longer
        than half a season, or a share outside (0, 1).
        """
        ahead_s = window_s if ahead_s is None else ahead_s
        if not (isfinite(season_s) and 0 < window_s <= season_s / 2 and ahead_s > 0 and 0 < share < 1):
            raise ValueError(
                f"window_s={window_s}, season_s={season_s}, ahead_s={ahead_s}, share={share}: times are positive, a "
                "season has at least two windows, and the share lies between 0 and 1"
            )
        self._window_s = window_s
        self._ahead = windows_in(ahead_s, window_s)
        self._tail = (1.0 - share) / 2
        self._experts = Experts(season_s, window_s)
        self._weights = Weights(COUNT)
        self._spread = Spread(season_s / window_s)
        self._written: deque[tuple[int, tuple[float, ...], float]] = deque(maxlen=self._ahead)
        self._index: int | None = None
        self._told_s: float | None = None
        self._open_tasks = 0.0
        self._whole_from_s = 0.0

    @property
    def rate(self) -> float:
        """Tasks per second in the last whole window."""
        return self._experts.last

    def add(self, count: float, now_s: float) -> None:
        """Count tasks that came since the last call; the first call only begins, and 0 is worth telling too.

        They are spread evenly over the time since then. After more than ten windows of silence nothing is known of
        them, and counting begins anew; of the window in which it begins nothing is known either. Raises ValueError for
        a negative count or a time that is not a number.
        """
        _check(count, "count")
        _check_time(now_s)
        since_s = self._told_s
        if since_s is None or now_s - since_s > MAX_GAP * self._window_s:
            self._told_s, self._open_tasks = now_s, 0.0
            self._whole_from_s = ceil(now_s / self._window_s) * self._window_s
            return
        if now_s <= since_s:
            self._open_tasks += count
            return
        rate = count / (now_s - since_s)
        end_s = (floor(since_s / self._window_s) + 1) * self._window_s
        while end_s <= now_s:
            self._open_tasks += rate * (end_s - since_s)
            if end_s > self._whole_from_s:
                self.observe(end_s - self._window_s / 2, self._open_tasks / self._window_s)
            since_s, self._open_tasks = end_s, 0.0
            end_s += self._window_s
        self._open_tasks += rate * (now_s - since_s)
        self._told_s = now_s

    def observe(self, at_s: float, rate: float) -> None:
        """Take the mean rate of the whole window that `at_s` lies in; windows may be missing, earlier ones are ignored.

        Raises ValueError for a negative rate or a time that is not a number.
        """
        _check(rate, "rate")
        _check_time(at_s)
        index = floor(at_s / self._window_s)
        if self._index is not None and index <= self._index:
            return
        while self._written and self._written[0][0] <= index:
            target, guesses, blend = self._written.popleft()
            if target == index:
                self._weights.add(guesses, blend, rate)
                self._spread.add(rate, blend, 1.0 / self._window_s)
        self._index = index
        self._experts.add((index + 0.5) * self._window_s, rate)
        guesses = self._experts.guesses(self._ahead * self._window_s)
        self._written.append((index + self._ahead, guesses, self._weights.blend(guesses)))

    def forecast(self, ahead_s: float | None = None) -> Forecast:
        """Return the demand `ahead_s` after the last whole window; without, as far ahead as is learnt.

        For another distance than the learnt one, the interval's factors grow with its square root, as those of a
        random walk do.
        """
        windows = self._experts.windows
        if not windows:
            return Forecast(0.0, 0.0, 0.0)
        ahead = self._ahead if ahead_s is None else windows_in(ahead_s, self._window_s)
        mean = self._weights.blend(self._experts.guesses(ahead * self._window_s))
        stretch = sqrt(ahead / self._ahead)
        grain = 1.0 / self._window_s
        low, high = (
            (mean + grain) * self._spread.quantile(share) ** stretch - grain for share in (self._tail, 1.0 - self._tail)
        )
        return Forecast(mean, max(0.0, min(low, mean)), max(high, mean), windows)

    def snapshot(self) -> dict[str, Any]:
        """Return all that was learnt as plain data for JSON."""
        return {
            "experts": self._experts.snapshot(),
            "weights": self._weights.snapshot(),
            "spread": self._spread.snapshot(),
            "written": [[index, list(guesses), blend] for index, guesses, blend in self._written],
            "index": self._index,
            "told_s": self._told_s,
            "open_tasks": self._open_tasks,
            "whole_from_s": self._whole_from_s,
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made; raises ValueError when its season was cut otherwise."""
        self._experts.restore(data["experts"])
        self._weights.restore(data["weights"])
        self._spread.restore(data["spread"])
        self._written.clear()
        self._written.extend((index, tuple(guesses), blend) for index, guesses, blend in data["written"])
        self._index, self._told_s, self._open_tasks = data["index"], data["told_s"], data["open_tasks"]
        self._whole_from_s = data["whole_from_s"]


def _check(value: float, name: str) -> None:
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"{name} is {value}: it must be a number of at least 0")


def _check_time(value: float) -> None:
    if not isfinite(value):
        raise ValueError(f"the time is {value}: it must be a number")
