"""Tables for people: bold heads in a terminal, where cells are folded to its width; plain in a pipe."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_COLUMNS = 10_000
_CONTROL = dict.fromkeys((*range(10), *range(11, 32), *range(127, 160)))


def console(*, err: bool = False) -> "Console":
    """Return where to print; what is printed is never read as markup, and lines in a pipe are not broken."""
    from rich.console import Console

    file = sys.stderr if err else sys.stdout
    width = None if file.isatty() else _PIPE_COLUMNS
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = (), err: bool = False
) -> None:
    """Print columns; those in `numbers` are set to the right."""
    from rich.table import Table
    from rich.text import Text

    out = console(err=err)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for head in heads:
        table.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell.translate(_CONTROL)) for cell in row))
    out.print(table)
