"""What was learnt survives a restart, and damage is refused without losing what is there."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.capability import CapabilityScorer, features_of
from fairlead.domain import Model, TaskCategory
from fairlead.errors import FairleadError

PROMPTS = ["What is 2 + 2?", "Write a poem about rain", "Fix this:\nx = [1, 2\n", ""]
OUTCOMES = st.tuples(
    st.sampled_from(["one", "two"]),
    st.sampled_from(list(TaskCategory)),
    st.floats(0, 1),
    st.floats(0, 1e5),
    st.sampled_from([None, *PROMPTS]),
)


def after(outcomes: list[Any]) -> CapabilityScorer:
    scorer = CapabilityScorer()
    scorer.declare(Model("two", skill={TaskCategory.CODING: 0.7}))
    for model, category, score, now_s, prompt in outcomes:
        scorer.learn(model, category, score, now_s, None if prompt is None else features_of(prompt))
    return scorer


@given(st.lists(OUTCOMES, max_size=20))
@settings(max_examples=40, deadline=None)
def test_a_snapshot_restores_every_estimate_also_through_json(outcomes: list[Any]) -> None:
    scorer, restored = after(outcomes), CapabilityScorer()
    snapshot = scorer.snapshot()
    restored.restore(json.loads(json.dumps(snapshot)))
    assert restored.snapshot() == snapshot
    fresh = CapabilityScorer()
    fresh.restore(snapshot)
    for model in ("one", "two", "three"):
        for category in TaskCategory:
            for features in (None, *map(features_of, PROMPTS)):
                assert restored.estimate(model, category, features, 1e5) == fresh.estimate(
                    model, category, features, 1e5
                )
            now = scorer.estimate(model, category, None, 1e5)
            assert restored.estimate(model, category, None, 1e5).quality == pytest.approx(now.quality, abs=1e-3)


def damage(data: Any, path: tuple[str, ...], value: Any) -> None:
    *front, last = path
    for key in front:
        data = data[key]
    if value is KeyError:
        del data[last]
    else:
        data[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 99),
        (("format",), KeyError),
        (("models",), []),
        (("models", "one"), None),
        (("models", "one", "posteriors"), KeyError),
        (("models", "one", "posteriors", "gardening"), [1.0, 1.0, 0.0, None]),
        (("models", "one", "posteriors", "coding"), [-1.0, 1.0, 0.0, None]),
        (("models", "one", "posteriors", "coding"), [float("nan"), 1.0, 0.0, None]),
        (("models", "one", "posteriors", "coding"), "rubbish"),
        (("models", "one", "declared"), {"coding": 7.0}),
        (("models", "one", "leans"), {"coding": float("nan")}),
        (("models", "one", "leans"), {"coding": "x"}),
        (("prompts", "shared"), "rubbish"),
        (("prompts", "shared"), "AAAA"),
        (("prompts", "shared"), None),
        (("prompts", "own"), {"one": 3}),
        (("prompts", "visits"), -1),
        (("prompts", "visits"), None),
        (("prompts",), KeyError),
        (("prompts",), 5),
    ],
)
def test_damaged_data_are_refused_and_nothing_is_lost(path: tuple[str, ...], value: Any) -> None:
    scorer = after([("one", TaskCategory.CODING, 1.0, 0.0, PROMPTS[0])])
    before = scorer.snapshot()
    data = copy.deepcopy(before)
    damage(data, path, value)
    with pytest.raises(FairleadError, match="cannot be read"):
        scorer.restore(data)
    assert scorer.snapshot() == before


@pytest.mark.parametrize("data", [None, [], "text", 3, {}])
def test_what_is_no_snapshot_is_refused(data: Any) -> None:
    with pytest.raises(FairleadError, match="cannot be read"):
        CapabilityScorer().restore(data)
