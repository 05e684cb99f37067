"""The built-in detector: what people write, and the laws that hold for any text."""

import timeit
from fractions import Fraction

import pytest
from category_prompts import PROMPTS
from hypothesis import given
from hypothesis import strategies as st

from fairlead.categories import rules
from fairlead.categories.cues import LEADS, ORDER, WORDS
from fairlead.categories.rules import RuleDetector
from fairlead.domain.task import TaskCategory

detect = RuleDetector().detect
READ_CHARS = rules.HEAD_CHARS + rules.TAIL_CHARS
# Lone surrogates and null bytes included; cue words, so that the laws are tried on texts that score.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=3 * READ_CHARS)
CUES = st.sampled_from(
    sorted({cue for table in (LEADS, WORDS) for by in table.values() for w in by.values() for cue in w.split()})
)
CUE_TEXT = st.lists(CUES | st.sampled_from(["the", "parser", "```", "\n"]), max_size=60).map(" ".join)
TEXT = ANY_TEXT | CUE_TEXT


@pytest.mark.parametrize(("category", "prompt"), [(c, p) for c, prompts in PROMPTS.items() for p in prompts])
def test_a_prompt_as_people_word_it(category: str, prompt: str) -> None:
    assert detect(prompt) is TaskCategory(category)


def test_every_category_has_prompts() -> None:
    assert set(PROMPTS) == set(TaskCategory)
    assert min(map(len, PROMPTS.values())) >= 8


def test_testing_beats_coding_when_tests_are_to_be_written() -> None:
    assert detect("Write tests for the login function") is TaskCategory.TESTING


def test_the_order_below_pasted_code_is_read() -> None:
    assert detect("x = 1\n" * 5_000 + "\nreview the code above please") is TaskCategory.CODE_REVIEW


def test_ties_go_to_the_narrower_work() -> None:
    assert ORDER[0] is TaskCategory.TESTING
    assert detect("fixture hangs") is TaskCategory.TESTING
    assert detect("hangs fixture") is TaskCategory.TESTING


@pytest.mark.parametrize("prompt", [None, b"fix the bug", 7, ["fix the bug"]])
def test_what_is_not_text_is_refused(prompt: object) -> None:
    with pytest.raises(TypeError, match=rf"text \(str\), not {type(prompt).__name__}"):
        detect(prompt)  # type: ignore[arg-type]  # the misuse is the test


@given(TEXT)
def test_any_text_has_a_category_and_always_the_same(text: str) -> None:
    category = detect(text)
    assert isinstance(category, TaskCategory)
    assert RuleDetector().detect(text) is category


@given(TEXT.map(lambda text: "".join(c for c in text if c.isascii())))
def test_case_does_not_matter(text: str) -> None:
    assert detect(text.upper()) is detect(text.lower()) is detect(text.swapcase()) is detect(text)


@given(TEXT, st.text(min_size=1), st.text(min_size=1))
def test_the_middle_of_a_long_prompt_is_not_read(text: str, one: str, other: str) -> None:
    head, tail = text.ljust(rules.HEAD_CHARS)[: rules.HEAD_CHARS], text.rjust(rules.TAIL_CHARS)[-rules.TAIL_CHARS :]
    assert detect(head + one + tail) is detect(head + other + tail)


def best_s(prompt: str) -> float:
    return min(timeit.repeat(lambda: detect(prompt), number=20, repeat=20))


@pytest.mark.parametrize("unit", ["a", "\0", "\ud800", "\U0001f600", "bug ", "word "])
def test_ten_megabytes_cost_what_a_kilobyte_costs(unit: str) -> None:
    assert best_s(unit * (10_000_000 // len(unit))) < 5 * best_s(unit * (1_000 // len(unit)))


def test_every_cue_is_one_word_that_can_be_met() -> None:
    for table in (LEADS, WORDS):
        for weights in table.values():
            listed = [cue for cues in weights.values() for cue in cues.split()]
            assert len(listed) == len(set(listed)), "a cue stands twice for one category"
            for cue in listed:
                assert cue.encode().translate(rules._TO_WORDS).split() == [cue.encode()]


@pytest.mark.parametrize("category", TaskCategory)
def test_no_prompt_can_fill_the_byte_that_holds_a_sum(category: TaskCategory) -> None:
    costs = [(Fraction(w, len(cue) + 1), len(cue) + 1) for w, cues in WORDS[category].items() for cue in cues.split()]
    room, worst = READ_CHARS + 2, Fraction(max(LEADS[category]))
    for density, length in sorted(costs, reverse=True):  # the fractional knapsack bounds every real choice of words
        taken = min(length, room)
        worst, room = worst + density * taken, room - taken
    assert worst < 256
