"""What one event of a streamed answer says, read back as its caller reads it: for answers that another node finishes.

It tells text, which another node can go on from, from everything else, which it cannot.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON
from fairlead.dialects.contract import Dialect
from fairlead.dialects.sse import DONE, payload
from fairlead.errors import MalformedAnswerError

RESTARTED = "restarted"
"""Under `fairlead` in an event: the answer begins anew after it."""


class Identity(msgspec.Struct, frozen=True, gc=False):
    """What all events of one answer share; Ollama's lines have only the model."""

    id: str | None = None
    created: int | float | None = None
    model: str | None = None


class Said(msgspec.Struct, frozen=True, gc=False):
    """What one event says."""

    text: str = ""
    """The next piece of the answer."""
    has_role: bool = False
    other: str | None = None
    """What it says besides plain text of one answer, in words; None where that is all."""
    is_last: bool = False
    """The answer is complete: a finish reason, or the end mark."""
    is_restart: bool = False
    """What was said before it counts no more."""
    identity: Identity = Identity()


class _Delta(msgspec.Struct, gc=False):
    role: str | None = None
    content: str | list[Any] | None = None
    reasoning_content: Any = None
    reasoning: Any = None
    tool_calls: Any = None
    function_call: Any = None
    refusal: Any = None
    audio: Any = None


class _Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Delta | None = None
    message: Any = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct, gc=False):
    id: str | None = None
    created: int | float | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    error: Any = None
    fairlead: Any = None


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: Any = None
    tool_calls: Any = None
    images: Any = None


class _Line(msgspec.Struct, gc=False):
    model: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: Any = None
    done: bool = False
    logprobs: Any = None
    error: Any = None
    fairlead: Any = None


END_MARK = Said(is_last=True)
NO_DATA = Said()
"""An event that is only a comment."""
_chunk_decoder = msgspec.json.Decoder(_Chunk)
_line_decoder = msgspec.json.Decoder(_Line)
_chunks_decoder = msgspec.json.Decoder(list[_Chunk])
_lines_decoder = msgspec.json.Decoder(list[_Line])


def split_events(dialect: Dialect, data: bytes) -> list[bytes]:
    """Return the events in a caller's stream, each without its end; what is cut off at the end is an event too."""
    if dialect == Dialect.OLLAMA:
        return [line for line in data.split(b"\n") if line.strip()]
    return [event for event in data.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]


def read_said(dialect: Dialect, event: bytes) -> Said:
    """Return what one event says. Raises MalformedAnswerError, ProviderError."""
    if dialect == Dialect.OLLAMA:
        return _line_said(_decoded(_line_decoder, event))
    data = payload(event)
    if not data:
        return NO_DATA
    return END_MARK if data == DONE else _chunk_said(_decoded(_chunk_decoder, data))


def read_all_said(dialect: Dialect, data: bytes) -> Iterable[Said]:
    """Return what each event of a stream says, at a fraction of the cost of reading them one by one.

    Events in their usual form are turned into one list of JSON: a line end never stands inside a value. Raises
    MalformedAnswerError, ProviderError.
    """
    try:
        if dialect == Dialect.OLLAMA:
            return map(_line_said, _lines_decoder.decode(b"[" + data.strip().replace(b"\n", b",") + b"]"))
        if data.startswith(b"data: {") and data.endswith(b"}\n\n"):
            listed = b"[" + data[6:-2].replace(b"\n\ndata: ", b",") + b"]"
            return map(_chunk_said, _chunks_decoder.decode(listed))
    except BAD_JSON:  # comments, other line ends, or rubbish: one by one shows which
        pass
    return (read_said(dialect, event) for event in split_events(dialect, data))


def _decoded(decoder: msgspec.json.Decoder[Any], data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except BAD_JSON as error:
        raise MalformedAnswerError(f"An event is not what its protocol says: {error}") from None


def _chunk_said(chunk: _Chunk) -> Said:
    choices = chunk.choices or ()
    text, has_role, is_last = "", False, False
    other = "more than one choice" if len(choices) > 1 else None
    for choice in choices:
        delta = choice.delta
        other = other or _beyond_text(choice)
        if delta is None:
            text += choice.text or ""
        else:
            has_role = has_role or delta.role is not None
            content = delta.content
            text += content if isinstance(content, str) else ""
        is_last = is_last or bool(choice.finish_reason)
    if chunk.error:
        other = "an error"
    identity = Identity(chunk.id, chunk.created, chunk.model)
    return Said(text, has_role, other, is_last, _restarts(chunk.fairlead), identity)


def _beyond_text(choice: _Choice) -> str | None:
    """Return what a choice says besides the text of the one answer."""
    if choice.index:
        return "more than one choice"
    if choice.logprobs:
        return "log-probabilities"
    if choice.message:
        return "a whole message"
    delta = choice.delta
    if delta is None:
        return None
    if delta.tool_calls or delta.function_call:
        return "a tool call"
    if delta.reasoning_content or delta.reasoning:
        return "reasoning"
    return "content that is not plain text" if delta.refusal or delta.audio or type(delta.content) is list else None


def _line_said(line: _Line) -> Said:
    message = line.message
    other = None
    if line.error:
        other = "an error"
    elif line.logprobs:
        other = "log-probabilities"
    elif line.thinking or (message and message.thinking):
        other = "reasoning"
    elif message and message.tool_calls:
        other = "a tool call"
    elif message and message.images:
        other = "content that is not plain text"
    text = (message.content if message else line.response) or ""
    return Said(text, message is not None, other, line.done, _restarts(line.fairlead), Identity(model=line.model))


def _restarts(note: Any) -> bool:
    return isinstance(note, dict) and note.get(RESTARTED) is True
