"""The many ways to write one model's name: what tells models apart, and what only says where one is from."""

import re
from collections.abc import Iterator
from enum import Enum

import msgspec

_MAKERS = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "google",
    "gemini": "google",
    "mistral": "mistral",
    "mistralai": "mistral",
    "deepseek": "deepseek",
    "deepseek-ai": "deepseek",
    "meta": "meta",
    "meta-llama": "meta",
    "qwen": "qwen",
    "microsoft": "microsoft",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "cohereforai": "cohere",
    "coherelabs": "cohere",
    "xai": "xai",
    "x-ai": "xai",
    "huggingfacetb": "huggingface",
    "ibm": "ibm",
    "ibm-granite": "ibm",
}
"""Who is meant by the first part of `openai/gpt-4o`."""
_CARRIERS = frozenset(("openrouter", "vertex_ai", "models"))
"""Who passes on other makers' models, at the maker's price."""
_AT_HOME = frozenset(("ollama", "ollama_chat", "library", "hf.co", "huggingface.co"))
"""Where weights are fetched from to run them oneself."""
_PACKERS = frozenset(("bartowski", "ggml-org", "lmstudio-community", "mlx-community", "thebloke", "unsloth"))
"""Who stores others' open weights anew, under the names that they had."""

_DATE = re.compile(r"[-@](20\d\d-\d\d-\d\d|20\d{6})$")
_STORED = re.compile(
    r"(\.gguf|[-.:_](gguf|awq|gptq|fp8(-dynamic)?|fp16|f16|bf16|mxfp4|int[48]|[48]bit|bnb|qat|i?q\d(_[a-z0-9]+)*)|:latest)$"
)
_TUNED = re.compile(r"(:[a-z0-9.]+)-(instruct|it|chat)$")
"""Ollama's short tags mean the tuned weights already; `-text` and `-base` are others."""


class Where(Enum):
    """Who can serve what is written so."""

    ANYWHERE = "anywhere"
    MAKER = "maker"
    HOME = "home"


class Spelling(msgspec.Struct, frozen=True):
    """One way to read a name."""

    name: str
    """In lower case, without what was in front of it."""
    owners: tuple[str, ...] = ()
    """What was in front of it."""
    where: Where = Where.ANYWHERE

    def may_be_from(self, maker: str, *, is_open: bool) -> bool:
        """Tell whether all that stands in front agrees with a maker; a stranger's model of that name is another."""
        return all(
            one in _CARRIERS or _MAKERS.get(one) == maker or (is_open and (one in _AT_HOME or one in _PACKERS))
            for one in self.owners
        )


def spellings(name: str) -> Iterator[Spelling]:
    """Give the ways to read a name, the most exact first."""
    *owners, last = name.strip().lower().split("/")
    if last.endswith(".gguf"):
        owners = []  # folders of a file
    origin = tuple(owners)
    yield Spelling(last, origin)
    if (undated := _DATE.sub("", last)) != last:
        yield Spelling(undated, origin, Where.MAKER)
    yield from (Spelling(one, origin, Where.HOME) for one in _unpacked(last))


def _unpacked(name: str) -> Iterator[str]:
    """Give a name with less and less of what says how its weights are stored."""
    shorter = _STORED.sub("", name)
    while shorter != name:
        name = shorter
        yield name
        shorter = _STORED.sub("", name)
    if _TUNED.search(name):
        yield _TUNED.sub(r"\1", name)
