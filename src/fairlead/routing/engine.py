"""The routing engine: which model should do a task, at what price, and how sure that is.

    filters  ->  factors  ->  score  ->  picker

*Filters* drop the models that cannot or must not do the task, each with a reason: a capability or the context is
missing, or what is expected of quality, price or latency breaks a limit. The price rests on the output tokens that
answers of this model had in this category, as far as they were seen.

*Factors* are four, each on an absolute scale in [0, 1], 0.5 where nothing is known (`factors.py`):

    score = 0.4 capability + 0.3 performance + 0.2 resource efficiency + 0.1 historical success

    capability            expected quality: the mean of the CapabilityScorer's posterior, corrected for the prompt
    performance           0.7 expected success + 0.3 speed, of this model in this category
    resource efficiency   1 - log10(price / $1e-6) / 7: free is 1, $10 an answer is 0, a tenfold price costs 1/7
    historical success    decayed share of successes over all categories

The knob q turns the weights: capability and history 2q times, efficiency 2 (1 - q) times, performance 1 - |2q - 1|
times, made to sum to 1. 0.5 is the formula above, 0 the cheapest that passes the filters, 1 the best whatever it costs.

The *picker* takes the best score; among near-equals load and cost decide (`optimize_allocation`), and a bounded share
of the tasks goes to others to learn about them (`picker.py`), with the propensity recorded. Exploring begins with the
first outcome that comes back: without any it would cost and teach nothing.

Rankings are cached (`route_cache.py`) under roster, category, requirements, size of prompt and answer (in steps of a
quarter) and, where the scorer corrects for prompts, the digest of its features; prompts that lead to the same choice
share one.
What was learnt since drops none: a ranking is looked at again when it is asked for, and used for as long as it would
still lead to the same choice (`validity.py`). So the numbers of a hit may be a little older, or those of a prompt much
like it; where a limit on price or time is set they are exact. A cascade is ranked beside the single models
(`chains.py`).
"""

from collections import deque
from collections.abc import Hashable, Sequence

from fairlead.capability.features import features_of
from fairlead.capability.scorer import CapabilityScorer, Estimate
from fairlead.categories import Detector, RuleDetector
from fairlead.domain import (
    Model,
    OptimizedRoute,
    RouteOptions,
    Task,
    TaskCategory,
)
from fairlead.rng import Draw, key_of
from fairlead.routing.chains import Cascade
from fairlead.routing.config import RoutingConfig
from fairlead.routing.exploration import Limits
from fairlead.routing.factors import nearness, shares
from fairlead.routing.fleet_view import FleetView
from fairlead.routing.learning import Learner
from fairlead.routing.monitor import PerformanceMonitor
from fairlead.routing.optimize import Route, optimize, why_invalid
from fairlead.routing.ranker import column_of, rank
from fairlead.routing.ranking import Column, Held, IssuedOptions, ModelChoice, Ranking
from fairlead.routing.requirements import Requirements, requirements
from fairlead.routing.roster import Roster
from fairlead.routing.route_cache import RouteCache
from fairlead.routing.validity import bucket, is_near, stands

CHARS_PER_TOKEN = 4
MOST_ROSTERS = 256
"""Sets of models that are kept checked; beyond, all are checked anew."""
RANKED_BUDGET = 200_000
"""Ranked chains that the cache may hold in all, so that a thousand models do not fill the memory."""
LEAST_OUTPUT_TOKENS = 64
"""Added to prompts where sizes are compared: what short ones differ by hardly shows in the price, beside the answer."""
KEPT_SHARE = 0.05
"""Of the tolerance: by how much a score may move before the rankings that rest on it are looked at again."""
WORDS_BUDGET = 4_096
"""The same for rankings that were put into words."""


class RoutingEngine(Learner):
    """Decides which model should do a task, explains it, and learns from what came back.

    Single-owner and without locks, as all that decides; it reads no clock. Every argument is optional.
    """

    def __init__(
        self,
        config: RoutingConfig | None = None,
        scorer: CapabilityScorer | None = None,
        *,
        monitor: PerformanceMonitor | None = None,
        cascades: Sequence[Cascade] = (),
        seed: int = 0,
        detector: Detector | None = None,
        view: FleetView | None = None,
    ) -> None:
        super().__init__(config or RoutingConfig(), scorer or CapabilityScorer(), monitor, cascades)
        self.seed = seed
        self.view = view
        self.cache: RouteCache[Held] = RouteCache(self.config.cache.capacity, self.config.cache.ttl_s)
        self._detector: Detector = detector or RuleDetector()
        self._limits = Limits(self.config.explore_min, self.config.explore_max)
        self._rosters: dict[tuple[int, ...], Roster] = {}
        self._last: tuple[Sequence[Model], Roster] | None = None
        self._made = 0
        self._worded: deque[Ranking] = deque()
        self._epoch = 0
        self._refresh_at_s = 0.0

    # -- deciding

    def calculate_routes(self, task: Task | str, models: Sequence[Model], now_s: float = 0.0) -> RouteOptions:
        """Return every chain that qualifies for a task, the one to take first.

        Raises NoModelError without models, BadRequestError for values out of range, and NoCandidateError when no model
        meets the requirements; it names those that contradict each other.
        """
        if isinstance(task, str):
            task = self.task_of(task)
        ranking = self.rank(task, models, now_s)
        plan = ranking.plan
        place = 0 if plan.is_sure else plan.pick(Draw(self.seed, task.key).unit())
        if not ranking.has_options:
            self._hold_words(ranking)
        return ranking.options(place)

    def rank_models(self, task: Task, models: Sequence[Model], now_s: float, draw: Draw) -> ModelChoice:
        """Return which models a task should be offered to, in which order: `calculate_routes` for a fleet.

        Raises as `calculate_routes` does.
        """
        ranking = self.rank(task, models, now_s)
        plan = ranking.plan
        return ranking.choice(0 if plan.is_sure else plan.pick(draw.unit()))

    def rank(self, task: Task, models: Sequence[Model], now_s: float = 0.0) -> Ranking:
        """Return the ranking of the models for a task, from the cache where it holds. Raises as `calculate_routes`."""
        last = self._last
        roster = last[1] if last is not None and last[0] is models else self._roster(models)
        if now_s >= self._refresh_at_s:
            self._refresh(now_s)
        version = self.scorer.version
        stamp = version + self._book.version + self._epoch
        column = roster.columns.get(task.category)
        if column is None or column.stamp != stamp:
            column = self._look(roster, task.category, stamp, now_s)
        size, limit = task.input_tokens, task.output_tokens
        is_exact = (
            size < 0
            or limit < 0
            or size + limit > roster.least_context
            or task.max_cost_usd is not None
            or self.config.max_cost_usd is not None
        )
        if not is_exact:
            size += min(limit, LEAST_OUTPUT_TOKENS) if limit else LEAST_OUTPUT_TOKENS
            bits = max(size.bit_length() - 3, 0)
            size = size >> bits << bits
        features = task.features if self.scorer.has_prompt_model else None
        key = (
            roster.key,
            task.category,
            task.needs,
            size,
            is_exact,
            limit,
            task.quality,
            task.min_quality,
            task.max_cost_usd,
            task.max_latency_s,
            None if features is None else features.digest,
        )
        if features is None:
            version = 0
        held = self.cache.get(key, now_s)
        if held is not None and held.column is column and held.version == version:
            return held.ranking
        return self._find(task, roster, Held(column, version), key, held, now_s)

    def task_of(self, prompt: str) -> Task:
        """Return the task that a bare prompt is: its category detected, its tokens estimated."""
        return Task(
            id="",
            key=key_of(prompt),
            category=self._detector.detect(prompt),
            input_tokens=len(prompt) // CHARS_PER_TOKEN + 1,
            features=features_of(prompt) if self.reads_prompts else None,
        )

    def is_informed(self, models: Sequence[Model], task: Task | None = None) -> bool:
        """Tell whether anything tells these models apart: prices, skills, cascades, learnt quality, or a limit.

        Where it is False a ranking would call all of them equal, and need not be asked for.
        """
        if task is not None and (task.min_quality or task.max_latency_s is not None):
            return True
        config = self.config
        if self._is_taught or config.min_quality > 0.0 or config.max_cost_usd or config.max_latency_ms:
            return True
        last = self._last
        roster = last[1] if last is not None and last[0] is models else self._roster(models)
        return roster.is_varied or self._is_fitted(roster)

    def optimize_allocation(self, routes: RouteOptions, now_s: float = 0.0) -> OptimizedRoute:
        """Pick among near-equals by load and cost, and order what stands in by failure domain.

        Raises NoCandidateError when no node serves any of the models.
        """
        return optimize(routes, self.config.tolerance, self.view, lambda name: self._book.error_rate(name, now_s))

    def validate_route(self, route: Route, now_s: float = 0.0) -> bool:
        """Tell whether a route still holds."""
        return not self.why_invalid(route, now_s)

    def why_invalid(self, route: Route, now_s: float = 0.0) -> tuple[str, ...]:
        """Return why a route holds no longer, in words; empty where it does."""
        return why_invalid(route, now_s, self._known, self.view)

    def explore(self, *, is_on: bool) -> None:
        """Give models of which little is known a share of the tasks, or not."""
        config = self.config
        self._limits = Limits(config.explore_min, config.explore_max) if is_on else Limits(0.0, 0.0)
        self.invalidate()

    def invalidate(self) -> None:
        """Drop every cached ranking, because something outside changed, such as the health of nodes."""
        self.cache.clear()
        self._worded.clear()
        self._book.freshen()
        for roster in self._rosters.values():
            roster.columns.clear()

    # -- inside

    def _refresh(self, now_s: float) -> None:
        """Look at all evidence anew: time has worn it."""
        self._book.freshen()
        self._epoch += 1
        self._refresh_at_s = now_s + self._half_life_s / 64

    def _look(self, roster: Roster, category: TaskCategory, stamp: int, now_s: float) -> Column:
        """Look up what is known of the models in a category; what hardly moved stays, and rankings on it hold."""
        self._made += 1
        column = column_of(roster, category, self.scorer, self._book, now_s, self._made)
        known = roster.columns.get(category)
        extremes = (shares(self.weights, 0.5), shares(self.weights, 1.0))
        if known is not None and is_near(known, column, extremes, KEPT_SHARE * self.config.tolerance):
            column = known
        column.stamp = stamp
        roster.columns[category] = column
        return column

    def _roster(self, models: Sequence[Model]) -> Roster:
        """Return the roster of these very models, checked when it is first asked for."""
        key = tuple(map(id, models))  # a roster holds its models, so their ids stay theirs
        roster = self._rosters.get(key)
        if roster is None:
            self.know(models)
            roster = Roster(self._made, models, tuple(self._cascades.cascades.values()))
            self._made += 1
            if len(self._rosters) >= MOST_ROSTERS:
                self._rosters.clear()
                self.cache.clear()
            self._rosters[key] = roster
        if isinstance(models, tuple):
            self._last = (models, roster)
        return roster

    def _find(
        self, task: Task, roster: Roster, now: Held, key: tuple[Hashable, ...], held: Held | None, now_s: float
    ) -> Ranking:
        """Return a ranking that stands as of now: the one that is held, one of a prompt alike, or a new one."""
        column, cache, tolerance = now.column, self.cache, self.config.tolerance
        estimates: list[Estimate] | None = None
        qualities: list[float] | None = None
        if task.features is not None and self.scorer.has_prompt_model:
            estimate, features = self.scorer.estimate, task.features
            estimates = [estimate(name, task.category, features, now_s) for name in roster.names]
            qualities = [one.quality for one in estimates]
        if held is not None:
            if stands(held.ranking, column, tolerance, qualities):
                held.column, held.version = now.column, now.version
                return held.ranking
            cache.reject()
        if qualities is None:
            now.ranking = self._work_out(task, roster, column, None)
            self._keep(key, now, now_s)
            return now.ranking
        base_key = (*key[:-1], None)
        base = cache.peek(base_key, now_s)
        found = None
        if base is not None and not base.ranking.is_strict:
            base_key = (*key[:-1], bucket(base.ranking, column, qualities))
            found = cache.peek(base_key, now_s)
        if found is not None and stands(found.ranking, column, tolerance, qualities):
            cache.recover()
            now.ranking = found.ranking
        else:
            now.ranking = self._work_out(task, roster, column, estimates)
            self._keep(base_key, now, now_s)
        self._keep(key, now, now_s)
        return now.ranking

    def _keep(self, key: tuple[Hashable, ...], held: Held, now_s: float) -> None:
        self.cache.capacity = min(self.config.cache.capacity, 1 + RANKED_BUDGET // len(held.ranking.roster.chains))
        self.cache.put(key, held, now_s)

    def _work_out(self, task: Task, roster: Roster, column: Column, estimates: Sequence[Estimate] | None) -> Ranking:
        asked: Requirements = requirements(task, self.config, self.thresholds.min_quality)
        return rank(
            roster,
            column,
            asked,
            shares(self.weights, asked.quality),
            nearness(self.config.tolerance, asked.quality),
            self._cascades,
            self._limits if self._learns and self._limits.ceiling > 0.0 else None,
            estimates,
        )

    def _hold_words(self, ranking: Ranking) -> None:
        """Let a ranking keep its words, and let go of the oldest ones beyond the budget."""
        self._worded.append(ranking)
        if len(self._worded) > 1 + WORDS_BUDGET // len(ranking.roster.chains):
            self._worded.popleft().drop_options()

    def _is_fitted(self, roster: Roster) -> bool:
        """Tell whether the scorer knows more than what was declared; once it does, that is remembered."""
        version = self.scorer.version
        if version != self._checked_version:
            self._checked_version = version
            self._is_taught = self.scorer.has_prompt_model or any(
                self.scorer.estimate(name, category, None, 0.0).weight > 0.0
                for name in roster.names
                for category in TaskCategory
            )
        return self._is_taught


__all__ = ["Cascade", "IssuedOptions", "ModelChoice", "RoutingEngine"]
