"""Tables for terminals and pipes."""

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

MAX_WIDTH = 10_000
"""No line is shortened or wrapped to the width of a terminal: numbers stay readable in a pipe, too."""


def text_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align cells in columns, two spaces apart: the first to the left, the others, which hold numbers, to the right."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for i, title in enumerate(header):
        table.add_column(Text(title), justify="right" if i else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))  # Text: a class name may look like rich's markup
    console = Console(file=io.StringIO(), width=MAX_WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
