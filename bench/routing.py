"""Routing measured: `python bench/routing.py [--data FOLDER] [--only NAME ...] [--json FILE]`.

Prints a table of what is measured beside what is aimed at: the cost of decisions, the route cache on real prompts with
real arrivals, what a thousand models take in memory, and how the engine follows a fleet that changes. The prompts
(`task_category`) and the arrivals (Azure's trace of conversations, 2023) stand beside the checkout in `../shared/data`;
without them, what rests on them is skipped, and said so. Nothing is written but what `--json` names.

Prompts repeat as in conversations: the k-th most usual is drawn in proportion to 1/k. What is judged is generated: the
chance that an answer of a model is good depends on the model and on the length of the prompt.
"""

import argparse
import csv
import gzip
import json
import statistics
import sys
import time
import tracemalloc
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

from fairlead.capability.features import features_of
from fairlead.capability.labels import Label
from fairlead.capability.scorer import CapabilityConfig, CapabilityScorer
from fairlead.categories import RuleDetector
from fairlead.domain import Model, Outcome, Price, PromptFeatures, Task, TaskCategory
from fairlead.rng import Draw
from fairlead.routing.config import RouteCacheConfig, RoutingConfig
from fairlead.routing.engine import RoutingEngine

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CODING = TaskCategory.CODING
REPEATS = 31
SEEDS = 100
FITTED = 300
"""Prompts that the prompt model is fitted on."""
FLEET = tuple(
    Model(f"m{i}", None, 32_000, Price(0.1 * 2**i, 0.3 * 2**i), dict.fromkeys(TaskCategory, 0.5 + 0.05 * i))
    for i in range(8)
)


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    goal: str
    measured: str


@dataclass(frozen=True)
class Prompt:
    """What a decision reads of a prompt."""

    category: TaskCategory
    tokens: int
    features: PromptFeatures
    is_long: bool


@dataclass(frozen=True)
class Arrival:
    """A request of the trace."""

    at_s: float
    output_tokens: int


@dataclass(frozen=True)
class Traffic:
    """Real prompts and real arrivals."""

    prompts: list[Prompt]
    arrivals: list[Arrival]

    def repeated(self) -> Iterator[tuple[Arrival, Prompt]]:
        """Every arrival with a prompt, drawn as conversations repeat them."""
        summed = list(accumulate(1.0 / (k + 1) for k in range(len(self.prompts))))
        for i, arrival in enumerate(self.arrivals):
            yield arrival, self.prompts[bisect_left(summed, Draw(3, i).unit() * summed[-1])]

    def distinct(self) -> Iterator[tuple[Arrival, Prompt]]:
        """Every prompt once."""
        return zip(self.arrivals, self.prompts, strict=False)


def read_traffic(folder: Path) -> Traffic:
    """Read both data sets. Raises FileNotFoundError where one is not there."""
    detector, prompts = RuleDetector(), []
    with gzip.open(folder / "task_category" / "task_prompts.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [row.get("text") or row["prompt"] for row in map(json.loads, file)]
    middle = statistics.median(map(len, texts))
    for text in texts:
        prompts.append(Prompt(detector.detect(text), len(text) // 4 + 1, features_of(text), len(text) > middle))
    with gzip.open(folder / "traces" / "azure2023_conv.csv.gz", "rt", encoding="utf-8") as file:
        arrivals = [Arrival(float(row["t_s"]), int(row["output_tokens"])) for row in csv.DictReader(file)]
    return Traffic(prompts, arrivals)


# -- the cache on real traffic


@dataclass(frozen=True)
class Feedback:
    """What comes back of each answer."""

    name: str
    outcomes: bool = False
    judged: bool = False
    prompts: bool = False
    """Whether a prompt model was fitted first; then judgements teach it too."""


FEEDBACK = (
    Feedback("nothing learnt"),
    Feedback("outcomes come back", outcomes=True),
    Feedback("every answer judged", outcomes=True, judged=True),
    Feedback("prompt model", prompts=True),
    Feedback("prompt model, outcomes", outcomes=True, prompts=True),
    Feedback("prompt model, every answer judged", outcomes=True, judged=True, prompts=True),
)


@dataclass
class Replay:
    """What came of a run."""

    decisions: int = 0
    hits: int = 0
    equal: int = 0
    compared: int = 0


def chance_of(model: int, prompt: Prompt) -> float:
    """How likely an answer is good: better with each model, and every second model is better at long prompts."""
    return 0.5 + 0.05 * model + (0.08 if prompt.is_long == bool(model % 2) else -0.08)


def engine_of(traffic: Traffic, feedback: Feedback, capacity: int, tolerance: float) -> RoutingEngine:
    """Return an engine as it stands when the traffic begins."""
    scorer = CapabilityScorer(CapabilityConfig(tolerance=tolerance))
    engine = RoutingEngine(RoutingConfig(cache=RouteCacheConfig(capacity=capacity)), scorer)
    engine.know(FLEET)
    if feedback.prompts:
        labels = [
            Label(model.name, prompt.category, prompt.features, float(Draw(9, i * 8 + k).unit() < chance_of(k, prompt)))
            for i, prompt in enumerate(traffic.prompts[:: len(traffic.prompts) // FITTED])
            for k, model in enumerate(FLEET)
        ]
        scorer.fit(labels)
    return engine


def replay(
    traffic: Traffic, feedback: Feedback, drawn: Iterator[tuple[Arrival, Prompt]], *, compare: bool
) -> Replay:
    """Route traffic; with `compare` every decision also by an engine that remembers nothing of earlier decisions."""
    engine = engine_of(traffic, feedback, 10_000, CapabilityConfig().tolerance)
    fresh = engine_of(traffic, feedback, 0, 0.0) if compare else None
    engines = [engine] if fresh is None else [engine, fresh]
    result = Replay()
    for i, (arrival, prompt) in enumerate(drawn):
        now_s = arrival.at_s
        task = Task("", i + 1, prompt.category, prompt.tokens, features=prompt.features if feedback.prompts else None)
        picked = engine.calculate_routes(task, FLEET, now_s).primary_route
        result.decisions += 1
        if fresh is not None:
            fresh.invalidate()
            result.compared += 1
            result.equal += fresh.calculate_routes(task, FLEET, now_s).primary_route == picked
        name = picked.models[0]
        is_good = Draw(4, i).unit() < (chance_of(int(name[1:]), prompt) if feedback.judged else 0.98)
        for one in engines:
            if feedback.outcomes:
                outcome = Outcome(is_good, 1.0, prompt.category, output_tokens=arrival.output_tokens)
                one.record(name, outcome, now_s)
            if feedback.judged:
                one.learn_score(name, prompt.category, float(is_good), now_s, task.features)
    result.hits = engine.cache.hits
    return result


def cache_rows(traffic: Traffic, *, compare: bool = True) -> Iterator[Row]:
    """Hit rates, and how often the first choice is that of an engine without any cache."""
    for feedback in FEEDBACK:
        repeated = replay(traffic, feedback, traffic.repeated(), compare=compare)
        yield Row(f"hit rate, repeated: {feedback.name}", "> 80 %", f"{repeated.hits / repeated.decisions:.1%}")
        if compare:
            share = repeated.equal / repeated.compared
            yield Row(f"same first choice as uncached: {feedback.name}", ">= 99 %", f"{share:.2%}")
        distinct = replay(traffic, feedback, traffic.distinct(), compare=False)
        yield Row(f"hit rate, all distinct: {feedback.name}", "reported", f"{distinct.hits / distinct.decisions:.1%}")
