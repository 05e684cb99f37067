"""Where the text of a second node meets what the caller has already got from a first one."""

from fairlead.errors import MalformedAnswerError


class DivergedError(MalformedAnswerError):
    """What another node says does not fit what the caller has already read, so it cannot go out as one answer."""


class Seam:
    """Lets through what is new in a second node's text, once it has said `expected` to the letter.

    `repeatable` is what the node was given. One that says all of that again first may do so by habit of its server, or
    because the model means it (a refrain): nobody can tell, so DivergedError is raised. A part of it is no repetition:
    the node said it anew.
    """

    __slots__ = ("_at", "_expected", "_repeatable")

    def __init__(self, expected: str, repeatable: str = "") -> None:
        self._expected = expected
        self._repeatable = repeatable
        self._at = 0
        """How many characters of `repeatable`, and after that of `expected`, were said."""

    @property
    def is_closed(self) -> bool:
        """Whether everything that comes now is new."""
        return not self._repeatable and self._at == len(self._expected)

    def take(self, text: str) -> str:
        """Return what is new in the next piece. Raises DivergedError."""
        if self._repeatable:
            given = self._repeatable
            wanted = len(given) - self._at
            if given.startswith(text[:wanted], self._at):
                self._at += min(len(text), wanted)
                if self._at == len(given):
                    raise DivergedError("Another node said once more what the caller has got: it may mean it or not.")
                return ""
            text = self._not_repeated() + text
        return self._fitting(text)

    def end(self) -> str:
        """The node's answer is complete: return what was held back. Raises DivergedError."""
        text = self._fitting(self._not_repeated())
        if self._at < len(self._expected):
            raise DivergedError("Another node's answer ended before it was as long as what the caller has got.")
        return text

    def _not_repeated(self) -> str:
        held = self._repeatable[: self._at]
        if self._repeatable:
            self._repeatable, self._at = "", 0
        return held

    def _fitting(self, text: str) -> str:
        wanted = len(self._expected) - self._at
        if not wanted:
            return text
        if not self._expected.startswith(text[:wanted], self._at):
            raise DivergedError("Another node's answer differs from what the caller has got.")
        self._at += min(len(text), wanted)
        return text[wanted:]
