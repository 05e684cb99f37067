"""OpenAI node, OpenAI caller: bytes pass unread unless something in them must change."""

from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, decode_any, encode, is_utf8
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation, Usage
from fairlead.dialects.embeddings import check_openai
from fairlead.dialects.errors import fail_event
from fairlead.dialects.sse import DONE, DONE_EVENT, Chunk, payload, read_chunk
from fairlead.dialects.stream import NO_TAIL, SSE_END, SSE_TYPE, TAIL_BYTES, StreamRelay
from fairlead.dialects.tool_deltas import ToolDeltas
from fairlead.errors import MalformedAnswerError

_UNFINISHED = b'"finish_reason":null'
_UNFINISHED_SPACED = b'"finish_reason": null'
_ROLE = b'"role"'
_SPOKEN = b'"role":"assistant",'
_TOOLS = b'"tool_calls"'


class OpenAIRelay(StreamRelay):
    """Passes events on as they are; only the few that matter are parsed, and only those that must change rewritten.

    An event is *plain* if it says that the answer goes on, ends as one did that was read whole, and, where tools may be
    called, names no tool call. Quotes
    inside a JSON string are escaped, so no model's text can look like one of these keys. A server either names the
    role once or in every event, so after the first event without one the role is looked for no more.
    """

    media_type = SSE_TYPE
    _end = SSE_END
    _role_free = False
    _tail = NO_TAIL
    """How the last event ended that was read whole: one that is cut off does not."""
    _usage_is_out = False
    """The node has sent a usage chunk."""
    _clear = False
    """Nothing is pending, nothing ended, roles are settled: the next chunk may pass unread."""
    _roles: frozenset[int] = frozenset()
    _finished_choices: frozenset[int] = frozenset()
    _tool_deltas: ToolDeltas | None = None

    def __init__(self, call: Call, *, answer_id: str, now_s: float, model: str) -> None:
        self._call = call
        self._tools = "tools" in call.needs
        self._identity: tuple[str, float, str] = (answer_id, int(now_s), model)

    def feed(self, data: bytes) -> bytes:
        """Return what can go to the caller now: usually the same bytes."""
        if (
            self._clear
            and data.endswith(self._tail)
            and (_UNFINISHED in data or _UNFINISHED_SPACED in data)
            and data.startswith(b"data: {")
            and data.count(b"\n") == 2
            and not (self._tools and _TOOLS in data)
            and (data.isascii() or is_utf8(data))
        ):
            self.chunks += 1
            return data
        out = self._feed_events(data)
        self._clear = self._role_free and not (self._pending or self._done or self._held)
        return out

    def whole(self, body: bytes) -> bytes:
        """Check the answer, note its tokens, and return it as it is."""
        if self._call.operation is Operation.EMBEDDING:
            self.usage = check_openai(body)
        else:
            answer = read_chunk(body)
            if not answer.choices:
                raise MalformedAnswerError("The node's answer has no `choices`.")
            self.usage = answer.tokens
        self.finished = True
        return body

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the error as an event; no `[DONE]` may follow it."""
        return fail_event(Dialect.OPENAI, error)

    def _event(self, event: bytes) -> bytes:
        if self._is_plain(event):
            if self._role_free or _ROLE not in event:
                self._role_free = True
                self.chunks += 1
                return event
            if 0 in self._roles and event.count(b'"index":') == event.count(b'"index":0,') == event.count(_SPOKEN) == 1:
                self.chunks += 1
                return event.replace(_SPOKEN, b"")
        data = payload(event)
        if not data:
            return event
        if data == DONE:
            self.finished = self._done = True
            return self._usage_event() + event
        if not (data.isascii() or is_utf8(data)):  # what is not read is not checked by the decoder
            raise MalformedAnswerError("The node sent an event that is no text.")
        chunk = read_chunk(data)
        self._tail = event[-TAIL_BYTES:]
        self._note(chunk)
        changed = self._changed(chunk, data)
        return event if changed is None else b"data: " + encode(changed) + b"\n\n"

    def _is_plain(self, event: bytes) -> bool:
        return (
            event.startswith(b"data: {")
            and event.endswith(self._tail)
            and (_UNFINISHED in event or _UNFINISHED_SPACED in event)
            and event.count(b"\n") == 2
            and not (self._tools and _TOOLS in event)
            and (event.isascii() or is_utf8(event))
        )

    def _note(self, chunk: Chunk) -> None:
        answer_id, created, model = self._identity
        self._identity = (chunk.id or answer_id, chunk.created or created, chunk.model or model)
        if chunk.usage or (chunk.timings and not self._usage_is_out):
            self.usage = chunk.tokens or self.usage
            self._usage_is_out = chunk.usage is not None
        choices = chunk.choices or ()
        if any(choice.has_content for choice in choices):
            self.chunks += 1
        ended = {choice.index for choice in choices if choice.finish_reason}
        if ended:
            self.finished = len(self._finished_choices | ended) >= _choices_wanted(self._call.body)

    def _changed(self, chunk: Chunk, data: bytes) -> dict[str, Any] | None:
        """Return the chunk as it must read instead, or None where it can stay."""
        changes: list[tuple[int, str, Any]] = []
        for at, choice in enumerate(chunk.choices or ()):
            index, delta = choice.index, choice.delta
            if delta and delta.role:
                if index in self._roles:
                    changes.append((at, "role", None))
                self._roles |= {index}
            if delta and delta.tool_calls:
                self._tool_deltas = self._tool_deltas or ToolDeltas()
                tools, differ = self._tool_deltas.normalised(index, delta.tool_calls)
                if differ:
                    changes.append((at, "tool_calls", tools))
            if choice.finish_reason:
                reason = None if index in self._finished_choices else self._reason(index, choice.finish_reason)
                if reason != choice.finish_reason:
                    changes.append((at, "finish_reason", reason))
                self._finished_choices |= {index}
        return _edited(data, changes) if changes else None

    def _reason(self, index: int, reason: str) -> str:
        called = self._tool_deltas is not None and self._tool_deltas.seen(index)
        return "tool_calls" if reason == "stop" and called else reason

    def _usage_event(self) -> bytes:
        """Return the usage chunk that the caller asked for and the node does not send."""
        if self._usage_is_out or not self._call.include_usage:
            return b""
        answer_id, created, model = self._identity
        kind = "chat.completion.chunk" if self._call.operation is Operation.CHAT else "text_completion"
        usage = self.usage or Usage(len(self._call.body) // 4, self.chunks)
        tokens = {"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens}
        tokens["total_tokens"] = sum(tokens.values())
        head = {"id": answer_id, "object": kind, "created": created, "model": model}
        return b"data: " + encode(head | {"choices": [], "usage": tokens}) + b"\n\n"

    def _ending(self) -> bytes:
        return self._usage_event() + DONE_EVENT


class _Wanted(msgspec.Struct, gc=False):
    n: int | None = None


_wanted_decoder = msgspec.json.Decoder(_Wanted)


def _choices_wanted(body: bytes) -> int:
    """Return how many answers were asked for in one."""
    if b'"n"' not in body:
        return 1
    try:
        return _wanted_decoder.decode(body).n or 1
    except BAD_JSON:
        return 1


def _edited(data: bytes, changes: list[tuple[int, str, Any]]) -> dict[str, Any]:
    chunk: dict[str, Any] = decode_any(data)
    for at, name, value in changes:
        choice = chunk["choices"][at]
        if name == "role":
            del choice["delta"]["role"]
        elif name == "tool_calls":
            choice["delta"]["tool_calls"] = [
                _merged(old, new) for old, new in zip(choice["delta"]["tool_calls"], value, strict=True)
            ]
        else:
            choice["finish_reason"] = value
    return chunk


def _merged(old: dict[str, Any], new: tuple[int, bool]) -> dict[str, Any]:
    """Return a tool delta with its index; what only the first may carry is taken out of later ones."""
    index, first = new
    function = {k: v for k, v in (old.get("function") or {}).items() if first or k != "name"}
    rest = {k: v for k, v in old.items() if k not in ("index", "function") and (first or k not in ("id", "type"))}
    if first:
        rest.setdefault("type", "function")
    return {"index": index, **rest, "function": function}
