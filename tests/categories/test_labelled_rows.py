"""Rows that a user supplies, and the figures that a detector gets on them."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.categories.labelled import Labelled, parse_rows, split
from fairlead.categories.measure import compare, measure
from fairlead.categories.rules import RuleDetector
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError

CODING, TESTING, UNKNOWN = TaskCategory.CODING, TaskCategory.TESTING, TaskCategory.UNKNOWN
ROWS = st.builds(Labelled, st.text(max_size=20), st.sampled_from(TaskCategory))


@given(st.lists(ROWS, max_size=8))
def test_rows_are_read_back(rows: list[Labelled]) -> None:
    lines = [json.dumps({"text": row.text, "label": row.label, "more": [1]}) for row in rows]
    assert parse_rows("\n\n".join(lines).encode()) == rows


def test_a_hyphen_in_a_label_does() -> None:
    assert parse_rows(b'{"text": "look", "label": "code-review"}') == [Labelled("look", TaskCategory.CODE_REVIEW)]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"nonsense", "line 2: JSON is malformed"),
        (b'{"text": "\xff", "label": "coding"}', "line 2: .*utf-8"),
        (b'{"text": "a"}', "line 2: .*`label`"),
        (b'{"text": 7, "label": "coding"}', r"line 2: .*\$.text"),
        (b'{"text": "a", "label": "cooking"}', "line 2: there is no task category 'cooking'; there are: coding"),
    ],
)
def test_the_line_that_cannot_be_used_is_named(line: bytes, says: str) -> None:
    with pytest.raises(FairleadError, match=says):
        parse_rows(b'{"text": "a", "label": "coding"}\n' + line)


@given(st.lists(ROWS, max_size=30), st.floats(0, 1))
def test_a_split_loses_nothing_and_keeps_equal_texts_together(rows: list[Labelled], share: float) -> None:
    learnt, held = split(rows, share)
    assert len(learnt) + len(held) == len(rows)
    assert not {row.text for row in learnt} & {row.text for row in held}
    assert split(rows, 0)[1] == []


def test_a_split_holds_about_its_share_out() -> None:
    rows = [Labelled(f"prompt {n}", CODING) for n in range(1_000)]
    assert 150 < len(split(rows, 0.2)[1]) < 250


def test_the_figures_are_what_they_are_called() -> None:
    pairs = [(CODING, CODING)] * 3 + [(CODING, TESTING)] + [(TESTING, UNKNOWN)] * 2
    found = compare(pairs, 1)
    assert (found.rows, found.accuracy) == (6, 0.5)
    assert found.coverage == pytest.approx(4 / 6)
    assert found.f1 == {TESTING: 0, CODING: pytest.approx(float(Fraction(6, 7))), UNKNOWN: 0}
    assert found.macro_f1 == pytest.approx(3 / 7)
    assert compare(pairs, 3).macro_f1 == pytest.approx(6 / 7)
    assert compare(pairs).macro_f1 == 0
    assert found.confusion == {TESTING: {UNKNOWN: 2}, CODING: {TESTING: 1, CODING: 3}}


def test_no_rows_give_zeros() -> None:
    assert compare([]).rows == compare([]).accuracy == compare([]).coverage == 0


def test_a_detector_is_asked_about_every_row() -> None:
    rows = [Labelled("write pytest fixtures", TESTING), Labelled("hello", CODING)]
    assert measure(RuleDetector(), rows, 1).confusion == {TESTING: {TESTING: 1}, CODING: {UNKNOWN: 1}}
