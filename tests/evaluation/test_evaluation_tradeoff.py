"""Choices along the trade-off, baselines, settings chosen on other folds, calibration, intervals, other words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.evaluation.baselines import by_label, by_length, expected_cost
from fairlead.evaluation.bootstrap import interval, resamples
from fairlead.evaluation.calibration import bins_of, ece, reliability, skill
from fairlead.evaluation.operating import chosen
from fairlead.evaluation.reword import RULES
from fairlead.evaluation.table import Ints
from fairlead.evaluation.tradeoff import choices, prices, ranks, two_way

SEEDS = st.integers(0, 999)


def rows(*numbers: int) -> Ints:
    return np.array(numbers, dtype=np.intp)


@given(SEEDS)
def test_a_higher_price_never_buys_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    quality, cost = rng.random((20, 4)), rng.random((20, 4))
    price = prices(cost)
    picks = choices(quality, cost, price)
    at = np.arange(20)[:, None]
    assert (np.diff(cost[at, picks], axis=1) <= 1e-12).all()
    assert (np.diff(quality[at, picks], axis=1) <= 1e-12).all()
    np.testing.assert_array_equal(picks[:, 0], quality.argmax(axis=1))
    np.testing.assert_array_equal(picks[:, -1], cost.argmin(axis=1))


def test_equals_go_to_the_cheaper_model() -> None:
    quality, cost = np.array([[0.5, 0.5, 0.4]]), np.array([[2.0, 1.0, 0.1]])
    assert choices(quality, cost, np.zeros(1)).tolist() == [[1]]


@given(SEEDS)
def test_ranks_are_a_permutation_in_every_fold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fold, worth = rng.integers(0, 3, 40), rng.integers(0, 4, 40).astype(float)
    place = ranks(worth, fold, seed)
    for one in set(fold.tolist()):
        members = fold == one
        np.testing.assert_allclose(np.sort(place[members]), (np.arange(members.sum()) + 0.5) / members.sum())
        order = np.argsort(place[members])
        assert (np.diff(worth[members][order]) <= 0).all()


def test_two_way_goes_from_none_to_all() -> None:
    picks = two_way(ranks(np.arange(10.0), np.zeros(10, dtype=np.intp), 0), 1, 0)
    assert picks.sum(axis=0)[[0, 50, 100]].tolist() == [0, 5, 10]


@pytest.mark.parametrize("sign", [1, -1])
def test_length_learns_its_direction(sign: int) -> None:
    prompts = ["x" * 2**i for i in range(10)]
    gap = np.linspace(0.1, 0.9, 10)[::sign]
    score = np.stack([np.zeros(10), gap], axis=1)
    expected = by_length(prompts, score, rows(*range(8)), rows(8, 9))
    assert np.sign(expected[1, 1] - expected[0, 1]) == sign


def test_a_table_knows_what_it_saw() -> None:
    score = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [9.0, 9.0]])
    expected = by_label(["a", "b", "b", "new"], score, rows(0, 1, 2), rows(2, 3))
    np.testing.assert_allclose(expected, [[0.25, 0.75], [0.5, 0.5]])


def test_cost_is_expected_of_other_rows_alone() -> None:
    cost = np.array([[1.0, 5.0], [3.0, 7.0], [99.0, 0.0]])
    np.testing.assert_allclose(expected_cost(cost, rows(0, 1), rows(2)), [[2.0, 6.0]])


def test_a_setting_is_chosen_on_the_other_folds() -> None:
    fold = rows(0, 0, 1, 1)
    target = np.full(4, 0.8)
    score = np.array([[0.8, 0.9], [0.8, 0.9], [0.1, 0.9], [0.1, 0.9]])
    cost = np.array([[1.0, 2.0]] * 4)
    assert chosen(score, cost, target, fold, 0.0).tolist() == [1, 1, 0, 0]
    assert chosen(score * 0.1, cost, target, fold, 0.0).tolist() == [1, 1, 1, 1]  # none is good enough: the best


def test_expectations_that_come_true_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    expected = rng.random(20_000)
    score = (rng.random(20_000) < expected).astype(float)
    assert ece(bins_of(expected), expected - score) < 0.02
    assert ece(bins_of(expected), np.minimum(expected + 0.3, 1) - score) > 0.2
    bins = reliability(expected, score)
    assert sum(one["count"] for one in bins) == 20_000
    assert all(abs(one["expected"] - one["scored"]) < 0.05 for one in bins)
    assert bins_of(np.array([0.0, 0.05, 0.999, 1.0])).tolist() == [0, 0, 9, 9]


def test_skill_is_none_for_the_base_rate_and_one_for_the_truth() -> None:
    base = np.array([0.25, 0.25])
    assert skill(base, base) == 0.0
    assert skill(np.zeros(2), base) == 1.0
    assert skill(base * 2, base) == -1.0
    assert np.isnan(skill(base, np.zeros(2)))
    assert skill(np.array([0.0, 9.0]), base, np.array([1.0, 0.0])) == 1.0


def test_intervals_cover_the_mean_they_are_drawn_for() -> None:
    covered = 0
    for seed in range(60):
        values = np.random.default_rng(seed).random(80)
        found = interval(np.array([w @ values / 80 for w in resamples(80, 200, seed)]))
        assert found is not None
        covered += found[0] <= 0.5 <= found[1]
    assert covered >= 51
    assert interval(np.full(9, np.nan)) is None
    assert interval(np.array([1.0, np.nan, np.nan])) is None


def test_draws_are_the_seeds() -> None:
    first, again = (np.stack(list(resamples(30, 5, 7))) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first.sum(axis=1) == 30).all()
    assert (first != np.stack(list(resamples(30, 5, 8)))).any()


def test_the_rules_say_the_same_in_other_words() -> None:
    prompt = "Sort this list.  It is long. Use Python!"
    assert RULES["case"](prompt) == "sort this list.  it is long. use python!"
    assert RULES["whitespace"](prompt).split() == prompt.split()
    assert prompt in RULES["politeness"](prompt)
    assert RULES["order"](prompt) == "It is long. Use Python! Sort this list."
    for rule in RULES.values():
        assert isinstance(rule(""), str)
