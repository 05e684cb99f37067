"""How models have been doing lately: moving averages per model and category, and what is out of the ordinary.

Averages forget at half-life speed, as evidence does. Two things are watched. The success rate, by the tests of
`capability.posterior`. And the pace: seconds per unit of work, where a unit is an output token, `PREFILL` input tokens,
or the answer as such, so that long answers do not look slow (`routing.level`). An anomaly is a lasting change for the
worse; it ends with a change for the better, or after a half-life, when it has become usual. How long answers are is
averaged but not watched: it follows the prompts. Everything is O(1), and made when first needed.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from fairlead.domain import Outcome, TaskCategory
from fairlead.errors import FairleadError
from fairlead.routing.evidence import MIXING_WEIGHT, Evidence, performance_of
from fairlead.routing.level import Level

PREFILL = 300.0
"""Input tokens that a server reads in about the time of one output token."""
ENOUGH = 3.0
"""Outcomes from which on a category's own averages count before those over all categories."""
_SUMS = ("first_token_s", "input_tokens", "output_tokens", "cost_usd")
_ALL = ""
"""Stands for all categories of a model."""


class Anomaly(msgspec.Struct, frozen=True, gc=False):
    """A lasting change for the worse."""

    kind: str
    """`success`, a share in [0, 1], or `pace`, in seconds per unit of work."""
    since_s: float
    before: float
    after: float


_ANOMALY = Anomaly.__struct_fields__


class View(msgspec.Struct, frozen=True):
    """What is known of a model in a category; None where nothing was seen."""

    outcomes: float = 0.0
    """Remembered."""
    success: float | None = None
    latency_s: float | None = None
    """Of whole answers; successes only, as the rest is."""
    first_token_s: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    cost_usd: float | None = None
    confidence: float = 0.0
    """In [0, 1]: how much is known of `success`."""
    anomalies: tuple[Anomaly, ...] = ()


NOTHING_SEEN = View()


class Record(Evidence):
    """What came back of a model in one category, or over all."""

    __slots__ = ("_counts", "_level", "_sums", "anomalies")

    def __init__(self, half_life_s: float, *, is_watched: bool) -> None:
        super().__init__(half_life_s, is_watched=is_watched)
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._counts = [0.0, 0.0, 0.0, 0.0]
        self._level = Level() if is_watched else None
        self.anomalies: tuple[Anomaly, ...] = ()

    def learn(self, outcome: Outcome, now_s: float, cost_usd: float | None) -> bool:
        """Take in one outcome, and return whether the success rate changed."""
        before = self.mean
        changed = self.add(outcome.success, outcome.latency_s, now_s)
        if changed:
            self._tell("success", now_s, before, self.mean, is_worse=self.mean < before)
        if outcome.success:
            tokens = (outcome.input_tokens or None, outcome.output_tokens or None)
            for index, value in enumerate((outcome.first_token_s, *tokens, cost_usd)):
                if value is not None:
                    self._sums[index] += value
                    self._counts[index] += 1.0
            if self._level is not None and outcome.latency_s > 0.0:
                work = 1.0 + outcome.output_tokens + outcome.input_tokens / PREFILL
                moved = self._level.add(outcome.latency_s / work, now_s)
                if moved is not None:
                    self._tell("pace", *moved, is_worse=moved.after > moved.before)
        return changed

    def average(self, name: str) -> float | None:
        """Return the moving average of a thing; None where it was never told."""
        index = _SUMS.index(name)
        return self._sums[index] / self._counts[index] if self._counts[index] > 1e-6 else None

    def view(self, now_s: float) -> View:
        """Return everything, as of now."""
        self.decay(now_s)
        if not self.weight:
            return NOTHING_SEEN
        self.anomalies = tuple(one for one in self.anomalies if now_s - one.since_s < self._half_life_s)
        averages = {name: self.average(name) for name in _SUMS}
        return View(
            outcomes=self.weight,
            success=self.mean,
            latency_s=self.latency_s,
            confidence=self.confidence,
            anomalies=self.anomalies,
            **averages,
        )

    def state(self) -> list[object]:
        """Return what has to be kept, as plain data."""
        level = None if self._level is None else self._level.snapshot()
        told = [msgspec.structs.astuple(one) for one in self.anomalies]
        return [self.snapshot(), self.latency_sum_s, self._sums, self._counts, level, told]

    def become(self, state: Any) -> None:
        """Become what `state` gave. Raises ValueError, TypeError or IndexError for anything else."""
        counts, latency_s, sums, of, level, told = state
        self.restore(counts)
        numbers = [float(value) for value in (latency_s, *sums, *of)]
        if len(numbers) != 1 + 2 * len(_SUMS) or not all(0.0 <= value < 1e15 for value in numbers):
            raise ValueError(f"kept averages must be {1 + 2 * len(_SUMS)} numbers of 0 or more")
        self.latency_sum_s, self._sums, self._counts = numbers[0], numbers[1:5], numbers[5:]
        if self._level is not None:
            self._level.restore(*level)
        self.anomalies = tuple(msgspec.convert(dict(zip(_ANOMALY, one, strict=True)), Anomaly) for one in told)

    def _tell(self, kind: str, since_s: float, before: float, after: float, *, is_worse: bool) -> None:
        others = tuple(one for one in self.anomalies if one.kind != kind)
        self.anomalies = (*others, Anomaly(kind, since_s, before, after)) if is_worse else others

    def _fade(self, kept: float) -> None:
        super()._fade(kept)
        self._sums = [value * kept for value in self._sums]
        self._counts = [value * kept for value in self._counts]


class PerformanceMonitor:
    """Follows every model in every category that it was seen in. Single-owner, told the time."""

    def __init__(self, half_life_s: float = 3600.0) -> None:
        if not 0 < half_life_s < float("inf"):
            raise ValueError(f"half_life_s must be a number of seconds above 0, not {half_life_s!r}")
        self._half_life_s = half_life_s
        self._records: dict[str, dict[str, Record]] = {}

    def record(
        self, model: str, category: TaskCategory, outcome: Outcome, now_s: float, cost_usd: float | None = None
    ) -> None:
        """Learn from one outcome; `cost_usd` is what the answer cost, where that is known."""
        own = self._records.get(model)
        if own is None:
            own = self._records[model] = {_ALL: Record(self._half_life_s, is_watched=False)}
        record = own.get(category)
        if record is None:
            record = own[category] = Record(self._half_life_s, is_watched=True)
        own[_ALL].learn(outcome, now_s, cost_usd)
        if record.learn(outcome, now_s, cost_usd):
            own[_ALL].sum_up((one for name, one in own.items() if name != _ALL), now_s)

    def view(self, model: str, category: TaskCategory | None, now_s: float) -> View:
        """Return the averages and anomalies of a model in a category; None: over all, with all anomalies."""
        own = self._records.get(model, {})
        record = own.get(_ALL if category is None else category)
        if record is None:
            return NOTHING_SEEN
        view = record.view(now_s)
        if category is not None:
            return view
        seen = [one for name, each in own.items() if name != _ALL for one in each.view(now_s).anomalies]
        return msgspec.structs.replace(view, anomalies=tuple(seen))

    def performance(self, model: str, category: TaskCategory, now_s: float) -> float | None:
        """Return 0.7 x expected success + 0.3 x speed, in [0, 1]; None where nothing was seen.

        What was seen in the category counts n / (n + 5) for n outcomes, the rest is what was seen over all.
        """
        own = self._records.get(model)
        if own is None:
            return None
        overall, record = own[_ALL], own.get(category)
        overall.decay(now_s)
        if overall.weight <= 0.0:
            return None
        known = performance_of(overall.mean, overall.latency_s)
        if record is None:
            return known
        record.decay(now_s)
        trust = record.weight / (record.weight + MIXING_WEIGHT)
        return known + trust * (performance_of(record.mean, record.latency_s) - known)

    def success(self, model: str, now_s: float) -> float | None:
        """Return the expected share of successes over all categories; None where nothing was seen."""
        own = self._records.get(model)
        if own is None:
            return None
        own[_ALL].decay(now_s)
        return own[_ALL].mean if own[_ALL].weight > 0.0 else None

    def expected_output_tokens(self, model: str, category: TaskCategory) -> float | None:
        """Return the mean length of answers in a category, or over all while the category is hardly known."""
        return next((value for one in self._nearest(model, category) if (value := one.average("output_tokens"))), None)

    def expected_latency_s(self, model: str, category: TaskCategory) -> float | None:
        """Return the mean time to a whole answer in a category, or over all while the category is hardly known."""
        return next((value for one in self._nearest(model, category) if (value := one.latency_s) is not None), None)

    def forget(self) -> None:
        """Drop everything."""
        self._records.clear()

    def snapshot(self) -> dict[str, object]:
        """Return what has to be kept, as plain data that JSON can hold."""
        return {
            model: {category: record.state() for category, record in own.items()}
            for model, own in self._records.items()
        }

    def restore(self, kept: Mapping[str, object]) -> None:
        """Take over what `snapshot` gave, instead of what is there.

        Raises FairleadError, and changes nothing, for anything else.
        """
        try:
            self._records = {str(model): self._restored(own) for model, own in kept.items()}
        except (TypeError, ValueError, IndexError, KeyError, AttributeError, msgspec.ValidationError) as error:
            raise FairleadError(f"the kept performance of models is damaged ({error}); start without it") from error

    def _restored(self, kept: object) -> dict[str, Record]:
        if not isinstance(kept, Mapping) or _ALL not in kept:
            raise ValueError("a model without its sum")
        records = {}
        for name, values in kept.items():
            key = _ALL if name == _ALL else TaskCategory(name)
            records[key] = Record(self._half_life_s, is_watched=key != _ALL)
            records[key].become(values)
        return records

    def _nearest(self, model: str, category: TaskCategory) -> list[Record]:
        own = self._records.get(model)
        if own is None:
            return []
        record = own.get(category)
        return [own[_ALL]] if record is None or record.weight < ENOUGH else [record, own[_ALL]]
