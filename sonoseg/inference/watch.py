"""A folder that receives images: an image is processed once its file's state (`io.file_state`) is stable."""

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sonoseg.errors import DataError, is_machine_error, machine_error
from sonoseg.inference.sources import NOTHING_GIVEN, Source, SpacingOptions, from_folder
from sonoseg.inference.table import Row
from sonoseg.io.file_state import FileState, file_state
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.readers.opening import files_of
from sonoseg.schema.task import Task

POLL_S = 1.0
"""Seconds between two readings of the folder. A file is processed when two readings in a row are equal."""
PATIENCE_S = 120.0
"""A file that cannot be read may still be incomplete. After so many seconds without a change it counts as failed; when
it changes later, it is processed again."""
_BATCH = 16
"""Images that are completed before a signal ends the watch; a loop ends its batch."""

_State = tuple[Source, tuple[FileState, ...]]
"""A file as last read from the folder, see `files_of`."""


@dataclass
class _Arrival:
    """A file, the time since which it has not changed, and its row; `is_final`: it is not processed again."""

    state: _State
    since: float
    row: Row | None = None
    is_final: bool = False


class Arrivals:
    """The files of a watched folder: which are ready to be processed, and the rows of those that were.

    Times are in seconds, of a monotonic clock.
    """

    def __init__(self) -> None:
        self._files: dict[ImageRef, _Arrival] = {}

    def rows(self, also_waiting: bool = False) -> list[Row]:
        """Return the rows of `results.csv` so far, by path; `also_waiting`: also of files that may be incomplete.

        An image that has been removed keeps its row.
        """
        order = sorted(self._files, key=lambda image: (image.path, image.frame or 0, image.region or 0))
        arrivals = [self._files[image] for image in order]
        return [arrival.row for arrival in arrivals if arrival.row and (arrival.is_final or also_waiting)]

    def ready(self, sources: Iterable[Source], now: float) -> list[Source]:
        """Return those of the folder's images that are unchanged since the last call and have no final row.

        A file whose number of frames has changed loses the rows of its former frames.
        """
        chosen, sources = [], list(sources)
        images, paths = {source.image for source in sources}, {source.path for source in sources}
        for image in [image for image in self._files if image.path in paths and image not in images]:
            del self._files[image]
        for source in sources:
            with suppress(OSError):  # removed since the folder was read
                state = _state(source)
                known = self._files.get(source.image)
                if known is None or known.state != state:
                    self._files[source.image] = _Arrival(state, now)
                elif known.row is None or (not known.is_final and now - known.since >= PATIENCE_S):
                    chosen.append(source)
        return chosen

    def record(self, source: Source, row: Row, now: float) -> bool:
        """Store the row of a file; return whether it is final: a failure is, once the file has long been unchanged.

        A file that has changed since `ready` returned it has no row: it is processed again.
        """
        known = self._files[source.image]
        with suppress(FileNotFoundError):  # an image that has been removed keeps its row
            state = _state(source)
            if state != known.state:
                self._files[source.image] = _Arrival(state, now)
                return False
        known.row = row
        known.is_final = row["status"] != "failed" or now - known.since >= PATIENCE_S
        return known.is_final

    def outdated(self, sources: Iterable[Source]) -> list[str]:
        """Return the names of results that belong to no file any more, because another file has the same stem: after
        `a.jpg` has arrived, the results of `a.png` are called `a_png` and no longer `a`."""
        sources = list(sources)
        paths = {source.path for source in sources}
        before = {arrival.state[0].name for image, arrival in self._files.items() if image.path in paths}
        return sorted(before - {source.name for source in sources})


@dataclass(frozen=True)
class WatchEvent:
    """What has to be done for a watched folder.

    problem: why the folder cannot be read at present, once per reason; empty when it can. outdated: names whose results
    are to be removed. ready: images to be processed. is_last: no further image is ready, so the table can be written.
    """

    problem: str = ""
    outdated: list[str] = field(default_factory=list)
    ready: list[Source] = field(default_factory=list)
    is_last: bool = False


class FolderWatch:
    """A folder of images that is read again and again; see `sources.from_folder` for spacing, metadata and frames.

    sources: its images as last read.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        given: SpacingOptions = NOTHING_GIVEN,
        limits: ReadLimits = DEFAULT_LIMITS,
        keep_frame: bool = False,
    ):
        self._folder, self._task, self._given, self._limits = folder, task, given, limits
        self._keep_frame = keep_frame
        self.sources: list[Source] = []
        self._arrivals = Arrivals()
        self._problem = ""

    def events(self, signals: Collection[object]) -> Iterator[WatchEvent]:
        """Yield what has to be done, until `signals` is not empty; the row of each ready image goes to `record`.

        A DataError, OSError or MemoryError of reading the folder, such as an incomplete table or a network drive that
        is away, is an event, and the folder is read again.
        """
        while not signals:
            sources, problem = self._read()
            self.sources = sources
            if problem:
                yield WatchEvent(problem=problem)
            outdated = self._arrivals.outdated(sources)
            if outdated:
                yield WatchEvent(outdated=outdated)
            ready = self._arrivals.ready(sources, time.monotonic())
            batches = _batches(ready)
            for number, batch in enumerate(batches, start=1):
                if signals:
                    return
                yield WatchEvent(ready=batch, is_last=number == len(batches))
            if not signals:
                time.sleep(POLL_S)

    def record(self, source: Source, row: Row) -> bool:
        """Store the row of an image; return whether it is final. A failure of a file that may be incomplete is not."""
        return self._arrivals.record(source, row, time.monotonic())

    def rows(self, also_waiting: bool = False) -> list[Row]:
        """Return the rows of `results.csv` so far; see `Arrivals.rows`."""
        return self._arrivals.rows(also_waiting)

    def _read(self) -> tuple[list[Source], str]:
        """Return the folder's images, and why it cannot be read, when that was not yet reported."""
        try:
            sources = from_folder(self._folder, self._task, self._given, self._limits, self._keep_frame).sources
        except (DataError, OSError, MemoryError) as error:
            problem = str(machine_error(error)) if is_machine_error(error) else str(error)
            is_new = problem != self._problem
            self._problem = problem
            return [], self._problem if is_new else ""
        self._problem = ""
        return sources, ""


def _batches(sources: Iterable[Source]) -> list[list[Source]]:
    batches: list[list[Source]] = []
    is_open = False
    for source in sources:
        if not is_open:
            batches.append([])
        batches[-1].append(source)
        is_open = not source.loop and len(batches[-1]) < _BATCH
    return batches


def _state(source: Source) -> _State:
    return source, tuple(file_state(file) for file in files_of(source.path))
