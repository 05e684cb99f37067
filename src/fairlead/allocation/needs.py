"""What a task will need: its prompt's tokens, and as many for the answer as answers usually take.

The length of answers is learnt for each model and category. What is reserved is their mean plus one standard
deviation, with decayed moments:

    W = sum of w,  mean = sum(w x) / W,  deviation = sqrt(sum(w x^2) / W - mean^2),  w = 2^(-age / half-life)

Why above the mean: a node that took on too much must throw work away, one that took too little only idles. Why one
deviation: whatever the distribution, at least half of all answers stay below (Cantelli's inequality); of exponential
and of normal lengths it is 84 to 86 %; and what is too much for one and too little for another evens out over the tasks
on a node. A quantile would need either a sketch for each pair or a step whose size must fit the lengths.

The configured default counts like `PRIOR_WEIGHT` answers, so that the first few do not decide alone.
"""

from math import exp2, inf, isfinite, sqrt
from typing import Any

from fairlead.allocation.config import AllocationConfig
from fairlead.domain import Needs, Task, TaskCategory
from fairlead.errors import FairleadError

PRIOR_WEIGHT = 2.0
_FORMAT = 1


class _Lengths:
    """Of the answers of one model in one category."""

    __slots__ = ("at_s", "expected", "squares", "total", "weight")

    def __init__(self, default: int) -> None:
        self.at_s = -inf
        self.weight = 0.0
        self.total = 0.0
        self.squares = 0.0
        self.expected = default

    def settle(self, default: int) -> None:
        """Work out what to reserve; it is asked for more often than it changes."""
        weight = self.weight + PRIOR_WEIGHT
        mean = (self.total + PRIOR_WEIGHT * default) / weight
        variance = (self.squares + PRIOR_WEIGHT * default * default) / weight - mean * mean
        self.expected = max(1, round(mean + sqrt(variance))) if variance > 0.0 else max(1, round(mean))


class NeedsEstimator:
    """Expected needs of tasks, learnt from outcomes. Both calls are O(1)."""

    def __init__(self, config: AllocationConfig | None = None) -> None:
        config = config or AllocationConfig()
        self._default = config.default_output_tokens
        self._half_life_s = config.half_life_s
        self._max_models = config.max_models
        self._models: dict[str, dict[TaskCategory, _Lengths]] = {}
        self._bytes: dict[str, tuple[float, float]] = {}

    def declare_memory(
        self, model_name: str, *, bytes_per_token: float = 0.0, gpu_bytes_per_token: float = 0.0
    ) -> None:
        """Say how much memory, and how much of a GPU, a token takes while it is held.

        Raises ValueError for less than nothing.
        """
        if not (0 <= bytes_per_token < inf and 0 <= gpu_bytes_per_token < inf):
            raise ValueError(
                f"a token of {model_name!r} cannot take {bytes_per_token!r}, {gpu_bytes_per_token!r} bytes"
            )
        self._bytes[model_name] = (bytes_per_token, gpu_bytes_per_token)

    def estimate(self, task: Task, model_name: str, now_s: float) -> Needs:  # noqa: ARG002 - estimators may ask the time
        """Return what a task is expected to take of a node: tokens of its prompt and of the answer, and memory."""
        expected = self.expected_output(model_name, task.category)
        limit = task.output_tokens
        return self.sized(model_name, task.input_tokens, limit if 0 < limit < expected else expected)

    def expected_output(self, model_name: str, category: TaskCategory) -> int:
        """Return how many tokens to reserve for an answer."""
        categories = self._models.get(model_name)
        lengths = None if categories is None else categories.get(category)
        return self._default if lengths is None else lengths.expected

    def sized(self, model_name: str, input_tokens: int, output_tokens: int) -> Needs:
        """Return the needs of so many tokens of a model."""
        per_token = self._bytes.get(model_name) if self._bytes else None
        if per_token is None:
            return Needs(1, input_tokens, output_tokens)
        tokens = input_tokens + output_tokens
        return Needs(1, input_tokens, output_tokens, round(per_token[0] * tokens), round(per_token[1] * tokens))

    def learn(self, model_name: str, category: TaskCategory, output_tokens: int, now_s: float) -> None:
        """Let the length of one whole answer count. A node that reports less than nothing teaches nothing."""
        if output_tokens < 0:
            return
        categories = self._models.get(model_name)
        lengths = None if categories is None else categories.get(category)
        if lengths is None:
            lengths = self._begin(model_name, category)
        if now_s > lengths.at_s:
            kept = exp2((lengths.at_s - now_s) / self._half_life_s)
            lengths.weight *= kept
            lengths.total *= kept
            lengths.squares *= kept
            lengths.at_s = now_s
        lengths.weight += 1.0
        lengths.total += output_tokens
        lengths.squares += output_tokens * output_tokens
        lengths.settle(self._default)

    def snapshot(self) -> dict[str, Any]:
        """Return what was learnt as plain data: for each model and category time, weight, sum and sum of squares."""
        return {
            "format": _FORMAT,
            "models": {
                name: {key.value: [one.at_s, one.weight, one.total, one.squares] for key, one in categories.items()}
                for name, categories in self._models.items()
            },
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take over a `snapshot` in place of all that was learnt.

        Raises FairleadError for data that are damaged or of another format, and then changes nothing.
        """
        try:
            _check_format(data["format"])
            models = {
                str(name): {TaskCategory(key): self._restored(kept) for key, kept in categories.items()}
                for name, categories in data["models"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FairleadError(f"how long answers are cannot be read ({error}): start without it") from None
        self._models = dict(list(models.items())[-self._max_models :])

    # -- inside

    def _begin(self, model_name: str, category: TaskCategory) -> _Lengths:
        models = self._models
        if model_name not in models:
            if len(models) >= self._max_models:
                oldest = min(models, key=lambda name: max(one.at_s for one in models[name].values()))
                del models[oldest]
            models[model_name] = {}
        lengths = models[model_name][category] = _Lengths(self._default)
        return lengths

    def _restored(self, kept: list[float]) -> _Lengths:
        lengths = _Lengths(self._default)
        lengths.at_s, lengths.weight, lengths.total, lengths.squares = map(float, kept)
        amounts = (lengths.weight, lengths.total, lengths.squares)
        if not (isfinite(lengths.at_s) and all(0.0 <= amount < inf for amount in amounts)):
            raise ValueError(f"not lengths of answers: {kept!r}")
        lengths.settle(self._default)
        return lengths


def _check_format(found: object) -> None:
    if found != _FORMAT:
        raise ValueError(f"format {found!r} is not {_FORMAT}")
