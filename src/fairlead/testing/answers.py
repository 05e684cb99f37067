"""What a fake model server says, in each dialect: an echo or a given text, with every field that real servers send."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

FakeDialect = Literal["openai", "ollama"]
CREATED_S = 1_795_000_000
CREATED_AT = "2026-11-21T00:00:00.000000000Z"
EXTRA = {"x_provider_extra": {"kept": [1, 2.5, None, "ä"]}}
"""A field that no dialect knows: it must reach the caller untouched."""
EMBEDDING = [0.25, -0.5, 1.0]
_TOOL = {"name": "get_weather", "arguments": '{"city":"Ghent"}'}

encode = msgspec.json.encode


class Asked(msgspec.Struct):
    """What the server needs to know of a request to answer it; everything else stays in `fields`."""

    path: str
    fields: dict[str, Any]

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.fields.get("model", ""))

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed; Ollama's default is yes."""
        return bool(self.fields.get("stream", self.path in ("/api/chat", "/api/generate")))

    @property
    def prompt(self) -> str:
        """The last thing the user said."""
        messages = self.fields.get("messages")
        if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
            return _text(messages[-1].get("content"))
        return _text(self.fields.get("prompt", self.fields.get("input", "")))

    @property
    def texts(self) -> int:
        """How many texts are to be embedded."""
        given = self.fields.get("input")
        return len(given) if isinstance(given, list) else 1

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens as the server counts them: any fixed rule will do."""
        return len(self.prompt.split()), 7


def pieces_of(text: str, count: int) -> list[str]:
    """Cut a text into so many pieces, as even as they come."""
    cuts = [len(text) * at // count for at in range(count + 1)]
    return [text[start:end] for start, end in pairwise(cuts)]


def whole_answer(asked: Asked, text: str, *, with_usage: bool = True) -> bytes:
    """Return the body of an answer that is not streamed."""
    path = asked.path
    if path.startswith("/api/"):
        return encode(_ollama_whole(asked, text))
    if path.endswith("/messages"):
        return encode(_anthropic_message(asked, [{"type": "text", "text": text}], "end_turn"))
    answer: dict[str, Any] = {"id": "fake-1", "object": "list", "created": CREATED_S, "model": asked.model} | EXTRA
    if path.endswith("/embeddings"):
        texts = range(asked.texts)
        answer["data"] = [{"object": "embedding", "index": at, "embedding": EMBEDDING} for at in texts]
    elif path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        reason = "stop"
        if asked.fields.get("tools"):
            message = {"role": "assistant", "content": None, "tool_calls": [_openai_tool()]}
            reason = "tool_calls"
        answer |= {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    else:
        answer |= {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": "stop"}]}
    if with_usage:
        answer["usage"] = _openai_usage(asked)
    return encode(answer)


def stream_events(
    asked: Asked, pieces: Sequence[str], *, with_usage: bool = True, with_done: bool = True
) -> Iterable[bytes]:
    """Yield the events of a streamed answer, the end mark last."""
    if asked.path.startswith("/api/"):
        yield from _ollama_lines(asked, pieces)
    elif asked.path.endswith("/messages"):
        yield from _anthropic_events(asked, pieces)
    else:
        yield from _openai_events(asked, pieces, with_usage=with_usage)
        if with_done:
            yield b"data: [DONE]\n\n"


def model_list(dialect: FakeDialect, models: Iterable[str]) -> bytes:
    """Return the answer to `GET /v1/models` or `GET /api/tags`."""
    if dialect == "ollama":
        return encode({"models": [{"name": name, "model": name, "size": 1, "details": {}} for name in models]})
    return encode({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "fake"} for name in models]})


# -- OpenAI


def _openai_events(asked: Asked, pieces: Sequence[str], *, with_usage: bool) -> Iterable[bytes]:
    is_chat = asked.path.endswith("/chat/completions")
    head: dict[str, Any] = {"id": "fake-1", "object": "text_completion", "created": CREATED_S, "model": asked.model}
    head |= EXTRA
    reason = "stop"
    if is_chat:
        head["object"] = "chat.completion.chunk"
        yield _sse(head, {"delta": {"role": "assistant", "content": ""}})
    if asked.fields.get("tools"):
        reason = "tool_calls"
        start, rest = _TOOL["arguments"][:6], _TOOL["arguments"][6:]
        first = {"index": 0, **_openai_tool(), "function": {"name": _TOOL["name"], "arguments": start}}
        yield _sse(head, {"delta": {"tool_calls": [first]}})
        yield _sse(head, {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": rest}}]}})
    else:
        for piece in pieces:
            yield _sse(head, {"delta": {"content": piece}} if is_chat else {"text": piece})
    yield _sse(head, {"delta": {}} if is_chat else {"text": ""}, reason)
    options = asked.fields.get("stream_options")
    if with_usage and isinstance(options, dict) and options.get("include_usage"):
        yield b"data: " + encode(head | {"choices": [], "usage": _openai_usage(asked)}) + b"\n\n"


def _sse(head: dict[str, Any], content: dict[str, Any], reason: str | None = None) -> bytes:
    return b"data: " + encode(head | {"choices": [{"index": 0, **content, "finish_reason": reason}]}) + b"\n\n"


def _openai_tool() -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": _TOOL}


def _openai_usage(asked: Asked) -> dict[str, int]:
    prompt, answer = asked.tokens
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


# -- Ollama


def _ollama_whole(asked: Asked, text: str) -> dict[str, Any]:
    if asked.path == "/api/embed":
        return {"model": asked.model, "embeddings": [EMBEDDING] * asked.texts, "prompt_eval_count": 3} | EXTRA
    if asked.path == "/api/embeddings":
        return {"embedding": EMBEDDING} | EXTRA
    return _ollama_line(asked, text) | _ollama_end(asked) | EXTRA


def _ollama_lines(asked: Asked, pieces: Sequence[str]) -> Iterable[bytes]:
    if asked.fields.get("tools"):
        yield encode(_ollama_line(asked, "") | {"done": False}) + b"\n"
        pieces = ()
    for piece in pieces:
        yield encode(_ollama_line(asked, piece) | {"done": False} | EXTRA) + b"\n"
    last = _ollama_line(asked, "")
    if "message" in last:
        last["message"].pop("tool_calls", None)
    yield encode(last | _ollama_end(asked)) + b"\n"


def _ollama_line(asked: Asked, text: str) -> dict[str, Any]:
    line: dict[str, Any] = {"model": asked.model, "created_at": CREATED_AT}
    if asked.path == "/api/generate":
        return line | {"response": text}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if asked.fields.get("tools"):
        arguments = msgspec.json.decode(_TOOL["arguments"])
        message |= {"content": "", "tool_calls": [{"function": {"name": _TOOL["name"], "arguments": arguments}}]}
    return line | {"message": message}


def _ollama_end(asked: Asked) -> dict[str, Any]:
    prompt, answer = asked.tokens
    counts = {"total_duration": 9, "load_duration": 1, "prompt_eval_count": prompt, "eval_count": answer}
    return {"done_reason": "stop", "done": True} | counts


# -- Anthropic


def _anthropic_message(asked: Asked, content: list[dict[str, Any]], reason: str | None) -> dict[str, Any]:
    prompt, answer = asked.tokens
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": {"input_tokens": prompt, "output_tokens": answer},
    }


def _anthropic_events(asked: Asked, pieces: Sequence[str]) -> Iterable[bytes]:
    yield _named({"type": "message_start", "message": _anthropic_message(asked, [], None)})
    yield _named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    for piece in pieces:
        yield _named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
    yield _named({"type": "content_block_stop", "index": 0})
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _named({"type": "message_delta", "delta": delta, "usage": {"output_tokens": asked.tokens[1]}})
    yield _named({"type": "message_stop"})


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), encode(event))


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
