"""CapabilityScorer: rates per category, what prompts add, when caches have to look again."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.capability import CapabilityConfig, CapabilityScorer, Label, features_of
from fairlead.domain import Model, PromptFeatures, TaskCategory
from fairlead.errors import BadRequestError

CODING, TESTING, UNKNOWN = TaskCategory.CODING, TaskCategory.TESTING, TaskCategory.UNKNOWN
SUM = [f"What is {a} + {b} * {a - b}?" for a in range(20, 40) for b in (3, 7)]
STORY = [
    f"Tell me a story about a friendly {a} who lives in {b}"
    for a in ("cat", "dog", "owl")
    for b in map(chr, range(97, 110))
]


def taught(**config: float) -> CapabilityScorer:
    """A scorer that has seen `maths` be good at sums and `poet` at stories."""
    scorer = CapabilityScorer(CapabilityConfig(**config))
    scorer.fit(
        [
            Label(
                model=model, category=UNKNOWN, features=features_of(prompt), score=float((model == "maths") == is_sum)
            )
            for model in ("maths", "poet")
            for is_sum, prompts in ((True, SUM[::2]), (False, STORY[::2]))
            for prompt in prompts
        ]
    )
    return scorer


def quality(
    scorer: CapabilityScorer, model: str, category: TaskCategory = CODING, prompt: str | None = None, now_s: float = 0.0
) -> float:
    return scorer.estimate(model, category, None if prompt is None else features_of(prompt), now_s).quality


# -- rates


def test_a_stranger_is_worth_a_half_and_nothing_is_sure() -> None:
    estimate = CapabilityScorer().estimate("stranger", CODING, None, 0.0)
    assert (estimate.quality, estimate.confidence, estimate.weight) == (0.5, 0.0, 0.0)


def test_declared_skill_is_where_it_begins_and_the_mean_of_skills_stands_for_the_unknown() -> None:
    scorer = CapabilityScorer()
    scorer.declare(Model("m", skill={CODING: 0.9, TESTING: 0.5}))
    assert quality(scorer, "m") == pytest.approx(0.9)
    assert quality(scorer, "m", UNKNOWN) == pytest.approx(0.7)
    assert quality(scorer, "m", TaskCategory.DEBUGGING) == 0.5, "a skill says nothing of other kinds of work"


def test_outcomes_outweigh_what_is_declared() -> None:
    scorer = CapabilityScorer()
    scorer.declare(Model("m", skill={CODING: 0.9}))
    for _ in range(40):
        scorer.learn("m", CODING, 0.0, 0.0)
    assert quality(scorer, "m") < 0.15


def test_a_category_without_outcomes_leans_on_the_others() -> None:
    scorer = CapabilityScorer()
    for _ in range(30):
        scorer.learn("m", CODING, 1.0, 0.0)
    assert 0.8 < quality(scorer, "m", TESTING) < quality(scorer, "m", CODING)


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0, 1))
@settings(max_examples=50)
def test_an_estimate_is_the_mean_and_the_confidence_of_the_posterior(scores: list[float], skill: float) -> None:
    scorer = CapabilityScorer()
    scorer.declare(Model("m", skill={CODING: skill}))
    for i, score in enumerate(scores):
        scorer.learn("m", TESTING if i % 3 else CODING, score, float(i))
    for category in (CODING, TESTING, UNKNOWN):
        estimate, posterior = (
            scorer.estimate("m", category, None, 50.0),
            scorer.posterior("m", category, 50.0),
        )
        assert estimate.quality == estimate.category_quality == pytest.approx(posterior.mean)
        assert estimate.confidence == pytest.approx(posterior.confidence)
        assert estimate.weight == pytest.approx(posterior.weight)
        assert 0.0 <= estimate.quality <= 1.0


def test_evidence_halves_each_half_life_but_what_was_fitted_stays() -> None:
    scorer = CapabilityScorer(CapabilityConfig(half_life_s=100.0))
    scorer.learn("m", CODING, 1.0, 0.0)
    assert scorer.estimate("m", CODING, None, 100.0).weight == pytest.approx(0.5)
    scorer.fit([Label("fitted", CODING, None, 0.8)] * 50)
    later = scorer.estimate("fitted", CODING, None, 1e6)
    assert later.weight == 0.0
    assert later.quality == pytest.approx(0.8, abs=0.05)


def test_the_order_of_labels_is_no_drift() -> None:
    scorer = CapabilityScorer()
    scorer.fit([Label("m", CODING, None, 1.0)] * 200 + [Label("m", CODING, None, 0.0)] * 200)
    estimate = scorer.estimate("m", CODING, None, 0.0)
    assert estimate.drifted_at_s is None
    assert estimate.quality == pytest.approx(0.5, abs=0.01)


def test_a_model_that_breaks_is_found_out() -> None:
    scorer = CapabilityScorer()
    for i in range(300):
        scorer.learn("m", CODING, 1.0 if i % 10 else 0.0, float(i))
    for i in range(300, 330):
        scorer.learn("m", CODING, 0.0, float(i))
    estimate = scorer.estimate("m", CODING, None, 330.0)
    assert estimate.quality < 0.2
    assert estimate.drifted_at_s is not None


# -- prompts


def test_prompts_say_which_model_is_better_also_on_prompts_never_seen() -> None:
    scorer = taught()
    assert scorer.has_prompt_model
    assert all(quality(scorer, "maths", UNKNOWN, p) > quality(scorer, "poet", UNKNOWN, p) for p in SUM[1::2])
    assert all(quality(scorer, "maths", UNKNOWN, p) < quality(scorer, "poet", UNKNOWN, p) for p in STORY[1::2])


def test_learning_one_by_one_finds_the_same_as_a_fit() -> None:
    scorer = CapabilityScorer()
    for is_sum, prompt in [
        pair for pairs in zip([(True, p) for p in SUM], [(False, p) for p in STORY], strict=False) for pair in pairs
    ]:
        for model in ("maths", "poet"):
            scorer.learn(model, UNKNOWN, float((model == "maths") == is_sum), 0.0, features_of(prompt))
    assert quality(scorer, "maths", UNKNOWN, "What is 99 + 1 * 98?") > quality(
        scorer, "poet", UNKNOWN, "What is 99 + 1 * 98?"
    )


def test_with_a_large_penalty_only_the_category_speaks() -> None:
    scorer = taught(shared_penalty=1e9, own_penalty=1e9)
    estimate = scorer.estimate("maths", UNKNOWN, features_of(SUM[1]), 0.0)
    assert estimate.quality == pytest.approx(estimate.category_quality, abs=1e-3)


def test_little_evidence_moves_an_unlike_prompt_less_than_its_own() -> None:
    scorer = CapabilityScorer()
    for _ in range(4):
        scorer.learn("m", UNKNOWN, 1.0, 0.0, features_of(SUM[0]))
        scorer.learn("m", UNKNOWN, 0.0, 0.0, features_of(STORY[0]))
    own = quality(scorer, "m", UNKNOWN, SUM[0])
    far = quality(scorer, "m", UNKNOWN, "def f(x):\n    return x\n" * 30)
    assert abs(far - 0.5) < own - 0.5


def test_the_same_labels_give_the_same_estimates() -> None:
    one, other = taught(), taught()
    assert [quality(one, "poet", UNKNOWN, p) for p in STORY] == [quality(other, "poet", UNKNOWN, p) for p in STORY]


def test_remembered_estimates_are_those_worked_out_anew() -> None:
    scorer = taught()
    first = [quality(scorer, "poet", UNKNOWN, p) for p in STORY]
    assert [quality(scorer, "poet", UNKNOWN, p) for p in STORY] == first
    scorer.learn("poet", UNKNOWN, 0.0, 0.0, features_of(STORY[0]))
    fresh = CapabilityScorer()
    fresh.restore(scorer.snapshot())
    assert quality(scorer, "poet", UNKNOWN, STORY[0]) == pytest.approx(
        quality(fresh, "poet", UNKNOWN, STORY[0]), abs=1e-6
    )


def test_features_of_another_make_change_nothing() -> None:
    scorer = taught()
    strange = PromptFeatures(digest=1, indices=(3, 5), values=(1.0, 1.0))
    scorer.learn("poet", UNKNOWN, 1.0, 0.0, strange)
    estimate = scorer.estimate("poet", UNKNOWN, strange, 0.0)
    assert estimate.quality == pytest.approx(estimate.category_quality)


# -- when to look again


def test_version_rises_when_estimates_move_and_rests_when_they_do_not() -> None:
    scorer = CapabilityScorer()
    before = scorer.version
    scorer.learn("m", CODING, 1.0, 0.0)
    assert scorer.version > before
    for i in range(400):
        scorer.learn("m", CODING, float(i % 2), 0.0)
    before = scorer.version
    for i in range(20):
        scorer.learn("m", CODING, float(i % 2), 0.0)
    assert scorer.version == before


@given(st.lists(st.tuples(st.sampled_from([CODING, TESTING]), st.sampled_from([0.0, 0.5, 1.0])), max_size=60))
@settings(max_examples=50)
def test_while_version_rests_no_estimate_of_a_seen_category_moves_far(outcomes: list[Any]) -> None:
    scorer = CapabilityScorer()
    seen: dict[TaskCategory, tuple[int, float]] = {}
    for category, score in outcomes:
        scorer.learn("m", category, score, 0.0)
        version, then = seen.get(category, (-1, 0.0))
        now = quality(scorer, "m", category)
        if version == scorer.version:
            assert abs(now - then) <= 2 * scorer.config.tolerance + 1e-9
        else:
            seen[category] = scorer.version, now


def test_declaring_the_same_again_is_no_news() -> None:
    scorer = CapabilityScorer()
    scorer.declare(Model("m", skill={CODING: 0.9}))
    before = scorer.version
    scorer.declare(Model("m", skill={CODING: 0.9}))
    assert scorer.version == before


def test_forgotten_is_as_if_never_learnt() -> None:
    scorer = taught()
    before = scorer.version
    scorer.forget()
    assert not scorer.has_prompt_model
    assert scorer.version > before
    assert quality(scorer, "maths", UNKNOWN, SUM[0]) == 0.5


# -- bad input


@pytest.mark.parametrize("score", [math.nan, -0.1, 1.1, math.inf, "0.5", None])
def test_scores_out_of_range_are_refused_and_nothing_is_learnt(score: Any) -> None:
    scorer = CapabilityScorer()
    with pytest.raises(BadRequestError, match=r"score must be a number in \[0, 1\]"):
        scorer.learn("m", CODING, score, 0.0)
    with pytest.raises(BadRequestError, match=r"score must be a number in \[0, 1\]"):
        scorer.fit([Label("m", CODING, None, 1.0), Label("m", CODING, None, score)])
    assert scorer.estimate("m", CODING, None, 0.0).weight == 0.0


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_out_of_range_are_refused(weight: float) -> None:
    with pytest.raises(BadRequestError, match="weight"):
        CapabilityScorer().learn("m", CODING, 1.0, 0.0, weight=weight)


def test_unknown_categories_are_refused_with_the_known_ones_named() -> None:
    scorer = CapabilityScorer()
    gardening: Any = "gardening"
    for ask in (
        lambda: scorer.estimate("m", gardening, None, 0.0),
        lambda: scorer.posterior("m", gardening, 0.0),
        lambda: scorer.learn("m", gardening, 1.0, 0.0),
        lambda: scorer.fit([Label("m", gardening, None, 1.0)]),
        lambda: scorer.declare(Model("m", skill={gardening: 0.5})),
    ):
        with pytest.raises(BadRequestError, match=r"no category 'gardening': use one of coding, .*unknown"):
            ask()


@pytest.mark.parametrize("skill", [math.nan, 1.5, -0.5])
def test_skills_out_of_range_are_refused(skill: float) -> None:
    with pytest.raises(BadRequestError, match="skill must be a number"):
        CapabilityScorer().declare(Model("m", skill={CODING: skill}))
