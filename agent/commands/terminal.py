"""What commands show on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 160


def output() -> Console:
    """Standard output. Data are printed as they are: nothing in them is taken for markup."""
    width = None if sys.stdout.isatty() else PIPED_WIDTH
    return Console(markup=False, highlight=False, width=width)


def table(*columns: str) -> Table:
    """An empty table with these left-aligned columns."""
    made = Table(box=None, header_style="bold")
    for column in columns:
        made.add_column(Text(column))
    return made


def add_row(made: Table, *cells: str) -> None:
    """Add a row of plain text."""
    made.add_row(*(Text(cell) for cell in cells))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, moved by calling with the share done; silent where piped."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not sys.stderr.isatty()
    ) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda share: bar.update(task, completed=share)
