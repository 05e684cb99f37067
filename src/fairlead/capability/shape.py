"""The shape of a prompt: length, lettered options, digits, signs, lines, questions; each on a scale of about one.

How hard a prompt is shows in its shape more than in any word: options that look alike, numbers to work out, a long
story before the question. The shape is also all that carries over to subjects never seen. Two of these together say
more than each alone (a long question with short options), so products of pairs and squares are features as well. How
a prompt is typed is left out: capitals say nothing that the rest does not, and would make decisions hang on them.
Prompts that offer functions have some features more: how many functions, and how many things they seem to ask for.
"""

import re
from itertools import combinations
from math import log
from operator import itemgetter, mul

_LIMIT = 2.0
"""Where a feature ends: an extraordinary prompt is not judged by how extraordinary it is."""
_DIGITS = b"0123456789"
_SIGNS = b"=+*/^<>$\\{}()|~[]"
_OPTION = re.compile(r"\n\(?[A-Ja-j][.):] *([^\n]*)")
_INLINE = re.compile(r"\s\(?[A-Ja-j][.):]\s")
_LETTERS = tuple([letter + end for letter in three] for three in ("ABC", "abc") for end in ".):")
"""How the first three options of a line may begin; two alone may be initials of a name."""
_NUMBER = re.compile(r"\d+")

_PAIRED = 14
_SQUARED = 11
_LEFT, _RIGHT = (itemgetter(*one) for one in zip(*combinations(range(_PAIRED), 2), strict=True))
_ASKED = 7
_LABEL_CHARS = 20
"""What is no longer before the functions is their title, and the request stands behind them."""
N_SHAPE = 1 + (_PAIRED + 2) + _PAIRED * (_PAIRED - 1) // 2 + _SQUARED + _ASKED
"""How many numbers a shape is: a constant, the features, products of pairs, squares, what is offered and asked for."""
_CONSTANT = 2.0


def shape_of(read: str, chars: int, functions: int = 0) -> tuple[float, ...]:
    """Return the shape of a prompt of `chars` characters that offers so many functions; `read` is what is looked at."""
    base = _base(read, chars)
    products = map(mul, _LEFT(base), _RIGHT(base))
    squares = [(value * value - 1.0) / 1.5 for value in base[:_SQUARED]]
    return (_CONSTANT, *base, *products, *squares, *_asked(read, functions))


def _base(read: str, chars: int) -> list[float]:
    """Return the features themselves; the centres and scales are round numbers near those of usual prompts."""
    data = read.encode("utf-8", "replace")
    n = len(data) + 1.0
    question, options = _parted(read)
    has_options = len(options) > 1
    marks = read.count('"') + read.count("“")
    found = [
        log(chars + 1.0) - 5.5,
        log(max(chars - len(read) + len(question), 0) + 1.0) - 5.0,
        *(_options(options) if has_options else (0.0, 0.0, 0.0)),
        (_count(data, _DIGITS) / n - 0.02) / 0.035,
        (_count(data, _SIGNS) / n - 0.01) / 0.02,
        (n / (read.count(" ") + read.count("\n") + 1.0) - 5.8) / 0.8,
        log(question.count("\n") + 1.0) * 2.0,
        (read.count(",") * 100.0 / n - 0.6) / 0.9,
        (log(marks + 1.0) - 0.2) / 0.6,
        1.0 if question.endswith("?") else -1.0,
        1.0 if "?" in read else -1.0,
        1.0 if question.endswith(".") else -1.0,
        2.0 if "__" in read else 0.0,
        1.0 if has_options else 0.0,
    ]
    return [_LIMIT if value > _LIMIT else max(value, -_LIMIT) for value in found]


def _asked(read: str, functions: int) -> tuple[float, ...]:
    """Return how many functions are offered, how many things the words beside them seem to ask for, and a product."""
    if not functions:
        return (0.0,) * _ASKED
    start = read.find('{"')
    words = read[:start] if start > _LABEL_CHARS else read[read.rfind("}") + 1 :]
    several = min(log(functions) / 0.7, _LIMIT)
    joined = min(log(1.0 + words.count(" and ") + words.count(" also ") + words.count(";")) - 0.5, _LIMIT)
    numbers = min((log(1.0 + len(_NUMBER.findall(words))) - 0.8) / 0.8, _LIMIT)
    quoted = min(log(1.0 + words.count("'") + words.count('"')) - 0.5, _LIMIT)
    length = min(log(len(words) + 1.0) - 5.0, _LIMIT)
    return (1.0, several, joined, numbers, quoted, length, several * joined)


def _parted(read: str) -> tuple[str, list[str]]:
    """Return the question and its lettered options, which begin a line each or, else, stand in one."""
    options = _OPTION.findall(read)
    if len(options) > 1:
        return _OPTION.split(read, maxsplit=1)[0].rstrip(), options
    for a, b, c in _LETTERS:
        first = max(read.rfind(f" {a} "), read.rfind(f" ({a} "))
        if first > 0 and 0 < read.find(f"{b} ", first) < read.find(f"{c} ", first):
            return read[:first].rstrip(), [one for one in _INLINE.split(read[first:]) if one.strip()]
    return read.rstrip(), []


def _options(options: list[str]) -> tuple[float, float, float]:
    """Return how long lettered options are, how unlike in length, and how much of them is digits."""
    lengths = [len(option) + 1.0 for option in options]
    data = "".join(options).encode("utf-8", "replace")
    return (
        log(sum(lengths) / len(lengths)) - 3.3,
        (log(max(lengths) / min(lengths)) - 0.6) / 0.45,
        (_count(data, _DIGITS) / (len(data) + 1.0) - 0.05) / 0.15,
    )


def _count(data: bytes, which: bytes) -> int:
    return len(data) - len(data.translate(None, which))
