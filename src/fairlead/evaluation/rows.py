"""A table of outcomes as people keep it, JSON lines or CSV, read row by row; each row is right or named.

A row says how well one model did on one prompt: `prompt`, `model`, `score` in [0, 1], and optionally `cost_usd`,
`latency_s`, `category` and `group`. Other columns are left alone.
"""

import csv
import gzip
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from fairlead.errors import FairleadError

REQUIRED = ("prompt", "model", "score")
_CELL_LIMIT = 1 << 30
_MOST_AMOUNT = 1e300
"""Beyond it, sums would be infinite."""


class TableError(FairleadError, ValueError):
    """A table cannot be used; the message names the file, the line and what is wrong there."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """One outcome: how well `model` did on `prompt`."""

    line: int
    """Where it stands in the file, from 1."""
    prompt: str
    model: str
    score: float
    """In [0, 1], up is good."""
    cost_usd: float | None = None
    latency_s: float | None = None
    category: str | None = None
    group: str | None = None


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a `.jsonl` or `.csv` file (also `.gz` of both); raise TableError at the first bad one."""
    is_csv = ".csv" in path.suffixes[-2:]
    try:
        with _opened(path) as file:
            pairs = _csv_records(path, file) if is_csv else _json_records(path, file)
            return [_row(path, line, record) for line, record in pairs]
    except OSError as error:  # gzip.BadGzipFile is one
        raise TableError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except EOFError:
        raise TableError(f"{path}: cannot be read: the compressed file ends too early") from None
    except UnicodeDecodeError:
        raise TableError(f"{path}: cannot be read: it is not UTF-8 text") from None
    except ValueError as error:
        if isinstance(error, TableError):
            raise
        raise TableError(f"{path}: cannot be read: {error}") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return io.TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _json_records(path: Path, file: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            record = _decode(text)
        except (ValueError, RecursionError):
            raise TableError(f"{path}:{line}: not JSON; each line holds one object") from None
        if not isinstance(record, dict):
            raise TableError(f"{path}:{line}: expected an object with {', '.join(REQUIRED)}")
        yield line, record


def _decode(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return json.loads(text)  # takes NaN, which is then named as what it is


def _csv_records(path: Path, file: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    before = csv.field_size_limit(_CELL_LIMIT)
    try:
        reader = csv.DictReader(file, strict=True)
        line = 1
        missing = [key for key in REQUIRED if key not in (reader.fieldnames or ())]
        if missing and reader.fieldnames:
            raise TableError(f"{path}:1: no column {' and no column '.join(map(repr, missing))}")
        for record in reader:
            line, start = reader.line_num, line + 1
            if None in record:
                raise TableError(f"{path}:{start}: more cells than columns")
            yield start, {key: _cell(key, value) for key, value in record.items()}
    except csv.Error as error:
        raise TableError(f"{path}:{line + 1}: not CSV: {error}") from None
    finally:
        csv.field_size_limit(before)


def _cell(key: str, text: str | None) -> object:
    if text is None or (text == "" and key != "prompt"):
        return None
    if key not in ("score", "cost_usd", "latency_s"):
        return text
    try:
        return float(text)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(text.lower(), text)


def _row(path: Path, line: int, record: dict[str, Any]) -> Row:
    place = f"{path}:{line}"
    missing = [key for key in REQUIRED if record.get(key) is None]
    if missing:
        raise TableError(f"{place}: {' and '.join(missing)} missing")
    return Row(
        line=line,
        prompt=_text(place, "prompt", record["prompt"]),
        model=_name(place, "model", record["model"]),
        score=_number(place, "score", record["score"], 1.0),
        cost_usd=_optional_number(place, "cost_usd", record),
        latency_s=_optional_number(place, "latency_s", record),
        category=_label(place, "category", record),
        group=_label(place, "group", record),
    )


def _text(place: str, key: str, value: object) -> str:
    if not isinstance(value, str):
        raise TableError(f"{place}: {key}: expected a text, not {json.dumps(value)[:40]}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TableError(f"{place}: {key}: holds half a character (a lone surrogate)") from None
    return value


def _name(place: str, key: str, value: object) -> str:
    name = _text(place, key, value).strip()
    if not name:
        raise TableError(f"{place}: {key} is empty")
    return name


def _label(place: str, key: str, record: dict[str, Any]) -> str | None:
    value = record.get(key)
    if isinstance(value, int):
        return str(value)
    return None if value is None or value == "" else _text(place, key, value)


def _optional_number(place: str, key: str, record: dict[str, Any]) -> float | None:
    value = record.get(key)
    return None if value is None else _number(place, key, value, math.inf)


def _number(place: str, key: str, value: object, most: float) -> float:
    wanted = "a number in [0, 1]" if most == 1.0 else "a number, 0 or more"
    if not isinstance(value, int | float):
        raise TableError(f"{place}: {key}: expected {wanted}, not {json.dumps(value)[:40]}")
    if most > 1.0 and _MOST_AMOUNT < value < math.inf:
        wanted = f"a number up to {_MOST_AMOUNT:g}"
    if not 0 <= value <= min(most, _MOST_AMOUNT):  # false for NaN too
        raise TableError(f"{place}: {key}: expected {wanted}, not {str(value)[:40]}")
    return float(value)
