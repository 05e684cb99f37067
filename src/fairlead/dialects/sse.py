"""Server-sent events as OpenAI-compatible nodes send them: the lines of an event, and the chunk in its data."""

from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, is_count
from fairlead.dialects.contract import ProviderError, Usage
from fairlead.dialects.errors import read_error
from fairlead.errors import MalformedAnswerError

DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
_FIELDS = (b":", b"event:", b"id:", b"retry:")


class ToolFunction(msgspec.Struct, gc=False):
    """The function of a tool call, or a piece of it."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class ToolCall(msgspec.Struct, gc=False):
    """A tool call, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: ToolFunction | None = None


class Message(msgspec.Struct, gc=False):
    """What the model says: a whole message, or the next piece of it."""

    role: str | None = None
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def text(self) -> str:
        """The text of the content; parts that are no text are left out."""
        if isinstance(self.content, list):
            return "".join(str(part["text"]) for part in self.content if isinstance(part, dict) and "text" in part)
        return self.content or ""

    @property
    def thought(self) -> str:
        """What the model thinks before it answers; servers spell the field in two ways."""
        return self.reasoning_content or self.reasoning or ""


class Choice(msgspec.Struct, gc=False):
    """One of the answers that were asked for."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None

    @property
    def has_content(self) -> bool:
        """Whether something of the answer is in it."""
        delta = self.delta
        return bool(self.text or (delta and (delta.content or delta.thought or delta.tool_calls)))


class Tokens(msgspec.Struct, gc=False):
    """OpenAI's usage object."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Any = None

    @property
    def usage(self) -> Usage | None:
        """The same as a value of ours; None for numbers that cannot be."""
        prompt, said, details = self.prompt_tokens or 0, self.completion_tokens or 0, self.prompt_tokens_details
        if not (is_count(prompt) and is_count(said)):
            return None
        cached = _count(details, "cached_tokens") if details else None
        if cached is not None and cached > prompt:
            cached = None
        return Usage(prompt, said, cached_tokens=cached)


class Chunk(msgspec.Struct, gc=False):
    """An answer, or a piece of a streamed one."""

    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[Choice] | None = None
    usage: Tokens | None = None
    timings: Any = None
    """llama.cpp's own numbers, which it adds to the last chunk of every stream, asked for usage or not."""
    error: Any = None

    @property
    def tokens(self) -> Usage | None:
        """Its tokens, or None where it reports none; llama.cpp's timings stand in for what its usage lacks."""
        usage = self.usage.usage if self.usage else None
        if self.timings and (usage is None or usage.cached_tokens is None):
            return _timed(self.timings, usage)
        return usage


_chunk_decoder = msgspec.json.Decoder(Chunk)


def payload(event: bytes) -> bytes | None:
    """Return the data of an event, or None where it has none. Raises MalformedAnswerError, ProviderError."""
    data: list[bytes] = []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            data.append(line[5:].strip())
        elif line.startswith(b"error:"):  # older llama.cpp servers
            raise ProviderError(read_error(502, line[6:].strip()))
        elif line and not line.startswith(_FIELDS):
            raise MalformedAnswerError("The node's stream holds a line that is no server-sent event.")
    if not data:
        return None
    return data[0] if len(data) == 1 else b"\n".join(data)


def read_chunk(data: bytes) -> Chunk:
    """Decode a chunk or a whole answer. Raises MalformedAnswerError, and ProviderError where it tells of an error."""
    try:
        chunk = _chunk_decoder.decode(data)
    except BAD_JSON as error:
        message = f"The node sent an answer that is not what its protocol says: {error}"
        raise MalformedAnswerError(message) from None
    if chunk.error:
        raise ProviderError(read_error(502, data))
    return chunk


def _timed(timings: Any, usage: Usage | None) -> Usage | None:
    """Return the usage with the cached tokens that the timings tell, or all of it from them where there is none."""
    cached, fresh, said = (_count(timings, name) for name in ("cache_n", "prompt_n", "predicted_n"))
    if cached is None or fresh is None or said is None:
        return usage
    if usage is None:
        return Usage(cached + fresh, said, cached_tokens=cached)
    return msgspec.structs.replace(usage, cached_tokens=cached) if cached <= usage.input_tokens else usage


def _count(fields: Any, name: str) -> int | None:
    """Return a number of tokens; None for whatever else a node may have put there."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if is_count(value) else None
