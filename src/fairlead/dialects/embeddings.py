"""Answers to embedding requests: the shapes of `/v1/embeddings`, `/api/embed` and `/api/embeddings`."""

import base64
import struct
from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, encode, is_count
from fairlead.dialects.contract import Call, Dialect, ErrorInfo, ProviderError, Usage
from fairlead.dialects.errors import error_body, read_error
from fairlead.dialects.sse import Tokens
from fairlead.errors import MalformedAnswerError

Vector = list[float]

_NOTHING = msgspec.Raw(b"null")


class _Item(msgspec.Struct, gc=False):
    embedding: list[float] | str
    index: int = 0


class _OpenAIAnswer(msgspec.Struct, gc=False):
    data: list[_Item] | None = None
    usage: Tokens | None = None
    error: Any = None


class _RawItem(msgspec.Struct, gc=False):
    embedding: msgspec.Raw


class _OpenAICheck(msgspec.Struct, gc=False):
    data: list[_RawItem] | None = None
    usage: Tokens | None = None
    error: Any = None


class _OllamaAnswer(msgspec.Struct, gc=False):
    embeddings: list[Vector] | None = None
    embedding: Vector | None = None
    prompt_eval_count: int | None = None
    error: Any = None


class _OllamaCheck(msgspec.Struct, gc=False):
    embeddings: msgspec.Raw = _NOTHING
    embedding: msgspec.Raw = _NOTHING
    prompt_eval_count: int | None = None
    error: Any = None


class _Format(msgspec.Struct, gc=False):
    encoding_format: str | None = None


_openai_decoder = msgspec.json.Decoder(_OpenAIAnswer)
_openai_check = msgspec.json.Decoder(_OpenAICheck)
_ollama_decoder = msgspec.json.Decoder(_OllamaAnswer)
_ollama_check = msgspec.json.Decoder(_OllamaCheck)
_format_decoder = msgspec.json.Decoder(_Format)


def check_openai(body: bytes) -> Usage | None:
    """Return the tokens of an OpenAI answer without decoding its vectors. Raises MalformedAnswerError."""
    answer = _read(_openai_check, body)
    if answer.data is None:
        raise MalformedAnswerError("The node's answer to an embedding request has no `data`.")
    return answer.usage.usage if answer.usage else None


def check_ollama(body: bytes) -> Usage | None:
    """Return the tokens of an Ollama answer without decoding its vectors. Raises MalformedAnswerError."""
    answer = _read(_ollama_check, body)
    if not any(bytes(part).startswith(b"[") for part in (answer.embeddings, answer.embedding)):
        raise MalformedAnswerError("The node's answer to an embedding request has no `embeddings`.")
    return Usage(answer.prompt_eval_count, 0) if is_count(answer.prompt_eval_count) else None


def _read(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        answer = decoder.decode(body)
    except BAD_JSON as error:
        raise MalformedAnswerError(f"The node's answer to an embedding request cannot be read: {error}") from None
    if answer.error:
        raise ProviderError(read_error(502, body))
    return answer


def as_base64(vector: Vector) -> str:
    """Return a vector as OpenAI's clients ask for it: little-endian 32-bit floats in base64."""
    try:
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    except (OverflowError, struct.error) as error:
        raise MalformedAnswerError(f"The node sent a number that is no 32-bit float: {error}") from None


def from_base64(text: str) -> Vector:
    """Return the vector that a base64 text holds. Raises MalformedAnswerError."""
    try:
        data = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(data) // 4}f", data))
    except (ValueError, struct.error) as error:
        raise MalformedAnswerError(f"The node sent an embedding that is not base64 of floats: {error}") from None


class EmbeddingRelay:
    """Embedding answers between the dialects; there are no streamed ones."""

    def __init__(self, call: Call, *, model: str) -> None:
        self.finished = False
        self.chunks = 0
        self.elapsed_s = 0.0
        self.usage: Usage | None = None
        self.media_type = "application/json"
        self._call = call
        self._model = model

    def whole(self, body: bytes) -> bytes:
        """Turn the answer into the caller's dialect. Raises MalformedAnswerError."""
        to_openai = self._call.dialect == Dialect.OPENAI
        out = self._to_openai(body) if to_openai else self._to_ollama(body)
        self.finished = True
        return encode(out)

    def _to_openai(self, body: bytes) -> dict[str, Any]:
        answer = _read(_ollama_decoder, body)
        vectors = [answer.embedding] if answer.embedding is not None else answer.embeddings
        if vectors is None:
            raise MalformedAnswerError("The node's answer to an embedding request has no `embeddings`.")
        if is_count(answer.prompt_eval_count):
            self.usage = Usage(answer.prompt_eval_count, 0)
        packed = _format_decoder.decode(self._call.body).encoding_format == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": as_base64(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ]
        count = self.usage.input_tokens if self.usage else len(self._call.body) // 4
        usage = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": self._model, "usage": usage}

    def _to_ollama(self, body: bytes) -> dict[str, Any]:
        answer = _read(_openai_decoder, body)
        if answer.data is None:
            raise MalformedAnswerError("The node's answer to an embedding request has no `data`.")
        self.usage = answer.usage.usage if answer.usage else None
        items = sorted(answer.data, key=lambda item: item.index)
        vectors = [from_base64(i.embedding) if isinstance(i.embedding, str) else i.embedding for i in items]
        if self._call.path.endswith("/embeddings"):
            return {"embedding": vectors[0] if vectors else []}
        count = self.usage.input_tokens if self.usage else len(self._call.body) // 4
        durations = {"total_duration": 0, "load_duration": 0}
        return {"model": self._model, "embeddings": vectors, **durations, "prompt_eval_count": count}

    def feed(self, data: bytes) -> bytes:
        """Refuse: embedding answers come whole. Raises MalformedAnswerError."""
        raise MalformedAnswerError(f"The node streams {len(data)} bytes in answer to an embedding request.")

    def close(self) -> bytes:
        """Refuse: embedding answers come whole. Raises MalformedAnswerError."""
        raise MalformedAnswerError("The node streams its answer to an embedding request.")

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the error as a body."""
        return error_body(self._call.dialect, error)
