"""The work on a shard: its files, one after another, from their bytes to the rows of the table and the overlays."""

import errno
import hashlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import cv2

from sonoseg.archive.inputs import Unit
from sonoseg.archive.rows import ArchiveRun, FileRows, failed_file, reason_of
from sonoseg.archive.shards import Shard
from sonoseg.errors import DataError, MachineError, NoImageError, is_machine_error, machine_error
from sonoseg.inference.process_image import check_file_name
from sonoseg.inference.sources import from_file
from sonoseg.inference.table import Row
from sonoseg.io.readers import is_dicom
from sonoseg.io.readers.opening import digest_of_file, is_unchanged, read_file

_BY_IMAGE = (errno.ENOMEM, errno.EIO)


class ImageShortage(MachineError):
    """An error of the machine that a single image may cause: too little memory for it, or a damaged place of a disk."""


@dataclass(frozen=True)
class Outcome:
    """What was found in files of a shard.

    rows: index of the file in the shard -> its rows, none for a file without an image, such as a DICOM report. digests:
    index -> SHA-256 of the file; none for one that could not be read.
    """

    rows: dict[int, list[Row]] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Outcome") -> None:
        self.rows.update(other.rows)
        self.digests.update(other.digests)


def process_shard(
    shard: Shard, indices: Iterable[int], run: ArchiveRun, threads: int = 1, tick: Callable[[], None] = lambda: None
) -> Outcome:
    """Segment files of a shard, write their overlays, and return their rows; the results do not depend on `threads`.

    tick: called before each picture and frame. A file that fails for lack of memory or another error of the machine is
    processed once more, alone; MachineError is raised when that fails too, and when none of several files is there any
    more, as after the loss of a network drive.
    """
    work = partial(_attempt, shard, run, tick)
    outcome, again = Outcome(), []
    indices = list(indices)
    _check_there(shard, indices, run)
    cores = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each file has one core; threads of OpenCV would compete for the others
    try:
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                parts = list(pool.map(work, indices))
        else:
            parts = [work(index) for index in indices]
        for index, part in zip(indices, parts, strict=True):
            if isinstance(part, MachineError):
                again.append(index)
            else:
                outcome.add(part)
        for index in again:
            part = work(index)
            if isinstance(part, MachineError):
                raise part
            outcome.add(part)
    finally:
        cv2.setNumThreads(cores)
    return outcome


def _check_there(shard: Shard, indices: list[int], run: ArchiveRun) -> None:
    """Raise MachineError when all of several files are gone that were there when they were listed."""
    listed = [run.root / shard.units[index].name for index in indices if shard.units[index].size >= 0]
    if len(listed) > 1 and not any(path.exists() for path in listed):
        raise MachineError(
            f"{listed[0]} and {len(listed) - 1} more files are no longer there; check the drive, and run the same "
            "command again"
        )


def _attempt(shard: Shard, run: ArchiveRun, tick: Callable[[], None], index: int) -> Outcome | MachineError:
    """Return what was found in a file, or the error of the machine that prevented it."""
    unit = shard.units[index]
    path, digests = run.root / unit.name, list[str]()
    try:
        tick()
        rows = _unit_rows(unit, index, shard, run, _Hooks(tick, digests.append))
    except NoImageError:
        rows = []
    except Exception as error:  # an unexpected error of one image must not end the run
        if is_machine_error(error):
            written = isinstance(error, OSError) and str(error.filename).startswith(str(run.folder))
            by_image = not isinstance(error, OSError) or (error.errno in _BY_IMAGE and not written)
            return (ImageShortage if by_image else MachineError)(str(machine_error(error, path)))
        rows = [failed_file(unit, reason_of(error, path))]
    return Outcome({index: rows}, {index: digests[0]} if digests else {})


@dataclass(frozen=True)
class _Hooks:
    """tick: see `process_shard`. digest: is given the SHA-256 of the file, once it has been read."""

    tick: Callable[[], None]
    digest: Callable[[str], None]


def _unit_rows(unit: Unit, index: int, shard: Shard, run: ArchiveRun, hooks: _Hooks) -> list[Row]:
    """Return the rows of a file. Raises DataError when it cannot be used at all, and errors of the machine."""
    path = run.root / unit.name
    check_file_name(path)
    if unit.problem:
        raise DataError(unit.problem)
    sources = from_file(path, run.limits, run.keep_frame)
    if unit.spacing:
        sources = [replace(source, spacing=unit.spacing, spacing_from=unit.spacing_from) for source in sources]
    overlays = run.folder / shard.overlays
    writer = FileRows(unit, run, overlays, f"{index:05d}", is_dicom(path))
    if sources[0].loop:
        digest, states = digest_of_file(path, run.limits)
        hooks.digest(digest)
        rows = [row for source in sources for row in writer.loop(source, digest, hooks.tick)]
        if not is_unchanged(states):  # the digest has to be that of the frames
            raise DataError("the file has changed while it was read; run the same command again", path)
        return rows
    data = read_file(path, run.limits)
    digest = hashlib.sha256(data).hexdigest()
    hooks.digest(digest)
    rows = []
    for source in sources:
        hooks.tick()
        rows.append(writer.picture(source, digest, data))
    return rows
