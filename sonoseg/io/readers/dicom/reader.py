"""The image reader of DICOM files."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.image_ref import REGION_FIELD, UNKNOWN, ImageHeader, ImageRecord, ImageRef, plausible_seconds
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.base import only_record
from sonoseg.io.readers.dicom.decode import grey_frame
from sonoseg.io.readers.dicom.header import DicomHeader
from sonoseg.io.readers.dicom.opened import DicomFile, dicom_errors, open_dicom
from sonoseg.io.readers.dicom.regions import (
    MAX_REGIONS,
    SAME,
    NoPicture,
    RegionsDoNotFit,
    TooManyRegions,
    common_spacing,
    image_regions,
    is_same,
)
from sonoseg.sizes import Region, Spacing

PREAMBLE_BYTES = 128
MARK = b"DICM"
_PIXEL_SPACING = "PixelSpacing"


class DicomReader:
    """See `base.ImageReader`. Spacing, regions, patient and time come from the header, each with its field's name."""

    suffixes = (".dcm", ".dicom", ".ima")

    def accepts(self, start: bytes) -> bool:
        return start[PREAMBLE_BYTES : PREAMBLE_BYTES + len(MARK)] == MARK

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        with open_dicom(path, limits) as file:
            return image_header(file.header)

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        return only_record(self.read_frames([image], limits, data))

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord | DataError]:
        with open_dicom(images[0].path, limits, data) as file:
            header = image_header(file.header)
            for image in images:
                try:
                    _check_frame(image, header)
                    with dicom_errors(image):
                        record = _record(file.frame(image.frame or 0), image, file, header)
                except DataError as error:
                    yield error
                else:
                    yield record

    def read_loop(self, image: ImageRef, limits: ReadLimits) -> Iterator[ImageRecord | DataError]:
        with open_dicom(image.path, limits) as file:
            header = image_header(file.header)
            header.region_of(image)
            for index, coded in enumerate(file.all_frames()):
                frame = ImageRef(image.path, index, image.region)
                try:
                    with dicom_errors(frame):
                        record = _record(coded, frame, file, header)
                except DataError as error:
                    yield error
                else:
                    yield record


def _check_frame(image: ImageRef, header: ImageHeader) -> None:
    if image.frame is None and header.frames > 1:
        raise DataError("2 frames or more; expected a single picture: give the number of a frame", image)
    if (image.frame or 0) >= header.frames:
        raise DataError("no such frame in the file; it has changed, or has fewer frames", image)


def _record(coded: bytes, image: ImageRef, file: DicomFile, header: ImageHeader) -> ImageRecord:
    """Return one decoded frame, or a region of it."""
    region, spacing = header.region_of(image), header.spacing_of(image)
    pixels = grey_frame(coded, file.header)
    if region is None:
        return ImageRecord(image, pixels, *spacing, header.patient)
    return ImageRecord(image, pixels[region.window].copy(), *spacing, header.patient, region, header.size)


def image_header(header: DicomHeader) -> ImageHeader:
    """Return what the file states about its images."""
    regions, spacing, spacing_from = _regions_and_spacing(header)
    return ImageHeader(
        header.size,
        header.frames,
        spacing,
        spacing_from,
        _patient(header),
        regions,
        header.frames > 1,
        _frame_seconds(header),
    )


def _regions_and_spacing(header: DicomHeader) -> tuple[tuple[Region, ...], Spacing | None, str]:
    """Return the regions, and the spacing of the whole frame with the field that it comes from."""
    dataset = header.dataset
    try:
        regions = image_regions(dataset.get(REGION_FIELD) or (), header.size)
    except RegionsDoNotFit as problem:
        return (), None, f"{UNKNOWN} ({problem}: it was cropped or scaled)"
    except NoPicture:
        return (), None, f"{UNKNOWN} (none of the regions shows tissue in a plane)"
    except TooManyRegions as problem:
        raise DataError(f"{problem} regions; at most {MAX_REGIONS} are read, replace the file", header.path) from None
    other = _pixel_spacing(dataset.get(_PIXEL_SPACING))
    if regions:
        stated = [region.spacing for region in regions if region.spacing]
        if other and stated and not any(is_same(other, spacing) for spacing in stated):
            regions = tuple(replace(region, spacing=None) for region in regions)
            return regions, None, f"{UNKNOWN} ({_PIXEL_SPACING} and the regions state different ones)"
        spacing = common_spacing(regions)
        return regions, spacing, REGION_FIELD if spacing else f"{UNKNOWN} (the regions state no common one)"
    if other and not _has_ratio(other, dataset.get("PixelAspectRatio")):
        return (), None, f"{UNKNOWN} ({_PIXEL_SPACING} and PixelAspectRatio contradict each other)"
    return (), other, _PIXEL_SPACING if other else UNKNOWN


def _has_ratio(spacing: Spacing, ratio: Any) -> bool:
    """Return whether a spacing has the Pixel Aspect Ratio (0028,0034), row to column; so has any where none is."""
    if ratio in (None, ""):
        return True
    try:
        row, col = (float(value) for value in ratio)
    except (TypeError, ValueError):
        return False
    return math.isclose(spacing[0] * col, spacing[1] * row, rel_tol=SAME)


def _pixel_spacing(values: Any) -> Spacing | None:
    """Return the Pixel Spacing (0028,0030) as (row_mm, col_mm), None unless it is two lengths."""
    try:
        row_mm, col_mm = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return (row_mm, col_mm) if all(math.isfinite(mm) and mm > 0 for mm in (row_mm, col_mm)) else None


def _patient(header: DicomHeader) -> str | None:
    """Return what identifies the patient: the number, else name and day of birth, else the examination.

    Not who has issued the number, which is in some files of a patient only: they would be two patients.
    """
    dataset = header.dataset
    number = str(dataset.get("PatientID") or "").strip()
    if number:
        return number
    name, born, study = (
        str(dataset.get(field) or "").strip() for field in ("PatientName", "PatientBirthDate", "StudyInstanceUID")
    )
    return f"{name} {born}".strip() if name else study or None


def _frame_seconds(header: DicomHeader) -> float | None:
    """Return the time from one frame to the next, in seconds; None for a still or when it is not stated."""
    dataset = header.dataset
    if header.frames == 1:
        return None
    milliseconds = _number(dataset.get("FrameTime"))
    vector = dataset.get("FrameTimeVector")
    if milliseconds is None and vector not in (None, ""):
        return plausible_seconds((_even_step(vector, header.frames) or 0) / 1000)
    if milliseconds:
        return plausible_seconds(milliseconds / 1000)
    rate = _number(dataset.get("CineRate")) or _number(dataset.get("RecommendedDisplayFrameRate"))
    return plausible_seconds(1 / rate) if rate else None


def _even_step(vector: Any, frames: int) -> float | None:
    """Return the mean time between frames of a Frame Time Vector (0018,1065), whose first value is 0.

    None where it is not of all frames, or a frame's time is off the even ones by more than half a step: such a loop has
    no rate.
    """
    values = list(vector) if isinstance(vector, Sequence) and not isinstance(vector, str) else [vector]
    try:
        steps = [float(value) for value in values][1:]
    except (TypeError, ValueError):
        return None
    if len(values) != frames or not all(math.isfinite(step) for step in steps):
        return None
    mean = statistics.mean(steps)
    is_even = all(abs(time - number * mean) <= mean / 2 for number, time in enumerate(accumulate(steps), start=1))
    return mean if is_even else None


def _number(value: Any) -> float | None:
    """Return a number above 0, None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
