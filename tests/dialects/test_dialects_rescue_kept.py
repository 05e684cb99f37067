"""What is kept of a streamed answer, and why some answers cannot be finished by another node."""

from typing import Any

import pytest
from dialects_rescue_shared import DIALECTS, OPERATIONS, PIECES, asked, break_off, node_stream, relay_of
from dialects_shared import CHAT, COMPLETION, DONE, EMBEDDING, OLLAMA, OPENAI, WEATHER, call, chunk, event, line, said
from hypothesis import given, settings

from fairlead.dialects import Call, Dialect, Operation
from fairlead.dialects.kept import FOLD_BYTES, KeptAnswer, can_be_kept
from fairlead.dialects.passing import decode_passing
from fairlead.dialects.said import Identity

law = settings(derandomize=True, deadline=None)


def keeping(caller: Call, *out: bytes, **limits: int) -> KeptAnswer:
    kept = KeptAnswer(caller, **limits)
    for piece in out:
        kept.add(piece)
    return kept


@law
@given(DIALECTS, DIALECTS, OPERATIONS, PIECES)
def test_the_text_that_went_out_is_kept(asker: Dialect, node: Dialect, operation: Operation, texts: list[str]) -> None:
    caller = asked(asker, operation)
    kept, out = break_off(caller, node, texts)
    assert (kept.text, kept.why_not) == ("".join(texts), None)
    assert kept.has_role is (operation is CHAT)
    assert keeping(caller, out).text == kept.text
    assert keeping(caller, out.replace(b"\n", b"\r\n")).text == kept.text
    relay = relay_of(caller, node, "all")
    ended = [relay.feed(piece) for piece in node_stream(node, operation, "all", texts)]
    assert keeping(caller, *ended).why_not is not None


def test_a_long_answer_is_folded_on_its_way() -> None:
    piece = event(chunk({"content": "word "}))
    many = 3 * FOLD_BYTES // len(piece)
    kept = keeping(asked(OPENAI), *[piece] * many)
    assert kept.text == "word " * many
    assert kept.why_not is None


@pytest.mark.parametrize("text", ["x" * 60, "ä" * 30])
def test_a_longer_text_than_allowed_is_not_kept(text: str) -> None:
    out = event(chunk({"content": text}))
    assert keeping(asked(OPENAI), out, limit_bytes=60).why_not is None
    kept = keeping(asked(OPENAI), out, out, limit_bytes=60)
    assert kept.why_not == "its text is longer than 60 bytes"
    kept.add(out)
    assert kept.text == ""


def test_the_first_event_says_who_answers() -> None:
    kept = keeping(asked(OPENAI), b": ping\n\n", event(chunk({"content": "a"})), event({"id": "other", "choices": []}))
    assert kept.identity == Identity("chatcmpl-1", 1_795_223_718, "smollm2")
    assert keeping(asked(OLLAMA), said("a")).identity == Identity(model="x")
    assert keeping(asked(OPENAI)).identity == Identity()


def choice(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None} | fields]})


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (choice(index=1), "it holds more than one choice"),
        (event({"choices": [{"index": 0, "text": "a"}, {"index": 0, "text": "b"}]}), "it holds more than one choice"),
        (choice(logprobs={"content": [{"token": "a"}]}), "it holds log-probabilities"),
        (choice(delta={"tool_calls": [{"index": 0}]}), "it holds a tool call"),
        (choice(delta={"function_call": {"name": "f"}}), "it holds a tool call"),
        (choice(delta={"reasoning_content": "hm"}), "it holds reasoning"),
        (choice(delta={"reasoning": "hm"}), "it holds reasoning"),
        (choice(delta={"refusal": "no"}), "it holds content that is not plain text"),
        (choice(delta={"content": [{"type": "text", "text": "a"}]}), "it holds content that is not plain text"),
        (choice(delta=None, message={"content": "a"}), "it holds a whole message"),
        (choice(finish_reason="stop"), "its end went out already"),
        (DONE, "its end went out already"),
        (event({"error": {"message": "x"}}), "it holds an error"),
        (b"data: {\n\n", "what went out of it cannot be read"),
        (b"rubbish\n\n", "what went out of it cannot be read"),
    ],
)
def test_an_openai_answer_that_is_more_than_text(out: bytes, why: str) -> None:
    good = event(chunk({"content": "a", "refusal": None, "tool_calls": None}))
    assert keeping(asked(OPENAI), good).why_not is None
    assert keeping(asked(OPENAI), good, out).why_not == why


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (said("", thinking="hm"), "it holds reasoning"),
        (said("", tool_calls=[{"function": {"name": "f"}}]), "it holds a tool call"),
        (said("", images=["x"]), "it holds content that is not plain text"),
        (line(response="a", thinking="hm"), "it holds reasoning"),
        (line(response="a", logprobs=[{}]), "it holds log-probabilities"),
        (line(response="a", done=True), "its end went out already"),
        (line(error="x"), "it holds an error"),
        (b"rubbish\n", "what went out of it cannot be read"),
        (said("a")[:-3], "what went out of it cannot be read"),
    ],
)
def test_an_ollama_answer_that_is_more_than_text(out: bytes, why: str) -> None:
    assert keeping(asked(OLLAMA), said("a"), out).why_not == why


@pytest.mark.parametrize(
    "caller",
    [
        asked(OPENAI),
        asked(OPENAI, n=1, response_format={"type": "text"}, logprobs=False, tools=[WEATHER]),
        asked(OPENAI, messages=[{"role": "user", "content": 'Set "n": 3 and "grammar": "x".'}]),
        asked(OPENAI, COMPLETION, prompt=["a"], best_of=1, echo=False, suffix=""),
        asked(OPENAI, COMPLETION, prompt=[1, 2, 3]),
        asked(OLLAMA, format=""),
        asked(OLLAMA, COMPLETION),
    ],
)
def test_calls_whose_answers_can_be_kept(caller: Call) -> None:
    assert can_be_kept(caller) is None


@pytest.mark.parametrize(
    ("caller", "why"),
    [
        (call(OPENAI), "the answer is not streamed"),
        (call(OPENAI, EMBEDDING), "an answer of the kind 'embedding' is no text"),
        (decode_passing("/v1/responses", b'{"model":"m","stream":true}'), "an answer of the kind 'passing' is no text"),
        (asked(OPENAI, n=2), "more than one choice was asked for"),
        (asked(OPENAI, COMPLETION, best_of=2), "more than one choice was asked for"),
        (asked(OPENAI, COMPLETION, prompt=["a", "b"]), "more than one choice was asked for"),
        (asked(OPENAI, COMPLETION, echo=True), "`echo` was asked for"),
        (asked(OPENAI, COMPLETION, suffix="end"), "`suffix` was asked for"),
        (asked(OLLAMA, COMPLETION, suffix="end"), "`suffix` was asked for"),
        (asked(OPENAI, COMPLETION, logprobs=0), "`logprobs` was asked for"),
        (asked(OPENAI, logprobs=True), "log-probabilities were asked for"),
        (asked(OLLAMA, logprobs=True), "log-probabilities were asked for"),
        (asked(OPENAI, response_format={"type": "json_object"}), "the answer follows a schema"),
        (asked(OPENAI, response_format={"type": "structural_tag"}), "the answer follows a schema"),
        (asked(OLLAMA, format="json"), "the answer follows a schema"),
        (asked(OPENAI, guided_regex="a*"), "`guided_regex` was asked for"),
    ],
)
def test_calls_whose_answers_cannot_be_kept(caller: Call, why: str) -> None:
    assert can_be_kept(caller) == why
    assert KeptAnswer(caller).why_not == why


def test_a_body_that_cannot_be_read_is_not_kept() -> None:
    caller = asked(OPENAI, n=1)
    caller.body = caller.body[:-1]
    assert can_be_kept(caller) == "the request cannot be read"
