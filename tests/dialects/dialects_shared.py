"""Events, lines and calls that the dialect tests share."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import settings

from fairlead.dialects import Call, Dialect, Operation, Relay, decode, make_relay

# Laws are about bytes, not about how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

OPENAI, OLLAMA = Dialect.OPENAI, Dialect.OLLAMA
CHAT, COMPLETION, EMBEDDING = Operation.CHAT, Operation.COMPLETION, Operation.EMBEDDING
PATHS = {
    (OPENAI, CHAT): "/v1/chat/completions",
    (OPENAI, COMPLETION): "/v1/completions",
    (OPENAI, EMBEDDING): "/v1/embeddings",
    (OLLAMA, CHAT): "/api/chat",
    (OLLAMA, COMPLETION): "/api/generate",
    (OLLAMA, EMBEDDING): "/api/embed",
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
HI = {"role": "user", "content": "hi"}


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def call(dialect: Dialect = OPENAI, operation: Operation = CHAT, path: str | None = None, **fields: Any) -> Call:
    body: dict[str, Any] = {"model": "m"}
    if operation is CHAT:
        body["messages"] = [HI]
    elif operation is COMPLETION:
        body["prompt"] = "Once"
    elif path != "/api/embeddings":
        body["input"] = "a"
    return decode(dialect, operation, path or PATHS[dialect, operation], dumps(body | fields))


def relay_for(asked: Call, node: Dialect) -> Relay:
    return make_relay(asked, node, answer_id="fl-1", now_s=1_795_223_718.25, model="the-model")


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_795_223_718, "model": "smollm2"}
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    return head | {"choices": choices} | more


def event(value: Any) -> bytes:
    return b"data: " + dumps(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def line(**fields: Any) -> bytes:
    return dumps({"model": "x", "created_at": "2026-11-21T01:15:13.65Z"} | fields) + b"\n"


def said(text: str, **more: Any) -> bytes:
    return line(message={"role": "assistant", "content": text, **more}, done=False)


def last(reason: str = "stop") -> bytes:
    counts = {"prompt_eval_count": 10, "eval_count": 6}
    return line(message={"role": "assistant", "content": ""}, done_reason=reason, done=True, **counts)


def run(relay: Relay, pieces: Iterable[bytes]) -> bytes:
    return b"".join(relay.feed(piece) for piece in pieces) + relay.close()


def events(data: bytes) -> list[Any]:
    """The decoded data of every event; `[DONE]` as a string. Half an event fails."""
    assert data == b"" or data.endswith(b"\n\n")
    texts = [part.removeprefix(b"data: ") for part in data.split(b"\n\n") if part]
    return [text.decode() if text == b"[DONE]" else json.loads(text) for text in texts]


def lines(data: bytes) -> list[Any]:
    assert data == b"" or data.endswith(b"\n")
    return [json.loads(text) for text in data.splitlines() if text]
