"""What a node tells of itself: how busy it is, what it can hold, and which models it has in memory."""

import msgspec


class LoadedModel(msgspec.Struct, frozen=True):
    """A model in a node's memory; None where the node does not tell."""

    size_bytes: int | None = None
    """All that it takes, in whichever memory."""
    vram_bytes: int | None = None
    """Of this, what it takes of the GPU's."""
    context_tokens: int | None = None
    """Of prompt and answer together that it was loaded for."""
    expires_at_s: float | None = None
    """When the node will unload it unless it is used, in seconds since 1970 by the node's own clock."""


class NodeReport(msgspec.Struct, frozen=True):
    """One look at a node; what is None was not told."""

    node: str
    sampled_at_s: float
    """Before the node was asked: whatever was sent to it later is surely not counted here."""
    kind: str = ""
    """The server's name: `vllm`, `sglang`, `llama.cpp` or `ollama`."""
    running: int | None = None
    """Tasks that it works on, whoever sent them."""
    waiting: int | None = None
    """Tasks in its own queue."""
    utilization: float | None = None
    """Share of its KV cache that is held, in [0, 1]; of its slots where it does not tell of the cache."""
    slots: int | None = None
    """Tasks that it works on at once."""
    tokens: int | None = None
    """Tokens that its KV cache holds."""
    loaded: dict[str, LoadedModel] | None = None
    """By the node's own names; empty: none is loaded, so the next task waits for one."""
    cached_hits: int | None = None
    """Prompt tokens that it found in its cache since it started..."""
    cached_queries: int | None = None
    """...out of so many."""
    cached_share: float | None = None
    """Of the prompts of late, the share found in its cache, where it tells this and no counts."""
