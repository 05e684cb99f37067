"""What an Ollama caller asks: chat, generate and the two kinds of embedding requests."""

from typing import TypeVar

import msgspec

from fairlead.dialects.common import BAD_JSON, cut, token_limit
from fairlead.dialects.complaints import ollama_complaint
from fairlead.dialects.contract import Call, Dialect, Operation
from fairlead.errors import BadRequestError

_NO_FORMAT = (b"", b"null", b'""')


class _Message(msgspec.Struct, gc=False):
    role: str = ""
    content: str | None = None
    images: list[msgspec.Raw] | None = None


class _Options(msgspec.Struct, gc=False):
    num_predict: int | float | None = None


class _Request(msgspec.Struct, gc=False):
    model: str | None = None
    name: str | None = None
    """Where older clients put the model, beside an empty `model`."""


class _Generation(_Request, gc=False):
    stream: bool | None = None
    format: msgspec.Raw = msgspec.Raw(b"")
    options: _Options | None = None
    tools: list[msgspec.Raw] | None = None
    logprobs: bool | None = None


class _Chat(_Generation, gc=False):
    messages: list[_Message] | None = None


class _Generate(_Generation, gc=False):
    prompt: str | None = None
    images: list[msgspec.Raw] | None = None


class _Embed(_Request, gc=False):
    input: str | list[str] | None = None


class _Embeddings(_Request, gc=False):
    prompt: str | None = None


_RequestT = TypeVar("_RequestT", bound=_Request)

_chat_decoder = msgspec.json.Decoder(_Chat)
_generate_decoder = msgspec.json.Decoder(_Generate)
_embed_decoder = msgspec.json.Decoder(_Embed)
_embeddings_decoder = msgspec.json.Decoder(_Embeddings)


def decode_chat(path: str, body: bytes) -> Call:
    """Understand `/api/chat`. Raises BadRequestError."""
    chat = _decoded(_chat_decoder, body, "ChatRequest")
    messages = chat.messages or []
    prompt = next((m.content for m in reversed(messages) if m.role == "user"), None)
    return _generation(chat, Operation.CHAT, path, body, prompt, any(m.images for m in messages))


def decode_generate(path: str, body: bytes) -> Call:
    """Understand `/api/generate`. Raises BadRequestError."""
    request = _decoded(_generate_decoder, body, "GenerateRequest")
    return _generation(request, Operation.COMPLETION, path, body, request.prompt, bool(request.images))


def decode_embedding(path: str, body: bytes) -> Call:
    """Understand `/api/embed` and the older `/api/embeddings`. Raises BadRequestError."""
    if path.endswith("/embeddings"):
        old = _decoded(_embeddings_decoder, body, "EmbeddingRequest")
        model, prompt = old.model or old.name, old.prompt
    else:
        request = _decoded(_embed_decoder, body, "EmbedRequest")
        texts = request.input
        model, prompt = request.model or request.name, "\n".join(texts) if isinstance(texts, list) else texts
    return Call(
        dialect=Dialect.OLLAMA,
        operation=Operation.EMBEDDING,
        path=path,
        body=body,
        model=model or "",
        stream=False,
        prompt=cut(prompt or ""),
    )


def _decoded(decoder: msgspec.json.Decoder[_RequestT], body: bytes, name: str) -> _RequestT:
    try:
        request = decoder.decode(body)
    except BAD_JSON as error:
        raise ollama_complaint(error, body, name) from None
    if not (request.model or request.name):
        raise BadRequestError("model is required", "model")
    return request


def _generation(
    request: _Generation, operation: Operation, path: str, body: bytes, prompt: str | None, images: bool
) -> Call:
    asked = {
        "tools": bool(request.tools),
        "json": bytes(request.format) not in _NO_FORMAT,
        "vision": images,
        "logprobs": bool(request.logprobs),
    }
    return Call(
        dialect=Dialect.OLLAMA,
        operation=operation,
        path=path,
        body=body,
        model=request.model or request.name or "",
        stream=request.stream is not False,
        prompt=cut(prompt or ""),
        needs=frozenset(need for need, yes in asked.items() if yes),
        max_output_tokens=token_limit(request.options.num_predict) if request.options else None,
    )
