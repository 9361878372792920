"""The image reader of DICOM files."""

import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.image_ref import REGION_FIELD, UNKNOWN, ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.dicom.decode import grey_frame
from sonoseg.io.readers.dicom.opened import DicomFile, DicomHeader, dicom_errors, open_dicom
from sonoseg.io.readers.dicom.regions import RegionsDoNotFit, common_spacing, image_regions
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
        (record,) = self.read_frames([image], limits, data)
        if isinstance(record, DataError):
            raise record
        return record

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
    if regions:
        spacing = common_spacing(regions)
        return regions, spacing, REGION_FIELD if spacing else f"{UNKNOWN} (the regions state no common one)"
    spacing = _pixel_spacing(dataset.get(_PIXEL_SPACING))
    return (), spacing, _PIXEL_SPACING if spacing else UNKNOWN


def _pixel_spacing(values: Any) -> Spacing | None:
    """Return the Pixel Spacing (0028,0030) as (row_mm, col_mm), None unless it is two lengths."""
    try:
        row_mm, col_mm = (float(value) for value in values)
    except (TypeError, ValueError):
        return None
    return (row_mm, col_mm) if all(math.isfinite(mm) and mm > 0 for mm in (row_mm, col_mm)) else None


def _patient(header: DicomHeader) -> str | None:
    """Return what identifies the patient: the number, else name and day of birth, else the examination."""
    dataset = header.dataset
    number, issuer = (str(dataset.get(name) or "").strip() for name in ("PatientID", "IssuerOfPatientID"))
    if number:
        return f"{number} ({issuer})" if issuer else number
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
    if milliseconds is None and vector is not None and len(vector) == header.frames:
        milliseconds = statistics.mean([float(value) for value in vector][1:])
    if milliseconds:
        return milliseconds / 1000
    rate = _number(dataset.get("CineRate")) or _number(dataset.get("RecommendedDisplayFrameRate"))
    return 1 / rate if rate else None


def _number(value: Any) -> float | None:
    """Return a number above 0, None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and number > 0 else None
