"""A run over an archive: which shards are finished, which are to be made, and what is left of earlier runs."""

import hashlib
import json
import os
import re
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sonoseg.archive.inputs import Archive
from sonoseg.archive.process import process_shard
from sonoseg.archive.rows import ArchiveRun
from sonoseg.archive.shards import ID_DIGITS, OVERLAYS, SHARD_IMAGES, SHARD_NAME, SHARDS, Shard, group
from sonoseg.archive.table import ARCHIVE_FORMAT, Written, is_of_shard, read_about, write_shard
from sonoseg.errors import DataError, UsageError
from sonoseg.inference.resume import NO_OPTIONAL_FILES, run_fingerprint
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.table import STATUSES
from sonoseg.io.files import TEMPORARY
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.lock import locked_since
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import INFERENCE_RECORD, RESULTS_TABLE

FAILURES_LOG = "failures.log"
"""What happened to processes and nodes, a line each; only where something did."""
_OVERLAYS_NAME = re.compile(rf"[0-9a-f]{{{ID_DIGITS}}}")

Engine = Callable[[Iterator[Shard]], Iterator[Written]]
"""Makes shards, in any order, taking them one by one as it has room for them."""


def fingerprint_of(segmenter: Segmenter, limits: ReadLimits, keep_frame: bool, overlays: str) -> str:
    """Return what decides the rows of a shard besides its files: 64 hexadecimal digits.

    That is what decides the results of an ordinary run (`resume.run_fingerprint`), the limits, the regions of DICOM
    files, which overlays are written, and the columns. Empty when a model comes from no file.
    """
    plain = run_fingerprint(segmenter, NO_OPTIONAL_FILES)
    if not plain:
        return ""
    text = json.dumps([plain, asdict(limits), keep_frame, overlays, ARCHIVE_FORMAT])
    return hashlib.sha256(text.encode()).hexdigest()


def check_folder(folder: Path, archive: Archive) -> None:
    """Raise UsageError for an output folder in one that is searched for images, or with results of an ordinary run."""
    if folder.resolve().is_relative_to(archive.root) and archive.is_searched:
        raise UsageError(f"{folder}: lies below the images, and would be searched for images; choose another folder")
    if (folder / RESULTS_TABLE).exists():
        raise UsageError(f"{folder}: has the results of a run that wrote {RESULTS_TABLE}; choose another folder")


def is_archive(folder: Path) -> bool:
    """Return whether a folder has the results of a run over an archive."""
    return (folder / SHARDS).is_dir()


def local_engine(run: ArchiveRun, threads: int) -> Engine:
    """Return the engine that makes one shard after the other, on `threads` threads of this process."""

    def make(shards: Iterator[Shard]) -> Iterator[Written]:
        for shard in shards:
            yield write_shard(shard, process_shard(shard, range(len(shard.units)), run, threads), run)

    return make


@dataclass
class Tally:
    """What a run has come to. digests: shard -> SHA-256 of its table, None for one of an earlier run.

    counts: `process.write_shard`, summed. reused: images of
    shards of an earlier run.
    """

    counts: Counter[str] = field(default_factory=Counter)
    digests: dict[str, str | None] = field(default_factory=dict)
    reused: int = 0
    reused_shards: int = 0

    def add(self, identity: str, digest: str | None, counts: dict[str, int]) -> None:
        self.digests[identity] = digest
        self.counts.update(counts)
        if digest is None:
            self.reused += counts["inputs"]
            self.reused_shards += 1

    def for_record(self) -> dict[str, int]:
        """Return the counts for `run.json`: `inputs` is the sum of those of each status."""
        names = ("inputs", *STATUSES, "loops", "files", "without_image")
        return {**{name: self.counts[name] for name in names}, "shards": len(self.digests)}


@dataclass(frozen=True)
class Plan:
    """images: wanted number of images in a shard. retry_failed: make shards with a failed image again."""

    images: int = SHARD_IMAGES
    retry_failed: bool = False


def run_archive(
    archive: Archive, run: ArchiveRun, engine: Engine, output: OutputFolder, plan: Plan, done: Callable[[Tally], None]
) -> Tally:
    """Make the shards that are not finished, and remove those of other inputs or settings, at the end.

    The folder has to be locked. done: called after each shard, finished ones included. An error or an interruption
    leaves the finished shards, from which the same call goes on. Raises what the engine raises, DataError and OSError.
    """
    output.claim([INFERENCE_RECORD, FAILURES_LOG])
    output.begin_changes()
    output.remove(INFERENCE_RECORD)
    _remove_unfinished(run.folder / SHARDS)
    tally = Tally()

    def pending() -> Iterator[Shard]:
        present = _names(run.folder / SHARDS) if run.fingerprint else set()
        known: set[str] = set()
        for shard in group(archive.units(), run.fingerprint, plan.images):
            if shard.identity in known:  # a list that repeats itself
                continue
            known.add(shard.identity)
            counts = _finished(shard, run, plan) if Path(shard.file).name in present else None
            if counts is None:
                yield shard
            else:
                tally.add(shard.identity, None, counts)
                done(tally)

    for written in engine(pending()):
        tally.add(written.identity, written.sha256, written.counts)
        done(tally)
    if not tally.digests:
        raise DataError("no image; expected a folder of images, or a list of them", archive.root)
    _remove_outdated(run.folder, set(tally.digests))
    for identity, digest in tally.digests.items():
        output.keep(run.folder / Shard(identity, ()).file, digest)
    output.keep(run.folder / FAILURES_LOG)
    return tally


def _finished(shard: Shard, run: ArchiveRun, plan: Plan) -> dict[str, int] | None:
    """Return the counts of a shard, None when it is to be made again."""
    try:
        about = read_about(run.folder / shard.file)
    except DataError:
        return None
    if not is_of_shard(about, shard, run.fingerprint):
        return None
    counts: dict[str, int] = about["counts"]
    return None if plan.retry_failed and counts["failed"] else counts


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except FileNotFoundError:
        return set()


def _remove_unfinished(folder: Path) -> None:
    """Remove temporary files that killed processes have left, from before this run has locked the output folder."""
    since = locked_since(folder.parent)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".shard-") and entry.name.endswith(TEMPORARY) and since is not None:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_mtime < since:
                    os.unlink(entry.path)


def _remove_outdated(folder: Path, identities: set[str]) -> None:
    """Remove the shards and overlays of other inputs or settings."""
    for name in _names(folder / SHARDS):
        match = SHARD_NAME.fullmatch(name)
        if match and match[1] not in identities:
            (folder / SHARDS / name).unlink()
    for name in _names(folder / OVERLAYS):
        if _OVERLAYS_NAME.fullmatch(name) and name not in identities:
            shutil.rmtree(folder / OVERLAYS / name)
