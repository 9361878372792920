"""The console that the scripts write to, and a progress bar on it."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

console = Console(markup=False, highlight=False)


def progress_bar(items: Iterable[Item], title: str, total: int, done: int = 0, shown: bool = True) -> Iterator[Item]:
    """Yield the items with a bar that counts them, from `done` to `total`, and disappears at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        work = bar.add_task(title, total=total, completed=done)
        for item in items:
            yield item
            bar.advance(work)
