"""OpenAI node, Ollama caller: server-sent events become lines of JSON."""

from typing import Any

from fairlead.dialects.common import arguments_object, encode, timestamp
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation
from fairlead.dialects.errors import fail_event
from fairlead.dialects.sse import DONE, Choice, ToolCall, payload, read_chunk
from fairlead.dialects.stream import NDJSON_TYPE, SSE_END, StreamRelay
from fairlead.dialects.tool_deltas import ToolDeltas
from fairlead.errors import MalformedAnswerError


class ToOllamaRelay(StreamRelay):
    """Writes lines as Ollama does: tool calls in one piece, and a last line with the reason, times and counts."""

    media_type = NDJSON_TYPE
    _end = SSE_END

    def __init__(self, call: Call, *, now_s: float, model: str) -> None:
        self.elapsed_s = 0.0
        """How long the answer took; the shell sets it before the end, as nothing here has a clock."""
        self._call = call
        self._chat = call.operation is Operation.CHAT
        self._model = model
        self._now_s = now_s
        self._started_at = timestamp(now_s)
        self._reason = "stop"
        self._tool_deltas = ToolDeltas()
        self._arguments: list[tuple[str, list[str]]] = []
        """Of each tool call, its name and the pieces of its arguments."""

    def whole(self, body: bytes) -> bytes:
        """Turn a complete answer into one of `/api/chat` or `/api/generate`."""
        answer = read_chunk(body)
        choice = self._first(answer.choices)
        if choice is None:
            raise MalformedAnswerError("The node's answer has no `choices`.")
        self.usage = answer.tokens
        self.finished = True
        self._note_reason(choice)
        text, thought = _said(choice)
        self.chunks = -(-len(text) // 4)
        for call in (choice.message.tool_calls if choice.message else None) or ():
            self._take_tool_piece(call)
        line = self._line(text, thought, timestamp(self._now_s + self.elapsed_s))
        if self._arguments:
            line["message"]["tool_calls"] = self._tool_calls()
        if choice.logprobs:
            line["logprobs"] = _logprobs(choice)
        return encode(line | self._last_fields())

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the error as a line."""
        return fail_event(Dialect.OLLAMA, error)

    def _event(self, event: bytes) -> bytes:
        data = payload(event)
        if not data:
            return b""
        if data == DONE:
            self.finished = self._done = True
            return self._ending()
        chunk = read_chunk(data)
        if chunk.usage:
            self.usage = chunk.tokens
        choice = self._first(chunk.choices)
        if choice is None:
            return b""
        if choice.finish_reason:
            self.finished = True
            self._note_reason(choice)
        for call in (choice.delta.tool_calls if choice.delta else None) or ():
            self._take_tool_piece(call)
        if choice.has_content:
            self.chunks += 1
        text, thought = _said(choice)
        if not text and not thought:
            return b""
        line = self._line(text, thought, self._started_at) | {"done": False}
        if choice.logprobs:
            line["logprobs"] = _logprobs(choice)
        return encode(line) + b"\n"

    @staticmethod
    def _first(choices: list[Choice] | None) -> Choice | None:
        return next((choice for choice in choices or () if choice.index == 0), None)

    def _note_reason(self, choice: Choice) -> None:
        self._reason = "length" if choice.finish_reason == "length" else "stop"

    def _take_tool_piece(self, piece: ToolCall) -> None:
        at, first = self._tool_deltas.place(0, piece)
        function = piece.function
        if first:
            self._arguments.append(((function.name if function else None) or "", []))
        if function and function.arguments:
            text = function.arguments if isinstance(function.arguments, str) else encode(function.arguments).decode()
            self._arguments[at][1].append(text)

    def _tool_calls(self) -> list[dict[str, Any]]:
        return [
            {"function": {"name": name, "arguments": arguments_object("".join(pieces))}}
            for name, pieces in self._arguments
        ]

    def _line(self, text: str, thought: str, created_at: str) -> dict[str, Any]:
        head: dict[str, Any] = {"model": self._model, "created_at": created_at}
        thinking = {"thinking": thought} if thought else {}
        if self._chat:
            return head | {"message": {"role": "assistant", "content": text, **thinking}}
        return head | {"response": text, **thinking}

    def _last_fields(self) -> dict[str, Any]:
        """Return what only the last line has, in Ollama's order, which differs between chat and generate."""
        reason: dict[str, Any] = {"done_reason": self._reason, "done": True}
        if not self._chat:
            reason = {"done": True, "done_reason": self._reason}
        elapsed_ns = int(self.elapsed_s * 1e9)
        usage = self.usage
        return reason | {
            "total_duration": elapsed_ns,
            "load_duration": 0,
            "prompt_eval_count": usage.input_tokens if usage else len(self._call.body) // 4,
            "prompt_eval_duration": 0,
            "eval_count": usage.output_tokens if usage else self.chunks,
            "eval_duration": elapsed_ns,
        }

    def _ending(self) -> bytes:
        """Return the tool calls, if there are any, and the last line."""
        out = b""
        if self._arguments and self._chat:
            line = self._line("", "", self._started_at)
            line["message"]["tool_calls"] = self._tool_calls()
            out = encode(line | {"done": False}) + b"\n"
        last = self._line("", "", timestamp(self._now_s + self.elapsed_s))
        return out + encode(last | self._last_fields()) + b"\n"


def _said(choice: Choice) -> tuple[str, str]:
    """Return the text and the thought in a choice, whole or a piece, of a chat or of a completion."""
    message = choice.delta or choice.message
    if message is None:
        return choice.text or "", ""
    return message.text, message.thought


def _logprobs(choice: Choice) -> Any:
    return choice.logprobs.get("content") if isinstance(choice.logprobs, dict) else None
