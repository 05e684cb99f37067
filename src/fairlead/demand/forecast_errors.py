"""How wrong forecasts were: each expert's recent error, which gives its weight, and the spread of the blend's error."""

from collections.abc import Sequence
from math import ceil, exp, log
from typing import Any

MEMORY = 0.93
"""Share of an expert's error that is kept with each window: about fourteen count."""
POWER = 3
"""Weight of an expert = its error to the power of -3: twice as wrong, an eighth of the weight."""
WORST = 0.5
"""Relative error from which on it makes no difference: one outlier must not turn the weights over."""
LEAST_ERROR = 1e-4
"""Relative error below which smaller makes no difference."""
FIRST_ERROR = 0.05
"""Relative error that every expert begins with."""

PRIOR_WINDOWS = 20.0
"""Windows that the errors expected beforehand are worth."""
PRIOR_SPREAD = 0.15
"""Standard deviation of the logarithm of those errors, which are normal."""

_STEP = 0.01
_REACH = 100
"""Bins on each side: errors by a factor of e and more fall into the last, so that no spike is expected again whole."""
_RESCALE = 1e6


class Weights:
    """Weights of experts by their recent errors (a weighted average forecaster: Bates, Granger 1969)."""

    def __init__(self, count: int) -> None:
        self._errors = [FIRST_ERROR] * count

    def add(self, guesses: Sequence[float], blend: float, came: float) -> None:
        """Count how far each guess was off, relative to what the blend of them was."""
        scale = max(blend, came * 0.1, 1e-12)
        for index, guess in enumerate(guesses):
            error = min(abs(came - guess) / scale, WORST)
            self._errors[index] += (1.0 - MEMORY) * (error - self._errors[index])

    def blend(self, guesses: Sequence[float]) -> float:
        """Return the weighted mean."""
        weights = [1.0 / pow(max(error, LEAST_ERROR), POWER) for error in self._errors]
        return sum(w * guess for w, guess in zip(weights, guesses, strict=True)) / sum(weights)

    def snapshot(self) -> list[float]:
        """Return plain data."""
        return list(self._errors)

    def restore(self, data: list[float]) -> None:
        """Take up where a snapshot was made."""
        self._errors = list(data)


class Spread:
    """Quantiles of log(came / forecast), from a histogram that forgets: bounded memory, no law of errors assumed."""

    def __init__(self, half_life: float) -> None:
        """`half_life` is the number of windows after which an error counts half."""
        self._growth = 2.0 ** (1.0 / half_life)
        self._unit = 1.0
        places = range(-_REACH, _REACH + 1)
        prior = [exp(-0.5 * (place * _STEP / PRIOR_SPREAD) ** 2) for place in places]
        self._bins = [PRIOR_WINDOWS * density / sum(prior) for density in prior]

    def add(self, came: float, forecast: float, grain: float) -> None:
        """Count one error; `grain` is the rate of one arrival per window, so that zero has a logarithm.

        Newer errors are given more weight, instead of making every older one lighter.
        """
        place = round(log((came + grain) / (forecast + grain)) / _STEP)
        self._unit *= self._growth
        self._bins[min(max(place, -_REACH), _REACH) + _REACH] += self._unit
        if self._unit > _RESCALE:
            self._bins = [weight / self._unit for weight in self._bins]
            self._unit = 1.0

    def quantile(self, share: float) -> float:
        """Return the factor that came / forecast stays below in this share of windows."""
        wanted = share * sum(self._bins)
        seen = 0.0
        for index, weight in enumerate(self._bins):
            seen += weight
            if seen >= wanted and weight:
                return exp((index - _REACH) * _STEP)
        return exp(_REACH * _STEP)

    def snapshot(self) -> dict[str, Any]:
        """Return plain data: the bins that are not empty."""
        return {"unit": self._unit, "bins": [[i, weight] for i, weight in enumerate(self._bins) if weight]}

    def restore(self, data: dict[str, Any]) -> None:
        """Take up where a snapshot was made."""
        self._unit = data["unit"]
        self._bins = [0.0] * (2 * _REACH + 1)
        for index, weight in data["bins"]:
            self._bins[index] = weight


def windows_in(time_s: float, window_s: float) -> int:
    """Return how many windows a time takes, at least one."""
    return max(1, ceil(time_s / window_s - 1e-9))
