"""An open DICOM file: its header, checked, and the coded bytes of single frames."""

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from sonoseg.errors import DataError, LimitError, NoImageError, SonoSegError, choices, is_machine_error
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.dicom.palette import TABLE_KEYWORDS, swap_tables
from sonoseg.io.readers.opening import opened
from sonoseg.sizes import Size

_IMAGE_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_OTHER_KEYWORDS = (
    *("SOPClassUID", "PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("StudyInstanceUID", "SequenceOfUltrasoundRegions", "PixelSpacing"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)
PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"),
    *("YBR_ICT", "YBR_RCT"),
)
"""Photometric interpretations that are read."""
_META_BYTES = 2048
"""The transfer syntax stands within as many bytes of a file's beginning."""
_DEFLATED = b"UI\x16\x001.2.840.10008.1.2.1.99"
_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_NO_IMAGES = "1.2.840.10008.5.1.4.1.1.66"
"""Raw data, registrations, fiducials and segmentations: SOP classes whose objects are made from images."""
_DAMAGED = "the DICOM file is damaged or cut short; replace it"


class DicomHeader:
    """The data elements of a file that are needed, without its pixels; `dataset` is pydicom's.

    pixel_vr: value representation of the pixels, which decides their byte order; empty when it is not stated.
    """

    def __init__(self, dataset: Any, path: Path):
        self.dataset, self.path, self.pixel_vr = dataset, path, ""

    @property
    def size(self) -> Size:
        return int(self.dataset.Rows), int(self.dataset.Columns)

    @property
    def frames(self) -> int:
        return int(self.dataset.get("NumberOfFrames") or 1)

    @property
    def is_encapsulated(self) -> bool:
        return bool(self.dataset.file_meta.TransferSyntaxUID.is_encapsulated)


@dataclass(frozen=True)
class DicomFile:
    """A file open for reading. start: position of its pixels in the stream."""

    header: DicomHeader
    stream: BinaryIO
    start: int

    def frame(self, index: int) -> bytes:
        """Return the coded bytes of a frame. Raises DataError when the file is damaged or cut short."""
        from pydicom.encaps import get_frame

        self.stream.seek(self.start)
        if self.header.is_encapsulated:
            return get_frame(self.stream, index, number_of_frames=self.header.frames, extended_offsets=self._offsets())
        return self._native_frame(index)

    def all_frames(self) -> Iterator[bytes]:
        """Yield the coded bytes of each frame, of which one is in memory at a time. Raises DataError as `frame`."""
        from pydicom.encaps import generate_frames

        self.stream.seek(self.start)
        if self.header.is_encapsulated:
            yield from generate_frames(
                self.stream, number_of_frames=self.header.frames, extended_offsets=self._offsets()
            )
        else:
            for index in range(self.header.frames):
                yield self._native_frame(index)

    def _native_frame(self, index: int) -> bytes:
        dataset = self.header.dataset
        pixels = int(dataset.Rows) * int(dataset.Columns)
        samples = (
            2 * pixels if dataset.PhotometricInterpretation == "YBR_FULL_422" else pixels * dataset.SamplesPerPixel
        )
        length = samples * int(dataset.BitsAllocated) // 8
        self.stream.seek(self.start + index * length)
        data = self.stream.read(length)
        if len(data) < length:
            raise DataError(_DAMAGED, self.header.path)
        return data

    def _offsets(self) -> tuple[bytes, bytes] | None:
        dataset = self.header.dataset
        if "ExtendedOffsetTable" in dataset and "ExtendedOffsetTableLengths" in dataset:
            return dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths
        return None


@contextmanager
def open_dicom(path: Path, limits: ReadLimits, data: bytes | None = None) -> Iterator[DicomFile]:
    """Open a DICOM file that has an image; its header is read and no pixel decoded.

    data: the file's bytes, read from the file when None. Raises DataError when it is missing, damaged, has no pixels,
    is beyond the limits, or when pydicom is not installed.
    """
    with opened(path) if data is None else BytesIO(data) as stream, dicom_errors(path):
        dataset = _read_dataset(stream, path)
        header = DicomHeader(dataset, path)
        _check(header, limits)
        yield DicomFile(header, stream, _pixels_start(stream, header))


@contextmanager
def dicom_errors(image: object) -> Iterator[None]:
    """Turn any error of a decoder into a DataError, without its text: that may contain values of the header.

    Machine errors, and those that are SonoSeg's already, pass unchanged. image: what the message begins with.
    """
    try:
        yield
    except (SonoSegError, GeneratorExit):
        raise
    except Exception as error:
        if is_machine_error(error):
            raise
        raise DataError(_DAMAGED, image) from None


def _read_dataset(stream: BinaryIO, path: Path) -> Any:
    """Return the data set before the pixels, at which the stream is then."""
    pydicom = load_pydicom(path)
    if _DEFLATED in stream.read(_META_BYTES):  # before pydicom inflates it, to any size
        raise DataError("a deflated transfer syntax; save it with another one, such as Explicit VR Little Endian", path)
    stream.seek(0)
    wanted = [*_IMAGE_KEYWORDS, *_OTHER_KEYWORDS, *TABLE_KEYWORDS]
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=wanted)
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        swap_tables(dataset)
    return dataset


def _check(header: DicomHeader, limits: ReadLimits) -> None:
    """Raise DataError for a file without an image, beyond the limits, or of a kind that is not read."""
    dataset, path = header.dataset, header.path
    is_derived = str(dataset.get("SOPClassUID") or "").startswith(_NO_IMAGES)
    if is_derived or "Rows" not in dataset or "Columns" not in dataset:
        raise NoImageError(
            "a DICOM file without an image, such as a report or a segmentation, or cut short; leave it out", path
        )
    (height, width), frames = header.size, header.frames
    if height < 1 or width < 1 or frames < 1:
        raise DataError(f"{frames} frames of {width}x{height} pixels declared; replace the file", path)
    if width * height > limits.max_pixels:
        reason = f"{width}x{height} pixels declared; at most {limits.max_pixels} are decoded"
        raise LimitError(f"{reason}; raise the limit if the image is right", path)
    if frames > limits.max_frames:
        raise DataError(f"{frames} frames; at most {limits.max_frames} are read, split the file", path)
    depth, samples = dataset.get("BitsAllocated"), dataset.get("SamplesPerPixel")
    if depth not in (8, 16) or samples not in (1, 3):
        raise DataError(f"{samples} values of {depth} bits in a pixel; expected 1 or 3 of 8 or 16 bits", path)
    if dataset.get("PixelRepresentation"):
        raise DataError("signed pixels; expected grey values or colours of a display: save it as PNG", path)
    if dataset.get("PhotometricInterpretation") not in PHOTOMETRIC:
        raise DataError(f"colours of a kind that is not read; expected {choices(PHOTOMETRIC)}; save it as PNG", path)


def _pixels_start(stream: BinaryIO, header: DicomHeader) -> int:
    """Return the position of the pixels in the stream, which is at their element; the header gets their `pixel_vr`."""
    path, syntax = header.path, header.dataset.file_meta.TransferSyntaxUID
    order = "<" if syntax.is_little_endian else ">"
    start = stream.read(12)
    tag = struct.unpack(f"{order}HH", start[:4]) if len(start) == 12 else None
    if tag != _PIXEL_DATA:
        raise DataError("a DICOM file without pixels; it is cut short, or no image", path)
    if not syntax.is_implicit_VR:
        header.pixel_vr = start[4:6].decode("latin-1")
    (length,) = struct.unpack(f"{order}L", start[4:8] if syntax.is_implicit_VR else start[8:])
    if header.is_encapsulated != (length == _UNDEFINED):
        raise DataError("its pixels are not coded as its transfer syntax states; replace the file", path)
    return stream.tell() - (4 if syntax.is_implicit_VR else 0)


@cache
def _pydicom() -> Any:
    """Return pydicom, set to say nothing: its warnings contain values of headers. Raises ImportError without it."""
    import pydicom
    import pydicom.pixels

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="pydicom")
    return pydicom


def load_pydicom(path: Path) -> Any:
    """Return pydicom. Raises DataError, with how to install it, where it is missing."""
    try:
        return _pydicom()
    except ImportError:
        raise DataError(
            "DICOM is read by pydicom, which is not installed; run: pip install sonoseg[dicom]", path
        ) from None
