"""The six strategies: the laws that all keep, and what each one is for."""

from collections import Counter
from collections.abc import Callable

import msgspec
import pytest
from core_shared import OK, STRATEGIES, fleet_of, place, spread, task_of

from fairlead.allocation import Account
from fairlead.domain import ONE_SLOT, Model, Node, Outcome, Task, TaskCategory
from fairlead.engine.decision import describe
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.errors import UnknownStrategyError
from fairlead.load import LoadMeasure, PrefixAffinity, Report
from fairlead.rng import Draw
from fairlead.routing import Candidate, Pool, RoutingSettings, make_strategy
from fairlead.routing.catalog import BUILT_IN
from fairlead.routing.contract import Strategy, StrategyFactory
from fairlead.testing import STRATEGY_LAWS, strategy_laws

SCORING = ("performance", "affinity", "hybrid")
STICKY = ("affinity", "hybrid")
CODING, DEBUGGING = TaskCategory.CODING, TaskCategory.DEBUGGING


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
def test_each_strategy_keeps_each_law(law: Callable[[StrategyFactory], None], name: str) -> None:
    law(BUILT_IN[name])


@pytest.mark.parametrize("name", ["least_loaded", *SCORING])
@pytest.mark.parametrize("measure", [one for one in LoadMeasure if one is not LoadMeasure.REQUESTS])
def test_the_laws_hold_by_every_measure_of_load(name: str, measure: LoadMeasure) -> None:
    def make(settings: RoutingSettings) -> Strategy:
        return BUILT_IN[name](msgspec.structs.replace(settings, load_measure=measure))

    strategy_laws(make)


def taught(fleet: Fleet, node: str, outcome: Outcome, times: int, now_s: float = 0.0) -> None:
    for _ in range(times):
        fleet.learn(fleet.models["m"][node], outcome, now_s)


def settled(strategy: str, *nodes: str | Node, seed: int = 0) -> Fleet:
    """A fleet without newcomers, so that nothing is explored."""
    fleet = fleet_of(*nodes, strategy=strategy, settings=FleetSettings(seed=seed))
    for by_node in fleet.models.values():
        for candidate in by_node.values():
            for category in (TaskCategory.UNKNOWN, CODING):
                for _ in range(10):
                    fleet.learn(candidate, Outcome(True, 0.1, category), 0.0)
    return fleet


# -- round robin


def test_nine_tasks_over_three_nodes_go_in_turn() -> None:
    assert spread(fleet_of("a", "b", "c"), 9) == ["a", "b", "c"] * 3


def test_the_turn_is_kept_while_nodes_come_and_go() -> None:
    fleet = fleet_of("a", "b", "c")
    assert spread(fleet, 2) == ["a", "b"]
    fleet.remove("m", "b", 0.0)
    assert spread(fleet, 2) == ["c", "a"]
    fleet.add(Model("m"), Node("d"), 0.0)
    assert spread(fleet, 4) == ["c", "d", "a", "c"]
    fleet.drain("d")
    assert spread(fleet, 2) == ["a", "c"]
    fleet.drain("d", draining=False)
    assert spread(fleet, 3) == ["d", "a", "c"]


def test_each_name_has_its_own_turn() -> None:
    fleet = fleet_of("a", "b")
    fleet.add(Model("other"), Node("a"), 0.0)
    fleet.add(Model("other"), Node("b"), 0.0)
    names = [place(fleet.decide(task_of(i, model=model), 0.0)) for i, model in enumerate(["m", "other"] * 2)]
    assert names == ["a", "a", "b", "b"]


# -- random


def test_random_honours_weights() -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 5.0}
    fleet = fleet_of(*(Node(name, weight) for name, weight in weights.items()), strategy="random")
    counts = Counter(spread(fleet, 8000))
    expected = {name: 1000 * weight for name, weight in weights.items()}
    chi_square = sum((counts[name] - expected[name]) ** 2 / expected[name] for name in weights)
    assert chi_square < 13.8, f"2 degrees of freedom, one in a thousand: {counts}"


# -- least loaded


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_of_thirty_lands_ten_on_each_of_three_idle_nodes(seed: int) -> None:
    fleet = fleet_of("a", "b", "c", strategy="least_loaded", settings=FleetSettings(seed=seed))
    assert Counter(place(fleet.decide(task_of(i), 0.0)) for i in range(30)) == {"a": 10, "b": 10, "c": 10}


def test_the_first_of_equals_is_not_always_the_same() -> None:
    firsts = Counter(spread(fleet_of("a", "b", "c", strategy="least_loaded"), 3000))
    assert all(900 < firsts[name] < 1100 for name in "abc")


def test_load_follows_weight() -> None:
    fleet = fleet_of(Node("a", 1.0), Node("b", 3.0), strategy="least_loaded")
    assert Counter(place(fleet.decide(task_of(i), 0.0)) for i in range(40)) == {"a": 10, "b": 30}


def test_beyond_64_nodes_two_choices_keep_it_even() -> None:
    fleet = fleet_of(*(f"n{i}" for i in range(100)), strategy="least_loaded")
    for i in range(1000):
        decision = fleet.decide(task_of(i), 0.0)
        assert len(decision.choice.compared) <= 2
    loads = [state.account.in_flight for state in fleet.nodes.values()]
    assert max(loads) <= 14, "a purely random choice would put 19 or so on the fullest"
    assert min(loads) >= 5


# -- performance


def test_performance_prefers_the_reliable_then_the_fast() -> None:
    fleet = settled("performance", "good", "slow", "flaky", "broken")
    taught(fleet, "slow", Outcome(True, 20.0), 20)
    taught(fleet, "flaky", Outcome(False, 0.01), 4)
    for _ in range(20):  # four in a row are not enough for the circuit
        taught(fleet, "broken", Outcome(False, 0.01), 4)
        taught(fleet, "broken", OK, 1)
    assert set(spread(fleet, 50)) == {"good"}
    fleet.drain("good")
    assert set(spread(fleet, 50)) <= {"slow", "flaky"}


def test_equal_performers_share_the_work() -> None:
    fleet = settled("performance", "a", "b", "c")
    assert Counter(place(fleet.decide(task_of(i), 0.0)) for i in range(30)) == {"a": 10, "b": 10, "c": 10}


@pytest.mark.parametrize("name", SCORING)
def test_an_old_failure_is_forgiven(name: str) -> None:
    fleet = settled(name, "a", "b")
    taught(fleet, "a", Outcome(False, 0.1), 4)
    assert "a" not in spread(fleet, 20)
    later_s = 30 * fleet.settings.half_life_s
    assert spread(fleet, 200, later_s).count("a") > 50


# -- affinity and hybrid


@pytest.mark.parametrize("name", STICKY)
def test_specialists_emerge(name: str) -> None:
    fleet = settled(name, "coder", "fixer")
    for node, category in (("coder", CODING), ("fixer", DEBUGGING)):
        taught(fleet, node, Outcome(True, 0.1, category), 20)
        other = DEBUGGING if category is CODING else CODING
        for _ in range(8):  # broken by successes, so that no circuit opens
            taught(fleet, node, Outcome(False, 0.1, other), 2)
            taught(fleet, node, OK, 2)
    for category, expected in ((CODING, "coder"), (DEBUGGING, "fixer")):
        decision = fleet.decide(task_of(1, category=category), 0.0)
        assert place(decision) == expected


@pytest.mark.parametrize("name", STICKY)
def test_a_declared_skill_counts_before_any_outcome(name: str) -> None:
    fleet = Fleet(make_strategy(name, RoutingSettings(exploration=0.0)))
    for model, skill in (("weak", 0.2), ("strong", 0.9)):
        fleet.add(Model(model, skill={CODING: skill}), Node(model), 0.0)
    chosen = {place(fleet.decide(task_of(i, model="auto", category=CODING), 0.0)) for i in range(2)}
    assert chosen == {"strong"}


def test_hybrid_believes_a_specialist_as_evidence_grows() -> None:
    """`a` is better overall, `b` better at debugging; a few outcomes say little, many say it all."""

    def choice_after(outcomes: int) -> str:
        fleet = Fleet(make_strategy("hybrid", RoutingSettings(exploration=0.0)))
        for node in "ab":
            fleet.add(Model("m"), Node(node), 0.0)
        taught(fleet, "a", Outcome(True, 0.1), 60)
        taught(fleet, "b", Outcome(True, 6.0), 60)
        for _ in range(outcomes):
            taught(fleet, "b", Outcome(True, 6.0, DEBUGGING), 1)
            taught(fleet, "a", Outcome(False, 0.1, DEBUGGING), 1)
            taught(fleet, "a", Outcome(True, 0.1), 6)
        return place(fleet.decide(task_of(category=DEBUGGING), 0.0))

    assert choice_after(0) == "a"
    assert choice_after(10) == "b"


def test_hybrid_says_which_factors_are_not_known() -> None:
    fleet = fleet_of("a", strategy="hybrid")
    scored = describe(fleet.decide(task_of(), 0.0))["candidates"]
    unknown = {"value": 0.5, "known": False}
    factors = {"affinity": unknown, "performance": unknown}
    assert scored == [{"model": "m", "node": "a", "score": 0.5, "factors": factors}]


@pytest.mark.parametrize("name", STICKY)
@pytest.mark.parametrize("slots", [4, None])
def test_a_session_stays_until_its_own_node_is_saturated(name: str, slots: int | None) -> None:
    fleet = settled(name, *(Node(node, slots=slots) for node in "abc"))
    homes: dict[str, str] = {}
    for i in range(30):
        decision = fleet.decide(task_of(i, session=f"s{i}"), 0.0)
        homes[f"s{i}"] = place(decision)
        fleet.settle(decision.lease, decision.candidate, None, 0.0)
    crowd = "s0"
    others = {session: home for session, home in homes.items() if home != homes[crowd]}
    assert others, "the sessions are spread over the nodes"
    limit = 4 if slots else 3  # full, or more than twice the median of 0 plus two
    stayed = [place(fleet.decide(task_of(100 + i, session=crowd), 0.0)) for i in range(limit)]
    assert set(stayed) == {homes[crowd]}
    moved = place(fleet.decide(task_of(200, session=crowd), 0.0))
    assert moved != homes[crowd]
    for i, (session, home) in enumerate(others.items()):
        decision = fleet.decide(task_of(300 + i, session=session), 0.0)
        assert place(decision) == home, "one node's crowd disturbs nobody else's session"
        fleet.settle(decision.lease, decision.candidate, None, 0.0)


@pytest.mark.parametrize("name", STICKY)
def test_a_session_whose_node_left_finds_another(name: str) -> None:
    fleet = settled(name, "a", "b")
    first = place(fleet.decide(task_of(session="s"), 0.0))
    fleet.remove("m", first, 0.0)
    second = place(fleet.decide(task_of(1, session="s"), 0.0))
    assert second != first
    fleet.add(Model("m"), Node(first), 0.0)
    assert place(fleet.decide(task_of(2, session="s"), 0.0)) == second


@pytest.mark.parametrize("name", STICKY)
def test_sessions_are_forgotten_when_there_are_too_many(name: str) -> None:
    strategy = make_strategy(name, RoutingSettings(max_sessions=50))
    candidates = [Candidate(Model("m"), Node(f"n{i}"), Account(), i, 60.0) for i in range(3)]
    for i in range(1000):
        strategy.choose(task_of(i, session=f"s{i}"), Pool("m", candidates), 0.0, Draw(0, i))
    sessions = strategy._keeper.sessions  # type: ignore[attr-defined]  # a look inside, to see the bound
    assert len(sessions) == 50
    strategy.forget()
    assert len(sessions) == 0


# -- prompts that nodes hold

PROMPT = tuple(range(1, 15))


def holding(name: str, n: int = 4, exploration: float = 0.0) -> tuple[Strategy, Pool, PrefixAffinity]:
    """A strategy over equal nodes, each well known."""
    prefixes = PrefixAffinity()
    candidates = [Candidate(Model("m"), Node(f"n{i}"), Account(), i, 3600.0) for i in range(n)]
    for one in candidates:
        for _ in range(20):
            one.record(Outcome(True, 0.1), 0.0)
    strategy = make_strategy(name, RoutingSettings(exploration=exploration, prefixes=prefixes))
    return strategy, Pool("m", candidates), prefixes


def asked(i: int, prefix: tuple[int, ...], session: str | None = None) -> Task:
    return Task(f"t{i}", i, model="m", input_tokens=512 * len(prefix), prefix=prefix, session=session)


@pytest.mark.parametrize("name", STICKY)
@pytest.mark.parametrize("n", [4, 300])
def test_a_conversation_goes_on_where_it_is_held_and_says_so(name: str, n: int) -> None:
    strategy, pool, _ = holding(name, n)
    first = strategy.choose(asked(0, PROMPT[:12]), pool, 0.0, Draw(1, 0))
    assert first.promised_tokens == 0
    for i in range(1, 30):
        choice = strategy.choose(asked(i, PROMPT), pool, float(i * 90), Draw(1, i))
        assert choice.picked is first.picked
        assert choice.why == f"holds {12 if i == 1 else 14} of 14 blocks of the prompt"
        assert choice.promised_tokens == 512 * (12 if i == 1 else 14)
        assert choice.propensity == 1.0


@pytest.mark.parametrize("name", STICKY)
def test_new_conversations_are_spread_though_all_are_idle(name: str) -> None:
    strategy, pool, _ = holding(name)
    prompts = [tuple(range(1000 * i, 1000 * i + 10)) for i in range(1, 81)]
    homes = Counter(
        strategy.choose(asked(i, prompt), pool, i * 0.5, Draw(1, i)).picked.node.name
        for i, prompt in enumerate(prompts)
    )
    assert all(18 <= homes[f"n{i}"] <= 22 for i in range(4)), homes


@pytest.mark.parametrize("name", STICKY)
@pytest.mark.parametrize("session", [None, "s"])
def test_the_node_that_holds_it_is_left_when_waiting_costs_more(name: str, session: str | None) -> None:
    strategy, pool, _ = holding(name)
    first = strategy.choose(asked(0, PROMPT, session), pool, 0.0, Draw(1, 0))
    for one in pool.candidates:
        one.account.in_flight = 60
    first.picked.account.in_flight = 62
    assert strategy.choose(asked(1, PROMPT, session), pool, 90.0, Draw(1, 1)).picked is first.picked
    first.picked.account.in_flight = 120  # not saturated: that would be 123
    moved = strategy.choose(asked(2, PROMPT, session), pool, 180.0, Draw(1, 2))
    assert moved.picked is not first.picked
    assert "wait" in moved.why
    again = strategy.choose(asked(3, PROMPT, session), pool, 270.0, Draw(1, 3))
    assert again.picked is moved.picked, "it has a new home"


@pytest.mark.parametrize("name", STICKY)
def test_a_session_whose_prompt_nobody_holds_stays(name: str) -> None:
    strategy, pool, prefixes = holding(name)
    first = strategy.choose(asked(0, PROMPT, "s"), pool, 0.0, Draw(1, 0))
    prefixes.forget()
    for i in range(1, 20):
        assert strategy.choose(asked(i, (100 * i, 100 * i + 1), "s"), pool, 0.0, Draw(1, i)).picked is first.picked


@pytest.mark.parametrize("name", STICKY)
def test_a_node_that_fails_does_not_keep_its_conversations(name: str) -> None:
    strategy, pool, _ = holding(name)
    first = strategy.choose(asked(0, PROMPT), pool, 0.0, Draw(1, 0))
    for _ in range(20):
        first.picked.record(Outcome(False, 0.1), 0.0)
    assert strategy.choose(asked(1, PROMPT), pool, 1.0, Draw(1, 1)).picked is not first.picked


@pytest.mark.parametrize("name", STICKY)
def test_the_chance_of_each_pick_is_known_with_prompts_too(name: str) -> None:
    """The state is put back before each choice, so that only the dice differ."""
    counts: Counter[str] = Counter()
    said: dict[str, float | None] = {}
    for key in range(1500):
        strategy, pool, prefixes = holding(name, 3, exploration=0.3)
        for one in pool.candidates[:1]:
            for _ in range(10):
                one.record(Outcome(False, 0.1), 0.0)
        prefixes.index.add(PROMPT[:2], pool.candidates[1].holder)
        choice = strategy.choose(asked(key, PROMPT), pool, 0.0, Draw(9, key))
        counts[choice.picked.node.name] += 1
        said[choice.picked.node.name] = choice.propensity
    for node, chance in said.items():
        assert chance is not None
        assert abs(counts[node] / 1500 - chance) < 5 * (chance * (1 - chance) / 1500) ** 0.5 + 1e-9, (
            node,
            said,
            counts,
        )


# -- how load is measured, and slow start


@pytest.mark.parametrize("name", ["least_loaded", *SCORING])
def test_equals_go_to_the_least_busy_by_the_measure_that_is_set(name: str) -> None:
    candidates = [Candidate(Model("m"), Node(f"n{i}"), Account(), i, 3600.0) for i in range(3)]
    for one, load in zip(candidates, ((0, 9000, 8.0), (1, 500, 9.0), (2, 9000, 0.0)), strict=True):
        one.account.in_flight, one.account.tokens = load[:2]
        one.report = Report(load[2], 0.0)
    pool = Pool("m", candidates)
    picked = {}
    for measure in (LoadMeasure.REQUESTS, LoadMeasure.TOKENS, LoadMeasure.POLLED):
        strategy = make_strategy(name, RoutingSettings(load_measure=measure, exploration=0.0))
        picked[measure.value] = strategy.choose(task_of(), pool, 0.0, Draw(0, 1)).picked.node.name
    assert picked == {"requests": "n0", "tokens": "n1", "polled": "n2"}


@pytest.mark.parametrize("measure", [LoadMeasure.LATENCY, LoadMeasure.POLLED])
def test_with_everything_stale_the_better_of_two_is_taken(measure: LoadMeasure) -> None:
    strategy, pool, _ = holding("least_loaded")
    strategy = make_strategy("least_loaded", RoutingSettings(load_measure=measure))
    pool.candidates[0].account.in_flight = 9
    choices = [strategy.choose(task_of(i), pool, 1e5, Draw(0, i)) for i in range(400)]
    assert {choice.why for choice in choices} == {"less in flight of two at random"}
    counts = Counter(choice.picked.node.name for choice in choices)
    assert counts["n0"] == 0
    assert min(counts[f"n{i}"] for i in (1, 2, 3)) > 90


@pytest.mark.parametrize("name", ["least_loaded", "random", *SCORING])
def test_a_node_that_warms_up_gets_less(name: str) -> None:
    fleet = settled(name, "a", "b", "cold")
    cold = fleet.nodes["cold"]
    cold.account.warmth = 0.25
    cold.candidates["m"].reweigh()
    fleet.drain("a", draining=False)  # what is kept by name is worked out anew
    counts = Counter(place(fleet.decide(task_of(i), 0.0)) for i in range(90))
    assert 3 <= counts["cold"] <= 18, counts
    cold.account.warmth = 1.0
    cold.candidates["m"].reweigh()
    assert cold.candidates["m"].worth == fleet.models["m"]["a"].worth


# -- exploration


@pytest.mark.parametrize("name", SCORING)
def test_a_newcomer_gets_its_chance(name: str) -> None:
    fleet = settled(name, "old", "older")
    fleet.add(Model("m"), Node("new"), 0.0)
    share = spread(fleet, 2000).count("new") / 2000
    assert 0.05 < share < 0.5, "it is tried, and the known ones keep most of the work"


@pytest.mark.parametrize("name", SCORING)
def test_without_exploration_only_what_is_known_is_used(name: str) -> None:
    fleet = Fleet(make_strategy(name, RoutingSettings(exploration=0.0)))
    for node in ("known", "new"):
        fleet.add(Model("m"), Node(node), 0.0)
    for _ in range(20):
        fleet.learn(fleet.models["m"]["known"], OK, 0.0)
    assert set(spread(fleet, 200)) == {"known"}


@pytest.mark.parametrize("name", SCORING)
def test_saturated_nodes_are_passed_over(name: str) -> None:
    fleet = settled(name, Node("best", slots=2), Node("rest", slots=100))
    taught(fleet, "rest", Outcome(False, 0.1), 3)
    names = [place(fleet.decide(task_of(i), 0.0)) for i in range(20)]
    assert names.count("best") == 2


# -- names


def test_an_unknown_strategy_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownStrategyError, match="did you mean 'round_robin'") as caught:
        make_strategy("round-robin")
    assert all(name in str(caught.value) for name in STRATEGIES)


def test_least_loaded_evens_out_shares_where_nodes_differ_in_size() -> None:
    small, large = (Candidate(Model("m"), Node(str(n)), Account(n), n, 60.0) for n in (4, 64))
    strategy = make_strategy("least_loaded")
    for key in range(34):  # half of both
        picked = strategy.choose(Task(f"t{key}", key), Pool("m", [small, large]), 0.0, Draw(1, key)).picked
        picked.account.book(ONE_SLOT)
    assert (small.in_flight, large.in_flight) == (2, 32)
