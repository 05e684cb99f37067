"""An OpenAI caller's request for an Ollama node."""

from collections.abc import Iterable
from typing import Any

from fairlead.dialects.common import arguments_object, image_base64
from fairlead.dialects.contract import Call, Operation
from fairlead.errors import BadRequestError

Fields = dict[str, Any]

_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "repeat_penalty": "repeat_penalty",
    "num_ctx": "num_ctx",
    "max_tokens": "num_predict",
    "max_completion_tokens": "num_predict",
}
"""OpenAI's top-level fields and what they are called among Ollama's options; of two for one, the later wins."""

_DROPPED = ("model", "stream_options", "tool_choice", "parallel_tool_calls", "encoding_format", "n", "best_of", "echo")


def to_ollama(call: Call, fields: Fields, model: str) -> tuple[str, Fields]:
    """Return the path and body of the request. Raises BadRequestError for what Ollama cannot be asked."""
    for name in ("n", "best_of"):
        if isinstance(fields.get(name), int) and fields[name] > 1:
            raise BadRequestError(f"`{name}` must be 1: the node chosen gives one answer per request.", name)
    if call.operation is Operation.CHAT:
        return "/api/chat", _chat(call, fields, model)
    if call.operation is Operation.COMPLETION:
        return "/api/generate", _generate(call, fields, model)
    return "/api/embed", _embed(fields, model)


def _generation(call: Call, fields: Fields, model: str, what: Fields) -> Fields:
    """What chat and generate have in common; fields that nobody knows go along as they are."""
    body: Fields = {"model": model, **what, "stream": call.stream}
    given = fields.pop("options", None)
    options = dict(given) if isinstance(given, dict) else {}
    for name, option in _OPTIONS.items():
        value = fields.pop(name, None)
        if value is not None:
            options[option] = [value] if option == "stop" and isinstance(value, str) else value
    if options:
        body["options"] = options
    answer_format = _format(fields.pop("response_format", None))
    if answer_format is not None:
        body["format"] = answer_format
    effort = fields.pop("reasoning_effort", None)
    if effort is not None:
        body["think"] = effort not in ("none", "minimal")
    for name in _DROPPED:
        fields.pop(name, None)
    return fields | body


def _format(response_format: Any) -> Any:
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_schema":
        described = response_format.get("json_schema")
        schema = described.get("schema") if isinstance(described, dict) else None
        return schema or "json"
    return "json" if response_format.get("type") == "json_object" else None


def _chat(call: Call, fields: Fields, model: str) -> Fields:
    names: dict[str, str] = {}
    messages = [_message(message, index, names) for index, message in enumerate(fields.pop("messages"))]
    what: Fields = {"messages": messages}
    functions = fields.pop("functions", None)
    if not isinstance(functions, list):
        functions = []
    tools = fields.pop("tools", None) or [{"type": "function", "function": function} for function in functions]
    if tools and fields.get("tool_choice") != "none":
        what["tools"] = tools
    return _generation(call, fields, model, what)


def _message(message: Fields, index: int, names: dict[str, str]) -> Fields:
    """Translate one message; `names` remembers which tool each call id meant."""
    message = dict(message)
    content = message.pop("content", None)
    text, images = _content(content, f"messages[{index}].content")
    role = message.pop("role", "user")
    out: Fields = {"role": {"developer": "system", "function": "tool"}.get(role, role), "content": text}
    if images:
        out["images"] = images
    reasoning = message.pop("reasoning_content", None)
    if reasoning:
        out["thinking"] = reasoning
    calls = message.pop("tool_calls", None)
    if calls:
        out["tool_calls"] = [_tool_call(each, names) for each in _dicts(calls)]
    name = message.pop("name", None)
    if out["role"] == "tool":
        tool = names.get(str(message.get("tool_call_id")), name)
        if tool:
            out["tool_name"] = tool
    return message | out


def _content(content: Any, where: str) -> tuple[str, list[str]]:
    if not isinstance(content, list):
        return content or "", []
    texts, images = [], []
    for part in _dicts(content):
        kind = part.get("type")
        if kind == "image_url":
            images.append(_image(part.get("image_url"), where))
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise BadRequestError(f"`{where}` holds a part of type {kind!r}, which the node chosen cannot read.", where)
    return "\n".join(texts), images


def _image(value: Any, where: str) -> str:
    url = value.get("url") if isinstance(value, dict) else value
    image = image_base64(url) if isinstance(url, str) else None
    if image is None:
        raise BadRequestError(
            f"`{where}` names an image by address, which the node chosen cannot fetch: send it as a data: URL.", where
        )
    return image


def _tool_call(call: Fields, names: dict[str, str]) -> Fields:
    function = call.get("function")
    function = dict(function) if isinstance(function, dict) else {}
    if call.get("id"):
        names[str(call["id"])] = str(function.get("name"))
    return call | {"function": function | {"arguments": arguments_object(function.get("arguments"))}}


def _dicts(values: Any) -> Iterable[Fields]:
    return (value for value in values if isinstance(value, dict)) if isinstance(values, list) else ()


def _generate(call: Call, fields: Fields, model: str) -> Fields:
    prompt = fields.pop("prompt", None)
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if prompt is not None and not isinstance(prompt, str):
        raise BadRequestError("`prompt` must be one text: the node chosen takes no lists and no token ids.", "prompt")
    what: Fields = {"prompt": prompt or ""}
    # A completion continues the bare text; a suffix, however, needs the model's own fill-in template.
    if not fields.get("suffix"):
        what["raw"] = True
    logprobs = fields.pop("logprobs", None)
    if logprobs:
        what |= {"logprobs": True, "top_logprobs": int(logprobs)}
    return _generation(call, fields, model, what)


def _embed(fields: Fields, model: str) -> Fields:
    texts = fields.pop("input")
    if isinstance(texts, list) and not all(isinstance(text, str) for text in texts):
        raise BadRequestError("`input` must be text: the node chosen takes no token ids.", "input")
    for name in _DROPPED:
        fields.pop(name, None)
    return fields | {"model": model, "input": texts}
