"""Lines of JSON as Ollama nodes send them."""

from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, is_count
from fairlead.dialects.contract import ProviderError, Usage
from fairlead.dialects.errors import read_error
from fairlead.errors import MalformedAnswerError


class OllamaFunction(msgspec.Struct, gc=False):
    """The function of a tool call; its arguments are an object."""

    name: str = ""
    arguments: dict[str, Any] | str | None = None


class OllamaToolCall(msgspec.Struct, gc=False):
    """A tool call; Ollama never sends one in pieces."""

    function: OllamaFunction
    id: str | None = None


class OllamaMessage(msgspec.Struct, gc=False):
    """What the model says: a whole message, or the next piece of it."""

    content: str | None = None
    thinking: str | None = None
    tool_calls: list[OllamaToolCall] | None = None


class Line(msgspec.Struct, gc=False):
    """An answer, or a line of a streamed one: of `/api/chat` (`message`) or `/api/generate` (`response`)."""

    message: OllamaMessage | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[Any] | None = None
    error: Any = None

    @property
    def text(self) -> str:
        """The text of the answer in it."""
        return (self.message.content if self.message else self.response) or ""

    @property
    def thought(self) -> str:
        """What the model thinks before it answers."""
        return (self.message.thinking if self.message else self.thinking) or ""

    @property
    def tool_calls(self) -> list[OllamaToolCall]:
        """The tools it calls."""
        return (self.message.tool_calls if self.message else None) or []

    @property
    def usage(self) -> Usage | None:
        """Its tokens, or None where it reports none that can be; a cached prompt is reported by no number at all."""
        if self.prompt_eval_count is None and self.eval_count is None:
            return None
        read, said = self.prompt_eval_count or 0, self.eval_count or 0
        return Usage(read, said) if is_count(read) and is_count(said) else None


_decoder = msgspec.json.Decoder(Line)


def read_line(data: bytes) -> Line:
    """Decode a line or a whole answer. Raises MalformedAnswerError, and ProviderError where it tells of an error."""
    try:
        line = _decoder.decode(data)
    except BAD_JSON as error:
        message = f"The node sent an answer that is not what its protocol says: {error}"
        raise MalformedAnswerError(message) from None
    if line.error:
        raise ProviderError(read_error(502, data))
    if line.message is None and line.response is None and not line.done:
        raise MalformedAnswerError("The node sent a line with neither `message` nor `response`.")
    return line
