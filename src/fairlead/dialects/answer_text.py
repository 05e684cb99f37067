"""What an answer says, read back from what was made ready for the caller: whole or streamed, in either dialect."""

import re
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, arguments_text, encode
from fairlead.dialects.contract import Call, Dialect, Operation
from fairlead.dialects.ndjson import Line, read_line
from fairlead.dialects.sse import DONE, payload, read_chunk
from fairlead.dialects.tool_deltas import ToolDeltas
from fairlead.errors import BadRequestError

_OPENAI = Dialect.OPENAI
_LOGPROBS = b'"logprobs"'
_EVENT = re.compile(rb".+?(?:\r?\n\r?\n|\Z)", re.DOTALL)


class ToolUse(msgspec.Struct, frozen=True):
    """A tool that the model calls."""

    name: str
    arguments: str
    """As JSON text, if the model wrote JSON."""


class AnswerText(msgspec.Struct, frozen=True):
    """The first of the answers in a reply (`n` may ask for more), without what the model thought before it."""

    text: str
    tool_calls: tuple[ToolUse, ...] = ()
    logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each token's probability; None where the node tells none."""
    refused: bool = False
    """The node itself marks the answer as a refusal, or as held back by its filter."""


class _Refusal(msgspec.Struct, gc=False):
    refusal: str | None = None


class _RefusalChoice(msgspec.Struct, gc=False):
    index: int = 0
    delta: _Refusal | None = None
    message: _Refusal | None = None


class _Refusals(msgspec.Struct, gc=False):
    choices: list[_RefusalChoice] | None = None


_NULL = msgspec.Raw(b"null")
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_choices_decoder = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_refusal_decoder = msgspec.json.Decoder(_Refusals)


def read_answer(call: Call, data: bytes) -> AnswerText:
    """Read a complete answer in the caller's dialect. Raises MalformedAnswerError, ProviderError."""
    reader = AnswerReader(call)
    reader.feed(data)
    return reader.answer()


def asking_logprobs(call: Call) -> bytes | None:
    """Return the call's body with a wish for log-probabilities added, or None where the caller spoke of them himself.

    Raises BadRequestError for a body that cannot be read.
    """
    if _LOGPROBS in call.body:
        return None
    try:
        fields = _fields_decoder.decode(call.body)
    except BAD_JSON as error:
        raise BadRequestError(f"The body cannot be read: {error}") from None
    is_number = call.dialect == _OPENAI and call.operation is Operation.COMPLETION
    fields["logprobs"] = msgspec.Raw(b"1" if is_number else b"true")
    return encode(fields)


def without_logprobs(call: Call, data: bytes) -> bytes:
    """Take the log-probabilities out of an answer, or out of whole events of a streamed one."""
    if _LOGPROBS not in data:
        return data
    if not call.stream:
        return _stripped(data)
    if call.dialect == _OPENAI:
        return b"".join(_stripped_event(event) for event in _EVENT.findall(data))
    return b"".join(_stripped_line(line) for line in data.splitlines(keepends=True))


class AnswerReader:
    """Reads an answer while it arrives: a whole one at once, a streamed one event by event."""

    def __init__(self, call: Call) -> None:
        self._is_openai = call.dialect == _OPENAI
        self._is_streamed = call.stream
        self._texts: list[str] = []
        self._tools: list[tuple[str, list[str]]] = []
        self._places = ToolDeltas()
        self._logprobs: list[float] = []
        self._refused = False

    def feed(self, data: bytes) -> None:
        """Take a whole answer, or whole events. Raises MalformedAnswerError, ProviderError."""
        if self._is_openai:
            for part in _parts(data) if self._is_streamed else (data,):
                self._take_chunk(part)
        else:
            for part in data.splitlines() if self._is_streamed else (data,):
                if part.strip():
                    self._take_line(read_line(part))

    def answer(self) -> AnswerText:
        """Return what was said so far."""
        tools = tuple(ToolUse(name, "".join(pieces)) for name, pieces in self._tools)
        return AnswerText("".join(self._texts), tools, tuple(self._logprobs) or None, self._refused)

    # -- inside

    def _take_chunk(self, data: bytes) -> None:
        for choice in read_chunk(data).choices or ():
            if choice.index:
                continue
            said = choice.delta or choice.message
            self._texts.append(said.text if said else choice.text or "")
            for call in (said.tool_calls if said else None) or ():
                at, first = self._places.place(0, call)
                if first:
                    self._tools.append(((call.function.name if call.function else None) or "", []))
                if call.function and call.function.arguments:
                    self._tools[at][1].append(arguments_text(call.function.arguments))
            if choice.logprobs:
                self._take_logprobs(choice.logprobs)
            if choice.finish_reason == "content_filter":
                self._refused = True
        if b'"refusal"' in data:
            self._take_refusal(data)

    def _take_line(self, line: Line) -> None:
        self._texts.append(line.text)
        for call in line.tool_calls:
            self._tools.append((call.function.name, [arguments_text(call.function.arguments)]))
        self._take_logprobs({"content": line.logprobs})

    def _take_refusal(self, data: bytes) -> None:
        try:
            choices = _refusal_decoder.decode(data).choices or ()
        except BAD_JSON:  # a `refusal` of another shape is somebody else's field
            return
        for choice in choices:
            said = choice.delta or choice.message
            if said and said.refusal and not choice.index:
                self._refused = True
                self._texts.append(said.refusal)

    def _take_logprobs(self, told: Any) -> None:
        """Take OpenAI's three shapes: of a chat, of a completion, and of llama.cpp, which uses the first for both."""
        if not isinstance(told, dict):
            return
        values = told.get("token_logprobs")
        entries = told.get("content")
        if isinstance(entries, list):
            values = [entry.get("logprob") for entry in entries if isinstance(entry, dict)]
        for value in values if isinstance(values, list) else ():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._logprobs.append(min(float(value), 0.0))


def _parts(data: bytes) -> list[bytes]:
    """Return the data of each event."""
    if data.startswith(b"data: {") and data.count(b"\n") == 2 and data.endswith(b"\n\n"):
        return [data[6:]]
    found = map(payload, data.replace(b"\r\n", b"\n").split(b"\n\n"))
    return [part for part in found if part and part != DONE]


def _stripped_event(event: bytes) -> bytes:
    part = payload(event) if _LOGPROBS in event else None
    return b"data: " + _stripped(part) + b"\n\n" if part and part != DONE else event


def _stripped_line(line: bytes) -> bytes:
    return _stripped(line) + b"\n" if _LOGPROBS in line else line


def _stripped(data: bytes) -> bytes:
    """Empty the field where OpenAI's answers have it, and leave it out of Ollama's: so do both when nobody asked."""
    try:
        answer = _fields_decoder.decode(data)
        answer.pop("logprobs", None)
        if "choices" in answer:
            choices = _choices_decoder.decode(answer["choices"])
            for choice in choices:
                if "logprobs" in choice:
                    choice["logprobs"] = _NULL
            answer["choices"] = msgspec.Raw(encode(choices))
    except BAD_JSON:  # who reads it will see that it is broken
        return data
    return encode(answer)
