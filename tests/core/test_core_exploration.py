"""Exploring: who is owed a try, within a floor and a ceiling, with chances that are what the record says."""

import random
from collections import Counter
from math import sqrt

import hypothesis.strategies as st
import pytest
from core_shared import fleet_of, task_of
from hypothesis import given

from fairlead.allocation import Account
from fairlead.domain import Model, Node, Outcome, TaskCategory
from fairlead.engine.decision import describe
from fairlead.rng import Draw
from fairlead.routing import Candidate, Pool, RoutingSettings, make_strategy
from fairlead.routing.exploration import (
    ANY,
    HOPES,
    LEARNS,
    LITTLE_KNOWN,
    NEWCOMER,
    UNTRIED,
    Limits,
    most_owed,
    owed,
    propensity,
)

SCORING = ("performance", "affinity", "hybrid")
CODING = TaskCategory.CODING
LIMITS = Limits(0.01, 0.1)
UNKNOWN = st.sampled_from([LITTLE_KNOWN, NEWCOMER, UNTRIED])
SCORED = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1) | UNKNOWN),
    min_size=1,
    max_size=12,
)
SHARES = st.tuples(st.floats(0, 0.05), st.floats(0.05, 1))


def candidates(*records: tuple[int, int], latency_s: float = 0.5) -> list[Candidate]:
    """One for each (successes, failures), evenly mixed."""
    built = [Candidate(Model("m"), Node(f"n{i}"), Account(), i, 3600.0) for i in range(len(records))]
    for one, (successes, failures) in zip(built, records, strict=True):
        n = successes + failures
        for i in range(n):
            one.record(Outcome((i + 1) * successes // n > i * successes // n, latency_s, CODING), 0.0)
    return built


@given(SCORED, SHARES, st.floats(0, 0.2))
def test_the_chances_of_all_sum_to_one(
    scored: list[tuple[float, float]], shares: tuple[float, float], tolerance: float
) -> None:
    scores, hopes, limits = [one[0] for one in scored], [one[1] for one in scored], Limits(*shares)
    turns = owed(scores, hopes, tolerance, limits)
    assert sum(turn.share for turn in turns) <= most_owed(limits) + 1e-9
    assert all(0 <= turn.share <= 1 and turn.indices for turn in turns)
    equals = [i for i, score in enumerate(scores) if score >= max(scores) - tolerance]
    chances = [propensity(turns, i, len(equals) if i in equals else 0) for i in range(len(scores))]
    assert sum(chances) == pytest.approx(1.0)
    assert all(0 <= chance <= 1 + 1e-9 for chance in chances)


def test_newcomers_come_before_the_doubted_and_those_before_the_rest() -> None:
    def why(*hopes: float) -> list[tuple[str, tuple[int, ...]]]:
        turns = owed((0.9, 0.7, 0.5), hopes, 0.0, LIMITS)
        return [(turn.why, tuple(turn.indices)) for turn in turns]

    rest = (ANY, (1, 2))
    assert why(0.92, 0.8, 0.6) == [rest]
    assert why(0.92, 0.91, 0.95) == [rest, (HOPES, (2,))]
    assert why(0.92, LITTLE_KNOWN, 0.95) == [rest, (LEARNS, (1,))]
    assert why(LITTLE_KNOWN, 0.8, 0.95) == [rest, (HOPES, (2,))], "the best is got to know by being chosen"
    assert why(0.92, LITTLE_KNOWN, NEWCOMER) == [rest, (LEARNS, (1, 2))]
    assert why(LITTLE_KNOWN, LITTLE_KNOWN, NEWCOMER) == [rest], "nobody is well known yet"
    assert why(LITTLE_KNOWN, NEWCOMER, UNTRIED) == [rest, (LEARNS, (2,)), (LEARNS, (2,))]
    assert why(0.92, 0.95, NEWCOMER) == [rest, (LEARNS, (2,))]
    assert why(0.92, NEWCOMER, UNTRIED) == [rest, (LEARNS, (1, 2)), (LEARNS, (2,))]
    assert why(NEWCOMER, NEWCOMER, NEWCOMER) == [rest], "with newcomers only, none of them is one"
    assert why(NEWCOMER, NEWCOMER, UNTRIED) == [rest, (LEARNS, (2,)), (LEARNS, (2,))], "but for the untried"


def test_known_rivals_and_those_to_be_known_have_shares_of_their_own() -> None:
    limits = Limits(0.01, 0.1, 0.03)
    shares = [[turn.share for turn in owed((0.9, 0.7), (0.92, hope), 0.0, limits)] for hope in (0.95, LITTLE_KNOWN)]
    assert shares == [[0.01, 0.03], [0.01, pytest.approx(0.06)]]


def test_equals_are_owed_nothing() -> None:
    assert owed((0.7, 0.72, 0.7), (0.8, 0.8, 0.8), 0.05, LIMITS) == []


def test_a_ceiling_of_zero_switches_exploring_off() -> None:
    assert owed((0.9, 0.5), (0.95, UNTRIED), 0.0, Limits(0.0, 0.0)) == []


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize(
    ("records", "least", "most"),
    [
        (((95, 5), (60, 40), (50, 50)), 0.005, 0.02),  # it is clear which is best: the floor
        (((17, 3), (15, 5), (50, 50)), 0.012, 0.03),  # it is not, but all are well known: the share of rivals
        (((17, 3), (6, 4), (50, 50)), 0.06, 0.1),  # one is little known
        (((18, 2), (14, 6), (1, 1)), 0.06, 0.1),  # a newcomer
        (((18, 2), (14, 6), (0, 0)), 0.26, 0.34),  # one that was never tried
    ],
)
def test_the_explored_share_stays_within_floor_and_ceiling(
    name: str, records: tuple[tuple[int, int], ...], least: float, most: float
) -> None:
    strategy, pool = make_strategy(name), Pool("m", candidates(*records))
    picks = [strategy.choose(task_of(i, category=CODING), pool, 0.0, Draw(1, i)) for i in range(4000)]
    share = sum(pick.is_explored for pick in picks) / len(picks)
    assert least < share < most


@pytest.mark.parametrize("name", SCORING)
@pytest.mark.parametrize(
    "records",
    [
        ((95, 5), (60, 40), (50, 50), (0, 9)),
        ((18, 2), (14, 6), (13, 6), (5, 5)),
        ((18, 2), (18, 2), (1, 1), (0, 1)),
        ((18, 2), (14, 6), (0, 0), (0, 0)),
        ((0, 0), (0, 0), (0, 0), (0, 0)),
        ((2, 0), (1, 1), (0, 0), (0, 0)),
    ],
)
@pytest.mark.parametrize("loads", [(0, 0, 0, 0), (3, 0, 1, 0), (9, 0, 0, 0)])
def test_each_pick_is_as_frequent_as_its_propensity_says(
    name: str, records: tuple[tuple[int, int], ...], loads: tuple[int, ...]
) -> None:
    strategy, built = make_strategy(name), candidates(*records)
    for one, load in zip(built, loads, strict=True):
        one.account.in_flight = load
    pool, counts, said = Pool("m", built), Counter[int](), dict[int, float | None]()
    n = 5000
    for i in range(n):
        choice = strategy.choose(task_of(i, category=CODING), pool, 0.0, Draw(2, i))
        at = choice.picked.order
        counts[at] += 1
        assert said.setdefault(at, choice.propensity) == choice.propensity, "the state is the same, so the chance is"
    chances = {at: chance for at, chance in said.items() if chance is not None}
    assert len(chances) == len(counts)
    assert sum(chances.values()) == pytest.approx(1.0, abs=0.01), "but for what is too rare to have been picked"
    for at, chance in chances.items():
        assert abs(counts[at] / n - chance) < 4.5 * sqrt(chance * (1 - chance) / n) + 1e-9


@pytest.mark.parametrize("name", SCORING)
def test_the_record_lets_another_policy_be_valued_without_bias(name: str) -> None:
    """Inverse propensity weighting on a log that explores and learns: what would "always n2" have earned?"""
    rates, settings = (0.9, 0.7, 0.5), RoutingSettings(exploration=0.3, exploration_floor=0.2)
    terms: list[float] = []
    for seed in range(60):
        luck, strategy = random.Random(seed), make_strategy(name, settings)
        pool = Pool("m", candidates((8, 2), (7, 4), (7, 5)))
        for i in range(200):
            now_s = float(i)
            choice = strategy.choose(task_of(i, category=CODING), pool, now_s, Draw(seed, i))
            success = luck.random() < rates[choice.picked.order]
            choice_propensity = choice.propensity
            assert choice_propensity is not None
            terms.append(success / choice_propensity if choice.picked.order == 2 else 0.0)
            choice.picked.record(Outcome(success, 0.5, CODING), now_s)
    mean = sum(terms) / len(terms)
    error = sqrt(sum((term - mean) ** 2 for term in terms)) / len(terms)
    assert abs(mean - rates[2]) < 4 * error
    assert error < 0.05


@pytest.mark.parametrize("name", ["affinity", "hybrid"])
def test_a_session_that_is_kept_leaves_nothing_to_chance(name: str) -> None:
    strategy, pool = make_strategy(name), Pool("m", candidates((9, 1), (5, 5)))
    for i in range(5):
        choice = strategy.choose(task_of(i, session="s", category=CODING), pool, 0.0, Draw(0, i))
    assert choice.propensity == 1.0


def test_a_decision_tells_its_propensity_and_a_plain_strategy_has_none() -> None:
    told = describe(fleet_of("a", "b", strategy="hybrid").decide(task_of(), 0.0))
    assert told["propensity"] == 0.5
    assert describe(fleet_of("a", "b").decide(task_of(), 0.0))["propensity"] is None
