"""Figures by hand, and laws of order, hull and area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.evaluation.metrics import (
    SHARES,
    aiq,
    answered,
    apgr,
    area,
    cost_for,
    cpt,
    hull,
    recovered,
    score_at,
)
from fairlead.evaluation.table import Floats
from fairlead.evaluation.tradeoff import ranks

POINTS = st.lists(st.tuples(st.floats(0.01, 9), st.floats(0.01, 1)), min_size=1, max_size=30)


def gains(n: int, seed: int = 0) -> Floats:
    """Return what the strong model has over the weak one as on a question bench: -1, 0 or 1."""
    return np.random.default_rng(seed).choice([-1.0, 0.0, 1.0], n, p=[0.05, 0.76, 0.19])


def test_a_random_order_recovers_half_of_the_gap_in_expectation() -> None:
    n, draws = 1917, 400
    gain, fold = gains(n), np.zeros(n, dtype=np.intp)
    found = [apgr(recovered(ranks(np.zeros(n), fold, seed), gain)) for seed in range(draws)]
    assert np.mean(found) == pytest.approx(0.5, abs=4 * np.std(found) / draws**0.5)
    assert 0.015 < np.std(found) < 0.03


def test_ties_are_broken_by_the_draw_and_never_by_position() -> None:
    gain = np.array([1.0] * 50 + [0.0] * 50)  # position would give 0.73
    found = [apgr(recovered(ranks(np.zeros(100), np.zeros(100, dtype=np.intp), seed), gain)) for seed in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.02)


def test_by_hand() -> None:
    gain = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    best = recovered(-gain, gain)
    np.testing.assert_allclose(best, [0, 0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert apgr(best) == pytest.approx(0.9)
    assert cpt(best, 0.5) == pytest.approx(0.1)
    assert cpt(best, 0.8) == pytest.approx(0.16)
    np.testing.assert_allclose(apgr(recovered(gain, gain)), 0.1)
    assert apgr(SHARES) == pytest.approx(0.5)
    assert (cpt(SHARES, 0.5), cpt(SHARES, 0.8)) == pytest.approx((0.5, 0.8))


def test_no_gap_has_no_figures() -> None:
    curve = recovered(np.arange(4.0), np.zeros(4))
    assert np.isnan(apgr(curve))
    assert np.isnan(cpt(curve, 0.5))
    assert np.isnan(cpt(np.array([0.0, 0.3]), 0.5))


@given(st.lists(st.integers(0, 3), min_size=5, max_size=30).filter(lambda times: sum(times) > 0), st.integers(0, 99))
def test_weight_is_repetition(times: list[int], seed: int) -> None:
    gain = np.random.default_rng(seed).random(len(times))
    rank, weight = np.random.default_rng(seed + 1).random(len(times)), np.array(times, dtype=np.float64)
    repeated = recovered(np.repeat(rank, times), np.repeat(gain, times))
    np.testing.assert_allclose(recovered(rank, gain, weight), repeated, rtol=1e-9)


@given(POINTS)
def test_a_hull_lies_above_its_points_rises_and_bends_one_way(points: list[tuple[float, float]]) -> None:
    cost, score = np.array([x for x, _ in points]), np.array([y for _, y in points])
    xs, ys = corners = hull(cost, score)
    assert (xs[0], ys[0]) == (0.0, 0.0)
    assert (np.diff(xs) > 0).all()
    assert (np.diff(ys) > 0).all()
    slopes = np.diff(ys) / np.diff(xs)
    assert (np.diff(slopes) <= 1e-9 * np.abs(slopes[:-1])).all()
    for x, y in points:
        assert score_at(x, corners) >= y - 1e-9
    assert set(zip(xs[1:].tolist(), ys[1:].tolist(), strict=True)) <= set(points)


@given(POINTS, st.floats(0.01, 1))
def test_cost_and_score_are_inverse_on_a_hull(points: list[tuple[float, float]], wish: float) -> None:
    corners = hull(np.array([x for x, _ in points]), np.array([y for _, y in points]))
    cost = cost_for(wish, corners)
    if wish > corners[1][-1]:
        assert np.isnan(cost)
    else:
        assert score_at(cost, corners) == pytest.approx(wish)


def test_area_by_hand() -> None:
    corners = hull(np.array([1.0, 2.0, 3.0]), np.array([0.4, 0.8, 0.6]))
    assert [corner.tolist() for corner in corners] == [[0.0, 2.0], [0.0, 0.8]]
    assert aiq(corners, 1.0, 3.0) == pytest.approx((0.6 + 0.8) / 2)
    assert np.isnan(aiq(corners, 2.0, 2.0))
    assert area(np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 3.0])) == pytest.approx(1.5)
    assert [one.tolist() for one in answered(corners)] == [[2.0], [0.8]]
    free = hull(np.array([0.0, 1.0]), np.array([0.5, 0.7]))
    assert [one.tolist() for one in answered(free)] == [[0.0, 1.0], [0.5, 0.7]]
