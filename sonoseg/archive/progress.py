"""Progress of a run over an archive: images per second, time left, failures; and the summary at its end."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from rich.progress import BarColumn, Progress, TextColumn

from sonoseg.archive.inputs import Archive
from sonoseg.archive.run import FAILURES_LOG, Tally
from sonoseg.archive.shards import SHARDS
from sonoseg.inference.table import STATUSES
from sonoseg.runs.terminal import console

_RATE_SECONDS = 60.0
"""The rate is that of about the last minute."""
_LINE_SECONDS = 60.0
"""Time between two lines where there is no terminal."""
_HOURS_FROM_MINUTES = 120


class ArchiveProgress:
    """How far a run is: a bar on a terminal; elsewhere, as in the log of a batch job, a line a minute, one at the end.

    bar: None where there is no terminal. The files are counted meanwhile; until that has ended there is no time left.
    """

    def __init__(self, bar: Progress | None, archive: Archive):
        self._bar = bar
        self._task = bar.add_task("segment", total=None, text="") if bar else None
        self._total: int | None = None
        self._tally = Tally()
        self._marks: list[tuple[float, int]] = [(time.monotonic(), 0)]
        self._printed = time.monotonic()
        Thread(target=self._count, args=(archive,), daemon=True).start()

    def update(self, tally: Tally) -> None:
        """Show how far the run is."""
        self._tally, now = tally, time.monotonic()
        self._marks.append((now, tally.counts["inputs"] - tally.reused))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_SECONDS:
            self._marks.pop(0)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=tally.counts["files"], total=self._total, text=self._line())
        elif now - self._printed >= _LINE_SECONDS:
            self._printed = now
            self.note(self._line())

    def end(self) -> None:
        """Print the last line where there is no bar, also after an error."""
        if self._bar is None:
            self.note(self._line())

    def note(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        console.print(text, soft_wrap=True)

    def _line(self) -> str:
        (start, before), (now, made) = self._marks[0], self._marks[-1]
        rate = (made - before) / (now - start) if now > start else 0.0
        return progress_line(self._tally.counts, self._total, rate)

    def _count(self, archive: Archive) -> None:
        with suppress(OSError, ValueError):  # the run itself meets the same, and says so
            self._total = archive.count()


def progress_line(counts: Mapping[str, int], total: int | None, rate: float) -> str:
    """Return how far a run is: `512 images of 500 of 2000 files, 12.5 images a second, 2 min left, 1 failed`.

    counts: those of a tally. total: number of files, None while they are counted. rate: images per second, without
    those of an earlier run; 0 when there is none yet. Time is left only where total and rate are known.
    """
    images, files = counts["inputs"], counts["files"]
    parts = [f"{images} images of {files}{'' if total is None else f' of {total}'} files"]
    if rate > 0:
        parts.append(f"{rate:.1f} images a second")
    if rate > 0 and total is not None and files:
        minutes = (total - files) * images / files / rate / 60
        parts.append(f"{minutes / 60:.1f} h left" if minutes >= _HOURS_FROM_MINUTES else f"{minutes:.0f} min left")
    return ", ".join([*parts, f"{counts['failed']} failed"])


@contextmanager
def archive_progress(archive: Archive) -> Iterator[ArchiveProgress]:
    """Yield the progress of a run, whose bar disappears when the block ends."""
    if not console.is_terminal:
        progress = ArchiveProgress(None, archive)
        try:
            yield progress
        finally:
            progress.end()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}")
    with Progress(*columns, console=console, transient=True) as bar:
        yield ArchiveProgress(bar, archive)


def archive_lines(tally: Tally, folder: Path, seconds: float) -> list[str]:
    """Return the lines at the end of a run: what was reused and made, counts by status, where to find the rest."""
    counts, shards = tally.counts, len(tally.digests)
    made = counts["inputs"] - tally.reused
    lines = []
    if tally.reused_shards:
        lines.append(
            f"{tally.reused_shards} of {shards} shards, with {tally.reused} images, reused from an earlier run with "
            f"this model and these settings; {made} images made anew"
        )
    if counts["without_image"]:
        number = "1 file has" if counts["without_image"] == 1 else f"{counts['without_image']} files have"
        lines.append(f"{number} no image, such as a report")
    if counts["whole_frames"]:
        lines.append(
            f"{counts['whole_frames']} images of DICOM files without ultrasound regions: nothing around them could be "
            "removed, such as a name"
        )
    loops = f" ({counts['loops']} loops)" if counts["loops"] else ""
    rate = f"; {made / seconds:.1f} images a second" if made and seconds > 0 else ""
    by_status = ", ".join(f"{counts[status]} {status}" for status in STATUSES)
    lines.append(f"{counts['inputs']} images of {counts['files']} files{loops}: {by_status}{rate}")
    if (folder / FAILURES_LOG).exists():
        lines.append(f"what happened to processes and nodes is in {folder / FAILURES_LOG}")
    return [*lines, f"written to {folder / SHARDS}; not for clinical use"]
