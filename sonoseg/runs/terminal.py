"""The console that the scripts write to, and a progress bar on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance = Callable[[], None]

console = Console(markup=False, highlight=False)


@contextmanager
def epoch_bar(title: str, steps: int, shown: bool = True, done: int = 0) -> Iterator[Advance]:
    """Show a bar for one epoch that vanishes with it, `done` steps full; yields what to call after each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        work = bar.add_task(title, total=steps, completed=done)
        yield lambda: bar.advance(work)
