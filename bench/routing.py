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
    detector = RuleDetector()
    with gzip.open(folder / "task_category" / "task_prompts.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [row.get("text") or row["prompt"] for row in map(json.loads, file)]
    middle = statistics.median(map(len, texts))
    prompts = [
        Prompt(detector.detect(text), len(text) // 4 + 1, features_of(text), len(text) > middle) for text in texts
    ]
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


def replay(traffic: Traffic, feedback: Feedback, drawn: Iterator[tuple[Arrival, Prompt]], *, compare: bool) -> Replay:
    """Route traffic; with `compare` every decision also by an engine that remembers nothing of earlier decisions."""
    engine = engine_of(traffic, feedback, 10_000, CapabilityConfig().tolerance)
    fresh = engine_of(traffic, feedback, 0, 0.0) if compare else None
    engines = [engine] if fresh is None else [engine, fresh]
    result = Replay()
    for i, (arrival, prompt) in enumerate(drawn):
        now_s, features = arrival.at_s, prompt.features if feedback.prompts else None
        task = Task("", i + 1, prompt.category, input_tokens=prompt.tokens, features=features)
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


# -- the cost of decisions


def microseconds(call: Callable[[], object], number: int = 200) -> float:
    """Return the median over `REPEATS` runs of how long a call takes."""
    call()
    runs = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for _ in range(number):
            call()
        runs.append((time.perf_counter() - began) / number)
    return statistics.median(runs) * 1e6


def cost_rows() -> Iterator[Row]:
    """What a decision over twenty models takes, with everything that an engine may have learnt."""
    models = tuple(
        Model(f"m{i}", None, 32_000, Price(0.1 * (i + 1), 0.3 * (i + 1)), {CODING: 0.4 + 0.02 * i}) for i in range(20)
    )
    words = (
        "def",
        "parse(line):",
        "return",
        "the",
        "sum",
        "of",
        "these",
        "numbers",
        "and",
        "prove",
        "that",
        "it",
        "holds",
    )
    text = " ".join(words[Draw(1, i).below(len(words))] for i in range(500))[:2048]
    features = features_of(text)
    labels = [
        Label(model.name, CODING, features_of(f"{i} {text[i:]}"), float(Draw(2, i * 20 + k).unit() < 0.5))
        for i in range(100)
        for k, model in enumerate(models)
    ]
    cached, uncached = RoutingEngine(), RoutingEngine(RoutingConfig(cache=RouteCacheConfig(capacity=0)))
    for engine in (cached, uncached):
        engine.know(models)
        engine.scorer.fit(labels)
        for i in range(400):
            engine.record(f"m{i % 20}", Outcome(True, 1.0, CODING, output_tokens=100), i * 1.0)
    task = Task("t", 5, CODING, input_tokens=512, features=features)

    def anew() -> object:
        return uncached.calculate_routes(
            Task("t", 5, CODING, input_tokens=512, features=features_of(text)), models, 400.0
        )

    def looked_at_again() -> object:
        cached.scorer.version += 1
        return cached.rank(task, models, 400.0)

    plain = Task("t", 5, CODING, input_tokens=512)
    yield _cost("20 models, ranked anew by category", "<= 40 us", uncached, plain, models)
    yield _cost("20 models, ranked anew by prompt, features cached", "<= 40 us", uncached, task, models)
    yield Row("20 models, features of 2 KB computed", "<= 300 us", f"{microseconds(anew, 50):.1f} us")
    yield _cost("20 models, cache hit", "< 5 us", cached, task, models)
    again = f"{microseconds(looked_at_again, 50):.1f} us"
    yield Row("20 models, all evidence and the ranking looked at again", "reported", again)


def _cost(name: str, goal: str, engine: RoutingEngine, task: Task, models: Sequence[Model]) -> Row:
    return Row(name, goal, f"{microseconds(lambda: engine.calculate_routes(task, models, 400.0)):.1f} us")


# -- memory


def memory_row() -> Row:
    """What is held for a thousand models, seven categories, all learnt and ranked."""
    models = tuple(Model(f"m{i}", None, 32_000, Price(0.1 * (i + 1), 0.3 * (i + 1))) for i in range(1000))
    categories = [one for one in TaskCategory if one is not TaskCategory.UNKNOWN]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    engine = RoutingEngine()
    for turn in range(3):
        for i, model in enumerate(models):
            for category in categories:
                outcome = Outcome((i + turn) % 3 > 0, 1.0, category, output_tokens=100)
                engine.record(model.name, outcome, float(turn), teaches_quality=True)
    for n in range(1000):
        engine.rank(Task("t", 1, categories[n % len(categories)], input_tokens=n * 30), models, 3.0)
    used = (tracemalloc.get_traced_memory()[0] - before) / 1e6
    tracemalloc.stop()
    return Row(f"memory, 1,000 models x {len(categories)} categories, cache full", "< 20 MB", f"{used:.1f} MB")


# -- a fleet that changes


def followed(seed: int, *, teaches_quality: bool) -> tuple[int, int]:
    """Return how many of tasks 400 to 500 go to the best of five, and of 700 to 800 to the next best.

    Success is 0.9 / 0.7 / 0.7 / 0.5 / 0.5, one task a second; after 500 tasks the best drops to 0.3.
    """
    engine = RoutingEngine(seed=seed)
    names = [f"m{(i * 3 + seed) % 5}" for i in range(5)]
    rates = dict(zip(names, (0.9, 0.7, 0.7, 0.5, 0.5), strict=True))
    models = tuple(Model(f"m{i}") for i in range(5))
    picks = []
    for at in range(800):
        if at == 500:
            rates[names[0]] = 0.3
        task = Task(str(at), at + 1, CODING, input_tokens=100)
        name = engine.calculate_routes(task, models, float(at)).primary_route.models[0]
        picks.append(name)
        outcome = Outcome(Draw(seed + 10_000, at).unit() < rates[name], 1.0, CODING, output_tokens=100)
        engine.record(name, outcome, at + 0.5, teaches_quality=teaches_quality)
    return sum(one == names[0] for one in picks[400:500]), sum(one in names[1:3] for one in picks[700:800])


def follow_rows() -> Iterator[Row]:
    """In how many of the seeds at least 85 % go where they should."""
    for teaches, told in ((True, "results teach quality"), (False, "results are outcomes only")):
        runs = [followed(seed, teaches_quality=teaches) for seed in range(SEEDS)]
        for name, place in (("best found", 0), ("left 200 tasks after its drop", 1)):
            share = sum(run[place] >= 85 for run in runs)
            yield Row(f"{name}, {told}", f">= 95 of {SEEDS} seeds", str(share))


# -- the table


def show(rows: Iterator[Row]) -> list[Row]:
    shown = []
    for row in rows:
        shown.append(row)
        print(f"| {row.name} | {row.goal} | {row.measured} |", flush=True)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--only", choices=("cost", "cache", "memory", "fleet"), nargs="*")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    wanted = given.only or ("cost", "memory", "fleet", "cache")
    rows: list[Row] = []
    print("| what | goal | measured |\n| --- | --- | --- |")
    if "cost" in wanted:
        rows += show(cost_rows())
    if "memory" in wanted:
        rows += show(iter([memory_row()]))
    if "fleet" in wanted:
        rows += show(follow_rows())
    if "cache" in wanted:
        try:
            traffic = read_traffic(given.data)
        except FileNotFoundError as error:
            print(f"skipped: the route cache on real traffic, as there is no {error.filename}", file=sys.stderr)
        else:
            rows += show(cache_rows(traffic))
    if given.json:
        given.json.write_text(json.dumps([row.__dict__ for row in rows], indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
