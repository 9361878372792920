"""A folder that images come into: each is segmented once it is whole, until someone ends it."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.inference.sources import UNKNOWN, Inputs, Source
from sonoseg.inference.text import row_line
from sonoseg.runs.signals import signals_noted

Row = Mapping[str, Any]

EVERY_S = 1.0
"""From one look at the folder to the next. A file is left alone until two looks in a row find it the same."""
PATIENCE_S = 120.0
"""A file that cannot be read may be half there, its writer held up. After so long without a change it counts as failed;
should it change later, it is tried again."""
_AT_ONCE = 16
"""Images that are finished before a signal ends the watch."""

_Seen = tuple[Source, int, int]


@dataclass
class _Arrival:
    """A file as it was last seen, since when it has been like that, and what came of it."""

    seen: _Seen
    since: float
    row: Row | None = None
    final: bool = False


class Arrivals:
    """What is known of the files of a folder: which of them are to be segmented now, and the rows of those that are.

    Times are in seconds, of a clock that does not go back.
    """

    def __init__(self) -> None:
        self._files: dict[Path, _Arrival] = {}

    def rows(self, also_waiting: bool = False) -> list[Row]:
        """Return the rows of `results.csv` so far, by path; `also_waiting`: those of files that may be half there, too.

        An image that has been taken away keeps its row.
        """
        found = [one for _, one in sorted(self._files.items())]
        return [one.row for one in found if one.row and (one.final or also_waiting)]

    def ready(self, sources: Iterable[Source], now: float) -> list[Source]:
        """Return those of the folder's files that have stayed the same since the last call and have no final row."""
        chosen = []
        for source in sources:
            with suppress(OSError):  # gone again: a writer's own matter
                seen = _seen(source)
                known = self._files.get(source.path)
                if known is None or known.seen != seen:
                    self._files[source.path] = _Arrival(seen, now)
                elif known.row is None or (not known.final and now - known.since >= PATIENCE_S):
                    chosen.append(source)
        return chosen

    def note(self, source: Source, row: Row, now: float) -> bool:
        """Keep the row of a file; return whether it stands, as a failure does when the file has stayed as it is."""
        known = self._files[source.path]
        known.row = row
        known.final = row["status"] != "failed" or now - known.since >= PATIENCE_S
        return known.final

    def renamed(self, sources: Iterable[Source]) -> list[str]:
        """Return names of results that belong to no file any more, because another file has the same one: `a.jpg` makes
        `a` of `a.png` into `a_png`."""
        names = {source.path: source.name for source in sources}
        before = {path: one.seen[0].name for path, one in self._files.items() if path in names}
        return sorted(set(before.values()) - set(names.values()))


def watch(
    look: Callable[[], Inputs],
    segment: Callable[[Sequence[Source]], Iterable[Row]],
    forget: Callable[[str], None],
    keep: Callable[[Sequence[Row]], object],
    say: Callable[[str], None],
) -> list[Row]:
    """Segment what comes into a folder until Ctrl-C or SIGTERM; return the rows of `results.csv`.

    look: returns what lies in the folder; when it raises DataError or OSError, that is said and the folder looked at
    again, as a table may be half written, or a drive away. segment: yields a row per image, in order. forget: removes
    the results of a name. keep: given all rows whenever there is a new one.
    """
    arrivals, trouble = Arrivals(), ""
    with signals_noted() as signals:
        while not signals:
            sources: list[Source] = []
            try:
                sources, trouble = look().sources, ""
            except (DataError, OSError) as error:
                if str(error) != trouble:
                    say(f"{error}; looking again")
                trouble = str(error)
            for name in arrivals.renamed(sources):
                forget(name)
            waiting = arrivals.ready(sources, time.monotonic())
            for first in range(0, len(waiting), _AT_ONCE):
                if signals:
                    break
                some = waiting[first : first + _AT_ONCE]
                for source, row in zip(some, segment(some), strict=True):
                    if arrivals.note(source, row, time.monotonic()):
                        say(_line(row))
            if waiting:
                keep(arrivals.rows())
            if not signals:
                time.sleep(EVERY_S)
    return arrivals.rows(also_waiting=True)


def _line(row: Row) -> str:
    line = row_line(row)
    return f"{line} (pixel spacing unknown: lengths in pixels only)" if row.get("spacing_from") == UNKNOWN else line


def _seen(source: Source) -> _Seen:
    found = source.path.stat()
    return source, found.st_size, found.st_mtime_ns
