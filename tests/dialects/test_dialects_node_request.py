"""What nodes are sent."""

import json
from contextlib import suppress
from typing import Any

import pytest
from dialects_shared import CHAT, COMPLETION, EMBEDDING, HI, OLLAMA, OPENAI, PATHS, WEATHER, call, dumps
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, Operation, decode, empty_answer, node_request
from fairlead.dialects.passing import decode_passing
from fairlead.errors import BadRequestError


def sent(asked: Call, node: Dialect, model: str = "there") -> Any:
    return json.loads(node_request(asked, model, node).body)


@pytest.mark.parametrize(
    ("dialect", "operation", "path"),
    [
        (OPENAI, CHAT, "/chat/completions"),
        (OPENAI, COMPLETION, "/completions"),
        (OPENAI, EMBEDDING, "/embeddings"),
        (OLLAMA, CHAT, "/api/chat"),
        (OLLAMA, COMPLETION, "/api/generate"),
        (OLLAMA, EMBEDDING, "/api/embed"),
    ],
)
def test_within_a_dialect_the_body_is_the_same_bytes(dialect: Dialect, operation: Operation, path: str) -> None:
    asked = call(dialect, operation)
    request = node_request(asked, "m", dialect)
    assert request.path == path
    assert request.body is asked.body


@given(
    st.dictionaries(
        st.text(max_size=6), st.text(max_size=6) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    ),
    st.text(min_size=1),
)
def test_another_name_changes_nothing_but_the_name(fields: dict[str, Any], model: str) -> None:
    body = dumps(fields | {"model": "old", "messages": [{"role": "user", "content": 'say "model":"x"'}]})
    request = node_request(decode(OPENAI, CHAT, "/v1/chat/completions", body), model, OPENAI)
    assert json.loads(request.body) == json.loads(body) | {"model": model}


def test_what_is_not_the_name_keeps_its_bytes() -> None:
    body = (
        b'{"temperature":1.0e-0,"model":"m","messages":[{"role":  "user"}],"x":"\\u00e4","seed":98765432109876543210}'
    )
    request = node_request(decode(OPENAI, CHAT, "/v1/chat/completions", body), "n", OPENAI)
    assert request.body == body.replace(b'"m"', b'"n"')


@pytest.mark.parametrize(
    "body", [b'{"model":"x","messages":[],"model":"m"}', b'{"model":"m","messages":[],"mod\\u0065l":"m"}']
)
def test_no_second_name_gets_past_the_first(body: bytes) -> None:
    pairs = json.loads(node_request(decode(OPENAI, CHAT, "/", body), "n", OPENAI).body, object_pairs_hook=list)
    assert [value for key, value in pairs if key == "model"] == ["n"]


def test_an_ollama_name_becomes_a_model() -> None:
    asked = decode(OLLAMA, CHAT, "/api/chat", b'{"model":"","name":"m","messages":[]}')
    assert sent(asked, OLLAMA, "m") == {"model": "m", "messages": []}


def test_openai_chat_for_an_ollama_node() -> None:
    request = node_request(
        call(
            temperature=0.5, top_p=0.9, top_k=3, seed=1, stop="x", presence_penalty=0.1, frequency_penalty=0.2,
            max_tokens=5, max_completion_tokens=6, num_ctx=4096, stream=True, stream_options={"include_usage": True},
            response_format={"type": "json_object"}, tools=[WEATHER], tool_choice="auto", reasoning_effort="low",
            logprobs=True, top_logprobs=2, mine={"a": 1},
        ),
        "there",
        OLLAMA,
    )  # fmt: skip
    assert request.path == "/api/chat"
    assert json.loads(request.body) == {
        "model": "there",
        "messages": [HI],
        "stream": True,
        "options": {
            "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1, "stop": ["x"], "presence_penalty": 0.1,
            "frequency_penalty": 0.2, "num_predict": 6, "num_ctx": 4096,
        },
        "format": "json",
        "think": True,
        "tools": [WEATHER],
        "logprobs": True,
        "top_logprobs": 2,
        "mine": {"a": 1},
    }  # fmt: skip


def test_ollama_stream_is_always_said_aloud() -> None:
    assert sent(call(), OLLAMA)["stream"] is False


def test_tool_conversations_go_there_and_back() -> None:
    messages = [
        HI,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}},
                {"id": "c2", "type": "function", "function": {"name": "get_time", "arguments": ""}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    ]
    there = sent(call(messages=messages), OLLAMA)["messages"]
    assert [each["function"]["arguments"] for each in there[1]["tool_calls"]] == [{"city": "Rome"}, {}]
    assert [message.get("tool_name") for message in there[2:]] == ["get_time", "get_weather"]
    back = sent(call(OLLAMA, messages=there), OPENAI)["messages"]
    assert [message["tool_call_id"] for message in back[2:]] == ["c2", "c1"]
    assert back[1]["tool_calls"][0] == messages[1]["tool_calls"][0]  # type: ignore[index]


def test_ollama_tool_calls_get_ids_that_their_answers_find() -> None:
    function = {"name": "a", "arguments": {"x": 1}}
    messages = [
        HI,
        {"role": "assistant", "content": "", "tool_calls": [{"function": function}, {"function": {"name": "b"}}]},
        {"role": "tool", "tool_name": "b", "content": "2"},
        {"role": "tool", "content": "1"},
    ]
    out = sent(call(OLLAMA, messages=messages), OPENAI)["messages"]
    first, second = (each["id"] for each in out[1]["tool_calls"])
    assert out[1]["tool_calls"][0]["function"] == {"name": "a", "arguments": '{"x":1}'}
    assert [message["tool_call_id"] for message in out[2:]] == [second, first]


def test_a_models_broken_arguments_do_not_stop_the_conversation() -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{oops"}}]
    out = sent(call(messages=[{"role": "assistant", "tool_calls": calls}]), OLLAMA)
    assert out["messages"][0]["tool_calls"][0]["function"]["arguments"] == {"input": "{oops"}


def test_images_both_ways() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/AA=="}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "see"}, part]}]
    there = sent(call(messages=messages), OLLAMA)["messages"]
    assert there == [{"role": "user", "content": "see", "images": ["/9j/AA=="]}]
    assert sent(call(OLLAMA, messages=there), OPENAI)["messages"] == messages


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "http://x/a.png"}]}]},
            "messages[0].content",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content"),
        ({"n": 2}, "n"),
    ],
)
def test_what_ollama_cannot_be_asked_is_said(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        node_request(call(**fields), "there", OLLAMA)
    assert caught.value.param == param


def test_token_ids_need_an_openai_node() -> None:
    with pytest.raises(BadRequestError, match="token ids"):
        node_request(call(operation=EMBEDDING, input=[1, 2]), "there", OLLAMA)
    with pytest.raises(BadRequestError, match="token ids"):
        node_request(call(operation=COMPLETION, prompt=[1, 2]), "there", OLLAMA)


def test_ollama_chat_for_an_openai_node() -> None:
    options = {"num_predict": 6, "temperature": 0.5, "seed": 1, "stop": ["x"], "num_ctx": 2048, "num_gpu": 0}
    schema = {"type": "object"}
    asked = call(OLLAMA, options=options, keep_alive="5m", format=schema, think=True, tools=[WEATHER], mine=1)
    request = node_request(asked, "there", OPENAI, ask_usage=True)
    assert request.path == "/chat/completions"
    assert json.loads(request.body) == {
        "model": "there",
        "messages": [HI],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 6,
        "temperature": 0.5,
        "seed": 1,
        "stop": ["x"],
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
        "reasoning_effort": "medium",
        "tools": [WEATHER],
        "mine": 1,
    }


def test_ollama_habits_do_not_reach_an_openai_node() -> None:
    asked = call(OLLAMA, options=None, tools=[], format="", think=False, stream=False)
    assert sent(asked, OPENAI) == {"model": "there", "messages": [HI], "stream": False}
    assert "max_tokens" not in sent(call(OLLAMA, options={"num_predict": -1}), OPENAI)


def test_generate_becomes_chat_or_completion() -> None:
    asked = call(OLLAMA, COMPLETION, system="be short", images=["iVBORw0"], stream=False)
    request = node_request(asked, "there", OPENAI)
    assert request.path == "/chat/completions"
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0"}}
    assert json.loads(request.body)["messages"] == [
        {"role": "system", "content": "be short"},
        {"role": "user", "content": [{"type": "text", "text": "Once"}, image]},
    ]
    raw = node_request(call(OLLAMA, COMPLETION, raw=True, stream=False), "there", OPENAI)
    assert raw.path == "/completions"
    assert json.loads(raw.body) == {"model": "there", "prompt": "Once", "stream": False}
    assert sent(call(OLLAMA, COMPLETION, suffix="end", stream=False), OPENAI)["suffix"] == "end"


def test_completion_becomes_raw_generate() -> None:
    request = node_request(call(operation=COMPLETION, max_tokens=4, prompt=["Once"]), "there", OLLAMA)
    assert request.path == "/api/generate"
    expected = {"model": "there", "prompt": "Once", "raw": True, "stream": False, "options": {"num_predict": 4}}
    assert json.loads(request.body) == expected
    assert "raw" not in sent(call(operation=COMPLETION, suffix="end"), OLLAMA)


def test_embeddings_both_ways() -> None:
    there = node_request(call(operation=EMBEDDING, input=["a"], encoding_format="base64"), "there", OLLAMA)
    assert (there.path, json.loads(there.body)) == ("/api/embed", {"model": "there", "input": ["a"]})
    back = node_request(call(OLLAMA, EMBEDDING, input=["a"], truncate=True, keep_alive=0), "there", OPENAI)
    assert (back.path, json.loads(back.body)) == ("/embeddings", {"model": "there", "input": ["a"]})
    assert sent(call(OLLAMA, EMBEDDING, "/api/embeddings", prompt="a"), OPENAI)["input"] == "a"


def test_other_paths_keep_their_own_shape() -> None:
    asked = decode_passing("/v1/messages", b'{"model":"m","max_tokens":1}')
    assert node_request(asked, "n", OPENAI).path == "/messages"
    assert node_request(asked, "n", OLLAMA).path == "/v1/messages"
    assert sent(asked, OPENAI) == {"model": "there", "max_tokens": 1}
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--b--\r\n'
    asked = decode_passing("/v1/audio/transcriptions", form)
    assert node_request(asked, "other", OPENAI).body == form.replace(b"whisper", b"other")


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_keys = [
    "messages",
    "tools",
    "options",
    "format",
    "response_format",
    "stop",
    "functions",
    "images",
    "logprobs",
    "think",
]


@pytest.mark.parametrize("door", list(PATHS))
@given(fields=st.dictionaries(st.sampled_from(_keys), _json | st.just([{"role": "tool", "content": []}])))
def test_translation_never_breaks(door: tuple[Dialect, Operation], fields: dict[str, Any]) -> None:
    other = OLLAMA if door[0] == OPENAI else OPENAI
    with suppress(BadRequestError):
        assert sent(call(*door, **fields), other)["model"] == "there"


_SILENCE = {"message": {"role": "assistant", "content": ""}}


@pytest.mark.parametrize(
    ("operation", "fields", "answer"),
    [
        (CHAT, {"messages": []}, _SILENCE | {"done_reason": "load", "done": True}),
        (CHAT, {"messages": [], "keep_alive": "0s"}, _SILENCE | {"done_reason": "unload", "done": True}),
        (COMPLETION, {"prompt": ""}, {"response": "", "done": True, "done_reason": "load"}),
        (COMPLETION, {"prompt": "", "keep_alive": 0.0}, {"response": "", "done": True, "done_reason": "unload"}),
    ],
)
def test_loading_needs_no_node(operation: Operation, fields: dict[str, Any], answer: dict[str, Any]) -> None:
    body = empty_answer(call(OLLAMA, operation, **fields), now_s=1.5, model="m")
    assert body is not None
    assert json.loads(body) == {"model": "m", "created_at": "1970-01-01T00:00:01.500000000Z"} | answer
    assert list(json.loads(body))[2:] == list(answer)


def test_only_empty_ollama_calls_are_empty() -> None:
    assert empty_answer(call(messages=[]), now_s=0.0, model="m") is None
    assert empty_answer(call(OLLAMA), now_s=0.0, model="m") is None
    assert empty_answer(call(OLLAMA, messages=[{"role": "system", "content": "x"}]), now_s=0.0, model="m") is None
    assert empty_answer(call(OLLAMA, EMBEDDING, input=[]), now_s=0.0, model="m") == b'{"model":"m","embeddings":[]}'
    old = call(OLLAMA, EMBEDDING, "/api/embeddings", prompt="")
    assert empty_answer(old, now_s=0.0, model="m") == b'{"embedding":[]}'
