"""The seam between bytes and meaning: what a door understands of a request, and how an answer goes back.

Nothing here touches a socket or a clock. A *dialect* is spoken by callers and by nodes alike; each of the four
combinations has one `Relay`.
"""

from enum import StrEnum
from typing import Protocol

import msgspec

from fairlead.errors import FairleadError


class Dialect(StrEnum):
    """A language of the wire."""

    OPENAI = "openai"
    OLLAMA = "ollama"


class Operation(StrEnum):
    """What a caller wants done."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"
    PASSING = "passing"
    """Whatever else a node offers by itself: relayed as it is."""


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer."""

    input_tokens: int
    output_tokens: int
    estimated: bool = False
    """True where the node reported nothing and the router counted."""
    cached_tokens: int | None = None
    """Of the input, those that the node had kept from earlier prompts; None where it does not tell."""


class Call(msgspec.Struct, gc=False):
    """What a door understood of a request: enough to route it; the rest stays in `body`."""

    dialect: Dialect
    operation: Operation
    path: str
    """As the caller wrote it, without the query: Ollama has two embedding paths."""
    body: bytes
    model: str
    stream: bool
    prompt: str
    """The text that says what is wanted (the last user message); possibly cut in the middle, for detection only."""
    needs: frozenset[str] = frozenset()
    """Of `tools`, `vision`, `json`, `logprobs`: what the model must be able to do."""
    max_output_tokens: int | None = None
    include_usage: bool = False
    """OpenAI streams: the caller asked for a usage chunk."""


class NodeRequest(msgspec.Struct, frozen=True):
    """A request in a node's own words."""

    path: str
    """Below the node's base address: `/chat/completions` for OpenAI (its base ends in `/v1`), or `/api/chat`."""
    body: bytes


class ErrorInfo(msgspec.Struct, frozen=True):
    """An error on its way to a caller, before a dialect gives it a shape."""

    status: int
    message: str
    kind: str = "api_error"
    code: str | int | None = None
    param: str | None = None


class ProviderError(FairleadError):
    """A node reported an error inside an answer that had begun well."""

    def __init__(self, info: ErrorInfo) -> None:
        super().__init__(info.message)
        self.info = info


class Relay(Protocol):
    """One answer on its way from a node to a caller, translated where their dialects differ.

    Either `whole` is called once, or `feed` many times and then `close`. A relay never gives out half an event.
    """

    finished: bool
    """The node has said that the answer is complete (a finish reason, or its end mark)."""
    chunks: int
    """Pieces of content seen so far: an estimate of the tokens where the node reports none."""
    usage: Usage | None
    """As the node reported it, or None."""
    media_type: str
    """Content type of the streamed answer in the caller's dialect."""
    elapsed_s: float
    """Since the request was sent; set by the owner before the end, for dialects that tell."""

    def whole(self, body: bytes) -> bytes:
        """Turn a complete, unstreamed answer into the caller's dialect.

        Raises MalformedAnswerError when it is none, and ProviderError when it tells of an error under status 200.
        """
        ...

    def feed(self, data: bytes) -> bytes:
        """Take bytes of a streamed answer as they arrive, return those that can go to the caller now.

        Raises MalformedAnswerError for rubbish, and ProviderError for an error reported inside the stream.
        """
        ...

    def close(self) -> bytes:
        """Return what completes the caller's stream after the node's stream has ended.

        Raises MalformedAnswerError when the node stopped before its answer was finished.
        """
        ...

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the event that tells the caller, in mid-stream, that the answer broke."""
        ...
