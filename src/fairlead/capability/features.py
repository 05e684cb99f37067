"""What learning sees of a prompt: its shape (`shape`), and which words occur in it, hashed.

The features are those of the opening and the end, so that a prompt of any length costs the same. Gaps count as one
space and letters without their case, so that the same request typed otherwise has the same features.
"""

import zlib
from math import sqrt

from fairlead.capability.shape import N_SHAPE, shape_of
from fairlead.domain.features import PromptFeatures

HEAD_CHARS, TAIL_CHARS = 1400, 700
"""What is read of a prompt for its shape."""
GAPS = 3
"""How many times as much is read of it where gaps are made one space and functions are counted."""
OFFER = '"parameters"'
"""Stands once in each function that a prompt offers as JSON."""
WORDS_HEAD_CHARS, WORDS_TAIL_CHARS = 600, 300
"""What is read of it for its words."""
N_WORDS = 2048
"""How many different words can be told apart."""
N_FEATURES = N_SHAPE + N_WORDS
WORDS_NORM = 7.0
"""Length of the vector of words: how much they count beside the shape."""

# ASCII letters in lower case, digits and the bytes of other scripts kept, everything else a gap between words.
_TO_WORDS = bytes(c if c > 127 else ord(chr(c).lower()) if chr(c).isalnum() else 32 for c in range(256))
_SHAPE_INDICES = tuple(range(N_SHAPE))


def features_of(prompt: str) -> PromptFeatures:
    """Return what can be learnt from of a prompt. Raises TypeError for anything but text."""
    if not isinstance(prompt, str):
        raise TypeError(f"a prompt must be text (str), not {type(prompt).__name__}")
    data = prompt.encode("utf-8", "replace")
    digest = zlib.crc32(data) << 32 | zlib.adler32(data)
    raw = _ends(prompt, GAPS * HEAD_CHARS, GAPS * TAIL_CHARS)
    text = _tidied(raw)
    chars = len(text) if raw is prompt else len(prompt) * len(text) // len(raw)
    shape = shape_of(_ends(text, HEAD_CHARS, TAIL_CHARS), chars, text.count(OFFER))
    ends = _ends(text, WORDS_HEAD_CHARS, WORDS_TAIL_CHARS)
    words = set(ends.encode("utf-8", "replace").translate(_TO_WORDS).split())
    hashed = sorted({N_SHAPE + code % N_WORDS for code in map(zlib.crc32, words)})
    each = WORDS_NORM / sqrt(len(hashed)) if hashed else 0.0
    return PromptFeatures(digest, (*_SHAPE_INDICES, *hashed), (*shape, *[each] * len(hashed)))


def _tidied(text: str) -> str:
    """Return a text with single spaces, and none round it: how gaps are typed says nothing of what is asked."""
    text = text.replace("\t", " ").strip()
    while "  " in text:
        text = text.replace("  ", " ")
    return text


def _ends(prompt: str, head: int, tail: int) -> str:
    return prompt if len(prompt) <= head + tail else f"{prompt[:head]}\n{prompt[-tail:]}"
