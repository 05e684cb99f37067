"""What a trained detector knows, and the file it is kept in.

The file is one JSON object of at most a few hundred kilobytes. Words stand in it as 32-bit hashes and as whole numbers
from -127 to 127, so the texts that it was trained on cannot be read back; guessing a word and looking it up can tell
whether it was there.
"""

import math
import zlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fairlead.categories.cues import ORDER
from fairlead.categories.rules import LEAD_WORDS, cut
from fairlead.domain.task import TaskCategory
from fairlead.errors import FairleadError

READ_CHARS = 240
"""What is read of a prompt for its words; four times as much told hardly more."""
_LEAD = 0x6C656164
"""Sets a word among the first few apart from the same word elsewhere."""
_PAIR = 0x70616972
_KEY_BYTES = 4
_RULES = len(ORDER)


class Weights(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A multinomial logistic regression over hashed words and the sums of the rules."""

    format: Literal["fairlead-categories-1"] = "fairlead-categories-1"
    categories: Annotated[tuple[TaskCategory, ...], Meta(min_length=2)]
    """Those it can tell apart; `unknown` may be one."""
    rows: Annotated[int, Meta(ge=1)]
    """How many labelled prompts it was trained on."""
    least: Annotated[float, Meta(ge=0, le=1)]
    """A probability below this is `unknown`."""
    scale: Annotated[float, Meta(ge=0)]
    """What one step of a word's weight is worth."""
    bias: tuple[float, ...]
    rules: tuple[tuple[float, ...], ...]
    """For each category of the rules, what one point of its sum is worth to each of `categories`."""
    words: bytes
    """Hashes of the words and pairs that are known, four bytes each, the lowest byte first."""
    steps: bytes
    """For each of them a signed byte for each of `categories`."""
    check: int
    """CRC-32 of `words` and `steps`."""


def hashes_of(prompt: str) -> set[int]:
    """Return the hashed features of a prompt's opening: words, pairs of neighbours, and the first few words once more.

    CRC-32 is the same in every process and made in C; among the 20,000 features of a large file of weights some fifty
    pairs meet by chance, which changes nothing that could be measured.
    """
    words = cut(prompt[:READ_CHARS])
    ones = list(map(zlib.crc32, words))
    hashes = set(ones)
    hashes.update(zlib.crc32(second, first ^ _PAIR) for first, second in zip(ones, words[1:], strict=False))
    hashes.update(zlib.crc32(word, _LEAD) for word in words[:LEAD_WORDS])
    return hashes


def checksum(words: bytes, steps: bytes) -> int:
    """Return what stands under `check`."""
    return zlib.crc32(steps, zlib.crc32(words))


def dump(weights: Weights) -> bytes:
    """Return the content of a file of weights."""
    return msgspec.json.encode(weights) + b"\n"


def parse(content: bytes) -> Weights:
    """Read the content of a file of weights. Raises FairleadError saying what is wrong with it."""
    try:
        weights = msgspec.json.decode(content, type=Weights)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FairleadError(f"this is no file of category weights: {error}; make one with `fairlead train`") from None
    problem = _problem(weights)
    if problem:
        raise FairleadError(f"this file of category weights is damaged: {problem}; train it again")
    return weights


def _problem(weights: Weights) -> str:
    count = len(weights.categories)
    numbers = [weights.scale, *weights.bias, *(value for row in weights.rules for value in row)]
    if len(set(weights.categories)) != count:
        return "a category stands twice"
    if len(weights.bias) != count or len(weights.rules) != _RULES or any(len(row) != count for row in weights.rules):
        return f"`bias` and `rules` do not fit {count} categories"
    if not all(map(math.isfinite, numbers)):
        return "a weight is no finite number"
    if len(weights.words) % _KEY_BYTES or len(weights.words) // _KEY_BYTES * count != len(weights.steps):
        return "`words` and `steps` do not fit together"
    if weights.check != checksum(weights.words, weights.steps):
        return "the checksum is wrong"
    return ""
