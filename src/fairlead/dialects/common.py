"""Small things that several codecs share."""

import re
from datetime import UTC, datetime
from typing import Any, TypeGuard

import msgspec

from fairlead.errors import BadRequestError

HEAD_CHARS = 2048
TAIL_CHARS = 1024
MOST_TOKENS = 2**31
"""In one answer; a node that tells of more does not know."""

encode = msgspec.json.encode
decode_any = msgspec.json.decode

BAD_JSON = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Everything that msgspec raises for bytes that are not the JSON that was wanted."""

_IMAGE_URL = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_IMAGE_TYPES = {"/9j/": "jpeg", "iVBOR": "png", "R0lGOD": "gif", "UklGR": "webp"}


def cut(text: str) -> str:
    """Return the head and the tail of a long text: detection needs no more."""
    if len(text) <= HEAD_CHARS + TAIL_CHARS:
        return text
    return f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are text: what is not was broken on its way."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def token_limit(value: float | None) -> int | None:
    """Return a limit of output tokens; None where the caller set none (negative means unlimited)."""
    if value is None or value < 0 or value > 2**53:
        return None
    return int(value)


def is_count(value: object) -> TypeGuard[int]:
    """Tell whether what a node says can be a number of tokens."""
    return type(value) is int and 0 <= value <= MOST_TOKENS


def body_fields(body: bytes) -> dict[str, Any]:
    """Decode a whole request body. Raises BadRequestError."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except BAD_JSON as error:
        raise BadRequestError(f"The body is not a JSON object that can be translated: {error}") from None


def timestamp(unix_s: float) -> str:
    """Return a time as RFC 3339 with nanoseconds, as Ollama writes it."""
    seconds = int(unix_s // 1)
    nanoseconds = int((unix_s - seconds) * 1e9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def arguments_object(text: Any) -> dict[str, Any]:
    """Return the arguments of a tool call as an object; a model's broken JSON is kept as text under `input`."""
    if isinstance(text, dict):
        return text
    if not text:
        return {}
    try:
        value = decode_any(text)
    except (*BAD_JSON, TypeError):
        return {"input": text}
    return value if isinstance(value, dict) else {"input": value}


def arguments_text(value: Any) -> str:
    """Return the arguments of a tool call as JSON text."""
    return value if isinstance(value, str) else encode({} if value is None else value).decode()


def image_data_url(base64_text: str) -> str:
    """Return an Ollama image (bare base64) as a data URL; the kind is read from its first bytes."""
    if base64_text.startswith("data:"):
        return base64_text
    kind = next((name for start, name in _IMAGE_TYPES.items() if base64_text.startswith(start)), "png")
    return f"data:image/{kind};base64,{base64_text}"


def image_base64(url: str) -> str | None:
    """Return the base64 part of an image data URL; None for other URLs, which nobody here fetches."""
    match = _IMAGE_URL.match(url)
    return url[match.end() :] if match else None
