"""What passes a check and what does not: refusals, JSON, likelihood, a user's own function."""

import json
import logging
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.config.schema import CheckConfig
from fairlead.dialects.answer_text import AnswerText, ToolUse
from fairlead.errors import ConfigError, FairleadError
from fairlead.orchestrator import checks, refusals
from fairlead.orchestrator.checks import (
    check_json,
    check_refusal,
    checks_of,
    first_failure,
    logprob_check,
    plugin_check,
    schema_check,
)

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

TOOL = ToolUse("get_weather", '{"city": "Ghent"}')
DECLINES = [
    "I'm sorry, but I can't help with that.",
    "I\u2019m sorry, but I can\u2019t assist with that request.",
    "I cannot provide instructions for this.",
    "I am unable to fulfill this request.",
    "I'm not able to help with that, but I can tell you where to look.",
    "I won't be able to complete this task.",
    "I will not create such content.",
    "I must decline to answer this question.",
    "I respectfully decline.",
    "Thank you for asking. Unfortunately, I cannot comply with this.",
    "As an AI language model, I don't have personal opinions on this.",
    "As an AI, I cannot browse the internet.",
    "I'm not comfortable writing that.",
    "This request cannot be fulfilled.",
    "Sorry, that's not something I can do.",
    "> **I can't share that.**",
]
GIVES_UP = [
    "I don't know.",
    "I'm sorry, I don't have enough information to answer that.",
    "I do not have access to your files.",
    "I'm not sure what you mean.",
    "I have no idea.",
    "Unfortunately I can't open the link.",
    "I cannot determine the answer from this text.",
]
NORMAL = [
    "Paris.",
    "None",
    "No.",
    "42",
    "unknown",
    '{"error": "I cannot help"}',
    "I can help with that! First, open the file.",
    "I can't see any problem in this function; it handles the empty list as well.",
    "I'm sorry to hear that your build is broken. The reason is the missing comma in line 3.",
    "I am not going to change the public API; the patch below only touches the parser.",
    "Sorry for the confusion: the second argument comes first.",
    "Unfortunately, Python 2 is no longer supported, so upgrade to 3.11.",
    "You cannot provide a default after a required argument here; swap them.",
    "The function does not know the size of the array, so pass it.",
    "The server answers 'I cannot complete the request' when the disk is full.",
    '"I can\'t help you," said the ferryman, and turned his boat round.',
    "```python\n# I can't help with tabs\nprint('I am unable to assist')\n```",
    "I can't help but notice that the loop never ends: `i` is not increased.",
    "Use `git stash` first. I don't know of a way without it.",
    "As an AI company, Acme sells models. It was founded in 2019.",
    "Please provide your order number, and I will look it up.",
    "Decline the meeting politely: thank them and propose another date.",
    "To answer your question: it can be done in two ways.",
    "We do not have to copy the list.",
]


def said(text: str, **more: Any) -> AnswerText:
    return AnswerText(text, **more)


# -- refusals


@pytest.mark.parametrize("text", DECLINES)
def test_an_answer_that_declines(text: str) -> None:
    assert check_refusal("", said(text)) == "the answer declines"
    assert check_refusal("", said(f"<think>They want help.\n</think>\n\n{text}")) == "the answer declines"


@pytest.mark.parametrize("text", GIVES_UP)
def test_an_answer_that_gives_up(text: str) -> None:
    assert check_refusal("", said(text)) == "the answer gives up"
    goes_on = f"{text} But this much can be said: " + "the parser reads the header first. " * 10
    assert check_refusal("", said(goes_on)) is None


@pytest.mark.parametrize("text", NORMAL)
def test_a_normal_answer(text: str) -> None:
    assert check_refusal("", said(text)) is None


@pytest.mark.parametrize("text", ["", "  \n", "<think>and then it stopped", "<think>done</think>\n"])
def test_an_empty_answer(text: str) -> None:
    assert check_refusal("", said(text)) == "the answer is empty"
    assert check_refusal("", said(text, tool_calls=(TOOL,))) is None


def test_a_refusal_that_the_node_marks() -> None:
    assert check_refusal("", said("fine", refused=True)) == "the model refuses"


@given(st.integers(0, 900), st.sampled_from(DECLINES + GIVES_UP))
def test_only_the_opening_is_read(more: int, refusal: str) -> None:
    before = "The parser reads each line. " * 9
    assert len(before) > refusals.OPENING_LETTERS
    assert check_refusal("", said(f"{before}{'And so on. ' * (more // 11)}{refusal}")) is None


@given(st.sampled_from(DECLINES + GIVES_UP), st.integers(0, 500))
def test_the_longer_an_answer_the_less_it_is_a_refusal(refusal: str, more: int) -> None:
    shorter = check_refusal("", said(refusal + " It is so." * more))
    longer = check_refusal("", said(refusal + " It is so." * (more + 1)))
    assert shorter is not None or longer is None


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_can_be_judged(text: str) -> None:
    for check in (check_refusal, check_json, schema_check({"type": "object"}), logprob_check(-1.0)):
        reason = check("prompt", said(text))
        assert reason is None or reason


def test_long_runs_of_anything_are_judged_quickly() -> None:
    size = checks.MAX_LETTERS - 20
    for text in (" ", "```", "i ", "<think>", "'", '"', "[", "i am not "):
        for before in ("", "\n```json\n", "I"):
            assert first_failure((check_refusal, check_json), "", said(before + text * (size // len(text)))) is not None


def test_a_very_long_text_is_not_checked() -> None:
    assert first_failure((check_json,), "", said("x" * checks.MAX_LETTERS)) is not None
    assert first_failure((check_json,), "", said("x" * (checks.MAX_LETTERS + 1))) is None


# -- JSON


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', " [1, 2]\n", "3", '```json\n{"a": 1}\n```', "Here it is:\n```\n[]\n```\nDone.", "<think>x</think> {}"],
)
def test_json(text: str) -> None:
    assert check_json("", said(text)) is None


@pytest.mark.parametrize("text", ["", "{'a': 1}", "```json\n{]\n```", "```\n{}\n```\nor\n```\n[]\n```", "{} {}", "NaN"])
def test_no_json(text: str) -> None:
    assert check_json("", said(text)) == "the answer is no JSON"


@given(st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.text(), st.lists, max_leaves=5))
def test_all_json_is_json(value: Any) -> None:
    text = json.dumps(value)
    assert check_json("", said(text)) is None
    assert checks.json_in(text) == value
    if "```" not in text:
        assert checks.json_in(f"Sure:\n```json\n{text}\n```") == value


def test_of_tool_calls_the_arguments_are_looked_at() -> None:
    broken = ToolUse("get_weather", '{"city": ')
    for check in (check_json, schema_check({"type": "object"})):
        assert check("", said("", tool_calls=(TOOL, ToolUse("now", "")))) is None
        assert check("", said("", tool_calls=(TOOL, broken))) == "the arguments of a tool call are no JSON"


def test_a_schema() -> None:
    check = schema_check({"type": "object", "required": ["n"], "properties": {"n": {"enum": [1, 2]}}})
    assert check("", said('```json\n{"n": 2}\n```')) is None
    assert check("", said('{"n": 3}')) == "the answer does not fit the schema: .n is none of the values allowed"
    assert check("", said("n = 1")) == "the answer is no JSON"
    with pytest.raises(ConfigError, match="json_schema: #/properties/n: there is no type 'int'"):
        schema_check({"properties": {"n": {"type": "int"}}})


# -- likelihood


@given(st.lists(st.floats(-50, 0), min_size=1), st.floats(-50, 0))
def test_the_mean_decides(values: list[float], least: float) -> None:
    mean = sum(values) / len(values)
    assert (logprob_check(least)("", said("x", logprobs=tuple(values))) is None) == (mean >= least)


def test_what_the_node_does_not_tell_passes() -> None:
    assert logprob_check(-0.1)("", said("x")) is None


# -- plugins


@pytest.mark.parametrize(
    ("gives", "reason"), [(True, None), (None, None), ("", None), (False, "taste says no"), ("too plain", "too plain")]
)
def test_a_plugin(gives: object, reason: str | None) -> None:
    assert plugin_check("taste", lambda prompt, answer: gives)("p", said("a")) == reason


def test_only_the_words_of_a_plugin_may_quote() -> None:
    def reason_of(check: checks.Check, text: str) -> object:
        return check("p", said(text, logprobs=(-9.0,)))

    own = [(check_refusal, ""), (check_json, "x"), (logprob_check(-1.0), "x"), (schema_check({"type": "null"}), "{}")]
    own.append((plugin_check("taste", lambda prompt, answer: False), "x"))
    assert [type(reason_of(check, text)) for check, text in own] == [str] * 5
    assert type(reason_of(plugin_check("taste", lambda prompt, answer: f"{answer} is poor"), "x")) is checks.Quoted


def test_a_plugin_hears_no_thoughts() -> None:
    heard = []
    plugin_check("taste", lambda *words: heard.append(words))("p", said("<think>hm</think>\nyes"))
    assert heard == [("p", "yes")]


@pytest.mark.parametrize("is_raised", [True, False])
def test_a_plugin_that_fails_lets_pass_and_is_logged_once(is_raised: bool, caplog: pytest.LogCaptureFixture) -> None:
    def plugin(prompt: str, answer: str) -> object:
        if is_raised:
            raise ZeroDivisionError
        return 3

    check = plugin_check("taste", plugin)
    with caplog.at_level(logging.ERROR, "fairlead"):
        assert [check("p", said("a")) for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 1
    assert "taste" in caplog.text


def test_plugins_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("exact", "operator:eq", checks.ENTRY_POINTS)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [entry] if group == "fairlead.checks" else [])
    (_, check) = checks_of(CheckConfig(plugin="exact"), {})
    assert check("same", said("same")) is None
    assert check("same", said("other")) == "exact says no"
    with pytest.raises(FairleadError, match="unknown check 'exakt'; there are: exact"):
        checks_of(CheckConfig(plugin="exakt"), {})


# -- all together


def test_all_that_are_said_must_hold() -> None:
    config = CheckConfig(json_schema={"type": "array"}, min_mean_logprob=-1.0, plugin="short")
    many = checks_of(config, {"short": lambda prompt, answer: len(answer) < 9})
    assert first_failure(many, "", said("[1]", logprobs=(-0.5,))) is None
    assert first_failure(many, "", said("[1]", logprobs=(-1.5,))) == "the mean log-probability is -1.500, below -1"
    assert first_failure(many, "", said("I can't help")) == "the answer declines"
    assert first_failure(many, "", said("{}")) == "the answer does not fit the schema: is no array"
    assert first_failure(many, "", said("[1, 2, 3, 4]")) == "short says no"
    assert checks_of(CheckConfig(refusal=False), {}) == ()
