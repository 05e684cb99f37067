"""What prompts add to log-odds, remembered: the same prompt is asked about for one model after the other, and again."""

from fairlead.capability.prompt_model import PromptModel
from fairlead.capability.weights import Seen, seen_as
from fairlead.domain.features import PromptFeatures

CAPACITY = 4096
"""How many (prompt, model) pairs are remembered; then all are forgotten at once."""
LIMIT = 4.0
"""Most that a prompt may add to or take from the log-odds."""


class _Prompt:
    """What a prompt adds: to every model, and to those that were asked about."""

    __slots__ = ("common", "of_model", "seen")

    def __init__(self, seen: Seen | None, common: float) -> None:
        self.seen = seen
        self.common = common
        self.of_model: dict[str, float] = {}


class Shifts:
    """What prompts add to the log-odds of models, by a prompt model that must not change without a `clear`."""

    __slots__ = ("_model", "_n", "_prompts")

    def __init__(self, model: PromptModel) -> None:
        self._model = model
        self._prompts: dict[int, _Prompt] = {}
        self._n = 0

    def of(self, features: PromptFeatures, model_name: str) -> float:
        """Return what a prompt adds to the log-odds of a model; 0 for features of another make."""
        prompt = self._prompts.get(features.digest)
        if prompt is not None:
            shift = prompt.of_model.get(model_name)
            if shift is not None:
                return shift
        return self._work_out(features, model_name)

    def drop(self, features: PromptFeatures) -> None:
        """Forget what is remembered of one prompt."""
        self._prompts.pop(features.digest, None)

    def clear(self) -> None:
        """Forget what is remembered."""
        self._prompts.clear()
        self._n = 0

    def _work_out(self, features: PromptFeatures, model_name: str) -> float:
        if self._n >= CAPACITY:
            self.clear()
        prompt = self._prompts.get(features.digest)
        if prompt is None:
            seen = seen_as(features)
            common = 0.0 if seen is None else self._model.common(seen)
            prompt = self._prompts[features.digest] = _Prompt(seen, common)
        shift = 0.0
        if prompt.seen is not None:
            shift = min(max(prompt.common + self._model.own(model_name, prompt.seen), -LIMIT), LIMIT)
        prompt.of_model[model_name] = shift
        self._n += 1
        return shift
