"""The index of prefixes against a plain model of it; what is held, what is forgotten, and the numbers of blocks."""

import json
import sys
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fairlead.dialects.prefix import prefix_blocks
from fairlead.load import PrefixIndex

law = settings(max_examples=150, derandomize=True, deadline=None)
HOLDERS = [("m", "a"), ("m", "b"), ("other", "a"), ("m", "c")]


def chain(path: Sequence[int]) -> tuple[int, ...]:
    """Turn a path in a tree into numbers that each stand for the whole way to them."""
    numbers, way = [], 1
    for step in path:
        way = way * 7 + step + 1
        numbers.append(way)
    return tuple(numbers)


PATHS = st.lists(st.integers(0, 2), min_size=1, max_size=6).map(chain)


@law
@given(st.lists(st.tuples(PATHS, st.integers(0, 3), st.booleans()), max_size=40), PATHS)
def test_unbounded_it_is_a_set_of_blocks_for_each_holder(
    events: list[tuple[tuple[int, ...], int, bool]], asked: tuple[int, ...]
) -> None:
    index = PrefixIndex(10_000)
    model: dict[tuple[str, str], set[int]] = {}
    for prefix, who, is_gone in events:
        if is_gone:
            index.forget(HOLDERS[who])
            model.pop(HOLDERS[who], None)
        else:
            index.add(prefix, HOLDERS[who])
            model.setdefault(HOLDERS[who], set()).update(prefix)
    expected = {}
    for holder, blocks in model.items():
        run = next((i for i, block in enumerate(asked) if block not in blocks), len(asked))
        if run:
            expected[holder] = run
    assert index.held(asked) == expected
    assert index.blocks() == {holder: len(blocks) for holder, blocks in model.items()}
    assert len(index) >= len(set().union(*model.values()))


@law
@given(st.lists(st.tuples(PATHS, st.integers(0, 3)), max_size=60), st.integers(1, 12), st.integers(1, 6))
def test_it_never_holds_more_than_it_may(events: list[tuple[tuple[int, ...], int]], most: int, most_each: int) -> None:
    index = PrefixIndex(most)
    for prefix, who in events:
        index.add(prefix, HOLDERS[who], most_each)
        assert len(index) <= most
        counts = index.blocks()
        assert all(0 <= count <= most_each for count in counts.values())
        assert sum(counts.values()) >= len(index)
        assert index.held(prefix).get(HOLDERS[who], 0) == min(len(prefix), most, most_each)
    for holder in HOLDERS:
        index.forget(holder)
    assert index.blocks() == {}
    assert all(index.held(prefix) == {} for prefix, _ in events)


def test_the_least_recently_used_goes_first_and_from_its_end() -> None:
    index = PrefixIndex(6)
    first, second, third = chain([0, 0, 0]), chain([1, 1, 1]), chain([2, 2])
    index.add(first, HOLDERS[0])
    index.add(second, HOLDERS[1])
    index.add(first, HOLDERS[0])
    index.add(third, HOLDERS[1])
    assert index.held(first) == {HOLDERS[0]: 3}
    assert index.held(second) == {HOLDERS[1]: 1}


def test_a_node_that_left_holds_nothing_and_its_place_is_used_again() -> None:
    index = PrefixIndex(100)
    prefix = chain([0, 1, 2])
    for holder in HOLDERS:
        index.add(prefix, holder)
    index.forget_node("a")
    assert index.held(prefix) == {("m", "b"): 3, ("m", "c"): 3}
    for i in range(500):
        index.add(prefix, ("m", f"new-{i}"))
        index.forget_node(f"new-{i}")
    assert index.held(prefix) == {("m", "b"): 3, ("m", "c"): 3}
    assert all(mask < 2**70 for mask in index._masks.values()), "places are used again"
    for holder in HOLDERS:
        index.forget(holder)
    for i in range(100):
        index.add((i,), ("m", f"last-{i}"))
        index.forget_node(f"last-{i}")
    assert len(index) < 100, "blocks that nobody holds are swept out"


def test_memory_is_bounded_for_ever() -> None:
    index = PrefixIndex(500)
    for i in range(5_000):
        index.add(chain([i, i + 1, i + 2]), HOLDERS[i % 4], 300)
    assert len(index) <= 500
    kept = sum(map(len, index._own.values()))
    assert kept == sum(index.blocks().values())
    assert sys.getsizeof(index._masks) < 200_000


def test_a_bound_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="max_blocks"):
        PrefixIndex(0)


# -- the numbers of blocks


def body(messages: list[str], **more: object) -> bytes:
    turns = [{"role": "user", "content": text} for text in messages]
    return json.dumps(more | {"messages": turns}).encode()


LONG = st.text(st.characters(codec="ascii", exclude_characters='"\\'), min_size=40, max_size=300)


@law
@given(st.lists(LONG, min_size=1, max_size=6), LONG, st.integers(64, 200))
def test_the_next_turn_begins_with_the_same_blocks(turns: list[str], more: str, size: int) -> None:
    now, then = prefix_blocks(body(turns), size), prefix_blocks(body([*turns, more]), size)
    assert then[: len(now)] == now or now[:-1] == then[: len(now) - 1]  # but for the bracket at the end
    assert len(set(then)) == len(then)


@law
@given(st.lists(LONG, min_size=2, max_size=4), st.integers(64, 200))
def test_only_the_conversation_counts(turns: list[str], size: int) -> None:
    plain = prefix_blocks(body(turns), size)
    before = prefix_blocks(body(turns, model="other", stream=True, temperature=0.25), size)
    turns_only = json.loads(body(turns))
    after = prefix_blocks(json.dumps(turns_only | {"top_p": 0.5, "x" * 300: [1, {"messages": []}]}).encode(), size)
    assert plain == before == after
    assert len(plain) == (len(json.dumps(turns_only["messages"])) // size)


def test_what_differs_early_shares_nothing_and_what_differs_late_shares_the_rest() -> None:
    text = "word " * 400
    whole = prefix_blocks(body([text]), 256)
    late = prefix_blocks(body([text[:-400] + "x" + text[-399:]]), 256)
    early = prefix_blocks(body(["x" + text[1:]]), 256)
    assert late[:6] == whole[:6]
    assert late[-1] != whole[-1]
    assert not set(early) & set(whole)


def test_tools_and_system_prompts_are_part_of_every_number() -> None:
    text = ["word " * 400]
    tool = [{"type": "function", "function": {"name": "f"}}]
    assert not set(prefix_blocks(body(text), 256)) & set(prefix_blocks(body(text, tools=tool), 256))
    prompt = {"model": "m", "prompt": text[0]}
    plain, told = (json.dumps(prompt | more).encode() for more in ({}, {"system": "be brief"}))
    assert len(prefix_blocks(plain, 256)) == len(prefix_blocks(told, 256)) == 7
    assert not set(prefix_blocks(plain, 256)) & set(prefix_blocks(told, 256))


@pytest.mark.parametrize("wrong", [b"", b"{", b"[]", b"\xff\xfe", b'{"messages"', b'{"messages": "short"}', b"null"])
def test_what_is_no_conversation_has_no_blocks(wrong: bytes) -> None:
    assert prefix_blocks(wrong, 64) == ()
