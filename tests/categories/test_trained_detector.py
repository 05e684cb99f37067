"""Training on labelled prompts, what comes out of it, and the file it is kept in."""

import base64
import json
import struct
from collections.abc import Callable
from itertools import product
from math import exp
from typing import Any

import msgspec
import pytest
from category_prompts import PROMPTS
from hypothesis import given
from hypothesis import strategies as st

from fairlead.categories.labelled import Labelled
from fairlead.categories.rules import LEAD_WORDS, TAIL_CHARS, RuleDetector
from fairlead.categories.trained import TrainedDetector
from fairlead.categories.training import MOST_WORDS, TrainingSettings, train
from fairlead.categories.weights import READ_CHARS, Weights, checksum, dump, hashes_of, parse
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError
from fairlead.rng import Draw
from fairlead.testing import detector_laws

PLACES = ("harbour", "pier", "beacon", "lagoon", "quay", "reef")
JARGON = {
    TaskCategory.TESTING: ("probe", "sound out", "plumb"),
    TaskCategory.REFACTORING: ("reeve", "splice", "whip"),
    TaskCategory.UNKNOWN: ("ahoy", "avast"),
}
"""Words that the rules have never heard of, as a team may use them for its work."""
ROWS = [
    Labelled(f"{verb} the {place}", label) for label, verbs in JARGON.items() for verb, place in product(verbs, PLACES)
]
WEIGHTS = train(ROWS)
DETECTOR = TrainedDetector(WEIGHTS)
FILE = dump(WEIGHTS)
WORD = st.sampled_from(
    ["probe", "splice", "ahoy", "reef", "the", "bug", "review", "pytest", "zzz", "修复", "\n", "\ud800"]
)
TEXT = st.lists(WORD, max_size=80).map(" ".join) | st.text(st.characters(exclude_categories=()), max_size=400)


def test_it_learns_words_that_the_rules_do_not_know() -> None:
    for label, verbs in JARGON.items():
        for verb in verbs:
            assert RuleDetector().detect(f"{verb} the wharf") is TaskCategory.UNKNOWN
            assert DETECTOR.detect(f"{verb} the wharf") is label


def test_where_the_words_are_new_the_rules_still_speak() -> None:
    prompts = [Labelled(text, TaskCategory(name)) for name, texts in PROMPTS.items() for text in texts]
    detector = TrainedDetector(train(prompts))
    assert detector.detect("pytest fixtures") is TaskCategory.TESTING
    assert detector.detect("segfault regression") is TaskCategory.DEBUGGING


@pytest.mark.parametrize("gibberish", ["", " \n\t", "qwxz vbnm ploik", "0x9f 0x2c", "ζητω ην", "\x00\x01", "x" * 9_999])
def test_gibberish_is_unknown(gibberish: str) -> None:
    settings = TrainingSettings(least=0.0)  # even where any guess would do
    no_unknown = [row for row in ROWS if row.label is not TaskCategory.UNKNOWN]
    detector = TrainedDetector(train(no_unknown, settings))
    assert detector.detect(gibberish) is TaskCategory.UNKNOWN
    assert detector.probabilities(gibberish) == {}


def test_unsure_is_unknown() -> None:
    no_unknown = [row for row in ROWS if row.label is not TaskCategory.UNKNOWN]
    detector = TrainedDetector(train(no_unknown, TrainingSettings(least=0.8)))
    assert detector.detect("splice the reef") is TaskCategory.REFACTORING
    assert max(detector.probabilities("splice probe").values()) < 0.8
    assert detector.detect("splice probe") is TaskCategory.UNKNOWN


def test_it_keeps_the_laws_of_detectors() -> None:
    detector_laws(lambda: TrainedDetector(parse(FILE)))


@given(TEXT)
def test_any_text_has_a_category_and_probabilities_that_sum_to_one(text: str) -> None:
    category = DETECTOR.detect(text)
    assert isinstance(category, TaskCategory)
    said = DETECTOR.probabilities(text)
    if said:
        assert sum(said.values()) == pytest.approx(1)
        top = max(said, key=said.__getitem__)
        assert category is (top if said[top] >= WEIGHTS.least else TaskCategory.UNKNOWN)
    else:
        assert category is TaskCategory.UNKNOWN


@given(TEXT, st.text(min_size=1, max_size=50), st.text(min_size=1, max_size=50))
def test_the_middle_of_a_long_prompt_is_not_read(text: str, one: str, other: str) -> None:
    head, tail = text.ljust(READ_CHARS)[:READ_CHARS], text.rjust(TAIL_CHARS)[-TAIL_CHARS:]
    assert DETECTOR.probabilities(head + one + tail) == DETECTOR.probabilities(head + other + tail)


@given(TEXT)
def test_a_file_read_back_says_the_same(text: str) -> None:
    assert TrainedDetector(parse(FILE)).probabilities(text) == DETECTOR.probabilities(text)


def test_no_prompt_can_fill_a_lane() -> None:
    """The largest steps of all, on every feature of the text that has the most of them."""
    draw = Draw(1, 1)
    letters = [chr(ord("0") + n) if n < 10 else chr(ord("a") + n - 10) for n in range(36)]
    text = " ".join(letters[draw.below(36)] for _ in range(READ_CHARS // 2))
    most = READ_CHARS // 2 + READ_CHARS // 2 - 1 + LEAD_WORDS
    assert 100 < len(hashes_of(text)) <= most
    assert most * 127 < 2**15
    packed = struct.pack(f"<{len(hashes_of(text))}I", *sorted(hashes_of(text)))
    for step in (127, -127):
        steps = struct.pack("<2b", step, -step) * len(hashes_of(text))
        weights = msgspec.structs.replace(
            WEIGHTS,
            categories=(TaskCategory.TESTING, TaskCategory.CODING),
            scale=0.001,
            bias=(0.0, 0.0),
            rules=((0.0, 0.0),) * 7,
            words=packed,
            steps=steps,
            check=checksum(packed, steps),
        )
        logit = 0.001 * 127 * len(hashes_of(text)) ** 0.5
        expected = 1 / (1 + exp(-2 * logit if step > 0 else 2 * logit))
        said = TrainedDetector(parse(dump(weights))).probabilities(text)
        assert said[TaskCategory.TESTING] == pytest.approx(expected)


def test_the_same_rows_give_the_same_file() -> None:
    assert dump(train(ROWS)) == FILE
    assert dump(train(ROWS, TrainingSettings(seed=1))) != FILE


def test_the_texts_cannot_be_read_in_the_file_and_it_is_small() -> None:
    for word in (*PLACES, *(verb for verbs in JARGON.values() for verb in verbs)):
        assert word.encode() not in FILE
    assert len(FILE) < 10_000
    assert MOST_WORDS * (4 + 7) * 4 / 3 < 300_000


def test_words_of_one_row_only_are_not_learnt() -> None:
    lone = [*ROWS, Labelled("xylophone", TaskCategory.TESTING)]
    assert TrainedDetector(train(lone)).probabilities("xylophone") == {}


def test_progress_is_told_after_each_pass() -> None:
    told: list[tuple[int, int]] = []
    train(ROWS, TrainingSettings(passes=3), lambda done, of: told.append((done, of)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("rows", [[], ROWS[:1], [row for row in ROWS if row.label is TaskCategory.TESTING]])
def test_one_category_is_nothing_to_tell_apart(rows: list[Labelled]) -> None:
    with pytest.raises(FairleadError, match=rf"nothing to tell apart in {len(rows)} rows"):
        train(rows)


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(FILE) | fields).encode()


def flipped(name: str) -> bytes:
    content = bytearray(base64.b64decode(json.loads(FILE)[name]))
    content[len(content) // 2] ^= 1
    return changed(**{name: base64.b64encode(content).decode()})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no file of category weights"),
        (b"\x00\xff", "no file of category weights"),
        (b"[]", "no file of category weights"),
        (b"{}", "no file of category weights"),
        (FILE[: len(FILE) // 2], "no file of category weights"),
        (changed(format="fairlead-categories-9"), "format"),
        (changed(extra=1), "extra"),
        (changed(categories=["testing", "cooking"]), "cooking"),
        (changed(categories=["testing"]), "length >= 2"),
        (changed(categories=["testing", "testing", "unknown"]), "stands twice"),
        (changed(categories=["testing", "unknown"]), "do not fit 2 categories"),
        (changed(rules=[[0, 0, 0]]), "do not fit 3 categories"),
        (changed(least=1.5), "least"),
        (changed(words=""), "do not fit together"),
        (flipped("words"), "checksum"),
        (flipped("steps"), "checksum"),
    ],
)
def test_a_damaged_file_is_refused_saying_why(content: bytes, says: str) -> None:
    with pytest.raises(FairleadError, match=says):
        parse(content)


@given(st.integers(0, len(FILE) - 1), st.integers(0, 255))
def test_no_damage_of_a_byte_breaks_anything(at: int, byte: int) -> None:
    """Refused or harmless, but never another error."""
    content = FILE[:at] + bytes([byte]) + FILE[at + 1 :]
    try:
        weights = parse(content)
    except FairleadError:
        return
    assert isinstance(TrainedDetector(weights).detect("probe the reef"), TaskCategory)


@pytest.mark.parametrize("read", [DETECTOR.detect, DETECTOR.probabilities])
def test_what_is_not_text_is_refused(read: Callable[[str], object]) -> None:
    with pytest.raises(TypeError, match=r"text \(str\), not NoneType"):
        read(None)  # type: ignore[arg-type]  # the misuse is the test


def test_weights_are_a_frozen_value() -> None:
    assert isinstance(parse(FILE), Weights)
    assert parse(FILE) == WEIGHTS
