"""How the load of nodes is measured, and what keeping to a node is worth."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta


class LoadMeasure(StrEnum):
    """How busy a node is."""

    REQUESTS = "requests"
    """Requests in flight."""
    TOKENS = "tokens"
    """Tokens in flight: uncached prompt and expected answer."""
    LATENCY = "latency"
    """Peak of the moving average of the time to the first token, times requests in flight."""
    POLLED = "polled"
    """What the node itself reported last, and what was sent there since."""


class PrefixConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whether, and how far, a prompt goes to the node that holds what it begins with."""

    enabled: bool = True
    block_bytes: Annotated[int, Meta(ge=64)] = 1024
    """Length of prompt that counts as one block."""
    max_blocks: Annotated[int, Meta(gt=0)] = 100_000
    """Blocks remembered over all nodes, the least recently used forgotten first."""
    prefill_tokens_per_s: Annotated[float, Meta(gt=0)] = 2000.0
    """How fast a node reads a prompt, until that is learnt."""
