"""What the doors understand of requests, and what they say of bodies that they do not."""

import json
from contextlib import suppress
from typing import Any

import pytest
from dialects_shared import CHAT, COMPLETION, EMBEDDING, HI, OLLAMA, OPENAI, PATHS, WEATHER, call, dumps
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import Call, Dialect, Operation, decode
from fairlead.errors import BadRequestError

EVERY = list(PATHS)


def complaint(body: bytes, dialect: Dialect = OPENAI, operation: Operation = CHAT) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        decode(dialect, operation, PATHS[dialect, operation], body)
    return caught.value


def test_openai_chat_is_understood() -> None:
    asked = call(
        messages=[{"role": "system", "content": "be short"}, HI, {"role": "assistant", "content": None}],
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=5,
        max_completion_tokens=7,
        unknown={"anything": [1]},
    )
    assert (asked.model, asked.prompt, asked.stream, asked.include_usage) == ("m", "hi", True, True)
    assert asked.max_output_tokens == 7
    assert asked.needs == frozenset()


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": [WEATHER]}, {"tools"}),
        ({"tools": []}, set()),
        ({"functions": [{"name": "f"}]}, {"tools"}),
        ({"response_format": {"type": "text"}}, set()),
        ({"response_format": {"type": "json_object"}}, {"json"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, {"json"}),
        ({"logprobs": True}, {"logprobs"}),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]}, {"vision"}),
        ({"messages": [{"role": "user", "content": 'the key "image_url"'}]}, set()),
    ],
)
def test_openai_needs(fields: dict[str, Any], needs: set[str]) -> None:
    assert call(**fields).needs == needs


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": []}, set()),
        ({"tools": [WEATHER]}, {"tools"}),
        ({"format": ""}, set()),
        ({"format": None}, set()),
        ({"format": "json"}, {"json"}),
        ({"format": {"type": "object"}}, {"json"}),
        ({"messages": [{"role": "user", "content": "see", "images": ["iVBOR"]}]}, {"vision"}),
    ],
)
def test_ollama_needs(fields: dict[str, Any], needs: set[str]) -> None:
    assert call(OLLAMA, **fields).needs == needs


def test_the_prompt_is_the_last_user_message_with_its_parts_joined() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": "u"}, {"type": "text", "text": "two"}]
    messages = [HI, {"role": "user", "content": parts}, {"role": "tool", "content": "result"}]
    assert call(messages=messages).prompt == "one\ntwo"
    assert call(messages=[]).prompt == ""


@given(st.text(min_size=0, max_size=9000))
def test_a_long_prompt_is_cut_to_its_head_and_tail(text: str) -> None:
    prompt = call(messages=[{"role": "user", "content": text}]).prompt
    assert len(prompt) <= 3073
    assert prompt.startswith(text[:2048])
    assert prompt.endswith(text[-1024:])


def test_ollama_defaults() -> None:
    asked = call(OLLAMA, options=None, tools=[])
    assert asked.stream
    assert asked.max_output_tokens is None
    assert not call(OLLAMA, stream=False).stream
    assert call(OLLAMA, COMPLETION, options={"num_predict": 6}).max_output_tokens == 6
    assert call(OLLAMA, options={"num_predict": -1}).max_output_tokens is None


def test_ollama_model_may_stand_in_name() -> None:
    assert decode(OLLAMA, CHAT, "/api/chat", b'{"model":"","name":"smollm2:135m"}').model == "smollm2:135m"


@pytest.mark.parametrize("texts", ["a", ["a", "b"], [1, 2], [[1, 2], [3]], []])
def test_embedding_inputs(texts: Any) -> None:
    asked = call(operation=EMBEDDING, input=texts)
    assert asked.prompt == {"a": "a"}.get(str(texts), "a\nb" if texts == ["a", "b"] else "")


def test_completion_prompts() -> None:
    assert call(operation=COMPLETION, prompt=["a", "b"]).prompt == "a\nb"
    assert call(operation=COMPLETION, prompt=[1, 2]).prompt == ""
    assert call(operation=COMPLETION, logprobs=3, max_tokens=9).needs == {"logprobs"}


def test_older_ollama_embeddings() -> None:
    asked = call(OLLAMA, EMBEDDING, "/api/embeddings", prompt="a")
    assert (asked.path, asked.prompt) == ("/api/embeddings", "a")
    assert call(OLLAMA, EMBEDDING, input=["a", "b"]).prompt == "a\nb"


@pytest.mark.parametrize(
    ("body", "text", "param"),
    [
        (b"", "no body", None),
        (b"[]", "must be an object, not a list", None),
        (b"{bad", "object keys must be strings at byte 1", None),
        (b'{"model":"a"', "ends too early", None),
        (b'{"messages":[]}', "`model` is missing: name a model", "model"),
        (b'{"model":"","messages":[]}', "`model` is missing", "model"),
        (b'{"model":"a"}', "`messages` is missing", "messages"),
        (b'{"model":3,"messages":[]}', "`model` must be a string, not an integer", "model"),
        (b'{"model":"a","messages":{}}', "`messages` must be a list, not an object", "messages"),
        (
            b'{"model":"a","messages":[{"role":"user","content":3}]}',
            "`messages[0].content` must be a string or a list, not an integer",
            "messages[0].content",
        ),
        (b'{"model":"a","messages":[],"stream":"yes"}', "`stream` must be true or false, not a string", "stream"),
        (b'{"model":"a","messages":[],"temperature":NaN}', "not valid JSON", None),
        (b'{"model":"\xff","messages":[]}', "UTF-8", None),
        (b"[" * 100_000, "must be an object", None),
        (b'{"model":"a","messages":[],"x":' + b"[" * 100_000, "nested too deeply", None),
        (b'{"x":' * 100_000, "nested too deeply", None),
    ],
)
def test_openai_complaints_name_the_field_and_the_remedy(body: bytes, text: str, param: str | None) -> None:
    error = complaint(body)
    assert text in str(error)
    assert error.param == param


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "missing request body"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string"),
        (b'{"model" "a"}', "invalid character '\"' after object key"),
        (b'{"model":"a" "b":1}', "invalid character '\"' after object key:value pair"),
        (b'{"model":x}', "invalid character 'x' looking for beginning of value"),
        (b'{"model":"a"', "unexpected EOF"),
        (b'{"messages":[{"role":"user","content":"hi"}]}', "model is required"),
        (b"null", "model is required"),
        (b"{}", "model is required"),
        (b"[]", "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (
            b'{"model":"a","messages":"x"}',
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type []interface {}",
        ),
        (
            b'{"model":"a","messages":[{"role":"user","content":3}]}',
            "json: cannot unmarshal number into Go struct field ChatRequest.messages.content of type string",
        ),
        (b'{"model":"\xff"}', "invalid UTF-8 in request body"),
        (b'{"model":"a","x":' + b"[" * 100_000, "exceeded max depth"),
    ],
)
def test_ollama_complaints_read_like_ollamas(body: bytes, text: str) -> None:
    assert str(complaint(body, OLLAMA)) == text


@pytest.mark.parametrize("door", EVERY)
@given(body=st.binary(max_size=300))
def test_any_bytes_give_a_call_or_a_complaint(door: tuple[Dialect, Operation], body: bytes) -> None:
    with suppress(BadRequestError):
        assert isinstance(decode(*door, PATHS[door], body), Call)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_keys = ["model", "messages", "stream", "tools", "options", "prompt", "input", "format", "max_tokens", "images", "name"]


@pytest.mark.parametrize("door", EVERY)
@given(fields=st.dictionaries(st.sampled_from(_keys), _json | st.just([{"role": "user", "content": "x"}])))
def test_any_json_gives_a_call_or_a_complaint(door: tuple[Dialect, Operation], fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "m"} | fields).encode()
    with suppress(BadRequestError):
        assert decode(*door, PATHS[door], body).body is body


def test_a_number_without_end_is_no_limit() -> None:
    assert call(max_tokens=10**30).max_output_tokens is None
    assert call(max_tokens=64.0).max_output_tokens == 64
    assert complaint(dumps({"model": "m", "messages": [], "max_tokens": "64"})).param == "max_tokens"
