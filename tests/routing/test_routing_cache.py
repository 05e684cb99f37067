"""The route cache: what it keeps, what it drops, and that it does not change decisions."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.capability.features import features_of
from fairlead.capability.labels import Label
from fairlead.capability.scorer import CapabilityConfig, CapabilityScorer
from fairlead.domain import Model, Outcome, Price, Task, TaskCategory
from fairlead.rng import Draw
from fairlead.routing.config import RouteCacheConfig, RoutingConfig, Weights
from fairlead.routing.engine import RoutingEngine
from fairlead.routing.ranking import Ranking
from fairlead.routing.route_cache import RouteCache

pytestmark = pytest.mark.heavy

CODING = TaskCategory.CODING
CATEGORIES = st.sampled_from(list(TaskCategory))
FLEET = tuple(
    Model(
        f"m{i}",
        frozenset({"tools"}) if i % 2 else frozenset(),
        4_000 * (i + 1),
        Price(0.05 * 3**i, 0.2 * 3**i),
        {CODING: 0.5 + 0.08 * i, TaskCategory.TESTING: 0.9 - 0.05 * i},
    )
    for i in range(6)
)
TASKS = st.builds(
    Task,
    id=st.just("t"),
    key=st.integers(0, 2**64 - 1),
    category=CATEGORIES,
    needs=st.sampled_from([frozenset(), frozenset({"tools"})]),
    input_tokens=st.integers(0, 20_000),
    output_tokens=st.sampled_from([0, 100, 1000]),
    quality=st.sampled_from([None, 0.0, 0.3, 1.0]),
    min_quality=st.sampled_from([None, 0.4]),
    max_cost_usd=st.sampled_from([None, 0.5]),
)
ASKS = ("fix the parser", "sort names", "write a loop", "explain this", "review the change", "test the login")
STEPS = st.lists(st.one_of(TASKS, st.tuples(st.sampled_from(range(6)), st.booleans(), CATEGORIES)), max_size=60)


def test_a_hit_is_counted_and_gives_the_same_object() -> None:
    engine = RoutingEngine()
    task = Task("t", 1, category=CODING, input_tokens=900)
    assert engine.calculate_routes(task, FLEET) is engine.calculate_routes(task, FLEET)
    assert (engine.cache.hits, engine.cache.misses, engine.cache.hit_rate) == (1, 1, 0.5)


@settings(deadline=None)
@given(STEPS)
def test_the_cached_first_choice_is_the_uncached_one(steps: list[Task | tuple[int, bool, TaskCategory]]) -> None:
    cached, uncached = (RoutingEngine(RoutingConfig(cache=RouteCacheConfig(capacity=n))) for n in (1000, 0))
    differing = decided = 0
    for at_s, step in enumerate(steps):
        if isinstance(step, Task):
            one, other = (engine.calculate_routes(step, FLEET, float(at_s)) for engine in (cached, uncached))
            decided += 1
            differing += one.primary_route != other.primary_route
        else:
            for engine in (cached, uncached):
                outcome = Outcome(step[1], 1.0, step[2], output_tokens=50)
                engine.record(f"m{step[0]}", outcome, float(at_s), teaches_quality=True)
    assert differing <= max(1, decided // 50)


@pytest.mark.parametrize("is_judged", [False, True])
@pytest.mark.parametrize("has_prompts", [False, True])
def test_the_first_choice_is_that_of_an_engine_that_remembers_no_decision(is_judged: bool, has_prompts: bool) -> None:
    """And most decisions come from the cache all the same, while all that is learnt keeps moving."""
    prompts = [features_of(f"{ASKS[i % 6]} number {i} {'of this long list ' * (i % 11)}") for i in range(300)]
    cached = RoutingEngine()
    uncached = RoutingEngine(
        RoutingConfig(cache=RouteCacheConfig(capacity=0)), CapabilityScorer(CapabilityConfig(tolerance=0.0))
    )
    for engine in (cached, uncached):
        engine.know(FLEET)
        if has_prompts:
            engine.scorer.fit(
                [
                    Label(model.name, CODING, seen, float(Draw(2, i * 6 + k).unit() < (0.9 if i % 6 == k else 0.5)))
                    for i, seen in enumerate(prompts[:100])
                    for k, model in enumerate(FLEET)
                ]
            )
    same = hits = 0
    for i in range(3000):
        if i == 2000:
            hits = cached.cache.hits
        draw = Draw(1, i)
        prompt = int(300 ** draw.unit()) - 1  # the k-th most usual about 1/k as often
        seen = prompts[prompt] if has_prompts else None
        task = Task("t", i, list(TaskCategory)[prompt % 4], input_tokens=30 + prompt * 37 % 2000, features=seen)
        uncached.invalidate()
        one, other = (engine.calculate_routes(task, FLEET, i / 5) for engine in (cached, uncached))
        same += one.primary_route == other.primary_route
        name = str(one.primary_route)
        is_good = draw.unit() < 0.6 + 0.05 * int(name[1:])
        for engine in (cached, uncached):
            engine.record(name, Outcome(is_good, 1.0 + prompt % 3, task.category, output_tokens=80), i / 5)
            if is_judged:
                engine.learn_score(name, task.category, float(is_good), i / 5, seen)
    assert same >= 0.99 * 3000
    assert cached.cache.hits - hits > 600  # of the last thousand
    assert uncached.cache.hits == 0


def test_prompts_share_a_ranking_for_as_long_as_they_make_little_difference() -> None:
    engine = RoutingEngine()
    tasks = [
        Task("t", i, category=CODING, input_tokens=900, features=features_of(prompt))
        for i, prompt in enumerate(("fix the parser", "sort these names", "write a loop that counts"))
    ]
    for task in tasks:
        engine.calculate_routes(task, FLEET)
    assert engine.cache.hits == 2
    engine.learn_score("m1", CODING, 1.0, 0.0, tasks[0].features)
    assert engine.scorer.has_prompt_model
    assert len({id(engine.rank(task, FLEET)) for task in tasks}) < len(tasks)


def test_prompts_that_make_a_difference_are_ranked_apart() -> None:
    engine = RoutingEngine()
    hard, easy = features_of("prove that the integral of this series converges"), features_of("say hello")
    engine.know(FLEET)
    for seen, worth in ((hard, 0.0), (easy, 1.0)):
        engine.scorer.fit([Label("m4", CODING, seen, worth), Label("m5", CODING, seen, 1.0 - worth)] * 200)
    tasks = [Task("t", 1, category=CODING, input_tokens=100, features=seen) for seen in (hard, easy)]
    for _ in range(2):
        first, second = (engine.rank(task, FLEET) for task in tasks)
        assert first is not second
        assert first.scores[4] - first.scores[5] < second.scores[4] - second.scores[5]
    assert (engine.cache.hits, engine.cache.misses) == (2, 2)


def test_a_hit_draws_anew() -> None:
    engine = RoutingEngine()
    twins = (Model("a"), Model("b"))
    picked = {engine.calculate_routes(Task("t", key), twins).primary_route for key in range(50)}
    assert len(picked) == 2
    assert engine.cache.misses == 1


def test_a_context_that_would_not_fit_is_never_served_from_the_cache() -> None:
    engine = RoutingEngine()
    for tokens in range(3_900, 4_100, 10):
        options = engine.calculate_routes(Task("t", 1, input_tokens=tokens), FLEET)
        assert bool(options.rejected) == (tokens > 4_000)


def test_a_price_limit_is_kept_to_the_token() -> None:
    engine = RoutingEngine()
    one = [Model("m", price=Price(10, 0))]
    for tokens in range(900, 1000):
        task = Task("t", 1, input_tokens=tokens, output_tokens=1, max_cost_usd=1.0)
        assert engine.calculate_routes(task, one).estimated_costs["m"] == pytest.approx(tokens / 1e5)


@pytest.mark.parametrize(
    "change",
    [
        lambda engine: engine.invalidate(),
        lambda engine: engine.learn_score("m0", CODING, 0.0, 0.0),
        lambda engine: engine.record("m0", Outcome(False, 1.0, CODING), 0.0),
        lambda engine: engine.reset_weights(Weights(capability=1.0)),
        lambda engine: engine.forget(),
    ],
)
def test_what_makes_a_ranking_wrong_drops_it(change: object) -> None:
    engine = RoutingEngine()
    task = Task("t", 1, category=CODING)
    engine.rank(task, FLEET)
    change(engine)  # type: ignore[operator]
    misses = engine.cache.misses
    engine.rank(task, FLEET)
    assert engine.cache.misses == misses + 1


def test_another_price_is_another_ranking() -> None:
    engine = RoutingEngine()
    task = Task("t", 1, category=CODING, input_tokens=1000, quality=0.0)
    before = engine.calculate_routes(task, [Model("a", price=Price(1, 1)), Model("b", price=Price(2, 2))])
    after = engine.calculate_routes(task, [Model("a", price=Price(3, 3)), Model("b", price=Price(2, 2))])
    assert (str(before.primary_route), str(after.primary_route)) == ("a", "b")


def test_evidence_that_moves_nothing_costs_no_hit() -> None:
    engine = RoutingEngine()
    task = Task("t", 1, category=CODING)
    for i in range(300):
        engine.record("m0", Outcome(True, 1.0, CODING, output_tokens=100), i / 100)
    engine.rank(task, FLEET, 3.0)
    before = engine.cache.misses
    for _ in range(20):
        engine.record("m0", Outcome(True, 1.0, CODING, output_tokens=100), 3.0)
        engine.rank(task, FLEET, 3.0)
    assert engine.cache.misses == before


def test_an_entry_ends_with_its_time_to_live() -> None:
    cache: RouteCache[str] = RouteCache(4, ttl_s=10.0)
    cache.put("a", "x", 0.0)
    assert cache.get("a", 10.0) == "x"
    assert cache.get("a", 10.1) is None


@given(st.integers(1, 20), st.lists(st.integers(0, 60), max_size=300))
def test_there_are_never_more_entries_than_the_capacity(capacity: int, keys: list[int]) -> None:
    cache: RouteCache[int] = RouteCache(capacity, ttl_s=1e9)
    for at_s, key in enumerate(keys):
        found = cache.get(key, float(at_s))
        assert found is None or found == key
        if found is None:
            cache.put(key, key, float(at_s))
    assert len(cache) <= capacity
    assert cache.hits + cache.misses == len(keys)


def test_the_least_used_goes_first() -> None:
    cache: RouteCache[int] = RouteCache(4, ttl_s=1e9)
    for key in range(4):
        cache.put(key, key, 0.0)
    for _ in range(5):
        cache.get(0, 0.0)
        cache.get(2, 0.0)
    for key in range(10, 14):
        cache.put(key, key, 0.0)
    assert cache.get(0, 0.0) == 0
    assert cache.get(2, 0.0) == 2
    assert cache.get(1, 0.0) is None
    assert cache.evictions == 4


def test_popularity_of_the_past_wears_off() -> None:
    cache: RouteCache[int] = RouteCache(2, ttl_s=1e9)
    cache.put(0, 0, 0.0)
    for _ in range(1000):
        cache.get(0, 0.0)
    for key in range(1, 40):
        cache.put(key, key, 0.0)
    assert cache.get(0, 0.0) is None


def test_no_capacity_means_no_cache() -> None:
    cache: RouteCache[int] = RouteCache(0, ttl_s=1.0)
    cache.put(1, 1, 0.0)
    assert len(cache) == 0


def test_a_wide_roster_does_not_fill_the_memory() -> None:
    engine = RoutingEngine()
    wide = tuple(Model(f"m{i}") for i in range(1000))
    for tokens in range(400):
        engine.rank(Task("t", 1, input_tokens=tokens, max_cost_usd=1.0), wide)
    rankings = [entry.value.ranking for entry in engine.cache._entries.values()]
    assert all(isinstance(one, Ranking) for one in rankings)
    assert sum(len(one.order) for one in rankings) <= 250_000


def test_traffic_that_repeats_itself_hits_while_outcomes_come_back() -> None:
    engine, hits, misses = RoutingEngine(), 0, 0
    for i in range(6000):
        if i == 1000:
            hits, misses = engine.cache.hits, engine.cache.misses
        draw = Draw(1, i)
        prompt = int(1000 ** draw.unit()) - 1  # the k-th most usual about 1/k as often
        task = Task("t", i, category=list(TaskCategory)[prompt % 7], input_tokens=30 + prompt * 37 % 2000)
        name = str(engine.calculate_routes(task, FLEET, i / 5).primary_route)
        engine.record(name, Outcome(draw.unit() < 0.98, 1.0 + draw.unit(), task.category, output_tokens=80), i / 5)
    hits, misses = engine.cache.hits - hits, engine.cache.misses - misses
    assert hits / (hits + misses) > 0.8


@given(st.integers(0, 50), st.integers(0, 50))
def test_evidence_that_moves_little_is_the_same_to_the_cache_and_evidence_that_moves_much_is_not(
    small: int, large: int
) -> None:
    engine = RoutingEngine()
    task = Task("t", 1, category=CODING)
    for i in range(200):
        engine.learn_score("m0", CODING, 0.9, i / 100)
    before = engine.rank(task, FLEET, 2.0)
    engine.learn_score("m0", CODING, min(0.9 + small / 1000, 1.0), 2.0)
    assert engine.rank(task, FLEET, 2.0) is before
    for _ in range(60 + large):
        engine.learn_score("m0", CODING, 0.1, 2.0)
    after = engine.rank(task, FLEET, 2.0)
    assert after is not before
    assert after.qualities[0] < before.qualities[0] - 0.05
