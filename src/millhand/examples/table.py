"""Tables: drawn by rich on a terminal, if that is installed, and plain text everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib.util import find_spec


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows below the names of their columns; columns that begin with a number are set to the right."""
    cells = list(map(list, rows))
    texts = [[_as_text(cell) for cell in row] for row in cells]
    right = [isinstance(cell, int | float) for cell in (cells[0] if cells else columns)]
    if sys.stdout.isatty() and find_spec("rich"):
        _draw(columns, texts, right)
        return
    widths = [max(map(len, column)) for column in zip(columns, *texts, strict=True)]
    for row in [columns, *texts]:
        set_to = zip(row, widths, right, strict=True)
        print(
            "  ".join(text.rjust(width) if is_right else text.ljust(width) for text, width, is_right in set_to).rstrip()
        )


def _as_text(cell: object) -> str:
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _draw(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> None:
    from rich.console import Console  # noqa: PLC0415 - it may be missing, and is of no use without a terminal
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table()
    for column, is_right in zip(columns, right, strict=True):
        table.add_column(column, justify="right" if is_right else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # Text, not str: brackets must not be taken for markup
    Console(highlight=False).print(table)
