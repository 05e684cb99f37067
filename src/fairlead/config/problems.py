"""What is wrong with a configuration, in words that never give a secret away."""

import re
from collections.abc import Collection, Iterable

from fairlead.errors import ConfigError


class Written(str):
    """A word that somebody wrote: shown in a message only where it is nothing like a secret."""

    __slots__ = ()


class Foreign(str):
    """Words that are neither ours nor the file's, such as an error's: shown with every known secret struck out."""

    __slots__ = ()


Path = tuple[str | int, ...]
"""Keys and list positions that lead to a value; keys that a user chose are `Written`."""
Part = str | Path
"""A piece of a message: words of ours, `Written` or `Foreign` words, or a path."""

_TOKEN_PREFIX = re.compile(r"(sk|pk|fl|gsk|hf|xai|bearer|basic)[-_ ]", re.IGNORECASE)
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=_]{16,}")
_SNAKE_CASE = re.compile(r"[a-z_]+[0-9]{0,3}")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]{6,}")
_STRETCH = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_LONGEST_SHOWN = 48


class Problems:
    """Collects what is wrong; the wording waits until every secret of the file is known."""

    def __init__(self) -> None:
        self._noted: list[tuple[int, tuple[Part, ...]]] = []
        self._secrets: set[str] = set()

    def __len__(self) -> int:
        return len(self._noted)

    def hush(self, text: str) -> None:
        """Never show this text."""
        if text:
            self._secrets.add(text)

    def note(self, line: int, *parts: Part) -> None:
        """Keep a problem on a line, counted from 1; 0 where there is no file."""
        self._noted.append((line, parts))

    def error(self, source: str) -> ConfigError:
        """Make one error of all, a line each, in the order of the file."""
        lines = [
            (f"{source}:{line}: " if line else f"{source}: ") + "".join(map(self._worded, parts))
            for line, parts in sorted(self._noted, key=lambda noted: noted[0])
        ]
        return ConfigError("\n".join(dict.fromkeys(lines)))

    def _worded(self, part: Part) -> str:
        if isinstance(part, tuple):
            return self._path_text(part)
        if isinstance(part, Foreign):
            for secret in sorted(self._secrets, key=len, reverse=True):
                part = Foreign(part.replace(secret, "***")) if len(secret) > 3 else part
            return " ".join(part.split())
        if not isinstance(part, Written):
            return part
        return f'"{part}"' if self._may_show(part) else "the text that stands here"

    def _path_text(self, path: Path) -> str:
        text = ""
        for part in path:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                shown = not isinstance(part, Written) or self._may_show(part)
                text += ("." if text else "") + (part if shown else "***")
        return text

    def _may_show(self, text: str) -> bool:
        if len(text) > _LONGEST_SHOWN or not text.isprintable() or _looks_secret(text):
            return False
        return not any(
            text == secret or (len(secret) > 3 and secret in text) or (len(text) > 5 and text in secret)
            for secret in self._secrets
        )


def _looks_secret(text: str) -> bool:
    if _TOKEN_PREFIX.match(text):
        return True
    if any(not word.isalpha() and not _SNAKE_CASE.fullmatch(word) for word in _LONG_WORD.findall(text)):
        return True
    return any(_looks_random(word) for word in _ALPHANUMERIC.findall(text))


def _looks_random(word: str) -> bool:
    """Tell whether small letters, capitals and digits alternate as they do in no name: at least five stretches."""
    return not word.isalpha() and len(_STRETCH.findall(word)) > 4


def nearest(word: str, known: Collection[str]) -> str | None:
    """Return the known word that was probably meant."""
    from difflib import get_close_matches

    close = get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return close[0] if close else None


def hint(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?`, or the known words where none is near."""
    known = list(known)
    meant = nearest(word, known)
    return f'; did you mean "{meant}"?' if meant else f"; known here: {', '.join(known)}"
