"""Ollama's `/api/ps`: the models in its memory. How busy it is it does not tell."""

from datetime import UTC, datetime

from fairlead.domain.report import LoadedModel
from fairlead.polling.told import Told, object_of, rows_of, size, tokens

_MAX_NAME = 500


def read_ps(body: bytes) -> Told:
    """Return what is loaded. Raises PollError."""
    rows = object_of(body).get("models")
    loaded: dict[str, LoadedModel] = {}
    for row in rows_of([] if rows is None else rows):  # older versions write null for an empty list
        name = row.get("name") or row.get("model")
        if isinstance(name, str) and 0 < len(name) <= _MAX_NAME:
            loaded[name] = LoadedModel(
                size_bytes=size(row.get("size")),
                vram_bytes=size(row.get("size_vram")),
                context_tokens=tokens(row.get("context_length")),
                expires_at_s=_seconds(row.get("expires_at")),
            )
    return {"loaded": loaded}


def _seconds(value: object) -> float | None:
    """Read a time as RFC 3339 with up to nine decimals; None for what is none, and for Go's zero time."""
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if time is None or time.year < 1970:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
