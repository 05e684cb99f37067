"""OpenAI and Ollama, spoken both ways: requests understood and translated, answers relayed. No I/O, no clock."""

from fairlead.dialects import ollama_request, openai_request
from fairlead.dialects.contract import (
    Call,
    Dialect,
    ErrorInfo,
    NodeRequest,
    Operation,
    ProviderError,
    Relay,
    Usage,
)
from fairlead.dialects.empty_calls import empty_answer
from fairlead.dialects.errors import error_body, fault_of, read_error
from fairlead.dialects.node_request import node_request
from fairlead.dialects.relays import make_relay

__all__ = [
    "Call",
    "Dialect",
    "ErrorInfo",
    "NodeRequest",
    "Operation",
    "ProviderError",
    "Relay",
    "Usage",
    "decode",
    "empty_answer",
    "error_body",
    "fault_of",
    "make_relay",
    "node_request",
    "read_error",
]

_OPENAI = Dialect.OPENAI
_CHAT = Operation.CHAT
_COMPLETION = Operation.COMPLETION


def decode(dialect: Dialect, operation: Operation, path: str, body: bytes) -> Call:
    """Understand a request enough to route it. Raises BadRequestError with what the caller should read."""
    if dialect == _OPENAI:
        if operation is _CHAT:
            return openai_request.decode_chat(path, body)
        if operation is _COMPLETION:
            return openai_request.decode_completion(path, body)
        return openai_request.decode_embedding(path, body)
    if operation is _CHAT:
        return ollama_request.decode_chat(path, body)
    if operation is _COMPLETION:
        return ollama_request.decode_generate(path, body)
    return ollama_request.decode_embedding(path, body)
