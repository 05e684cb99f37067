"""What a routing engine learns from, and how that is taken back."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from fairlead.capability.scorer import CapabilityScorer
from fairlead.domain import Model, Outcome, PromptFeatures, RankedRoute, TaskCategory
from fairlead.errors import BadRequestError, FairleadError, Fault
from fairlead.routing.capability_aware import Judged, Scores, Thresholds, ThresholdsUpdate, adjusted
from fairlead.routing.chains import Cascade, CascadeBook
from fairlead.routing.config import RoutingConfig, Weights
from fairlead.routing.experience import ExperienceBook
from fairlead.routing.feedback_weights import PREFERENCES, FeedbackLog, Row, WeightsUpdate, re_estimate
from fairlead.routing.monitor import PerformanceMonitor
from fairlead.routing.ranking import ModelChoice
from fairlead.routing.roster import check_model

INCORPORATED_WEIGHT = 4.0
"""Outcomes that a score from elsewhere is worth, as a declared skill is."""
NOT_ITS_FAULT = frozenset({Fault.CALLER, Fault.CONTENT_FILTER, Fault.CANCELLED, Fault.CONTEXT, Fault.UNSUPPORTED})
"""Failures that say nothing about a model."""


class Learner:
    """The half of a routing engine that outcomes, scores and people teach."""

    def __init__(
        self,
        config: RoutingConfig,
        scorer: CapabilityScorer,
        monitor: PerformanceMonitor | None,
        cascades: Sequence[Cascade],
    ) -> None:
        self.config = config
        self.scorer = scorer
        self.weights = config.weights
        """The ones in use: as configured until they are re-estimated."""
        self.thresholds = Thresholds(config.min_quality)
        self.feedback = FeedbackLog()
        self._half_life_s = scorer.config.half_life_s
        self.monitor = PerformanceMonitor(self._half_life_s) if monitor is None else monitor
        """Told of every outcome by `record`, and asked for performance, history, latency and length of answers."""
        self._book = ExperienceBook(self.monitor)
        self._cascades = CascadeBook(cascades, self._half_life_s)
        self._known: dict[str, Model] = {}
        self._learns = False
        """Whether outcomes come back."""
        self._is_taught = False
        """Whether anything was said of how good answers are."""
        self._checked_version = -1
        self._told_at_s = 0.0
        """When the last outcome came."""

    @property
    def reads_prompts(self) -> bool:
        """Whether it is worth working out what prompts are like: that was learnt from, or somebody judges answers."""
        return self._is_taught or self.scorer.has_prompt_model

    def invalidate(self) -> None:
        """Called when something changed that every ranking rests on."""

    def know(self, models: Sequence[Model]) -> None:
        """Take note of models and their prices. Raises BadRequestError for senseless ones."""
        for model in models:
            if self._known.get(model.name) is not model:
                check_model(model)
                if self._known.get(model.name) != model:
                    self.scorer.declare(model)
                self._known[model.name] = model

    def record(
        self,
        model_name: str,
        outcome: Outcome,
        now_s: float,
        cost_usd: float | None = None,
        teaches_quality: bool = False,
    ) -> None:
        """Learn from one outcome: success, latency, length and price of answers.

        With `teaches_quality` it counts as a judgement of the answer too: an HTTP 200 says that a node works, the
        result of a task says that an answer was good. Failures that are not the model's fault teach nothing. Raises
        BadRequestError for a latency or cost that is no number of 0 or more.
        """
        if outcome.fault is not None and outcome.fault in NOT_ITS_FAULT:
            return
        for name, value in (("latency_s", outcome.latency_s), ("cost_usd", cost_usd)):
            if value is not None and not 0.0 <= value < float("inf"):
                raise BadRequestError(f"{name} must be 0 or more, not {value!r}", name)
        if type(outcome.category) is not TaskCategory:
            outcome = msgspec.structs.replace(outcome, category=_category(outcome.category))
        self._told_at_s = now_s
        self._book.record(model_name, outcome, now_s, cost_usd)
        self._begin_learning()
        if teaches_quality:
            self._is_taught = True
            self.scorer.learn(model_name, outcome.category, 1.0 if outcome.success else 0.0, now_s)

    def learn_score(
        self,
        model_name: str,
        category: TaskCategory,
        score: float,
        now_s: float,
        features: PromptFeatures | None = None,
        weight: float = 1.0,
        previous: float | None = None,
    ) -> None:
        """Learn what an answer was worth; the score takes the place of a `previous` one of the same answer.

        Raises BadRequestError for a score outside [0, 1] or an unknown category.
        """
        _check_score(score)
        if previous is None:
            self.scorer.learn(model_name, _category(category), score, now_s, features, weight)
        else:
            self.scorer.correct(model_name, _category(category), previous, score, now_s)
        self._begin_learning()
        self._is_taught = True

    def observe(self, route: RankedRoute | ModelChoice, score: float) -> None:
        """Keep what a route rested on with what came of it, for `update_routing_weights`.

        Raises BadRequestError for a score outside [0, 1].
        """
        _check_score(score)
        if isinstance(route, ModelChoice):
            route = route.route
        if len(route.factors) == 4:
            self.feedback.add([factor.value for factor in route.factors], score)

    def record_cascade(
        self, name: str, step: int, accepted: bool, score: float | None = None, now_s: float = 0.0
    ) -> None:
        """Learn what became of the answer of one step of a cascade. Raises ConfigError for one that there is not."""
        if score is not None:
            _check_score(score)
        version = self._cascades.version
        self._cascades.record(name, step, accepted, score, now_s)
        if self._cascades.version != version:
            self.invalidate()

    def record_step(self, name: str, number: int, model: str, accepted: bool, reason: str | None = None) -> None:  # noqa: ARG002
        """Learn the same as whoever runs cascades tells it: steps count from 1, the time is that of the last outcome.

        Never raises; a cascade that the engine was not given is passed over.
        """
        cascade = self._cascades.cascades.get(name)
        if cascade is not None and 1 <= number <= len(cascade.models):
            self.record_cascade(name, number - 1, accepted, now_s=self._told_at_s)

    def incorporate_scores(self, scores: Scores, now_s: float = 0.0) -> None:
        """Let scores from elsewhere count, each as much as a declared skill. All are checked before any counts."""
        told = [
            (model, _category(category), _check_score(score))
            for model, of_model in scores.items()
            for category, score in of_model.items()
        ]
        for model, category, score in told:
            self.scorer.learn(model, category, score, now_s, None, INCORPORATED_WEIGHT)
            self._is_taught = True

    def update_routing_weights(
        self, observed: Sequence[Row] | None = None, held: Collection[str] = PREFERENCES
    ) -> WeightsUpdate:
        """Re-estimate the weights from outcomes, each within half and twice its configured share, and use them.

        `observed` are pairs of the four factor values and the outcome; None: what `observe` kept. Factors in `held`
        keep their share. `reset_weights` takes it back.
        """
        rows = self.feedback.rows if observed is None else observed
        update = re_estimate(self.config.weights, self.weights, list(rows), held)
        self._use(update.after)
        return update

    def reset_weights(self, weights: Weights | None = None) -> WeightsUpdate:
        """Use other weights, such as those before an update; None: the configured ones."""
        before = self.weights
        self._use(weights or self.config.weights)
        return WeightsUpdate(before, self.weights, 0, reason="set back")

    def adjust_thresholds(self, history: Sequence[Judged]) -> ThresholdsUpdate:
        """Move what an answer must be worth by what answers were worth, by at most 0.1 from what is configured."""
        update = adjusted(Thresholds(self.config.min_quality), self.thresholds, history)
        if update.after != self.thresholds:
            self.thresholds = update.after
            self.invalidate()
        return update

    def reset_thresholds(self) -> None:
        """Use the configured thresholds again."""
        self.thresholds = Thresholds(self.config.min_quality)
        self.invalidate()

    def forget(self) -> None:
        """Drop what was learnt, by the scorer too; declared skills stay."""
        self.scorer.forget()
        for model in self._known.values():
            self.scorer.declare(model)
        self.monitor.forget()
        self._book.moved()
        self._cascades.forget()
        self.feedback = FeedbackLog()
        self._use(self.config.weights)
        self.thresholds = Thresholds(self.config.min_quality)
        self._learns = self._is_taught = False
        self._checked_version = -1
        self.invalidate()

    def snapshot(self) -> dict[str, Any]:
        """Return what the engine itself learnt (not what its scorer did), as plain data."""
        return {
            "monitor": self.monitor.snapshot(),
            "cascades": self._cascades.snapshot(),
            "weights": msgspec.to_builtins(self.weights),
            "thresholds": msgspec.to_builtins(self.thresholds),
            "learns": self._learns,
            "is_taught": self._is_taught,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot. Raises FairleadError for anything else; then nothing has changed."""
        cascades = CascadeBook(tuple(self._cascades.cascades.values()), self._half_life_s)
        try:
            cascades.restore(state["cascades"])
            weights = msgspec.convert(state["weights"], Weights)
            thresholds = msgspec.convert(state["thresholds"], Thresholds)
            learns, is_taught = bool(state["learns"]), bool(state["is_taught"])
            self.monitor.restore(state["monitor"])  # the last one, as it changes what is here
        except (KeyError, TypeError, ValueError, AttributeError, msgspec.ValidationError, FairleadError) as error:
            raise FairleadError(f"what the engine learnt cannot be read ({error}); start without it") from error
        self._cascades = cascades
        self._book.moved()
        self.invalidate()
        self._use(weights)
        self.thresholds = thresholds
        self._learns, self._is_taught = learns, is_taught

    def _begin_learning(self) -> None:
        if not self._learns:
            self._learns = True
            self.invalidate()

    def _use(self, weights: Weights) -> None:
        if weights != self.weights:
            self.weights = weights
            self.invalidate()


def _check_score(score: float) -> float:
    if not (isinstance(score, (int, float)) and 0.0 <= score <= 1.0):
        raise BadRequestError(f"a score must be between 0 and 1, not {score!r}", "score")
    return score


def _category(category: TaskCategory | str) -> TaskCategory:
    try:
        return TaskCategory(category)
    except ValueError:
        known = ", ".join(TaskCategory)
        raise BadRequestError(f"there is no category {category!r}; there are: {known}", "category") from None
