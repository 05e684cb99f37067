"""How capacity looks in a terminal: bars, numbers to read at a glance, and tables that give way where it is narrow."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from fairlead.cli.wording import clean, percent

if TYPE_CHECKING:
    from rich.console import Console

_BAR_CELLS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"
_GAP = 2
_HEAD_LETTERS = 11
_HIGH = 0.8
_LEAST_ROWS = 3


class Paper:
    """What is drawn on: the terminal's width and letters, and its height where that matters."""

    def __init__(self, console: "Console", *, is_bounded: bool = False) -> None:
        """`is_bounded` says that all of it has to fit on the screen."""
        self.is_plain = console.options.ascii_only
        """Whether only ASCII can be shown."""
        self._console = console
        self._is_bounded = is_bounded

    @property
    def height(self) -> int | None:
        """Return the lines that there are, or None where it does not matter."""
        return self._console.height if self._is_bounded else None

    @property
    def width(self) -> int:
        """Return the columns that there are."""
        return self._console.width


class Column(NamedTuple):
    """A column of a table; one without any text is left out."""

    head: str
    cells: Sequence[str | Text]
    is_number: bool = False
    may_go: bool = False
    """Whether it may be left out where there is no room for all; the last of these goes first."""


def table(paper: Paper, *columns: Column, other_lines: int = 8) -> list[Table | Text]:
    """Return a table as large as there is room for beside other lines, and lines that tell what was left out."""
    most = None if paper.height is None else max(paper.height - other_lines, _LEAST_ROWS)
    kept = [_cleaned(column) for column in columns if any(map(len, column.cells))]
    widths = [_width(column) for column in kept]
    missing: list[str] = []
    while sum(widths) > paper.width:
        last = max((at for at, column in enumerate(kept) if column.may_go), default=None)
        if last is None:
            break
        missing.insert(0, kept.pop(last).head)
        del widths[last]
    parts: list[Table | Text] = [_drawn(kept, widths if sum(widths) <= paper.width else None, most)]
    rows = max((len(column.cells) for column in columns), default=0)
    if most is not None and rows > most:
        parts.append(Text(f"and {rows - most} more", style="dim"))
    if missing:
        parts.append(Text(f"a wider terminal shows: {', '.join(missing)}", style="dim"))
    return parts


def _cleaned(column: Column) -> Column:
    return column._replace(cells=[Text(clean(cell)) if isinstance(cell, str) else cell for cell in column.cells])


def _width(column: Column) -> int:
    """Return the columns of the terminal that it takes where nothing is folded."""
    longest = max(cell_len(str(cell)) for cell in (column.head, *column.cells))
    return longest + _GAP


def _drawn(columns: Sequence[Column], widths: Sequence[int] | None, most_rows: int | None) -> Table:
    """Draw columns of these widths, gaps included; None: fold them to the width that there is."""
    drawn = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for at, column in enumerate(columns):
        drawn.add_column(
            column.head,
            justify="right" if column.is_number else "left",
            overflow="fold",
            width=None if widths is None else widths[at] - _GAP,  # else rich looks at every cell several times
            no_wrap=widths is not None,
        )
    for row in list(zip(*(column.cells for column in columns), strict=True))[:most_rows]:
        drawn.add_row(*row)
    return drawn


def facts(lines: Iterable[tuple[str, str, str]]) -> Table:
    """Return lines of a head and a text, which has a colour or none."""
    drawn = Table.grid()
    drawn.add_column(width=_HEAD_LETTERS, no_wrap=True, style="bold")
    drawn.add_column(overflow="fold")
    for head, text, style in lines:
        drawn.add_row(head, Text(clean(text), style=style))
    return drawn


def bar(paper: Paper, share: float, *, high: str = "yellow", full: str = "red") -> Text:
    """Draw a share with its number; `high` and `full` are its colours from 80 % and from 100 % on."""
    style = full if share >= 1 else high if share >= _HIGH else "green"
    filled = min(max(share, 0.0), 1.0) * _BAR_CELLS
    whole = int(filled)
    if paper.is_plain:
        drawn, rest = "#" * whole, "."
    else:
        part = _EIGHTHS[int((filled - whole) * len(_EIGHTHS))] if whole < _BAR_CELLS else ""
        drawn, rest = "█" * whole + part.strip(), "░"
    return Text.assemble((drawn, style), (rest * (_BAR_CELLS - len(drawn)), "dim"), f" {percent(share):>4}")


def amount(number: float) -> str:
    """Write a number in at most five letters: 950, 12.3k, 4.6M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size * 0.9995:
            return _short(number / size) + unit
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.1f}"


def size(number: float) -> str:
    """Write bytes: 950 B, 1.2 GB."""
    for unit, one in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= one * 0.9995:
            return f"{_short(number / one)} {unit}"
    return f"{number:.0f} B"


def duration(seconds: float) -> str:
    """Write a time in at most two units: 0.4 s, 3 s, 2 min 5 s, 1 h 3 min."""
    if seconds < 0:
        return f"-{duration(-seconds)}"
    if round(seconds, 1) < 1:
        return f"{seconds:.1f} s" if round(seconds, 1) else "0 s"
    whole = round(seconds)
    for unit, length, part, part_length in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part_length
            return f"{whole // length} {unit}" + (f" {rest} {part}" if rest else "")
    return f"{whole} s"


def _short(number: float) -> str:
    """Return three digits."""
    digits = 0 if number >= 99.95 else 1
    return f"{number:.{digits}f}".removesuffix(".0")
