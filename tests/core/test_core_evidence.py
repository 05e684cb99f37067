"""Evidence: counted at once, forgotten at half-life speed, read as scores between 0 and 1."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given

from fairlead.allocation import Account
from fairlead.domain import Model, Node, Outcome, TaskCategory
from fairlead.routing import Candidate
from fairlead.routing.candidate import Standing
from fairlead.routing.evidence import NEGLIGIBLE, Evidence
from fairlead.routing.exploration import NEWCOMER, UNTRIED

HALF_LIFE_S = 100.0
SEEN = st.lists(st.tuples(st.booleans(), st.floats(0, 100), st.floats(0, 500)), max_size=40)


def candidate(skill: dict[TaskCategory, float] | None = None) -> Candidate:
    return Candidate(Model("m", skill=skill or {}), Node("n"), Account(), 0, HALF_LIFE_S)


@given(SEEN)
def test_every_score_stays_between_0_and_1(seen: list[tuple[bool, float, float]]) -> None:
    one, now_s = candidate({TaskCategory.TESTING: 0.9}), 0.0
    for success, latency_s, by_s in seen:
        now_s += by_s
        one.record(Outcome(success, latency_s, TaskCategory.CODING), now_s)
        standings = [one.overall, *(one.standing(category) for category in TaskCategory)]
        scores = [score for s in standings for score in (s.affinity_score, s.performance_score, s.mixed_score)]
        assert all(0 <= score <= 1 for score in scores)
        assert 0 < one.worth <= 1
    one.catch_up(now_s + 1e9)
    assert one.overall.performance_score == pytest.approx(0.5, abs=1e-3)


@given(SEEN, st.floats(0, 5))
def test_half_of_the_weight_is_gone_after_each_half_life(
    seen: list[tuple[bool, float, float]], half_lives: float
) -> None:
    evidence, now_s = Evidence(HALF_LIFE_S), 0.0
    for success, latency_s, by_s in seen:
        now_s += by_s
        evidence.add(success, latency_s, now_s)
    before = (evidence.successes, evidence.failures, evidence.latency_s)
    evidence.decay(now_s + half_lives * HALF_LIFE_S)
    kept = 0.5**half_lives
    assert evidence.successes == pytest.approx(before[0] * kept, abs=NEGLIGIBLE)
    assert evidence.failures == pytest.approx(before[1] * kept, abs=NEGLIGIBLE)
    if evidence.latency_s is not None:
        assert evidence.latency_s == pytest.approx(before[2]), "a mean does not fade"


@given(SEEN, st.lists(st.floats(0, 300), min_size=1, max_size=10))
def test_forgetting_in_many_steps_is_forgetting_in_one(
    seen: list[tuple[bool, float, float]], steps: list[float]
) -> None:
    once, often = Evidence(HALF_LIFE_S), Evidence(HALF_LIFE_S)
    for success, latency_s, _ in seen:
        once.add(success, latency_s, 0.0)
        often.add(success, latency_s, 0.0)
    now_s = 0.0
    for by_s in steps:
        now_s += by_s
        often.decay(now_s)
    once.decay(now_s)
    assert (once.successes, once.failures) == pytest.approx((often.successes, often.failures), abs=NEGLIGIBLE)


def test_a_clock_that_runs_backwards_changes_nothing() -> None:
    evidence = Evidence(HALF_LIFE_S)
    evidence.add(True, 1.0, 50.0)
    evidence.decay(10.0)
    assert evidence.weight == 1.0


def test_an_old_failure_is_forgiven_and_an_old_triumph_forgotten() -> None:
    sinner, saint = candidate(), candidate()
    for _ in range(10):
        sinner.record(Outcome(False, 0.1), 0.0)
        saint.record(Outcome(True, 0.1), 0.0)
    assert sinner.overall.performance_score < 0.25 < 0.9 < saint.overall.performance_score
    for one in (sinner, saint):
        one.catch_up(20 * HALF_LIFE_S)
    assert sinner.overall.performance_score == pytest.approx(0.5, abs=0.001)
    assert saint.evidence.mean == pytest.approx(0.5, abs=0.001)
    assert sinner.worth > 0.999


def test_fast_failures_do_not_make_a_candidate_look_fast() -> None:
    one = candidate()
    one.record(Outcome(True, 4.0), 0.0)
    for _ in range(9):
        one.record(Outcome(False, 0.0001), 0.0)
    assert one.evidence.latency_s == pytest.approx(4.0)


def test_performance_prefers_the_reliable_and_then_the_fast() -> None:
    def after(successes: int, failures: int, latency_s: float) -> float:
        evidence = Evidence(HALF_LIFE_S)
        for _ in range(successes):
            evidence.add(True, latency_s, 0.0)
        for _ in range(failures):
            evidence.add(False, 0.01, 0.0)
        return evidence.performance()

    assert after(20, 0, 1.0) > after(10, 10, 1.0)
    assert after(20, 0, 1.0) > after(20, 0, 5.0)
    assert after(20, 0, 2.0) > after(10, 10, 0.1), "reliability counts more than speed"
    assert after(0, 0, 0.0) == 0.5, "nothing known scores neutral"


def test_a_declared_skill_counts_until_outcomes_say_otherwise() -> None:
    one = candidate({TaskCategory.CODING: 0.9})
    declared = one.standing(TaskCategory.CODING)
    assert declared.affinity == pytest.approx(0.9)
    assert declared.mixed_score > 0.55, "it counts in the mix as well"
    for _ in range(30):
        one.record(Outcome(False, 0.1, TaskCategory.CODING), 0.0)
    assert one.standing(TaskCategory.CODING).affinity_score < 0.25


def test_totals_do_not_decay_and_forgetting_clears_all() -> None:
    one = candidate()
    for i in range(6):
        one.record(Outcome(i % 3 > 0, 0.5, input_tokens=10, output_tokens=20), i * 1000.0)
    totals = one.totals
    assert (totals.succeeded, totals.failed, totals.latency_s) == (4, 2, 3.0)
    assert (totals.input_tokens, totals.output_tokens) == (60, 120)
    one.forget()
    assert (one.totals.succeeded, one.evidence.weight, one.standings) == (0, 0, {})
    assert one.overall == one.standing(TaskCategory.CODING) == Standing()


def test_records_are_kept_for_categories_only_so_memory_has_a_bound() -> None:
    one = candidate()
    for i in range(1000):
        one.record(Outcome(True, 0.1, list(TaskCategory)[i % len(TaskCategory)]), float(i))
    for category in TaskCategory:
        assert one.standing(category).affinity is not None
    assert len(one.standings) == len(TaskCategory)


def test_outcomes_are_counted_for_each_category() -> None:
    one = candidate()
    for count in range(4):
        assert one.standing(TaskCategory.CODING).outcomes == count
        assert one.standing(TaskCategory.TESTING).outcomes == 0
        assert one.overall.outcomes == count
        one.record(Outcome(True, 0.1, TaskCategory.CODING), 0.0)


def test_a_category_that_breaks_is_dropped_from_the_sum_as_well() -> None:
    one = candidate()
    for i in range(400):
        one.record(Outcome(True, 0.5, (TaskCategory.CODING, TaskCategory.TESTING)[i % 2]), i * 0.01)
    before = one.overall.performance_score
    for i in range(10):
        one.record(Outcome(False, 0.1, TaskCategory.CODING), 4.0 + i * 0.01)
    assert one.standing(TaskCategory.CODING).affinity_score < 0.3
    assert one.standing(TaskCategory.TESTING).affinity_score > 0.95, "the other category is as good as it was"
    assert 200 < one.overall.outcomes < 215
    assert one.overall.performance_score < before
    assert one.evidence.latency_s == pytest.approx(0.5), "what changed is the success, not the latency"


def test_categories_that_differ_are_no_change() -> None:
    one = candidate()
    for i in range(600):
        category = TaskCategory.CODING if (i // 50) % 2 else TaskCategory.TESTING
        one.record(Outcome(category is TaskCategory.CODING, 0.5, category), 0.0)
    assert one.overall.outcomes == 600


def test_what_a_score_may_well_be_is_above_it_and_nears_it() -> None:
    one, margins = candidate(), []
    assert (one.standing(TaskCategory.CODING).hope, one.overall.hope) == (UNTRIED, UNTRIED)
    for i in range(64):
        one.record(Outcome(i % 2 > 0, 0.5, TaskCategory.CODING), 0.0)
        standing = one.standing(TaskCategory.CODING)
        if i == 0:
            assert (standing.hope, one.overall.hope) == (NEWCOMER, NEWCOMER)
            assert one.standing(TaskCategory.TESTING).hope == NEWCOMER
        elif i in (3, 15, 63):
            margins.append(standing.hope - standing.mixed_score)
            assert standing.affinity_hope > standing.affinity_score
            assert one.overall.hope > one.overall.performance_score
    assert margins[0] > margins[1] > margins[2] > 0


def test_what_is_kept_comes_back() -> None:
    one, other = candidate({TaskCategory.TESTING: 0.9}), candidate({TaskCategory.TESTING: 0.9})
    for i in range(30):
        one.record(Outcome(i % 4 > 0, 0.5, list(TaskCategory)[i % 3]), float(i))
    other.take_over(Candidate.checked(json.loads(json.dumps(one.kept()))))
    for each in (one, other):
        each.catch_up(60.0)
    assert other.overall.outcomes == pytest.approx(one.overall.outcomes)
    for category in TaskCategory:
        assert other.standing(category).mixed_score == pytest.approx(one.standing(category).mixed_score)
    assert other.evidence.latency_s == pytest.approx(0.5)


@pytest.mark.parametrize("kept", [7, {"cooking": [1, 1, 0, None, 1]}, {"coding": [1, 1, 0, None]}, {"coding": None}])
def test_damaged_evidence_is_refused(kept: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"kept|cooking"):
        Candidate.checked(kept)
