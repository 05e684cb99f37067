"""What one page of a node tells, number by number: each is checked, and one that cannot be is dropped."""

from collections.abc import Callable
from typing import Any, TypedDict

import msgspec

from fairlead.domain.report import LoadedModel
from fairlead.errors import FairleadError

_MOST_TASKS = 1_000_000
_MOST_TOKENS = 1e12
_MOST_COUNTED = 2.0**63
_MOST_BYTES = 2.0**50


class PollError(FairleadError):
    """A node's answer tells nothing that can be used; the message says what it is instead."""


class Told(TypedDict, total=False):
    """The fields of a `NodeReport` that a page told."""

    running: int
    waiting: int
    utilization: float
    slots: int
    tokens: int
    loaded: dict[str, LoadedModel]
    cached_hits: int
    cached_queries: int
    cached_share: float


Reader = Callable[[object], int | float | None]


def _number(value: object, least: float, most: float) -> float | None:
    """Return a number within its range; None for anything else, not-a-number included."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if least <= value <= most else None


def _whole(value: object, least: float, most: float) -> int | None:
    number = _number(value, least, most)
    return None if number is None else int(number)


def tasks(value: object) -> int | None:
    """Read a number of tasks."""
    return _whole(value, 0, _MOST_TASKS)


def slots(value: object) -> int | None:
    """Read how many tasks there may be at once."""
    return _whole(value, 1, _MOST_TASKS)


def tokens(value: object) -> int | None:
    """Read a number of tokens of which there must be at least one."""
    return _whole(value, 1, _MOST_TOKENS)


def counted(value: object) -> int | None:
    """Read what has been counted since a server started."""
    return _whole(value, 0, _MOST_COUNTED)


def size(value: object) -> int | None:
    """Read a size in bytes."""
    return _whole(value, 0, _MOST_BYTES)


def share(value: object) -> float | None:
    """Read a share in [0, 1]."""
    return _number(value, 0, 1)


READERS: dict[str, Reader] = {
    "running": tasks,
    "waiting": tasks,
    "utilization": share,
    "slots": slots,
    "tokens": tokens,
    "cached_hits": counted,
    "cached_queries": counted,
    "cached_share": share,
}
"""How the numbers of a report are read, by field."""


def json_of(body: bytes) -> Any:
    """Decode a page of JSON. Raises PollError."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise PollError(f"holds no JSON but {shown(body)}") from None


def object_of(body: bytes) -> dict[str, Any]:
    """Decode a page that is a JSON object. Raises PollError."""
    value = json_of(body)
    if not isinstance(value, dict):
        raise PollError(f"holds no JSON object but {shown(body)}")
    return value


def rows_of(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list; what is none is left out. Raises PollError when there is no list."""
    if not isinstance(value, list):
        raise PollError("holds no list of objects where one belongs")
    return [row for row in value if isinstance(row, dict)]


def shown(body: bytes) -> str:
    """Say in a few words what a page is, quoting nothing that could be secret or long."""
    start = body[:512].lstrip().lower()
    if not start:
        return "nothing"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "a web page"
    if start.startswith(b"\x1f\x8b"):
        return "compressed data that nobody asked for"
    return f"{len(body)} bytes of something else"
