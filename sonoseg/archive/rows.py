"""The rows of the table: of a picture, of the frames of a loop, and of the loop itself; and the overlays."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.archive.inputs import Unit
from sonoseg.archive.masks import encode_labels
from sonoseg.errors import DataError, is_machine_error, printable
from sonoseg.inference.cine.frames import frame_facts
from sonoseg.inference.cine.loop import check_frames, early_end
from sonoseg.inference.cine.summary import Frame, summarise
from sonoseg.inference.cine.table import describe_loop, time_of
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.process_image import segment_record
from sonoseg.inference.results import describe
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.inference.table import STATUSES, Row, result_row
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRecord, ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.png import encode_png
from sonoseg.io.readers import read_image, read_loop
from sonoseg.postprocess.interpret import Findings
from sonoseg.types import Pixels

IMAGE, FRAME, LOOP = "image", "frame", "loop"
"""Kinds of rows: a picture, a frame of a loop, and the summary of a loop, which is no image of its own."""
REVIEW, ALL, NONE = "review", "all", "none"
"""Which images get an overlay: those with status `check` or `reject`, all, or none."""

_OF_THE_RUN = ("task", "model_sha256", "threshold", "notice")
"""Facts of an image that are the same for all; they are in the metadata of the table."""
_IN_COLUMNS: tuple[str, ...] = (
    "image",
    "frame",
    "width",
    "height",
    "spacing_mm",
    "spacing_from",
    "status",
    "reasons",
    "quality",
)
_IN_COLUMNS += ("shapes", "measurements", "intervals", "confidence", "spread", "frames")
_NAME_CHARACTERS = 40
"""Of an image's name in that of its overlay."""


@dataclass(frozen=True)
class ArchiveRun:
    """What all shards of a run share; it can be sent to other processes.

    root: folder of the images; folder: output folder; both absolute. overlays: `REVIEW`, `ALL` or `NONE`. fingerprint:
    see `archive.run.fingerprint_of`.
    """

    segmenter: Segmenter
    root: Path
    folder: Path
    fingerprint: str
    limits: ReadLimits = DEFAULT_LIMITS
    keep_frame: bool = False
    overlays: str = REVIEW


def failed_file(unit: Unit, reason: str) -> Row:
    """Return the row of a file that could not be processed."""
    name = printable(Path(unit.name).name)
    row = {"image": printable(unit.name), "name": printable(ImageRef(Path(unit.name)).name) if name else ""}
    return {**row, "kind": IMAGE, "status": "failed", "reason": printable(reason)}


@dataclass(frozen=True)
class FileRows:
    """Makes the rows of one file, and writes its overlays, whose names begin with `prefix`.

    of_dicom: whether the file is DICOM.
    """

    unit: Unit
    run: ArchiveRun
    overlays: Path
    prefix: str
    of_dicom: bool = False

    def picture(self, source: Source, digest: str, data: bytes) -> Row:
        """Return the row of a single picture, or of a page or region of a file."""
        try:
            record = read_image(source.image, self.run.limits, data)
            image, findings = segment_record(record, source, self.run.segmenter, with_probabilities=False)
        except Exception as error:
            if is_machine_error(error):
                raise
            return self._failed(source, IMAGE, source.image.frame_number, reason_of(error, source.path), digest)
        facts = describe(source, image, findings, self.run.segmenter)
        return self._found(source, facts, (image, findings), IMAGE, digest) | self._place(record)

    def loop(self, source: Source, digest: str, tick: Callable[[], None]) -> list[Row]:
        """Return the rows of the frames of a loop, and that of its summary."""
        loop, task = source.loop, self.run.segmenter.task
        assert loop is not None
        frames: list[Frame] = []
        rows: list[Row] = []
        problem = ""
        records = read_loop(source.image, self.run.limits)
        try:
            for number, record in enumerate(records, start=1):
                tick()
                frame, row = self._frame(source, number, record, digest)
                frames.append(frame)
                rows.append(row)
        except DataError as error:
            if not frames:
                raise
            problem = f": {error.reason}"
        check_frames(frames, source.path)
        summary = summarise(frames, task.quantities, early_end(len(frames), loop, problem))
        chosen = set(summary.chosen)
        for number, row in enumerate(rows, start=1):
            row.update(time_s=time_of(number, loop), chosen=number in chosen)
        facts = describe_loop(source, loop, frames, summary, self.run.segmenter)
        return [*rows, self._row(source, facts, LOOP, digest)]

    def _frame(self, source: Source, number: int, record: ImageRecord | DataError, digest: str) -> tuple[Frame, Row]:
        assert source.loop is not None
        height, width = source.loop.size
        try:
            if isinstance(record, DataError):
                raise record
            image, findings = segment_record(record, source, self.run.segmenter, with_probabilities=False)
            if image.shape != (height, width):
                raise DataError(f"the frame is {image.shape[1]}x{image.shape[0]} pixels; expected {width}x{height}")
        except Exception as error:
            if is_machine_error(error):
                raise
            reason = error.reason if isinstance(error, DataError) else f"unexpected {type(error).__name__}: {error}"
            return Frame(number, "failed", [reason]), self._failed(source, FRAME, number, reason, digest)
        facts = {**describe(source, image, findings, self.run.segmenter), "frame": number}
        row = self._found(source, facts, (image, findings), FRAME, digest) | self._place(record)
        return frame_facts(number, findings), row

    def _place(self, record: ImageRecord) -> Row:
        """Return whether nothing around the image could be removed, which is counted and in no column."""
        return {"whole_frame": self.of_dicom and record.region is None and not self.run.keep_frame}

    def _found(
        self, source: Source, facts: Mapping[str, Any], seen: tuple[Pixels, Findings], kind: str, digest: str
    ) -> Row:
        """Return the row of an image that was segmented, with its masks, and write its overlay where it gets one."""
        image, findings = seen
        task, status = self.run.segmenter.task, findings.status
        row = self._row(source, facts, kind, digest)
        row.update({f"mask_{name}": text for name, text in encode_labels(findings.labels, task.class_names).items()})
        if self.run.overlays == ALL or (self.run.overlays == REVIEW and status in ("check", "reject")):
            file = f"{self.prefix}_{self._name(source, row['frame'])[:_NAME_CHARACTERS]}_overlay.png"
            data = encode_png(draw_overlay(image, findings, task.structures))
            path = write_bytes(self.overlays / file, data)
            row["overlay"] = path.relative_to(self.run.folder).as_posix()
            row["overlay_sha256"] = hashlib.sha256(data).hexdigest()
        return row

    def _failed(self, source: Source, kind: str, number: int | None, reason: str, digest: str) -> Row:
        row = failed_file(self.unit, reason)
        where = {"frame": number, "region": source.image.region_number, "name": printable(self._name(source, number))}
        return {**row, **where, "kind": kind, "image_sha256": digest}

    def _row(self, source: Source, facts: Mapping[str, Any], kind: str, digest: str) -> Row:
        own = {"image": printable(self.unit.name), "region": source.image.region_number, "kind": kind}
        rest = {key: value for key, value in facts.items() if key not in (*_IN_COLUMNS, *_OF_THE_RUN)}
        details = {key: value for key, value in rest.items() if value not in (None, "", {}, [])}
        texts = {"shapes": _json(facts.get("shapes", [])), "details": _json(details)}
        row = {**result_row(source, facts), **own, **texts, "image_sha256": digest}
        row["name"] = printable(self._name(source, None if kind == LOOP else facts["frame"]))
        return row

    def _name(self, source: Source, number: int | None) -> str:
        """Return the name of an image, `loop_frame0007` for a frame of a loop."""
        return source.name if source.loop is None or number is None else f"{source.name}_frame{number:04d}"


def reason_of(error: Exception, path: Path) -> str:
    return str(error) if isinstance(error, DataError) else f"{path}: unexpected {type(error).__name__}: {error}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def counts_of(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of images, those of each status, loops, and images of DICOM files without regions."""
    images = [row for row in rows if row["kind"] != LOOP]
    by_status = {status: sum(row["status"] == status for row in images) for status in STATUSES}
    whole = sum(row.get("whole_frame", False) for row in images)
    return {"inputs": len(images), **by_status, "loops": len(rows) - len(images), "whole_frames": whole}
