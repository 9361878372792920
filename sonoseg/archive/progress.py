"""Progress of a run over an archive: images per second, time left, failures; and the summary at its end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sonoseg.archive.inputs import Archive
from sonoseg.archive.run import FAILURES_LOG, Tally
from sonoseg.archive.shards import SHARDS
from sonoseg.inference.table import STATUSES
from sonoseg.runs.terminal import console

_RATE_SECONDS = 60.0
"""The rate is that of about the last minute."""


class ArchiveProgress:
    """A bar of the files, with the images per second, the time left, and the failed images.

    The files are counted meanwhile; until that has ended there is no time left.
    """

    def __init__(self, bar: Progress, archive: Archive):
        self._bar = bar
        self._task = bar.add_task("segment", total=None, rate="", failed="")
        self._marks: list[tuple[float, int]] = [(time.monotonic(), 0)]
        Thread(target=self._count, args=(archive,), daemon=True).start()

    def update(self, tally: Tally) -> None:
        """Show how far the run is."""
        counts = tally.counts
        now, made = time.monotonic(), counts["inputs"] - tally.reused
        self._marks.append((now, made))
        while len(self._marks) > 2 and now - self._marks[0][0] > _RATE_SECONDS:
            self._marks.pop(0)
        seconds, images = now - self._marks[0][0], made - self._marks[0][1]
        rate = f"{counts['inputs']} images, {images / seconds:.1f} a second" if seconds > 0 else ""
        failed = f"{counts['failed']} failed" if counts["failed"] else ""
        self._bar.update(self._task, completed=counts["files"], rate=rate, failed=failed)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, soft_wrap=True)

    def _count(self, archive: Archive) -> None:
        try:
            total = archive.count()
        except (OSError, ValueError):
            return  # the run itself meets the same, and says so
        self._bar.update(self._task, total=total)


@contextmanager
def archive_progress(archive: Archive) -> Iterator[ArchiveProgress]:
    """Yield the progress of a run, whose bar disappears when the block ends."""
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[failed]}"), console=console, transient=True) as bar:
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
