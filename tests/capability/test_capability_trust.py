"""What prompts seem to say is believed as far as it holds on prompts not learnt from."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.capability import CapabilityScorer, Label, features_of
from fairlead.capability.trust import Foretold, believed
from fairlead.domain import TaskCategory

UNKNOWN = TaskCategory.UNKNOWN
THINGS = [f"{verb} the {noun} number {i}" for i in range(10) for verb in ("sort", "paint", "count") for noun in "abcd"]
SHIFTS = st.floats(-3.0, 3.0)


@given(st.lists(st.builds(Foretold, SHIFTS, SHIFTS, SHIFTS, st.floats(0, 1), st.just(1.0)), max_size=30))
def test_parts_are_shares_and_the_order_of_labels_means_nothing(foretold: list[Foretold]) -> None:
    parts, turned = believed(foretold), believed(foretold[::-1])
    assert 0.0 <= parts.common <= 1.0
    assert 0.0 <= parts.own <= 1.0
    assert (turned.common, turned.own) == pytest.approx((parts.common, parts.own))


def test_without_evidence_each_part_is_believed_by_half() -> None:
    assert (believed([]).common, believed([]).own) == (0.5, 0.5)


def test_the_part_that_foretells_outcomes_is_believed_and_the_other_is_not() -> None:
    foretold = [
        Foretold(offset=0.0, common=1.0 if good else -1.0, own=2.0 if i % 2 else -2.0, score=float(good), worth=1.0)
        for i in range(40)
        for good in (True, False)
    ]
    parts = believed(foretold)
    assert parts.common > 0.99
    assert parts.own < 0.01


def test_far_log_odds_do_not_overflow() -> None:
    assert believed([Foretold(800.0, 900.0, -900.0, 1.0, 1.0), Foretold(-800.0, -900.0, 900.0, 0.0, 1.0)])


def gap(scored: dict[str, float]) -> float:
    """How far estimates of prompts differ from the rate, at most, after a fit on these scores."""
    scorer = CapabilityScorer()
    scorer.fit([Label("m", UNKNOWN, features_of(prompt), score) for prompt, score in scored.items()])
    estimates = [scorer.estimate("m", UNKNOWN, features_of(prompt), 0.0) for prompt in scored]
    return max(abs(one.quality - one.category_quality) for one in estimates)


def test_chance_moves_no_estimate_far_from_the_rate_and_a_law_does() -> None:
    draw = random.Random(4)
    assert gap({prompt: float(draw.random() < 0.5) for prompt in THINGS}) < 0.1
    assert gap({prompt: float("sort" in prompt) for prompt in THINGS}) > 0.2
