"""How much of an answer is reserved: learnt, forgotten, capped, kept over a restart."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.allocation import AllocationConfig, NeedsEstimator
from fairlead.domain import Task, TaskCategory
from fairlead.errors import FairleadError

CODING = TaskCategory.CODING
LAWS = settings(max_examples=100, deadline=None, derandomize=True)


def estimator(**config: float) -> NeedsEstimator:
    return NeedsEstimator(AllocationConfig(**config))  # type: ignore[arg-type]


def task(category: TaskCategory = CODING, input_tokens: int = 0, limit: int = 0) -> Task:
    return Task(id="t", key=1, category=category, input_tokens=input_tokens, output_tokens=limit)


def taught(lengths: list[int], times: int = 1, **config: float) -> NeedsEstimator:
    needs = estimator(**config)
    for _ in range(times):
        for length in lengths:
            needs.learn("m", CODING, length, 0.0)
    return needs


def test_of_what_was_never_seen_the_stated_default_is_expected() -> None:
    needs = estimator(default_output_tokens=300)
    assert needs.estimate(task(input_tokens=70), "m", 0.0).tokens == 370
    needs.learn("m", CODING, 5, 0.0)
    assert needs.estimate(task(TaskCategory.TESTING), "m", 0.0).output_tokens == 300
    assert needs.estimate(task(), "other", 0.0).output_tokens == 300


@LAWS
@given(lengths=st.lists(st.integers(0, 30_000), min_size=1, max_size=40))
def test_at_least_half_of_all_answers_stay_below_what_is_reserved_and_it_is_of_their_size(lengths: list[int]) -> None:
    times = 400 // len(lengths) + 1
    expected = taught(lengths, times).expected_output("m", CODING)
    assert sum(length <= expected + 1 for length in lengths) * 2 >= len(lengths)
    assert min(*lengths, 512) <= expected + 1
    assert expected <= 1.208 * max(*lengths, 512) + 1, (
        "of lengths up to L, mean and deviation add up to (1 + sqrt(2)) / 2 L"
    )


@LAWS
@given(length=st.integers(1, 20_000))
def test_where_all_answers_are_alike_little_more_than_that_is_reserved(length: int) -> None:
    expected = taught([length], 2_000).expected_output("m", CODING)
    assert abs(expected - length) <= 0.05 * abs(512 - length) + 1


def test_a_few_answers_do_not_decide_alone() -> None:
    assert taught([10], 1).expected_output("m", CODING) > 400
    assert taught([10], 50).expected_output("m", CODING) < 150


@LAWS
@given(limit=st.integers(1, 2_000), lengths=st.lists(st.integers(0, 3_000), max_size=10))
def test_never_more_is_reserved_than_the_caller_lets_the_answer_have(limit: int, lengths: list[int]) -> None:
    needs = taught(lengths)
    expected = needs.expected_output("m", CODING)
    assert needs.estimate(task(limit=limit), "m", 0.0).output_tokens == min(limit, expected)


def test_what_was_long_ago_is_forgotten() -> None:
    needs = taught([4_000], 200, half_life_s=100.0)
    before = needs.expected_output("m", CODING)
    for i in range(20):
        needs.learn("m", CODING, 50, 2_000.0 + i)
    assert before > 3_900
    assert needs.expected_output("m", CODING) < 300


def test_a_time_before_the_last_one_counts_as_the_same_time() -> None:
    forward, mixed = estimator(), estimator()
    for length, now_s in ((10, 50.0), (900, 50.0)):
        forward.learn("m", CODING, length, now_s)
    for length, now_s in ((10, 50.0), (900, 20.0)):
        mixed.learn("m", CODING, length, now_s)
    assert forward.snapshot() == mixed.snapshot()


def test_a_node_that_reports_less_than_nothing_teaches_nothing() -> None:
    needs = estimator()
    needs.learn("m", CODING, -3, 0.0)
    assert needs.snapshot()["models"] == {}


def test_memory_is_bounded_and_the_model_longest_unheard_of_goes() -> None:
    needs = estimator(max_models=10)
    needs.learn("kept", CODING, 20, 1_000.0)
    for i in range(500):
        needs.learn(f"m{i}", CODING, 20, float(i))
    models = needs.snapshot()["models"]
    assert len(models) == 10
    assert "kept" in models


def test_memory_follows_from_tokens_where_it_is_declared() -> None:
    needs = estimator(default_output_tokens=100)
    needs.declare_memory("m", bytes_per_token=2.5, gpu_bytes_per_token=1_000)
    estimated = needs.estimate(task(input_tokens=100), "m", 0.0)
    assert (estimated.memory_bytes, estimated.gpu_memory_bytes) == (500, 200_000)
    assert needs.estimate(task(input_tokens=100), "other", 0.0).memory_bytes == 0
    with pytest.raises(ValueError, match="cannot take -1"):
        needs.declare_memory("m", bytes_per_token=-1)


@LAWS
@given(
    seen=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(list(TaskCategory)), st.integers(0, 9_999)), max_size=30
    )
)
def test_what_was_learnt_survives_a_restart(seen: list[tuple[str, TaskCategory, int]]) -> None:
    needs, restored = estimator(), estimator()
    for i, (model, category, length) in enumerate(seen):
        needs.learn(model, category, length, float(i))
    restored.restore(json.loads(json.dumps(needs.snapshot())))
    for model in ("a", "b"):
        for category in TaskCategory:
            assert restored.expected_output(model, category) == needs.expected_output(model, category)
    assert restored.snapshot() == needs.snapshot()


@pytest.mark.parametrize(
    "damaged",
    [
        {},
        {"format": 2, "models": {}},
        {"format": 1},
        {"format": 1, "models": []},
        {"format": 1, "models": {"m": {"cooking": [0, 1, 1, 1]}}},
        {"format": 1, "models": {"m": {"coding": [0, 1, 1]}}},
        {"format": 1, "models": {"m": {"coding": [0, -1, 1, 1]}}},
        {"format": 1, "models": {"m": {"coding": [0, 1, float("nan"), 1]}}},
        {"format": 1, "models": {"m": {"coding": [float("inf"), 1, 1, 1]}}},
        {"format": 1, "models": {"m": {"coding": "rubbish"}}},
        {"format": 1, "models": {"m": None}},
    ],
)
def test_damaged_data_are_refused_and_change_nothing(damaged: dict[str, Any]) -> None:
    needs = taught([40], 30)
    before = needs.snapshot()
    with pytest.raises(FairleadError, match="start without it"):
        needs.restore(damaged)
    assert needs.snapshot() == before


def test_no_more_models_are_restored_than_are_remembered() -> None:
    many = estimator()
    for i in range(30):
        many.learn(f"m{i}", CODING, 20, float(i))
    few = estimator(max_models=5)
    few.restore(many.snapshot())
    assert list(few.snapshot()["models"]) == [f"m{i}" for i in range(25, 30)]
