"""What one image's objects are made of, their identifiers, and the elements that all of them have."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset

import sonoseg
from sonoseg.dicom.codes import StructureCode, structure_codes
from sonoseg.dicom.source import SourceHeader
from sonoseg.io.image_ref import ImageRef
from sonoseg.schema.task import Task

NAME = "SonoSeg"
NOTICE = "Research only, not for clinical use"
SERIES = {
    "seg": (9001, f"{NAME} segmentation"),
    "sr": (9002, f"{NAME} measurements"),
    "capture": (9003, f"{NAME} overlay"),
}
"""Kind of an object -> number and description of its series."""
_OF_THE_FILES = ("image", "made_from", "files", "sha256")
"""Entries of a record that may differ for equal results: names and digests of files."""


@dataclass(frozen=True)
class Result:
    """The results of one image: its source, where it is in it, and its record (`inference.results.describe`).

    name: with which its result files begin. loop_frame: of the results of a loop, the frame that stands for them.
    """

    source: SourceHeader
    image: ImageRef
    name: str
    facts: Mapping[str, Any]
    task: Task
    loop_frame: int = 1

    @property
    def is_loop(self) -> bool:
        """Whether the results are those of all frames of the source."""
        return self.source.frames > 1 and self.image.frame is None

    @property
    def frame(self) -> int | None:
        """The frame that is shown, counted from 1; None where the source has only one."""
        return self.loop_frame if self.is_loop else self.image.frame_number

    @property
    def frames(self) -> list[int] | None:
        """The frames from which the values are, as references to an image have them."""
        if self.is_loop:
            return [int(frame) for frame in self.facts.get("chosen_frames", [])] or None
        return None if self.frame is None else [self.frame]

    @property
    def codes(self) -> dict[str, StructureCode]:
        return structure_codes(self.task)

    @property
    def model(self) -> str:
        """The SHA-256 of the model; a word where it comes from no file."""
        return str(self.facts["model_sha256"]) or "unknown"

    def series_uid(self, kind: str) -> str:
        """Return the series of this kind: one for each series of sources and model."""
        study, series = self.source.dataset.StudyInstanceUID, self.source.dataset.SeriesInstanceUID
        return uid("series", kind, study, series, self.model, self.task.name)

    def uid(self, kind: str, *more: object) -> str:
        """Return the identifier of an object, or of a part of it: the same for the same source and the same results.

        Other results of the same image have another one, as an identifier must never name two contents.
        """
        facts = {name: value for name, value in self.facts.items() if name not in _OF_THE_FILES}
        files = self.facts.get("files", {})
        facts["masks"] = [files.get(f"{self.name}_{masks}") for masks in ("mask.png", "masks.tif")]
        place = [self.image.frame_number, self.image.region_number]
        return uid(kind, self.source.dataset.SOPInstanceUID, place, facts, sonoseg.__version__, *more)

    @property
    def number(self) -> int:
        """The number of the objects in their series: that of the source; regions and frames follow far above it."""
        region, frame = self.image.region_number or 0, self.image.frame_number or 0
        return self.source.number + 10_000 * region + 100_000 * frame


def uid(*parts: object) -> str:
    """Return an identifier below 2.25 (DICOM PS3.5, B.2), from the first 128 bits of a SHA-256 as a UUID."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def instance_arguments(result: Result, kind: str) -> dict[str, Any]:
    """Return the arguments that highdicom's objects have in common."""
    number, description = SERIES[kind]
    return {
        "series_instance_uid": result.series_uid(kind),
        "series_number": number,
        "series_description": description,
        "sop_instance_uid": result.uid(kind),
        "instance_number": result.number,
        "manufacturer": NAME,
        "manufacturer_model_name": NAME,
        "software_versions": sonoseg.__version__,
        "device_serial_number": result.model,
        "content_date": result.source.content_date,
        "content_time": result.source.content_time,
    }


def encoded(dataset: Dataset) -> bytes:
    """Return the bytes of a file. What states the time of writing is left out: equal results give equal bytes."""
    for keyword in ("InstanceCreationDate", "InstanceCreationTime", "TimezoneOffsetFromUTC"):
        if keyword in dataset:
            del dataset[keyword]
    for item in dataset.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
