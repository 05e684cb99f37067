"""What an OpenAI caller asks: one pass over the body for the few fields that routing needs."""

import msgspec

from fairlead.dialects.common import BAD_JSON, cut, token_limit
from fairlead.dialects.complaints import missing, openai_complaint
from fairlead.dialects.contract import Call, Dialect, Operation

_OPENAI = Dialect.OPENAI
_CHAT_OPERATION = Operation.CHAT
_COMPLETION_OPERATION = Operation.COMPLETION
_EMBEDDING_OPERATION = Operation.EMBEDDING
_NOTHING: frozenset[str] = frozenset()


class _Part(msgspec.Struct, gc=False):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: str | list[_Part] | None = None


class _StreamOptions(msgspec.Struct, gc=False):
    include_usage: bool | None = None


class _Format(msgspec.Struct, gc=False):
    type: str = ""


class _Chat(msgspec.Struct, gc=False):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | float | None = None
    max_completion_tokens: int | float | None = None
    tools: list[msgspec.Raw] | None = None
    functions: list[msgspec.Raw] | None = None
    response_format: _Format | None = None
    logprobs: bool | None = None


class _Completion(msgspec.Struct, gc=False):
    model: str
    prompt: str | list[str | int | list[int]] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | float | None = None
    response_format: _Format | None = None
    logprobs: int | bool | None = None


class _Embedding(msgspec.Struct, gc=False):
    model: str
    input: str | list[str | int | list[int]]
    encoding_format: str | None = None


_chat_decoder = msgspec.json.Decoder(_Chat)
_completion_decoder = msgspec.json.Decoder(_Completion)
_embedding_decoder = msgspec.json.Decoder(_Embedding)


def decode_chat(path: str, body: bytes) -> Call:
    """Understand `/v1/chat/completions`. Raises BadRequestError."""
    try:
        chat = _chat_decoder.decode(body)
    except BAD_JSON as error:
        raise openai_complaint(error, body) from None
    if not chat.model:
        raise missing("model")
    prompt = ""
    messages = chat.messages
    for message in reversed(messages):
        if message.role == "user":
            content = message.content
            prompt = content if isinstance(content, str) else _joined(content)
            if len(prompt) > 3072:
                prompt = cut(prompt)
            break
    needs = _NOTHING
    if chat.tools or chat.response_format or chat.logprobs or chat.functions:
        needs = _chat_needs(chat)
    else:
        for message in messages:
            if type(message.content) is list:
                needs = _chat_needs(chat)
                break
    limit = chat.max_completion_tokens
    if limit is None:
        limit = chat.max_tokens
    options = chat.stream_options
    return Call(
        _OPENAI,
        _CHAT_OPERATION,
        path,
        body,
        chat.model,
        chat.stream is True,
        prompt,
        needs,
        None if limit is None else token_limit(limit),
        options is not None and options.include_usage is True,
    )


def _joined(parts: list[_Part] | None) -> str:
    return "\n".join(part.text for part in parts or () if part.text)


def _chat_needs(chat: _Chat) -> frozenset[str]:
    needs = set()
    if chat.tools or chat.functions:
        needs.add("tools")
    if chat.response_format and chat.response_format.type.startswith("json"):
        needs.add("json")
    if chat.logprobs:
        needs.add("logprobs")
    lists = (message.content for message in chat.messages if isinstance(message.content, list))
    if any(part.type == "image_url" for parts in lists for part in parts):
        needs.add("vision")
    return frozenset(needs)


def decode_completion(path: str, body: bytes) -> Call:
    """Understand `/v1/completions`. Raises BadRequestError."""
    try:
        request = _completion_decoder.decode(body)
    except BAD_JSON as error:
        raise openai_complaint(error, body) from None
    if not request.model:
        raise missing("model")
    needs = set()
    if request.response_format and request.response_format.type.startswith("json"):
        needs.add("json")
    if request.logprobs:
        needs.add("logprobs")
    return Call(
        dialect=_OPENAI,
        operation=_COMPLETION_OPERATION,
        path=path,
        body=body,
        model=request.model,
        stream=request.stream is True,
        prompt=_texts(request.prompt),
        needs=frozenset(needs),
        max_output_tokens=token_limit(request.max_tokens),
        include_usage=request.stream_options is not None and request.stream_options.include_usage is True,
    )


def decode_embedding(path: str, body: bytes) -> Call:
    """Understand `/v1/embeddings`. Raises BadRequestError."""
    try:
        request = _embedding_decoder.decode(body)
    except BAD_JSON as error:
        raise openai_complaint(error, body) from None
    if not request.model:
        raise missing("model")
    return Call(
        dialect=_OPENAI,
        operation=_EMBEDDING_OPERATION,
        path=path,
        body=body,
        model=request.model,
        stream=False,
        prompt=_texts(request.input),
    )


def _texts(value: str | list[str | int | list[int]] | None) -> str:
    """Return the text of a prompt; token ids say nothing to a detector."""
    if isinstance(value, str):
        return cut(value)
    return cut("\n".join(item for item in value or () if isinstance(item, str)))
