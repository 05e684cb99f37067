"""An Ollama caller's request for an OpenAI-compatible node."""

from typing import Any

from fairlead.dialects.common import arguments_text, image_data_url
from fairlead.dialects.contract import Call, Operation

Fields = dict[str, Any]

_OPTIONS = {
    "num_predict": "max_tokens",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
"""Ollama's options that an OpenAI node can be told; `num_ctx` and the like belong to Ollama's own engine."""

_DROPPED = ("model", "name", "keep_alive", "options", "context", "template", "raw", "truncate", "shift")


def to_openai(call: Call, fields: Fields, model: str, *, ask_usage: bool) -> tuple[str, Fields]:
    """Return the path below `/v1` and the body of the request."""
    if call.operation is Operation.EMBEDDING:
        return "/embeddings", _embedding(fields, model)
    path, what = _messages_or_prompt(call, fields)
    body: Fields = {"model": model, **what, "stream": call.stream}
    if call.stream and ask_usage:
        body["stream_options"] = {"include_usage": True}
    body |= _options(fields.get("options"))
    body |= _answer_shape(fields)
    tools = fields.pop("tools", None)
    if tools:
        body["tools"] = tools
    if path == "/completions" and fields.get("logprobs"):
        fields["logprobs"] = fields.pop("top_logprobs", None) or 1
    for name in _DROPPED:
        fields.pop(name, None)
    return path, fields | body


def _messages_or_prompt(call: Call, fields: Fields) -> tuple[str, Fields]:
    if call.operation is Operation.CHAT:
        return "/chat/completions", {"messages": _messages(fields.pop("messages", None) or [])}
    prompt, system = fields.pop("prompt", None) or "", fields.pop("system", None)
    images, suffix = fields.pop("images", None), fields.pop("suffix", None)
    if fields.get("raw") or suffix:
        return "/completions", {"prompt": prompt} | ({"suffix": suffix} if suffix else {})
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": _content(prompt, images)})
    return "/chat/completions", {"messages": messages}


def _options(options: Any) -> Fields:
    if not isinstance(options, dict):
        return {}
    out = {name: options[option] for option, name in _OPTIONS.items() if options.get(option) is not None}
    limit = out.get("max_tokens")
    if isinstance(limit, (int, float)) and limit < 0:  # Ollama's "until the model stops"
        del out["max_tokens"]
    return out


def _answer_shape(fields: Fields) -> Fields:
    out: Fields = {}
    wanted = fields.pop("format", None)
    if wanted == "json":
        out["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, dict):
        out["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": wanted}}
    think = fields.pop("think", None)
    if think:
        out["reasoning_effort"] = think if isinstance(think, str) else "medium"
    return out


def _content(text: str, images: Any) -> Any:
    if not isinstance(images, list) or not images:
        return text
    parts: list[Fields] = [{"type": "text", "text": text}] if text else []
    urls = (image_data_url(image) for image in images if isinstance(image, str))
    return parts + [{"type": "image_url", "image_url": {"url": url}} for url in urls]


def _messages(messages: list[Fields]) -> list[Fields]:
    """Translate a conversation; tool answers find the id of the call they answer by its name, else by order."""
    open_calls: list[tuple[str, str]] = []
    out = []
    for number, original in enumerate(messages):
        message = dict(original)
        content = _content(message.pop("content", None) or "", message.pop("images", None))
        new: Fields = {"role": message.pop("role", "user"), "content": content}
        thinking = message.pop("thinking", None)
        if thinking:
            new["reasoning_content"] = thinking
        calls = message.pop("tool_calls", None)
        if isinstance(calls, list) and calls:
            new["tool_calls"] = [_tool_call(call, f"call_{number}_{i}", open_calls) for i, call in enumerate(calls)]
        tool_name = message.pop("tool_name", None)
        if new["role"] == "tool":
            new["tool_call_id"] = _answered(open_calls, tool_name, message.pop("tool_call_id", None))
        out.append(message | new)
    return out


def _tool_call(call: Any, made_up_id: str, open_calls: list[tuple[str, str]]) -> Fields:
    call = call if isinstance(call, dict) else {}
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    name, call_id = str(function.get("name", "")), str(call.get("id") or made_up_id)
    open_calls.append((name, call_id))
    arguments = arguments_text(function.get("arguments"))
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _answered(open_calls: list[tuple[str, str]], name: Any, call_id: Any) -> str:
    same = (
        i for i, (called, known_id) in enumerate(open_calls) if (known_id == call_id if call_id else called == name)
    )
    at = next(same, None if call_id else 0)
    answered = open_calls.pop(at)[1] if open_calls and at is not None else "call_0"
    return str(call_id) if call_id else answered


def _embedding(fields: Fields, model: str) -> Fields:
    prompt = fields.pop("prompt", None)
    texts = fields.pop("input", None)
    if texts is None:
        texts = prompt or ""
    for name in _DROPPED:
        fields.pop(name, None)
    return fields | {"model": model, "input": texts}
