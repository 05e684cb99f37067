"""What a fake model server says, in each dialect: an echo or a given text, with every field that real servers send."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal
from zlib import crc32

import msgspec

FakeDialect = Literal["openai", "ollama"]
CREATED_S = 1_795_000_000
CREATED_AT = "2026-11-21T00:00:00.000000000Z"
EXTRA = {"x_provider_extra": {"kept": [1, 2.5, None, "ä"]}}
"""A field that no dialect knows: it must reach the caller untouched."""
EMBEDDING = [0.25, -0.5, 1.0]
_SYLLABLES = (("bdfgklmn", 0), ("aeiou", 8), ("prstvwzk", 16), ("aeiou", 24))
_TOOL = {"name": "get_weather", "arguments": '{"city":"Ghent"}'}

encode = msgspec.json.encode


class Continues(StrEnum):
    """What a server makes of a request that ends in the beginning of an answer."""

    IGNORES = "ignores"
    """It answers from the start, in its own words."""
    RESTATES = "restates"
    """It says the beginning again, as it was given, and goes on."""
    REJECTS = "rejects"
    """400."""
    TRAILING = "trailing"
    """It goes on from there: llama.cpp, Ollama."""
    CONTINUE_FINAL = "continue_final_message"
    """It goes on where `continue_final_message` is set, and answers from the start otherwise: vLLM, SGLang."""
    PREFIX = "prefix"
    """It goes on where the message says `prefix: true`; 400 otherwise: DeepSeek, Mistral."""


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
        messages = self._messages
        if messages:
            return _text(messages[-2 if self.begun and len(messages) > 1 else -1].get("content"))
        return _text(self.fields.get("prompt", self.fields.get("input", "")))

    @property
    def begun(self) -> str:
        """The beginning of an answer that the request ends in; empty where it ends in the user's words."""
        last = self._messages[-1] if self._messages else {}
        return _text(last.get("content")) if last.get("role") == "assistant" else ""

    @property
    def _messages(self) -> list[dict[str, Any]]:
        messages = self.fields.get("messages")
        return messages if isinstance(messages, list) and all(isinstance(one, dict) for one in messages) else []

    @property
    def texts(self) -> int:
        """How many texts are to be embedded."""
        given = self.fields.get("input")
        return len(given) if isinstance(given, list) else 1

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens as the server counts them: any fixed rule will do."""
        return len(self.prompt.split()), 7


def echo(prompt: str) -> str:
    """Say what was asked."""
    return f"echo: {prompt}"


def numbered(words: int = 24, wording: str = "") -> Callable[[str], str]:
    """Return what says so many numbered words to a prompt, always the same ones, and others where `wording` differs.

    Every word stands but once and names its place, so that a gap, a repeat or words of another answer can be told.
    """

    def say(prompt: str) -> str:
        return " ".join(f"{at}.{_word(f'{wording}/{prompt}/{at}')}" for at in range(1, words + 1))

    return say


def continued(asked: Asked, text: str, how: Continues) -> str | None:
    """Return what a server says whose whole answer is `text`, where part of one was given; None: it refuses."""
    begun = asked.begun
    if not begun or how is Continues.IGNORES:
        return text
    is_prefix = asked.fields["messages"][-1].get("prefix") is True
    if how is Continues.REJECTS or (how is Continues.PREFIX and not is_prefix):
        return None
    if how is Continues.CONTINUE_FINAL and asked.fields.get("continue_final_message") is not True:
        return text
    return (begun if how is Continues.RESTATES else "") + text[len(begun) :]


def pieces_of(text: str, count: int) -> list[str]:
    """Cut a text into so many pieces, as even as they come."""
    cuts = [len(text) * at // count for at in range(count + 1)]
    return [text[start:end] for start, end in pairwise(cuts)]


def whole_answer(asked: Asked, text: str, *, with_usage: bool = True, finish_reason: str = "stop") -> bytes:
    """Return the body of an answer that is not streamed."""
    path = asked.path
    if path.startswith("/api/"):
        return encode(_ollama_whole(asked, text, with_usage=with_usage))
    if path.endswith("/messages"):
        return encode(_anthropic_message(asked, [{"type": "text", "text": text}], "end_turn"))
    answer: dict[str, Any] = {"id": "fake-1", "object": "list", "created": CREATED_S, "model": asked.model} | EXTRA
    if path.endswith("/embeddings"):
        texts = range(asked.texts)
        answer["data"] = [{"object": "embedding", "index": at, "embedding": EMBEDDING} for at in texts]
    elif path.endswith("/chat/completions"):
        message: dict[str, Any] = {"role": "assistant", "content": text}
        reason = finish_reason
        if asked.fields.get("tools"):
            message = {"role": "assistant", "content": None, "tool_calls": [_openai_tool()]}
            reason = "tool_calls"
        answer |= {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": reason}]}
    else:
        answer |= {"object": "text_completion", "choices": [{"index": 0, "text": text, "finish_reason": finish_reason}]}
    if with_usage:
        answer["usage"] = _openai_usage(asked)
    return encode(answer)


def stream_events(
    asked: Asked,
    pieces: Sequence[str],
    *,
    with_usage: bool = True,
    with_done: bool = True,
    finish_reason: str = "stop",
) -> Iterable[bytes]:
    """Yield the events of a streamed answer, the end mark last."""
    if asked.path.startswith("/api/"):
        yield from _ollama_lines(asked, pieces, with_usage=with_usage)
    elif asked.path.endswith("/messages"):
        yield from _anthropic_events(asked, pieces)
    else:
        yield from _openai_events(asked, pieces, with_usage=with_usage, finish_reason=finish_reason)
        if with_done:
            yield b"data: [DONE]\n\n"


def model_list(dialect: FakeDialect, models: Iterable[str]) -> bytes:
    """Return the answer to `GET /v1/models` or `GET /api/tags`."""
    if dialect == "ollama":
        return encode({"models": [{"name": name, "model": name, "size": 1, "details": {}} for name in models]})
    return encode({"object": "list", "data": [{"id": name, "object": "model", "owned_by": "fake"} for name in models]})


# -- OpenAI


def _openai_events(asked: Asked, pieces: Sequence[str], *, with_usage: bool, finish_reason: str) -> Iterable[bytes]:
    is_chat = asked.path.endswith("/chat/completions")
    head: dict[str, Any] = {"id": "fake-1", "object": "text_completion", "created": CREATED_S, "model": asked.model}
    head |= EXTRA
    reason = finish_reason
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


def _ollama_whole(asked: Asked, text: str, *, with_usage: bool) -> dict[str, Any]:
    if asked.path == "/api/embed":
        return {"model": asked.model, "embeddings": [EMBEDDING] * asked.texts, "prompt_eval_count": 3} | EXTRA
    if asked.path == "/api/embeddings":
        return {"embedding": EMBEDDING} | EXTRA
    return _ollama_line(asked, text) | _ollama_end(asked, with_usage=with_usage) | EXTRA


def _ollama_lines(asked: Asked, pieces: Sequence[str], *, with_usage: bool) -> Iterable[bytes]:
    if asked.fields.get("tools"):
        yield encode(_ollama_line(asked, "") | {"done": False}) + b"\n"
        pieces = ()
    for piece in pieces:
        yield encode(_ollama_line(asked, piece) | {"done": False} | EXTRA) + b"\n"
    last = _ollama_line(asked, "")
    if "message" in last:
        last["message"].pop("tool_calls", None)
    yield encode(last | _ollama_end(asked, with_usage=with_usage)) + b"\n"


def _ollama_line(asked: Asked, text: str) -> dict[str, Any]:
    line: dict[str, Any] = {"model": asked.model, "created_at": CREATED_AT}
    if asked.path == "/api/generate":
        return line | {"response": text}
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if asked.fields.get("tools"):
        arguments = msgspec.json.decode(_TOOL["arguments"])
        message |= {"content": "", "tool_calls": [{"function": {"name": _TOOL["name"], "arguments": arguments}}]}
    return line | {"message": message}


def _ollama_end(asked: Asked, *, with_usage: bool) -> dict[str, Any]:
    prompt, answer = asked.tokens
    counts = {"prompt_eval_count": prompt, "eval_count": answer} if with_usage else {}
    return {"done_reason": "stop", "done": True, "total_duration": 9, "load_duration": 1} | counts


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


def _word(seed: str) -> str:
    """Return four letters that follow from a text alone."""
    number = crc32(seed.encode())
    return "".join(letters[(number >> shift) % len(letters)] for letters, shift in _SYLLABLES)


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)
