"""Ollama's requests without a prompt: load, unload, embed nothing. Other kinds of nodes know nothing like them."""

from typing import Any

import msgspec

from fairlead.dialects.common import BAD_JSON, encode, timestamp
from fairlead.dialects.complaints import ollama_complaint
from fairlead.dialects.contract import Call, Dialect, Operation

_DURATION_ZERO = ("0", "0s", "0m", "0h", "0ms")


class _Empty(msgspec.Struct, gc=False):
    messages: list[msgspec.Raw] | None = None
    prompt: str | None = None
    input: str | list[msgspec.Raw] | None = None
    images: list[msgspec.Raw] | None = None
    suffix: str | None = None
    keep_alive: float | str | None = None


_decoder = msgspec.json.Decoder(_Empty)


def empty_answer(call: Call, *, now_s: float, model: str) -> bytes | None:
    """Return the whole answer to a call that asks no model for anything, or None where there is something to do.

    It is for calls that would go to a node which is not Ollama; a real Ollama loads and unloads by itself. Raises
    BadRequestError for fields that are not what Ollama takes.
    """
    if call.prompt or call.dialect != Dialect.OLLAMA:
        return None
    try:
        asked = _decoder.decode(call.body)
    except BAD_JSON as error:
        raise ollama_complaint(error, call.body, "Request") from None
    if asked.messages or asked.prompt or asked.images or asked.suffix or asked.input:
        return None
    if call.operation is Operation.EMBEDDING:
        if call.path.endswith("/embeddings"):
            return encode({"embedding": []})
        return encode({"model": model, "embeddings": []})
    reason = "unload" if asked.keep_alive == 0 or asked.keep_alive in _DURATION_ZERO else "load"
    head: dict[str, Any] = {"model": model, "created_at": timestamp(now_s)}
    if call.operation is Operation.CHAT:
        return encode(head | {"message": {"role": "assistant", "content": ""}, "done_reason": reason, "done": True})
    return encode(head | {"response": "", "done": True, "done_reason": reason})
