"""The posterior: a Beta that forgets at half-life speed, and at once when the success rate changes."""

import random
from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.capability.posterior import DECLARED_WEIGHT, NEGLIGIBLE, WATCHED_FROM, Posterior

HALF_LIFE_S = 100.0
SEEN = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 300)), max_size=40)
STREAMS, LENGTH = 25, 2_000


def fed(rate: float, n: int, seed: int = 0, half_life_s: float = 3600.0) -> Posterior:
    luck, one = random.Random(seed), Posterior(half_life_s)
    for i in range(n):
        one.add(float(luck.random() < rate), float(i))
    return one


def delay(before: float, after: float, seed: int, n: int = 300, most: int = 200) -> int:
    """How many outcomes it takes to find a change; `most` where it is not found."""
    luck, one = random.Random(seed), fed(before, n, seed + 1000)
    one.drifted_at_s = None
    for i in range(most):
        if one.add(float(luck.random() < after), float(n + i)):
            return i + 1
    return most


@given(SEEN, st.none() | st.floats(0, 1))
def test_what_it_says_is_always_between_0_and_1(seen: list[tuple[float, float]], declared: float | None) -> None:
    one, now_s = Posterior(HALF_LIFE_S, declared), 0.0
    for score, by_s in seen:
        now_s += by_s
        one.add(score, now_s)
        assert 0 <= one.mean <= 1
        assert one.mean <= one.mean + one.doubt <= 1 + 1e-12
        assert 0 <= one.confidence <= 1
        assert one.mean == pytest.approx(one.alpha / (one.alpha + one.beta))


@given(SEEN, st.floats(0, 5))
def test_half_of_the_weight_is_gone_after_each_half_life(seen: list[tuple[float, float]], half_lives: float) -> None:
    one, now_s = Posterior(HALF_LIFE_S), 0.0
    for score, by_s in seen:
        now_s += by_s
        one.add(score, now_s)
    before = one.weight
    one.decay(now_s + half_lives * HALF_LIFE_S)
    assert one.weight == pytest.approx(before * 0.5**half_lives, abs=NEGLIGIBLE)


def test_a_score_of_a_half_is_half_a_success() -> None:
    one = Posterior(HALF_LIFE_S)
    for _ in range(4):
        one.add(0.5, 0.0)
    assert (one.successes, one.failures) == (2.0, 2.0)
    one.add(0.25, 0.0, weight=4.0)
    assert (one.successes, one.failures) == (3.0, 5.0)


def test_a_declared_skill_is_worth_four_outcomes() -> None:
    one = Posterior(HALF_LIFE_S, 0.9)
    assert one.mean == pytest.approx(0.9)
    for _ in range(int(DECLARED_WEIGHT)):
        one.add(0.0, 0.0)
    assert one.mean == pytest.approx(0.45)


def test_confidence_rises_with_what_is_seen_and_falls_as_it_fades() -> None:
    one, said = Posterior(HALF_LIFE_S), []
    for i in range(40):
        said.append(one.confidence)
        one.add(float(i % 2), 0.0)
    assert said[0] == 0.0
    assert all(after > before for before, after in pairwise(said))
    assert 0.4 < said[10] < 0.6
    one.decay(3 * HALF_LIFE_S)
    assert one.confidence < said[-1]


def test_a_clock_that_runs_backwards_changes_nothing() -> None:
    one = Posterior(HALF_LIFE_S)
    one.add(1.0, 50.0)
    one.add(1.0, 10.0)
    assert one.weight == 2.0


@pytest.mark.parametrize("rate", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_false_alarms_are_rarer_than_one_in_five_thousand(rate: float) -> None:
    alarms, luck, scores = 0, random.Random(int(rate * 100)), (0.0, 1.0)
    for _ in range(STREAMS):
        one = Posterior(3600.0)
        alarms += sum(one.add(scores[luck.random() < rate], float(i)) for i in range(LENGTH))
    assert alarms / (STREAMS * LENGTH) < 1 / 5_000


def test_false_alarms_are_rare_among_shares_too() -> None:
    alarms, luck = 0, random.Random(1)
    for _ in range(STREAMS):
        one = Posterior(3600.0)
        alarms += sum(one.add(luck.betavariate(2, 1), float(i)) for i in range(LENGTH))
    assert alarms / (STREAMS * LENGTH) < 1 / 20_000


@pytest.mark.parametrize(("before", "after", "within"), [(0.9, 0.3, 22), (0.3, 0.9, 35), (0.95, 0.05, 15)])
def test_a_change_is_found_soon(before: float, after: float, within: int) -> None:
    delays = [delay(before, after, seed) for seed in range(100)]
    assert sum(one <= within for one in delays) >= 90, sorted(delays)


def test_after_a_change_only_what_came_since_counts() -> None:
    one = fed(0.95, 500)
    for i in range(12):
        one.add(0.0, 500.0 + i)
    assert one.drifted_at_s is not None
    assert 500.0 <= one.drifted_at_s < 512.0
    assert one.weight < 20
    assert one.mean < 0.3


def test_without_the_tests_old_evidence_fades_slowly() -> None:
    one = Posterior(3600.0, is_watched=False)
    for i in range(500):
        one.add(1.0, float(i))
    assert not any(one.add(0.0, 500.0 + i) for i in range(100))
    assert one.mean > 0.7
    assert one.drifted_at_s is None


def test_nothing_can_change_before_something_is_known() -> None:
    one = Posterior(3600.0)
    assert not any(one.add(1.0, 0.0) for _ in range(int(WATCHED_FROM)))
    assert not one.add(0.0, 0.0)


def test_a_sum_is_what_its_parts_are() -> None:
    parts, total = [fed(0.9, 20), fed(0.2, 30)], Posterior(3600.0, is_watched=False)
    total.add_up(parts, 60.0)
    assert total.weight == pytest.approx(sum(part.weight for part in parts))
    assert total.successes == pytest.approx(sum(part.successes for part in parts))


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_score_that_makes_no_sense_is_refused(score: float) -> None:
    one = Posterior(HALF_LIFE_S)
    with pytest.raises(ValueError, match=r"score in \[0, 1\]"):
        one.add(score, 0.0)
    with pytest.raises(ValueError, match="weight above 0"):
        one.add(1.0, 0.0, weight=0.0)
    assert one.weight == 0.0


def test_what_is_kept_comes_back() -> None:
    one, other = fed(0.7, 60), Posterior(3600.0)
    other.restore(list(one.snapshot()))
    assert other.snapshot() == one.snapshot()
    assert other.mean == one.mean


@pytest.mark.parametrize("kept", [[], [1, 2], [1, -2, 0, None], [float("nan"), 1, 0, None], ["x", 1, 0, None], 7])
def test_damaged_evidence_is_refused(kept: list[float | None]) -> None:
    one = fed(0.7, 60)
    before = one.snapshot()
    with pytest.raises(ValueError, match="kept evidence"):
        one.restore(kept)
    assert one.snapshot() == before
