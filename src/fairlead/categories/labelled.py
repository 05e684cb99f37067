"""Labelled prompts: what a user supplies to train a detector, and to measure one."""

import zlib

import msgspec

from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError


class Labelled(msgspec.Struct, frozen=True):
    """A prompt and the category that somebody said it is."""

    text: str
    label: TaskCategory


class _Line(msgspec.Struct):
    text: str
    label: str


def parse_rows(content: bytes) -> list[Labelled]:
    """Read JSON objects with `text` and `label`, one a line; other keys are passed over, `-` in a label counts as `_`.

    Raises FairleadError naming the line that cannot be used.
    """
    decode = msgspec.json.Decoder(_Line).decode
    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise FairleadError(
                f'line {number}: {error}; each line is an object like {{"text": "fix it", "label": "debugging"}}'
            ) from None
        rows.append(Labelled(row.text, _category(row.label, number)))
    return rows


def _category(label: str, number: int) -> TaskCategory:
    try:
        return TaskCategory(label.replace("-", "_"))
    except ValueError:
        known = ", ".join(TaskCategory)
        raise FairleadError(f"line {number}: there is no task category {label!r}; there are: {known}") from None


def split(rows: list[Labelled], share: float) -> tuple[list[Labelled], list[Labelled]]:
    """Return rows to train on and about `share` of them to measure on, by the text: equal texts stay together."""
    limit = share * 2**32
    held = [zlib.crc32(row.text.encode("utf-8", "replace")) < limit for row in rows]
    train = [row for row, is_held in zip(rows, held, strict=True) if not is_held]
    return train, [row for row, is_held in zip(rows, held, strict=True) if is_held]
