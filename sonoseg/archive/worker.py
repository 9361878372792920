"""What a process of a Ray cluster does: it loads the models once and makes shards. Knows nothing of Ray itself."""

import faulthandler
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from sonoseg.archive.process import ImageShortage, Outcome, process_shard
from sonoseg.archive.rows import ArchiveRun
from sonoseg.archive.run import fingerprint_of
from sonoseg.archive.shards import Shard
from sonoseg.archive.table import Written, write_shard
from sonoseg.errors import MachineError, SonoSegError, is_disk_full, is_machine_error, machine_error
from sonoseg.inference.segmenter import Segmenter
from sonoseg.runs.lock import NAME, NAME_WITHOUT_LOCKS
from sonoseg.runs.versions import versions

IMAGE, MACHINE, FATAL = "image", "machine", "fatal"
"""What a problem is: one that an image may have caused (`process.ImageShortage`); one of this computer, which another
one may not have; one that ends the run."""


@dataclass(frozen=True)
class SentRun:
    """An `ArchiveRun` on its way to another process, which loads the models itself, with `load`, to report its errors.

    rest: the other fields.
    """

    load: Callable[[], Segmenter]
    rest: dict[str, Any]

    @classmethod
    def of(cls, run: ArchiveRun) -> "SentRun":
        """Return what is sent of a run. Raises ModelError for a segmenter that comes from no file."""
        load, arguments = run.segmenter.__reduce__()
        names = [field.name for field in fields(run) if field.name != "segmenter"]
        return cls(partial(load, *arguments), {name: getattr(run, name) for name in names})

    def loaded(self) -> ArchiveRun:
        """Return the run, with its models."""
        return ArchiveRun(self.load(), **self.rest)


@dataclass(frozen=True)
class Problem:
    """Why a process has not done what it was asked: a kind, and a sentence."""

    kind: str
    text: str


@dataclass(frozen=True)
class Ready:
    """A process that has loaded the models. host: name of its computer. fingerprint, versions: of what it will run."""

    host: str
    fingerprint: str
    versions: dict[str, str]


class ShardWorker:
    """Makes shards in a process of its own, one at a time.

    sent: the run, whose models are loaded in `load`, so that its errors are reported. seconds: time for a picture or
    frame, after which the process ends itself: a decoder that never returns can be ended in no other way.
    """

    def __init__(self, sent: SentRun, seconds: float):
        self._sent, self._seconds = sent, seconds
        self._run: ArchiveRun | None = None

    def load(self) -> Ready | Problem:
        """Load the models, and look whether this computer sees the folders of the run."""
        host = socket.gethostname()
        try:
            run = self._sent.loaded()
            for folder in (run.root, run.folder):
                if not folder.is_dir():
                    return Problem(FATAL, f"{host}: no folder {folder}; mount it at the same place on every node")
            if not any(os.path.lexists(run.folder / name) for name in (NAME, NAME_WITHOUT_LOCKS)):
                return Problem(FATAL, f"{host}: {run.folder} is another folder there; mount the same one on every node")
            fingerprint = fingerprint_of(run.segmenter, run.limits, run.keep_frame, run.overlays)
        except (SonoSegError, OSError) as error:
            return Problem(FATAL, f"{host}: {error}")
        self._run = run
        return Ready(host, fingerprint, versions())

    def whole(self, shard: Shard) -> Written | Problem:
        """Make a shard and write it."""
        return self._guarded(shard, 0, len(shard.units), write=True)

    def part(self, shard: Shard, start: int, stop: int) -> Outcome | Problem:
        """Return what is found in some files of a shard."""
        return self._guarded(shard, start, stop, write=False)

    def tick(self, shard: Shard) -> None:
        """Start the time of the next picture or frame."""
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=2)

    def _guarded(self, shard: Shard, start: int, stop: int, write: bool) -> Any:
        assert self._run is not None
        try:
            outcome = process_shard(shard, range(start, stop), self._run, tick=lambda: self.tick(shard))
            faulthandler.cancel_dump_traceback_later()
            return write_shard(shard, outcome, self._run) if write else outcome
        except Exception as error:
            faulthandler.cancel_dump_traceback_later()
            if isinstance(error, MachineError):
                return Problem(IMAGE if isinstance(error, ImageShortage) else MACHINE, str(error))
            if isinstance(error, OSError) and not is_disk_full(error) and is_machine_error(error):
                return Problem(MACHINE, str(machine_error(error)))
            if isinstance(error, SonoSegError):
                return Problem(FATAL, str(error))
            if isinstance(error, OSError):
                return Problem(FATAL, f"{error.filename or ''}: {error.strerror or error}")
            raise
