"""What was said is read back from every kind of answer; log-probabilities come and go without a trace."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from dialects_shared import CHAT, COMPLETION, DONE, OLLAMA, OPENAI, WEATHER, call, chunk, dumps, event, relay_for
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, Operation
from fairlead.dialects.answer_text import ToolUse, asking_logprobs, read_answer, without_logprobs
from fairlead.errors import BadRequestError, FairleadError
from fairlead.testing.answers import Asked, stream_events, whole_answer

DIALECTS = st.sampled_from([OPENAI, OLLAMA])
OPERATIONS = st.sampled_from([CHAT, COMPLETION])
PIECES = st.lists(st.text(), max_size=6)


def answered(asked: Call, node: Dialect, pieces: Sequence[str], **fields: Any) -> bytes:
    """Let a node answer, and return what reaches the caller."""
    path = "/api/chat" if node == OLLAMA else "/v1/chat/completions"
    if asked.operation is COMPLETION and node == OLLAMA:
        path = "/api/generate"
    elif asked.operation is COMPLETION and asked.dialect == OPENAI:
        path = "/v1/completions"
    server = Asked(path, {"model": "m", "stream": asked.stream, "messages": []} | fields)
    relay = relay_for(asked, node)
    if not asked.stream:
        return relay.whole(whole_answer(server, "".join(pieces)))
    return b"".join(map(relay.feed, stream_events(server, pieces))) + relay.close()


@given(DIALECTS, DIALECTS, OPERATIONS, st.booleans(), PIECES)
def test_the_text_is_what_the_node_said(
    caller: Dialect, node: Dialect, operation: Operation, stream: bool, pieces: list[str]
) -> None:
    asked = call(caller, operation, stream=stream)
    answer = read_answer(asked, answered(asked, node, pieces))
    assert answer.text == "".join(pieces)
    assert not answer.tool_calls
    assert answer.logprobs is None
    assert not answer.refused


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
@pytest.mark.parametrize("caller", [OPENAI, OLLAMA])
def test_tool_calls(caller: Dialect, node: Dialect, stream: bool) -> None:
    asked = call(caller, stream=stream, tools=[WEATHER])
    (used,) = read_answer(asked, answered(asked, node, [], tools=[WEATHER])).tool_calls
    assert used.name == "get_weather"
    assert json.loads(used.arguments) == {"city": "Ghent"}


def test_tool_calls_in_pieces() -> None:
    def piece(index: int, arguments: str, **more: Any) -> bytes:
        return event(chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments, **more}}]}))

    stream = piece(0, '{"a"', name="f") + piece(1, "{", name="g") + piece(0, ":1}") + piece(1, "}") + DONE
    assert read_answer(call(stream=True), stream).tool_calls == (ToolUse("f", '{"a":1}'), ToolUse("g", "{}"))


def test_thoughts_and_further_choices_are_left_out() -> None:
    first = {"index": 0, "message": {"content": "yes", "reasoning_content": "hm"}, "finish_reason": "stop"}
    body = dumps({"choices": [first, {"index": 1, "message": {"content": "no"}}]})
    assert read_answer(call(), body).text == "yes"
    line = dumps({"message": {"content": "yes", "thinking": "hm"}, "done": True})
    assert read_answer(call(OLLAMA, stream=False), line).text == "yes"


def test_a_refusal_that_the_node_marks() -> None:
    body = dumps({"choices": [{"index": 0, "message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}]})
    answer = read_answer(call(), body)
    assert (answer.refused, answer.text) == (True, "No.")
    stream = event(chunk({"refusal": "No"})) + event(chunk({"refusal": "."})) + event(chunk({}, "stop")) + DONE
    answer = read_answer(call(stream=True), stream)
    assert (answer.refused, answer.text) == (True, "No.")
    assert read_answer(call(stream=True), event(chunk({}, "content_filter")) + DONE).refused
    assert not read_answer(call(), dumps({"choices": [{"message": {"content": "x", "refusal": None}}]})).refused
    assert not read_answer(call(), dumps({"choices": [{"message": {"content": "x"}, "refusal": 3}]})).refused


LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=5)


@given(DIALECTS, OPERATIONS, st.booleans(), LOGPROBS)
def test_log_probabilities_are_read_and_taken_out(
    dialect: Dialect, operation: Operation, stream: bool, values: list[float]
) -> None:
    asked = call(dialect, operation, stream=stream)
    bare = spoken_with(asked, None)
    full = spoken_with(asked, values)
    assert read_answer(asked, full).logprobs == tuple(values)
    assert read_answer(asked, bare).logprobs is None
    stripped = without_logprobs(asked, full)
    assert read_answer(asked, stripped).text == "hi"
    assert stripped == bare


def spoken_with(asked: Call, values: list[float] | None) -> bytes:
    """Return an answer in the caller's dialect, with log-probabilities or, as servers have it then, with none."""
    entries = None if values is None else [{"token": "x", "logprob": value} for value in values]
    if asked.dialect == OLLAMA:
        said = {"message": {"content": "hi"}} if asked.operation is CHAT else {"response": "hi"}
        told = {} if entries is None else {"logprobs": entries}
        line = dumps({"model": "m", **said, **told, "done": not asked.stream})
        return line + b"\n" + dumps({"done": True}) + b"\n" if asked.stream else line
    logprobs: Any = entries and {"content": entries}
    said = {"delta" if asked.stream else "message": {"content": "hi"}}
    if asked.operation is COMPLETION:
        logprobs = values and {"tokens": ["x"] * len(values), "token_logprobs": values}
        said = {"text": "hi"}
    body = {"id": "1", "choices": [{"index": 0, **said, "logprobs": logprobs, "finish_reason": None}]}
    if not asked.stream:
        return dumps(body)
    last = {"choices": [{"index": 0, "finish_reason": "stop", "text": ""}]}
    return b": wait\n\n" + event(body) + event(last) + DONE


@given(DIALECTS, st.booleans(), st.binary())
def test_what_has_no_log_probabilities_stays_as_it_is(dialect: Dialect, stream: bool, data: bytes) -> None:
    assert without_logprobs(call(dialect, stream=stream), data) == data


@given(DIALECTS, st.booleans(), st.binary(), st.binary())
def test_rubbish_is_refused_in_our_own_words(dialect: Dialect, stream: bool, before: bytes, after: bytes) -> None:
    asked = call(dialect, stream=stream)
    for data in (before + after, before + b'"logprobs"' + after):
        try:
            read_answer(asked, data)
            without_logprobs(asked, data)
        except FairleadError:
            pass


@pytest.mark.parametrize(
    ("dialect", "operation", "wish"),
    [(OPENAI, CHAT, True), (OPENAI, COMPLETION, 1), (OLLAMA, CHAT, True), (OLLAMA, COMPLETION, True)],
)
def test_asking_adds_one_field(dialect: Dialect, operation: Operation, wish: object) -> None:
    asked = call(dialect, operation, mine={"a": 1.0})
    body = asking_logprobs(asked)
    assert body is not None
    assert json.loads(body) == json.loads(asked.body) | {"logprobs": wish}


def test_whoever_spoke_of_log_probabilities_is_left_alone() -> None:
    assert asking_logprobs(call(logprobs=False)) is None
    assert asking_logprobs(call(logprobs=True, top_logprobs=2)) is None
    assert asking_logprobs(call(messages=[{"role": "user", "content": 'what is "logprobs"?'}])) is not None
    broken = call()
    broken.body = b"{"
    with pytest.raises(BadRequestError):
        asking_logprobs(broken)
