"""Answers on their way back: the habits of real servers, one by one, and the laws that all relays keep."""

import json
from contextlib import suppress
from typing import Any

import pytest
from dialects_shared import (
    CHAT,
    COMPLETION,
    DONE,
    OLLAMA,
    OPENAI,
    USAGE,
    WEATHER,
    call,
    chunk,
    dumps,
    event,
    events,
    last,
    line,
    lines,
    relay_for,
    run,
    said,
)
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import Dialect, ErrorInfo, ProviderError, Relay, Usage
from fairlead.errors import MalformedAnswerError

ROLE = event(chunk({"role": "assistant", "content": None}))
ONE, TWO = event(chunk({"content": "One"})), event(chunk({"content": " two"}))
STOP = event(chunk({}, "stop"))
COUNT = event(chunk(None, usage=USAGE))


def openai_relay(**fields: Any) -> Relay:
    return relay_for(call(stream=True, **fields), OPENAI)


def asking_usage() -> Relay:
    return openai_relay(stream_options={"include_usage": True})


# --- OpenAI node, OpenAI caller


def test_a_stream_that_is_right_passes_byte_by_byte() -> None:
    relay = asking_usage()
    stream = [ROLE, ONE, TWO, STOP, COUNT, DONE]
    assert run(relay, stream) == b"".join(stream)
    assert (relay.chunks, relay.finished, relay.usage) == (2, True, Usage(10, 4))


def test_each_event_leaves_as_soon_as_it_is_whole() -> None:
    relay = openai_relay()
    assert relay.feed(ROLE) == ROLE
    assert relay.feed(ONE + TWO[:10]) == ONE
    assert relay.feed(TWO[10:-1]) == b""
    assert relay.feed(TWO[-1:]) == TWO


def test_usage_that_a_server_forgets_is_counted() -> None:
    out = events(run(asking_usage(), [ROLE, ONE, TWO, STOP, DONE]))
    assert out[-1] == "[DONE]"
    assert out[-2]["choices"] == []
    assert out[-2]["usage"]["completion_tokens"] == 2
    assert (out[-2]["id"], out[-2]["created"], out[-2]["model"]) == ("chatcmpl-1", 1_795_223_718, "smollm2")


def test_nobody_gets_usage_who_did_not_ask() -> None:
    assert run(openai_relay(), [ROLE, ONE, STOP, DONE]) == ROLE + ONE + STOP + DONE


@pytest.mark.parametrize("tail", [b"", b"data: [DONE]", b"data: [DONE]\n"])
def test_a_missing_end_mark_is_added_after_a_finish_reason(tail: bytes) -> None:
    assert run(openai_relay(), [ROLE, ONE, STOP, tail]) == ROLE + ONE + STOP + DONE


def test_the_last_event_may_lack_its_blank_line() -> None:
    assert run(openai_relay(), [ONE, STOP.rstrip()]) == ONE + STOP + DONE


@pytest.mark.parametrize("cut", [b"", b'data: {"choices":[{', b"data: [DO"])
def test_a_truncated_stream_is_a_failure(cut: bytes) -> None:
    relay = openai_relay()
    relay.feed(ROLE + ONE + cut)
    with pytest.raises(MalformedAnswerError):
        relay.close()


def test_half_an_event_after_the_finish_reason_is_dropped() -> None:
    assert run(openai_relay(), [ONE, STOP, b"data: {"]) == ONE + STOP + DONE


@pytest.mark.parametrize("content", [None, ""])
def test_a_role_in_every_chunk_goes_out_once(content: str | None) -> None:
    spoken = [event(chunk({"role": "assistant", "content": text})) for text in (content, "One", "two")]
    relay = openai_relay()
    out = events(run(relay, [*spoken, event(chunk({"role": "assistant", "content": ""}, "stop")), DONE]))
    assert [e["choices"][0]["delta"].get("role") for e in out[:-1]] == ["assistant", None, None, None]
    assert [e["choices"][0]["delta"]["content"] for e in out[:-1]] == [content, "One", "two", ""]


def test_one_finish_reason_goes_out() -> None:
    out = events(run(openai_relay(), [ONE, STOP, STOP, DONE]))
    assert [e["choices"][0]["finish_reason"] for e in out[:-1]] == [None, "stop", None]


def test_choices_side_by_side_finish_each_for_itself() -> None:
    both: dict[str, Any] = {"choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]}
    assert run(openai_relay(), [event(both), DONE]) == event(both) + DONE


def tool(index: int | None, call_id: str | None, name: str | None, arguments: str) -> bytes:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    piece: dict[str, Any] = {} if index is None else {"index": index}
    piece |= {"id": call_id, "type": "function"} if call_id else {}
    return event(chunk({"tool_calls": [piece | {"function": function}]}))


def tool_pieces(*stream: bytes) -> list[dict[str, Any]]:
    out = events(run(openai_relay(tools=[WEATHER]), [*stream, event(chunk({}, "stop")), DONE]))
    assert out[-2]["choices"][0]["finish_reason"] == "tool_calls"
    return [e["choices"][0]["delta"]["tool_calls"][0] for e in out[:-2]]


def test_id_and_name_repeated_in_every_tool_delta_go_out_once() -> None:
    pieces = tool_pieces(
        tool(0, "c", "get_weather", ""), tool(0, "c", "get_weather", '{"a'), tool(0, "c", "get_weather", '":1}')
    )
    assert [piece["index"] for piece in pieces] == [0, 0, 0]
    assert [piece.get("id") for piece in pieces] == ["c", None, None]
    assert [piece["function"].get("name") for piece in pieces] == ["get_weather", None, None]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == '{"a":1}'


@pytest.mark.parametrize("index", [None, 0])
def test_tool_calls_without_a_number_of_their_own_get_one(index: int | None) -> None:
    pieces = tool_pieces(tool(index, "a", "f", "{}"), tool(index, "b", "g", "{}"), tool(index, None, None, " "))
    assert [piece["index"] for piece in pieces] == [0, 1, 1]
    assert [piece.get("id") for piece in pieces] == ["a", "b", None]


def test_right_tool_deltas_pass_as_they_are() -> None:
    stream = [ROLE, tool(0, "a", "f", ""), tool(0, None, None, "{}"), event(chunk({}, "tool_calls")), DONE]
    assert run(openai_relay(tools=[WEATHER]), stream) == b"".join(stream)


@pytest.mark.parametrize(
    "bad",
    [b"<html>oops</html>\n\n", b'data: {"choices":\n\n', b"data: 3\n\n", b'data: {"choices":{}}\n\n', b"\x00\xff\n\n"],
)
def test_rubbish_in_a_stream_is_malformed(bad: bytes) -> None:
    relay = openai_relay()
    with pytest.raises(MalformedAnswerError):
        relay.feed(bad)


def test_an_event_without_end_is_malformed() -> None:
    relay = openai_relay()
    for _ in range(7):
        assert relay.feed(b"data: " + b"x" * 1024 * 1024) == b""
    with pytest.raises(MalformedAnswerError, match="8388608"):
        relay.feed(b"x" * 1024 * 1024)


@pytest.mark.parametrize(
    ("bad", "message", "status"),
    [
        (b'data: {"error":{"message":"boom","code":503}}\n\n', "boom", 503),
        (b'data: {"error":{"message":"boom","type":"server_error","param":null,"code":null}}\n\n', "boom", 502),
        (b'event: error\ndata: {"error":"boom"}\n\n', "boom", 502),
        (b'error: {"code":500,"message":"boom","type":"server_error"}\n\n', "boom", 500),
    ],
)
def test_an_error_in_mid_stream_is_the_providers(bad: bytes, message: str, status: int) -> None:
    relay = openai_relay()
    assert relay.feed(ROLE + ONE + bad) == ROLE + ONE
    with pytest.raises(ProviderError) as caught:
        relay.feed(TWO)
    assert (caught.value.info.message, caught.value.info.status) == (message, status)
    with pytest.raises(ProviderError):
        relay.close()
    assert not relay.finished


def test_comments_and_other_fields_pass() -> None:
    stream = [b": ping\n\n", b"event: x\nid: 1\nretry: 5\n" + ONE, b"\n\n", STOP, DONE]
    assert run(openai_relay(), stream) == b"".join(stream)


def test_windows_line_ends_pass() -> None:
    stream = b"".join([ROLE, ONE, STOP, DONE]).replace(b"\n", b"\r\n")
    assert run(openai_relay(), [stream]) == stream


def test_spaces_in_json_are_no_difference() -> None:
    stream = [b"data: " + json.dumps(chunk({"content": str(i)})).encode() + b"\n\n" for i in range(3)]
    relay = openai_relay()
    assert run(relay, [*stream, STOP, DONE]) == b"".join(stream) + STOP + DONE
    assert relay.chunks == 3


def test_a_models_text_cannot_pass_for_a_key() -> None:
    tricky = event(chunk({"content": '"finish_reason":"stop" data: [DONE] {"error":"x"} "role" "usage":{'}))
    relay = openai_relay()
    assert relay.feed(tricky) == tricky
    assert not relay.finished
    with pytest.raises(MalformedAnswerError):
        relay.close()


def test_nothing_follows_the_end() -> None:
    relay = openai_relay()
    assert relay.feed(ONE + STOP + DONE + ONE) == ONE + STOP + DONE
    assert relay.feed(ONE) == b""
    assert relay.close() == b""


def test_completions_pass_too() -> None:
    pieces = [
        event({"id": "cmpl-1", "choices": [{"index": 0, "text": "a", "finish_reason": reason}]})
        for reason in (None, "stop")
    ]
    relay = relay_for(call(operation=COMPLETION, stream=True, stream_options={"include_usage": True}), OPENAI)
    out = events(run(relay, pieces))
    assert out[-2]["object"] == "text_completion"
    assert out[-2]["usage"]["completion_tokens"] == 2


def test_whole_answers_pass_with_their_tokens_noted() -> None:
    body = dumps(
        chunk(None, usage=USAGE) | {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}]}
    )
    relay = openai_relay()
    assert relay.whole(body) is body
    assert (relay.usage, relay.finished) == (Usage(10, 4), True)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"index":0}', b"[" * 100_000]
)
@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
def test_whole_rubbish_is_malformed(asker: Dialect, node: Dialect, body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        relay_for(call(asker), node).whole(body)


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
def test_an_error_under_status_200_is_the_providers(asker: Dialect, node: Dialect) -> None:
    with pytest.raises(ProviderError, match="no memory"):
        relay_for(call(asker), node).whole(b'{"error":{"message":"no memory"}}')
    mark = b"data: " if node == OPENAI else b""
    with pytest.raises(ProviderError, match="no memory"):
        relay_for(call(asker, stream=True), node).feed(mark + b'{"error":"no memory"}\n\n')


@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
def test_the_caller_reads_of_a_failure_in_its_own_dialect(node: Dialect) -> None:
    info = ErrorInfo(502, "gone", code=7)
    error = {"message": "gone", "type": "api_error", "param": None, "code": "7"}
    assert relay_for(call(stream=True), node).fail(info) == event({"error": error})
    assert relay_for(call(OLLAMA), node).fail(info) == b'{"error":"gone"}\n'


# --- Ollama node, OpenAI caller


def test_lines_become_events() -> None:
    relay = relay_for(call(stream=True, stream_options={"include_usage": True}), OLLAMA)
    out = events(run(relay, [said("One"), said(" two"), last("length")]))
    assert {(e["id"], e["object"], e["created"], e["model"]) for e in out[:-1]} == {
        ("fl-1", "chat.completion.chunk", 1_795_223_718, "the-model")
    }
    assert [e["choices"][0]["delta"] for e in out[:3]] == [
        {"role": "assistant", "content": "One"},
        {"content": " two"},
        {},
    ]
    assert [e["choices"][0]["finish_reason"] for e in out[:3]] == [None, None, "length"]
    assert (out[3]["choices"], out[3]["usage"]) == (
        [],
        {"prompt_tokens": 10, "completion_tokens": 6, "total_tokens": 16},
    )
    assert out[4:] == ["[DONE]"]
    assert (relay.chunks, relay.usage, relay.media_type) == (2, Usage(10, 6), "text/event-stream")


def test_an_empty_answer_still_names_its_role() -> None:
    out = events(run(relay_for(call(stream=True), OLLAMA), [last()]))
    assert out[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert out[1]["choices"][0]["finish_reason"] == "stop"
    assert out[2] == "[DONE]"


def test_ollama_tool_calls_become_deltas() -> None:
    calls = [{"function": {"name": name, "arguments": {"x": 1}}} for name in "ab"]
    out = events(run(relay_for(call(stream=True, tools=[WEATHER]), OLLAMA), [said("", tool_calls=calls), last()]))
    pieces = [e["choices"][0]["delta"]["tool_calls"][0] for e in out[:2]]
    assert [(p["index"], p["id"], p["type"]) for p in pieces] == [
        (0, "call_fl-1_0", "function"),
        (1, "call_fl-1_1", "function"),
    ]
    assert pieces[0]["function"] == {"name": "a", "arguments": '{"x":1}'}
    assert out[2]["choices"][0]["finish_reason"] == "tool_calls"


def test_thinking_becomes_reasoning() -> None:
    relay = relay_for(call(stream=True), OLLAMA)
    assert events(relay.feed(said("", thinking="hm")))[0]["choices"][0]["delta"]["reasoning_content"] == "hm"
    answer = json.loads(relay_for(call(), OLLAMA).whole(line(message={"content": "x", "thinking": "hm"}, done=True)))
    assert answer["choices"][0]["message"]["reasoning_content"] == "hm"


def test_logprobs_both_ways() -> None:
    logprobs = [{"token": "a", "logprob": -0.5}]
    there = relay_for(call(stream=True, logprobs=True), OLLAMA).feed(
        said("a")[:-2] + b',"logprobs":' + dumps(logprobs) + b"}\n"
    )
    assert events(there)[0]["choices"][0]["logprobs"] == {"content": logprobs}
    assert lines(relay_for(call(OLLAMA), OPENAI).feed(there))[0]["logprobs"] == logprobs


def test_whole_ollama_answers_become_completions() -> None:
    calls = [{"function": {"name": "a", "arguments": {}}}]
    relay = relay_for(call(tools=[WEATHER]), OLLAMA)
    out = json.loads(
        relay.whole(line(message={"role": "assistant", "content": "", "tool_calls": calls}, done=True, eval_count=3))
    )
    assert out["object"] == "chat.completion"
    assert out["choices"][0]["finish_reason"] == "tool_calls"
    assert out["choices"][0]["message"]["content"] is None
    assert out["usage"] == {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}


def test_generate_becomes_text_completion() -> None:
    asked = call(operation=COMPLETION, stream=True)
    out = events(run(relay_for(asked, OLLAMA), [line(response="B", done=False), line(response="", done=True)]))
    assert [e["choices"][0]["text"] for e in out[:2]] == ["B", ""]
    assert out[0]["object"] == "text_completion"
    whole = json.loads(relay_for(asked, OLLAMA).whole(line(response="B", done=True, done_reason="length")))
    assert (whole["choices"][0]["text"], whole["choices"][0]["finish_reason"]) == ("B", "length")
    assert whole["usage"]["completion_tokens"] == 1


# --- Ollama node, Ollama caller


def test_lines_pass_as_they_are() -> None:
    stream = [said("One"), said(" two"), last()]
    relay = relay_for(call(OLLAMA), OLLAMA)
    assert run(relay, stream) == b"".join(stream)
    assert (relay.chunks, relay.usage, relay.media_type) == (2, Usage(10, 6), "application/x-ndjson")


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("cut", [b"", b'{"model":"x","mess'])
def test_lines_that_just_end_are_a_failure(asker: Dialect, cut: bytes) -> None:
    relay = relay_for(call(asker, stream=True), OLLAMA)
    relay.feed(said("One") + cut)
    with pytest.raises(MalformedAnswerError):
        relay.close()


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("bad", [b"<html>\n", b"{}\n", b"[]\n", b'{"message":3}\n'])
def test_lines_of_rubbish_are_malformed(asker: Dialect, bad: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        relay_for(call(asker, stream=True), OLLAMA).feed(bad)


def test_the_last_line_may_lack_its_end() -> None:
    assert run(relay_for(call(OLLAMA), OLLAMA), [said("a"), last().rstrip()]) == said("a") + last()


# --- OpenAI node, Ollama caller


def test_events_become_lines() -> None:
    relay = relay_for(call(OLLAMA), OPENAI)
    first = relay.feed(ROLE + ONE)
    message = {"role": "assistant", "content": "One"}
    head = {"model": "the-model", "created_at": "2026-11-21T01:15:18.250000000Z"}
    assert lines(first) == [head | {"message": message, "done": False}]
    assert relay.feed(event(chunk({}, "length")) + COUNT) == b""
    relay.elapsed_s = 0.5
    end = lines(relay.feed(DONE) + relay.close())
    assert end[0]["created_at"] == "2026-11-21T01:15:18.750000000Z"
    assert (end[0]["done"], end[0]["done_reason"], end[0]["message"]["content"]) == (True, "length", "")
    assert (end[0]["total_duration"], end[0]["prompt_eval_count"], end[0]["eval_count"]) == (500_000_000, 10, 4)


def test_tokens_nobody_reports_are_counted_for_ollama() -> None:
    out = lines(run(relay_for(call(OLLAMA), OPENAI), [ROLE, ONE, TWO, STOP]))
    assert out[-1]["eval_count"] == 2


def test_tool_arguments_in_pieces_become_one_object() -> None:
    stream = [
        tool(0, "a", "f", ""), tool(0, None, None, '{"x"'), tool(0, None, None, ":1}"), tool(1, "b", "g", ""),
        event(chunk({}, "tool_calls")), DONE,
    ]  # fmt: skip
    out = lines(run(relay_for(call(OLLAMA, tools=[WEATHER]), OPENAI), stream))
    assert [each["function"] for each in out[0]["message"]["tool_calls"]] == [
        {"name": "f", "arguments": {"x": 1}},
        {"name": "g", "arguments": {}},
    ]
    assert (out[0]["done"], out[1]["done"], out[1]["done_reason"]) == (False, True, "stop")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_becomes_thinking(field: str) -> None:
    out = lines(relay_for(call(OLLAMA), OPENAI).feed(event(chunk({field: "hm"}))))
    assert out[0]["message"] == {"role": "assistant", "content": "", "thinking": "hm"}


def test_whole_completions_become_ollama_answers() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    body = dumps({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": USAGE})
    out = json.loads(relay_for(call(OLLAMA, stream=False), OPENAI).whole(body))
    assert out["message"]["tool_calls"] == [{"function": {"name": "f", "arguments": {"x": 1}}}]
    assert (out["message"]["content"], out["done_reason"], out["eval_count"]) == ("", "stop", 4)


def test_generate_reads_chat_and_completion_answers() -> None:
    asked = call(OLLAMA, COMPLETION)
    text = event({"choices": [{"index": 0, "text": "One", "finish_reason": None}]})
    assert lines(relay_for(asked, OPENAI).feed(text))[0]["response"] == "One"
    assert lines(relay_for(asked, OPENAI).feed(ONE))[0]["response"] == "One"
    whole = dumps({"choices": [{"index": 0, "text": "One", "finish_reason": "stop"}]})
    assert json.loads(relay_for(asked, OPENAI).whole(whole))["response"] == "One"


# --- laws

SSE = [
    b"".join([ROLE, ONE, TWO, STOP, COUNT, DONE]),
    b"".join([ROLE, ONE, TWO, STOP]),
    b"".join([ROLE, ONE, STOP, DONE]).replace(b"\n", b"\r\n"),
    b"".join([event(chunk({"role": "assistant", "content": text})) for text in "abc"] + [STOP, STOP, DONE, ONE]),
    b"".join([b": hi\n\n", tool(0, "a", "f", "{"), tool(0, "a", "f", "}"), tool(0, "b", "g", "{}"), STOP, DONE[:-2]]),
]
NDJSON = [
    b"".join([said("One"), said(" two"), last()]),
    b"".join([said("", tool_calls=[{"function": {"name": "a", "arguments": {}}}]), b"\n", last().rstrip()]),
]


@pytest.mark.parametrize("operation", [CHAT, COMPLETION])
@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@given(data=st.data())
def test_however_a_stream_is_chopped_the_caller_reads_the_same(
    asker: Dialect, operation: Any, data: st.DataObject
) -> None:
    node = data.draw(st.sampled_from([OPENAI, OLLAMA]))
    stream = data.draw(st.sampled_from(SSE if node == OPENAI else NDJSON))
    asked = call(asker, operation, stream=True, stream_options={"include_usage": True}, tools=[WEATHER])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    chopped, at_once = relay_for(asked, node), relay_for(asked, node)
    out = b""
    for piece in pieces:
        given_out = chopped.feed(piece)
        assert given_out == b"" or given_out.endswith(b"\n" if asker == OLLAMA else (b"\n\n", b"\r\n\r\n"))
        out += given_out
    assert out + chopped.close() == run(at_once, [stream])
    assert (chopped.chunks, chopped.usage, chopped.finished) == (at_once.chunks, at_once.usage, at_once.finished)


@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@given(data=st.binary(max_size=200), start=st.sampled_from([b"", ONE, said("x"), b"data: ", b"{"]))
def test_any_bytes_give_an_answer_or_a_known_error(asker: Dialect, node: Dialect, data: bytes, start: bytes) -> None:
    relay = relay_for(call(asker, stream=True), node)
    with suppress(MalformedAnswerError, ProviderError):
        relay.feed(start + data)
        relay.close()
    with pytest.raises((MalformedAnswerError, ProviderError)):
        relay.whole(data)


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_text_survives_the_way_there_and_back(texts: list[str]) -> None:
    events_out = run(relay_for(call(stream=True), OLLAMA), [*(said(text) for text in texts), last("length")])
    back = lines(run(relay_for(call(OLLAMA), OPENAI), [events_out]))
    assert [each["message"]["content"] for each in back] == [*texts, ""]
    assert back[-1]["done_reason"] == "length"
