"""What the scripts write to the terminal: lines, tables, and a progress bar."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")

console = Console(markup=False, highlight=False, emoji=False)


def print_lines(items: Iterable[Table | str]) -> None:
    """Print lines of text, which are not wrapped, and tables, which fit the width of the terminal."""
    for item in items:
        console.print(item, soft_wrap=isinstance(item, str))


def progress_bar(items: Iterable[Item], title: str, total: int, done: int = 0, shown: bool = True) -> Iterator[Item]:
    """Yield the items with a bar that counts them, from `done` to `total`, and disappears at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        work = bar.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(work)
