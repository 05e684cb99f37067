"""Embedding answers between the dialects."""

import json

import pytest
from dialects_shared import EMBEDDING, OLLAMA, OPENAI, call, dumps, relay_for
from hypothesis import given
from hypothesis import strategies as st

from fairlead.dialects import Dialect, ErrorInfo, Usage
from fairlead.dialects.embeddings import as_base64, from_base64
from fairlead.errors import MalformedAnswerError

OPENAI_ANSWER = dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": v} for i, v in ((1, [0.5]), (0, [0.25, 1]))],
        "model": "x",
        "usage": {"prompt_tokens": 2, "total_tokens": 2},
    }
)
OLLAMA_ANSWER = dumps({"model": "x", "embeddings": [[0.25, 1.0], [0.5]], "prompt_eval_count": 2})


@given(st.lists(st.floats(width=32, allow_nan=False)))
def test_base64_and_floats_are_the_same_vector(vector: list[float]) -> None:
    assert from_base64(as_base64(vector)) == vector


def test_base64_is_little_endian_float32() -> None:
    assert as_base64([1.0]) == "AACAPw=="
    with pytest.raises(MalformedAnswerError):
        from_base64("AACA?w")
    with pytest.raises(MalformedAnswerError):
        from_base64("AACAPwA=")
    with pytest.raises(MalformedAnswerError):
        as_base64([1e300])


@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
def test_within_a_dialect_answers_pass(node: Dialect) -> None:
    body = OPENAI_ANSWER if node == OPENAI else OLLAMA_ANSWER
    relay = relay_for(call(node, EMBEDDING), node)
    assert relay.whole(body) is body
    assert relay.usage == Usage(2, 0)


def test_ollama_vectors_for_an_openai_caller() -> None:
    relay = relay_for(call(operation=EMBEDDING), OLLAMA)
    out = json.loads(relay.whole(OLLAMA_ANSWER))
    assert [(each["index"], each["embedding"]) for each in out["data"]] == [(0, [0.25, 1.0]), (1, [0.5])]
    assert (out["object"], out["model"], out["usage"]) == ("list", "the-model", {"prompt_tokens": 2, "total_tokens": 2})
    packed = relay_for(call(operation=EMBEDDING, encoding_format="base64"), OLLAMA).whole(OLLAMA_ANSWER)
    assert from_base64(json.loads(packed)["data"][0]["embedding"]) == [0.25, 1.0]


def test_openai_vectors_for_an_ollama_caller() -> None:
    out = json.loads(relay_for(call(OLLAMA, EMBEDDING), OPENAI).whole(OPENAI_ANSWER))
    assert list(out) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert (out["embeddings"], out["prompt_eval_count"]) == ([[0.25, 1.0], [0.5]], 2)
    old = relay_for(call(OLLAMA, EMBEDDING, "/api/embeddings", prompt="a"), OPENAI)
    assert json.loads(old.whole(OPENAI_ANSWER)) == {"embedding": [0.25, 1.0]}


def test_base64_from_a_node_reaches_an_ollama_caller_as_floats() -> None:
    body = dumps({"data": [{"embedding": as_base64([0.5]), "index": 0}]})
    assert json.loads(relay_for(call(OLLAMA, EMBEDDING), OPENAI).whole(body))["embeddings"] == [[0.5]]


@pytest.mark.parametrize("asker", [OPENAI, OLLAMA])
@pytest.mark.parametrize("node", [OPENAI, OLLAMA])
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"data":[3]}', b'{"embeddings":3}'])
def test_rubbish_is_malformed(asker: Dialect, node: Dialect, body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        relay_for(call(asker, EMBEDDING), node).whole(body)


def test_embeddings_are_never_streamed() -> None:
    relay = relay_for(call(OLLAMA, EMBEDDING), OPENAI)
    with pytest.raises(MalformedAnswerError):
        relay.feed(b"x")
    with pytest.raises(MalformedAnswerError):
        relay.close()
    assert relay.fail(ErrorInfo(502, "gone")) == b'{"error":"gone"}'
