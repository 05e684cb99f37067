"""Whatever else a node offers under `/v1/`: peeked at for its model, and relayed as it is."""

import re
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation, Usage
from fairlead.dialects.errors import error_body
from fairlead.errors import BadRequestError, MalformedAnswerError

_FORM_MODEL = re.compile(rb'name="model"(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]{1,200})\r\n')
MAX_PROMPT_LETTERS = 3072


class _Peek(msgspec.Struct, gc=False):
    model: str
    stream: bool | None = None
    messages: list[dict[str, Any]] | None = None
    input: Any = None


_decoder = msgspec.json.Decoder(_Peek)


def decode_passing(path: str, body: bytes) -> Call:
    """Find the model in a body that is otherwise none of the router's business. Raises BadRequestError."""
    if body[:1] != b"{" and (found := _FORM_MODEL.search(body)) is not None:
        return _call(path, body, found[1].decode("utf-8", "replace"))
    try:
        peek = _decoder.decode(body)
    except BAD_JSON as error:
        message = f"the body must be a JSON object that names a model, so that it can be routed: {error}"
        raise BadRequestError(message, "model") from None
    return _call(path, body, peek.model, stream=bool(peek.stream), prompt=_prompt(peek))


def _call(path: str, body: bytes, model: str, *, stream: bool = False, prompt: str = "") -> Call:
    return Call(Dialect.OPENAI, Operation.PASSING, path, body, model, stream, prompt)


def _prompt(peek: _Peek) -> str:
    turns = peek.messages if peek.messages is not None else peek.input
    if isinstance(turns, str):
        return turns[:MAX_PROMPT_LETTERS]
    if not isinstance(turns, list):
        return ""
    for turn in reversed(turns):
        if isinstance(turn, dict) and turn.get("role", "user") == "user":
            return _text(turn.get("content"))[:MAX_PROMPT_LETTERS]
    return ""


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""


class PassingRelay:
    """Passes everything on, unread. What is whole and what is broken only the transport can tell."""

    media_type = "text/event-stream"

    def __init__(self) -> None:
        self.finished = False
        self.chunks = 0
        self.elapsed_s = 0.0
        self.usage: Usage | None = None

    def whole(self, body: bytes) -> bytes:
        """Return the answer as it is."""
        return body

    def feed(self, data: bytes) -> bytes:
        """Return the piece as it is."""
        self.chunks += 1
        return data

    def close(self) -> bytes:
        """Nothing is left; raises MalformedAnswerError when nothing came at all."""
        if not self.chunks:
            raise MalformedAnswerError("the stream ended before it began")
        return b""

    def fail(self, error: ErrorInfo) -> bytes:
        """Return an error event that OpenAI's and Anthropic's clients both understand."""
        return b"event: error\ndata: " + error_body(Dialect.OPENAI, error) + b"\n\n"
