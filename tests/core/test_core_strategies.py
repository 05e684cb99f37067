"""The six strategies: the laws that all keep, and what each one is for."""

from collections import Counter
from collections.abc import Callable

import pytest
from core_shared import OK, STRATEGIES, fleet_of, place, spread, task_of

from fairlead.allocation import Account
from fairlead.domain import Model, Node, Outcome, TaskCategory
from fairlead.engine.decision import describe
from fairlead.engine.fleet import Fleet, FleetSettings
from fairlead.errors import UnknownStrategyError
from fairlead.rng import Draw
from fairlead.routing import Candidate, Pool, RoutingSettings, make_strategy
from fairlead.routing.catalog import BUILT_IN
from fairlead.routing.contract import StrategyFactory
from fairlead.testing import STRATEGY_LAWS

SCORING = ("performance", "affinity", "hybrid")
STICKY = ("affinity", "hybrid")
CODING, DEBUGGING = TaskCategory.CODING, TaskCategory.DEBUGGING


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("law", STRATEGY_LAWS, ids=lambda law: law.__name__)
def test_each_strategy_keeps_each_law(law: Callable[[StrategyFactory], None], name: str) -> None:
    law(BUILT_IN[name])


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
