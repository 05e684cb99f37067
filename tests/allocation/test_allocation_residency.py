"""Models in a node's memory: loaded first, nobody at work pushed out, and nothing held against the unknown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.allocation import LoadedModel, Residency, Standing
from fairlead.allocation.residency import DEFAULT_LOAD_S, MAX_REMEMBERED

LAWS = settings(max_examples=150, deadline=None, derandomize=True)
GB = 10**9


def node(memory_gb: int | None, max_models: int | None = None, **loaded_gb: int) -> Residency:
    residency = Residency(None if memory_gb is None else memory_gb * GB, max_models)
    residency.update({name: LoadedModel(size * GB) for name, size in loaded_gb.items()}, 0.0)
    return residency


def test_a_node_that_says_nothing_is_not_ruled_out_and_costs_nothing() -> None:
    unknown = Residency(8 * GB)
    unknown.declare_size("m", 100 * GB)
    assert unknown.standing("m", {"other": 3}) is Standing.FITS
    assert unknown.load_cost_s("m") == 0.0


def test_what_a_task_does_to_the_models_there() -> None:
    residency = node(24, a=8, b=8)
    residency.declare_size("small", 8 * GB)
    residency.declare_size("large", 12 * GB)
    residency.declare_size("huge", 20 * GB)
    assert residency.standing("a", {}) is Standing.LOADED
    assert residency.standing("small", {"a": 1, "b": 1}) is Standing.FITS
    assert residency.standing("large", {"a": 1}) is Standing.EVICTS_IDLE
    assert residency.standing("large", {"a": 1, "b": 1}) is Standing.EVICTS_BUSY
    assert residency.standing("huge", {"a": 1}) is Standing.EVICTS_BUSY
    assert residency.standing("huge", {"a": 0}) is Standing.EVICTS_IDLE


def test_a_server_of_one_model_pushes_out_the_one_it_has() -> None:
    residency = node(None, 1, a=8)
    assert residency.standing("b", {}) is Standing.EVICTS_IDLE
    assert residency.standing("b", {"a": 2}) is Standing.EVICTS_BUSY


def test_a_model_that_was_sent_for_since_the_last_report_is_on_its_way_in() -> None:
    residency = node(16, a=8)
    residency.declare_size("b", 8 * GB)
    residency.declare_size("c", 4 * GB)
    assert residency.standing("b", {"b": 1}) is Standing.LOADED
    assert residency.standing("c", {}) is Standing.FITS
    assert residency.standing("c", {"b": 1}) is Standing.EVICTS_IDLE
    assert residency.standing("c", {"a": 1, "b": 1}) is Standing.EVICTS_BUSY


def test_a_model_larger_than_the_node_may_have_it_alone() -> None:
    residency = node(8, a=4)
    residency.declare_size("giant", 30 * GB)
    assert residency.standing("giant", {}) is Standing.EVICTS_IDLE
    assert residency.standing("giant", {"a": 1}) is Standing.EVICTS_BUSY


SIZES = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20), max_size=6)


@LAWS
@given(loaded=SIZES, busy=st.dictionaries(st.sampled_from("abcdefm"), st.integers(0, 3)), size=st.integers(0, 30))
def test_a_busy_model_only_ever_makes_it_worse_and_memory_only_better(
    loaded: dict[str, int], busy: dict[str, int], size: int
) -> None:
    small, large = node(20, **loaded), node(40, **loaded)
    for residency in (small, large):
        residency.declare_size("m", size)
    quiet = dict.fromkeys(busy, 0)
    if not busy.get("m"):
        assert small.standing("m", quiet) <= small.standing("m", busy)
        assert small.standing("m", quiet) is not Standing.EVICTS_BUSY, "idle models may always go"
    assert large.standing("m", busy) <= small.standing("m", busy)


def test_load_times_are_learnt_and_guessed_by_size_before() -> None:
    residency = node(24, a=8)
    assert residency.load_cost_s("a") == 0.0
    assert residency.load_cost_s("unheard-of") == DEFAULT_LOAD_S
    residency.declare_size("b", 4 * GB)
    assert residency.load_cost_s("b") == pytest.approx(4.0)
    residency.learn_load("a", 16.0)
    assert residency.load_cost_s("b") == pytest.approx(8.0), "this node's disk reads half a gigabyte a second"
    residency.learn_load("b", 3.0)
    assert residency.load_cost_s("b") == 3.0
    for _ in range(40):
        residency.learn_load("b", 6.0)
    assert residency.load_cost_s("b") == pytest.approx(6.0, rel=0.01)


@pytest.mark.parametrize("rubbish", [0.0, -2.0, float("nan"), float("inf")])
def test_what_cannot_be_a_load_time_is_passed_over(rubbish: float) -> None:
    residency = node(24, a=8)
    residency.learn_load("b", rubbish)
    assert residency.load_cost_s("b") == DEFAULT_LOAD_S


def test_an_older_report_changes_nothing() -> None:
    residency = node(24)
    assert residency.update({"a": LoadedModel(GB)}, 5.0)
    assert not residency.update({}, 4.0)
    assert residency.standing("a", {}) is Standing.LOADED
    assert residency.sampled_at_s == 5.0


def test_a_size_is_remembered_after_the_model_has_gone() -> None:
    residency = node(10, a=8)
    residency.update({"b": LoadedModel(4 * GB)}, 1.0)
    residency.declare_size("a", 1)
    assert residency.standing("a", {"b": 1}) is Standing.EVICTS_BUSY


def test_what_is_remembered_is_bounded() -> None:
    residency = node(10)
    for i in range(5 * MAX_REMEMBERED):
        residency.update({f"m{i}": LoadedModel(GB)}, float(i))
        residency.learn_load(f"m{i}", 1.0)
    assert len(residency._sizes) == len(residency._load_s) == MAX_REMEMBERED


def test_sizes_and_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot take -1 bytes"):
        LoadedModel(-1)
    with pytest.raises(ValueError, match="memory must be above 0"):
        Residency(0)
    with pytest.raises(ValueError, match="max_models must be above 0"):
        Residency(None, -2)
