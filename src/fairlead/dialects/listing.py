"""Lists of models as each dialect's clients read them."""

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from fairlead.dialects.common import encode, timestamp

_NEVER = "2318-01-01T00:00:00Z"
"""Ollama's `expires_at` for a model that stays loaded."""
_KEPT = ("completion", "tools", "vision", "thinking", "insert", "embedding")


class ModelCard(msgspec.Struct, frozen=True):
    """What the lists say of a model."""

    name: str
    context_tokens: int | None
    capabilities: frozenset[str] | None
    """None where unknown: then clients are told that it can chat and call tools."""
    created_s: int
    nodes: tuple[str, ...]


def openai_models(cards: Iterable[ModelCard]) -> bytes:
    """Return the body of `GET /v1/models`."""
    return encode({"object": "list", "data": [_openai_model(card) for card in cards]})


def openai_model(card: ModelCard) -> bytes:
    """Return the body of `GET /v1/models/{id}`."""
    return encode(_openai_model(card))


def _openai_model(card: ModelCard) -> dict[str, Any]:
    out: dict[str, Any] = {"id": card.name, "object": "model", "created": card.created_s, "owned_by": "fairlead"}
    if card.context_tokens is not None:
        out["context_length"] = card.context_tokens
    if card.capabilities is not None:
        out["capabilities"] = sorted(card.capabilities)
    return out | {"nodes": list(card.nodes)}


def anthropic_models(cards: Iterable[ModelCard]) -> bytes:
    """Return the body of `GET /v1/models` for a caller that sends `anthropic-version`."""
    data = [_anthropic_model(card) for card in cards]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return encode({"data": data, "has_more": False, "first_id": first, "last_id": last})


def anthropic_model(card: ModelCard) -> bytes:
    """Return the body of `GET /v1/models/{id}` for a caller that sends `anthropic-version`."""
    return encode(_anthropic_model(card))


def _anthropic_model(card: ModelCard) -> dict[str, Any]:
    created_at = timestamp(card.created_s)[:19] + "Z"
    return {"type": "model", "id": card.name, "display_name": card.name, "created_at": created_at}


def ollama_tags(cards: Iterable[ModelCard]) -> bytes:
    """Return the body of `GET /api/tags`."""
    return encode(
        {
            "models": [
                {
                    "name": card.name,
                    "model": card.name,
                    "modified_at": timestamp(card.created_s),
                    "size": 0,
                    "digest": _digest(card),
                    "details": _details(),
                }
                for card in cards
            ]
        }
    )


def ollama_ps(cards: Iterable[ModelCard]) -> bytes:
    """Return the body of `GET /api/ps`: what the fleet serves counts as loaded."""
    return encode(
        {
            "models": [
                {
                    "name": card.name,
                    "model": card.name,
                    "size": 0,
                    "digest": _digest(card),
                    "details": _details(),
                    "expires_at": _NEVER,
                    "size_vram": 0,
                }
                for card in cards
            ]
        }
    )


def ollama_show(card: ModelCard) -> bytes:
    """Return the body of `POST /api/show`."""
    info: dict[str, Any] = {"general.architecture": "fairlead", "general.basename": card.name}
    if card.context_tokens is not None:
        info["fairlead.context_length"] = card.context_tokens
    return encode(
        {
            "modelfile": f"# Served by fairlead on {', '.join(card.nodes) or 'no node'}\nFROM {card.name}\n",
            "parameters": "",
            "template": "",
            "details": _details(),
            "model_info": info,
            "capabilities": _capabilities(card),
            "modified_at": timestamp(card.created_s),
        }
    )


def ollama_version(version: str) -> bytes:
    """Return the body of `GET /api/version`."""
    return encode({"version": version})


def _capabilities(card: ModelCard) -> list[str]:
    known = card.capabilities
    if known is None:
        return ["completion", "tools"]
    if "embedding" in known and not known & {"completion", "chat", "tools", "vision"}:
        return ["embedding"]
    return [name for name in _KEPT if name == "completion" or name in known]


def _digest(card: ModelCard) -> str:
    """Return 64 hexadecimal digits that stay the same: Ollama's own program cuts the first twelve off."""
    return hashlib.sha256(card.name.encode()).hexdigest()


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "",
        "family": "",
        "families": None,
        "parameter_size": "",
        "quantization_level": "",
    }
