"""CapabilityScorer: how well a model is expected to do a task, and how sure that is.

Per model and category there is a Beta posterior that forgets with time (`rates`); on top of it stands what the prompt
itself says (`prompt_model`), learnt from outcomes that came with features. Both are in log-odds:

    quality = sigmoid(logit(rate of the category) + what the prompt adds)
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from fairlead.capability.labels import Label
from fairlead.capability.posterior import Posterior
from fairlead.capability.prompt_model import PromptModel, Scored, sigmoid
from fairlead.capability.rates import ModelRates, category_of, logit, share_of
from fairlead.capability.shifts import Shifts
from fairlead.capability.weights import seen_as
from fairlead.domain.features import PromptFeatures
from fairlead.domain.model import Model
from fairlead.domain.task import TaskCategory
from fairlead.errors import BadRequestError, FairleadError

FORMAT = 1
"""Of what `snapshot` gives."""
_FRESH_SHARE = 1 / 64
"""Share of a half-life for which a rate is not worked out anew: it wears away by 1 % at most."""


_ELSEWHERE = 0.075
"""How far another prompt's estimate moves when one's log-odds move by 1: 0.25 at most, 0.3 of that as they differ."""


class CapabilityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a CapabilityScorer is built with."""

    half_life_s: float = 3600.0
    """Seconds after which an outcome counts half."""
    tolerance: float = 0.02
    """How far an estimate may move before `version` rises."""
    shared_penalty: float = 150.0
    """How strongly what prompts say of all models is shrunk to nothing."""
    own_penalty: float = 400.0
    """The same for what they say of one model."""


class Estimate(msgspec.Struct, frozen=True, gc=False):
    """What is expected of a model on a task."""

    quality: float
    """Expected score, in [0, 1], with what the prompt says."""
    confidence: float
    """In [0, 1]: how much is known of the category, from the width of the posterior."""
    category_quality: float
    """Expected score in the category, whatever the prompt."""
    weight: float
    """Outcomes remembered in the category."""
    drifted_at_s: float | None
    """When a change was last found in the category; None if there was none."""


class _View(msgspec.Struct, frozen=True, gc=False):
    """What a category says, worked out for a stretch of time."""

    estimate: Estimate
    from_s: float
    until_s: float
    log_odds: float


class _Known:
    """What is known of one model."""

    __slots__ = ("anchors", "rates", "views")

    def __init__(self, rates: ModelRates) -> None:
        self.rates = rates
        self.views: dict[TaskCategory, _View] = {}
        self.anchors: dict[TaskCategory | None, tuple[float, float]] = {}
        """What estimates were when `version` last rose for them: quality and confidence."""


class CapabilityScorer:
    """Expected quality of every model for every task, learnt from outcomes; models it never met are worth 0.5."""

    def __init__(self, config: CapabilityConfig | None = None) -> None:
        self.config = CapabilityConfig() if config is None else config
        self.version = 0
        """Rises whenever estimates may have moved by more than the tolerance (of a prompt just learnt, only itself)."""
        self.has_prompt_model = False
        """Whether anything was learnt that depends on the prompt."""
        self._strayed = 0.0
        """Sum of the squares of how far steps have moved other prompts since `version` last rose for that."""
        self._known: dict[str, _Known] = {}
        self._stranger = _Known(ModelRates(self.config.half_life_s))
        self._prompts = PromptModel(self.config.shared_penalty, self.config.own_penalty)
        self._shifts = Shifts(self._prompts)

    def declare(self, model: Model) -> None:
        """Take over a model's declared skills. Raises BadRequestError for one that is not in [0, 1]."""
        skill = {category_of(category): share_of(value, "skill") for category, value in model.skill.items()}
        known = self._meet(model.name)
        if known.rates.declare(skill):
            self._moved(known)

    def estimate(
        self, model_name: str, category: TaskCategory, features: PromptFeatures | None, now_s: float
    ) -> Estimate:
        """Return what is expected of a model on a task. Raises BadRequestError for an unknown category."""
        known = self._known.get(model_name, self._stranger)
        view = known.views.get(category)
        if view is None or not view.from_s <= now_s < view.until_s:
            view = self._view(known, category, now_s)
        base = view.estimate
        if features is None or not self.has_prompt_model:
            return base
        shift = self._shifts.of(features, model_name)
        return Estimate(
            sigmoid(view.log_odds + shift), base.confidence, base.category_quality, base.weight, base.drifted_at_s
        )

    def posterior(self, model_name: str, category: TaskCategory, now_s: float) -> Posterior:
        """Return a copy of the posterior behind an estimate. Raises BadRequestError for an unknown category."""
        category = category_of(category)
        known = self._known.get(model_name)
        return Posterior(self.config.half_life_s) if known is None else known.rates.posterior(category, now_s)

    def learn(
        self,
        model_name: str,
        category: TaskCategory,
        score: float,
        now_s: float,
        features: PromptFeatures | None = None,
        weight: float = 1.0,
    ) -> None:
        """Take one outcome in, and what its prompt says where features are given.

        Raises BadRequestError for an unknown category, a score that is not in [0, 1], a weight that is not above 0.
        """
        category, score = category_of(category), share_of(score, "score")
        if not 0.0 < weight < 1e9:
            raise BadRequestError(f"the weight of an outcome must be above 0, not {weight!r}", "weight")
        known = self._meet(model_name)
        seen = None if features is None else seen_as(features)
        if features is not None and seen is not None:
            offset = logit(known.rates.rate(category, now_s).mean) + known.rates.lean(category)
            self._strayed += (_ELSEWHERE * self._prompts.learn(seen, (Scored(model_name, score, offset),))) ** 2
            self.has_prompt_model = True
            self._shifts.drop(features)
            if self._strayed > self.config.tolerance**2:
                self._strayed = 0.0
                self._shifts.clear()
                self.version += 1
        known.rates.add(category, score, now_s, weight)
        known.views.clear()
        self._watch(known, category, now_s)

    def correct(
        self,
        model_name: str,
        category: TaskCategory,
        previous: float,
        score: float,
        now_s: float,
    ) -> None:
        """Let a score take the place of a `previous` one of the same answer; what its prompt taught stays.

        Raises BadRequestError as `learn` does.
        """
        category, previous, score = category_of(category), share_of(previous, "score"), share_of(score, "score")
        known = self._meet(model_name)
        known.rates.exchange(category, previous, score, now_s)
        known.views.clear()
        self._watch(known, category, now_s)

    def fit(self, labels: Sequence[Label], now_s: float = 0.0) -> None:
        """Learn from many labels at once, whose order means nothing; what was learnt before counts as well.

        The rates found also become seeds, which do not wear away. Raises BadRequestError as `learn` does, and then
        has learnt nothing.
        """
        checked = [(label, category_of(label.category), share_of(label.score, "score")) for label in labels]
        sums: dict[tuple[str, TaskCategory], list[float]] = {}
        for label, category, score in checked:
            won = sums.setdefault((label.model, category), [0.0, 0.0])
            won[0] += score
            won[1] += 1.0 - score
        for (model_name, category), (successes, failures) in sums.items():
            self._meet(model_name).rates.add_batch(category, successes, failures, now_s)
        offsets = {}
        for model_name in dict.fromkeys(model_name for model_name, _ in sums):
            self._known[model_name].rates.settle(now_s)
        for model_name, category in sums:
            rates = self._known[model_name].rates
            offsets[model_name, category] = logit(rates.rate(category, now_s).mean) + rates.lean(category)
        prompts: dict[PromptFeatures, list[Scored]] = {}
        for label, category, score in checked:
            if label.features is not None:
                scored = Scored(label.model, score, offsets[label.model, category])
                prompts.setdefault(label.features, []).append(scored)
        ready = [(seen, scored) for features, scored in prompts.items() if (seen := seen_as(features)) is not None]
        if ready:
            self._prompts.fit(ready)
            self.has_prompt_model = True
        for known in self._known.values():
            self._moved(known)

    def forget(self) -> None:
        """Forget everything, declared skills too."""
        self._take({}, PromptModel(self.config.shared_penalty, self.config.own_penalty), has_prompt_model=False)

    def snapshot(self) -> dict[str, Any]:
        """Return everything that is known, as plain data that JSON can hold."""
        return {
            "format": FORMAT,
            "models": {name: known.rates.state() for name, known in self._known.items()},
            "prompts": self._prompts.state() if self.has_prompt_model else None,
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take over a `snapshot` in place of all that is known.

        Raises FairleadError for data that are damaged or of another format, and then changes nothing.
        """
        prompts = PromptModel(self.config.shared_penalty, self.config.own_penalty)
        try:
            _check_format(data["format"])
            rates = {
                str(name): ModelRates.restored(state, self.config.half_life_s) for name, state in data["models"].items()
            }
            kept = data["prompts"]
            if kept is not None:
                prompts.restore(kept)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FairleadError(f"what was learnt of models cannot be read ({error}): start without it") from None
        self._take(rates, prompts, has_prompt_model=kept is not None)

    # -- inside

    def _take(self, rates: dict[str, ModelRates], prompts: PromptModel, *, has_prompt_model: bool) -> None:
        self._known = {name: _Known(one) for name, one in rates.items()}
        self._prompts = prompts
        self._shifts = Shifts(prompts)
        self.has_prompt_model = has_prompt_model
        self.version += 1

    def _meet(self, model_name: str) -> _Known:
        known = self._known.get(model_name)
        if known is None:
            known = self._known[model_name] = _Known(ModelRates(self.config.half_life_s))
        return known

    def _view(self, known: _Known, category: TaskCategory, now_s: float) -> _View:
        category = category_of(category)
        rate = known.rates.rate(category, now_s)
        estimate = Estimate(rate.mean, rate.confidence, rate.mean, rate.weight, rate.drifted_at_s)
        until_s = now_s + self.config.half_life_s * _FRESH_SHARE
        view = _View(estimate, now_s, until_s, logit(rate.mean) + known.rates.lean(category))
        known.views[category] = view
        return view

    def _watch(self, known: _Known, category: TaskCategory, now_s: float) -> None:
        """Let `version` rise where an outcome has moved its category, or the model in all, by more than a little."""
        rate = known.rates.rate(category, now_s)
        overall = known.rates.overall(now_s)
        for key, now in ((category, (rate.mean, rate.confidence)), (None, (overall, 0.0))):
            before = known.anchors.get(key, (0.5, 0.0))
            if max(abs(now[0] - before[0]), abs(now[1] - before[1])) > self.config.tolerance:
                known.anchors[key] = now
                self.version += 1

    def _moved(self, known: _Known) -> None:
        known.views.clear()
        known.anchors.clear()
        self._shifts.clear()
        self.version += 1


def _check_format(found: object) -> None:
    if found != FORMAT:
        raise ValueError(f"its format is {found!r}, not {FORMAT}")
