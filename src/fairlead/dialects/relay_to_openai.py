"""Ollama node, OpenAI caller: lines of JSON become server-sent events."""

from typing import Any

from fairlead.dialects.common import arguments_text, encode
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, Operation, Usage
from fairlead.dialects.errors import fail_event
from fairlead.dialects.ndjson import Line, OllamaToolCall, read_line
from fairlead.dialects.sse import DONE_EVENT
from fairlead.dialects.stream import LINE_END, SSE_TYPE, StreamRelay
from fairlead.errors import MalformedAnswerError


class ToOpenAIRelay(StreamRelay):
    """Gives every chunk the same id, the role once, one finish reason, then usage if asked, then `[DONE]`."""

    media_type = SSE_TYPE
    _end = LINE_END

    def __init__(self, call: Call, *, answer_id: str, now_s: float, model: str) -> None:
        self._call = call
        self._chat = call.operation is Operation.CHAT
        self._answer_id = answer_id
        self._head = {"id": answer_id, "object": "", "created": int(now_s), "model": model}
        self._started = False
        self._tool_calls = 0

    def whole(self, body: bytes) -> bytes:
        """Turn a complete answer into a `chat.completion` or `text_completion`."""
        line = read_line(body)
        if not line.done:
            raise MalformedAnswerError("The node's answer is not complete: `done` is not true.")
        self.usage = line.usage
        self.finished = True
        choice: dict[str, Any] = {"index": 0}
        if self._chat:
            message: dict[str, Any] = {"role": "assistant", "content": line.text}
            if line.thought:
                message["reasoning_content"] = line.thought
            if line.tool_calls:
                message["content"] = line.text or None
                message["tool_calls"] = [self._tool_call(call) for call in line.tool_calls]
            choice["message"] = message
        else:
            choice["text"] = line.text
        choice |= {"logprobs": self._logprobs(line), "finish_reason": self._reason(line)}
        self._head["object"] = "chat.completion" if self._chat else "text_completion"
        return encode(self._head | {"choices": [choice], "usage": self._tokens(line.usage, line.text)})

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the error as an event; no `[DONE]` may follow it."""
        return fail_event(Dialect.OPENAI, error)

    def _event(self, event: bytes) -> bytes:
        if not event.strip():
            return b""
        line = read_line(event)
        out = self._pieces(line)
        if not line.done:
            return b"".join(out)
        self.usage = line.usage
        self.finished = self._done = True
        if self._chat and not self._started:
            out.append(self._piece({"content": ""}))
        ending: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
        out.append(self._chunk([{"index": 0, **ending, "finish_reason": self._reason(line)}]))
        if self._call.include_usage:
            out.append(self._chunk([], usage=self._tokens(line.usage, None)))
        out.append(DONE_EVENT)
        return b"".join(out)

    def _pieces(self, line: Line) -> list[bytes]:
        """Return the chunks for what a line says of the answer."""
        out = []
        if not self._chat:
            if line.text:
                logprobs = self._logprobs(line)
                choice = {"index": 0, "text": line.text, "logprobs": logprobs, "finish_reason": None}
                out.append(self._chunk([choice]))
        else:
            if line.thought:
                out.append(self._piece({"reasoning_content": line.thought}))
            if line.text:
                out.append(self._piece({"content": line.text}, self._logprobs(line)))
            for call in line.tool_calls:
                index = self._tool_calls
                out.append(self._piece({"tool_calls": [{"index": index, **self._tool_call(call)}]}))
        self.chunks += len(out)
        return out

    def _piece(self, delta: dict[str, Any], logprobs: Any = None) -> bytes:
        if not self._started:
            self._started = True
            delta = {"role": "assistant", **delta}
        choice: dict[str, Any] = {"index": 0, "delta": delta}
        if logprobs:
            choice["logprobs"] = logprobs
        choice["finish_reason"] = None
        return self._chunk([choice])

    def _chunk(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        self._head["object"] = "chat.completion.chunk" if self._chat else "text_completion"
        return b"data: " + encode(self._head | {"choices": choices} | more) + b"\n\n"

    def _tool_call(self, call: OllamaToolCall) -> dict[str, Any]:
        call_id = call.id or f"call_{self._answer_id}_{self._tool_calls}"
        self._tool_calls += 1
        function = {"name": call.function.name, "arguments": arguments_text(call.function.arguments)}
        return {"id": call_id, "type": "function", "function": function}

    def _logprobs(self, line: Line) -> dict[str, Any] | None:
        if not line.logprobs:
            return None
        if self._chat:
            return {"content": line.logprobs}
        entries = [entry for entry in line.logprobs if isinstance(entry, dict)]
        return {
            "tokens": [entry.get("token") for entry in entries],
            "token_logprobs": [entry.get("logprob") for entry in entries],
        }

    def _reason(self, line: Line) -> str:
        if self._tool_calls:
            return "tool_calls"
        return "length" if line.done_reason == "length" else "stop"

    def _tokens(self, usage: Usage | None, text: str | None) -> dict[str, int]:
        """Return a usage object, estimated where the node reports none: from the chunks, or four characters a token."""
        if usage is None:
            usage = Usage(len(self._call.body) // 4, self.chunks if text is None else -(-len(text) // 4))
        total = usage.input_tokens + usage.output_tokens
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": total,
        }

    def _ending(self) -> bytes:
        return b""
