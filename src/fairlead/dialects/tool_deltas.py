"""Tool calls in pieces: which call a piece belongs to, whatever a server leaves out or repeats."""

from fairlead.dialects.sse import ToolCall


class ToolDeltas:
    """Numbers the tool calls of each choice: clients want an index always, id and name only once per call."""

    __slots__ = ("_calls", "_last")

    def __init__(self) -> None:
        self._calls: dict[int, list[tuple[int | None, str | None]]] = {}
        """Per choice, the calls so far: the node's index and id of each."""
        self._last: dict[int, int] = {}

    def seen(self, choice: int) -> bool:
        """Whether the choice has called a tool."""
        return choice in self._calls

    def place(self, choice: int, piece: ToolCall) -> tuple[int, bool]:
        """Return the index of the call that a piece belongs to, and whether it is its first."""
        calls = self._calls.setdefault(choice, [])
        at = self._find(calls, piece, self._last.get(choice))
        first = at is None
        if at is None:
            at = len(calls)
            calls.append((piece.index, piece.id or None))
        self._last[choice] = at
        return at, first

    @staticmethod
    def _find(calls: list[tuple[int | None, str | None]], piece: ToolCall, last: int | None) -> int | None:
        if piece.index is None:
            if not piece.id:
                starts = piece.function is not None and bool(piece.function.name)
                return None if starts and last is None else last
            return next((i for i, (_, known) in enumerate(calls) if known == piece.id), None)
        for at in reversed(range(len(calls))):
            index, known = calls[at]
            # The same index under another id is another call: some servers number every call 0.
            if index == piece.index and (not piece.id or known is None or known == piece.id):
                return at
        return None

    def normalised(self, choice: int, pieces: list[ToolCall]) -> tuple[list[tuple[int, bool]], bool]:
        """Return each piece's index and whether it is the first of its call, and whether anything must change."""
        places = [self.place(choice, piece) for piece in pieces]
        differ = any(
            piece.index != index or (not first and (piece.id or (piece.function and piece.function.name)))
            for piece, (index, first) in zip(pieces, places, strict=True)
        )
        return places, differ
