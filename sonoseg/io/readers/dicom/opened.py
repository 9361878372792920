"""An open DICOM file: its header, checked, and the coded bytes of single frames."""

import logging
import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from sonoseg.errors import DataError, SonoSegError, is_machine_error
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.dicom.fragments import Fragment, WrongFragments, frames_of, joined
from sonoseg.io.readers.dicom.header import DAMAGED, DicomHeader, check_header
from sonoseg.io.readers.dicom.palette import TABLE_KEYWORDS, swap_tables
from sonoseg.io.readers.dicom.window import WINDOW_KEYWORDS
from sonoseg.io.readers.opening import opened

_IMAGE_KEYWORDS = (
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)
_OTHER_KEYWORDS = (
    *("SOPClassUID", "PatientID", "PatientName", "PatientBirthDate"),
    *("StudyInstanceUID", "SequenceOfUltrasoundRegions", "PixelSpacing"),
    *("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("PixelAspectRatio",),
)
_SYNTAX = 0x00020010
_DEFLATED, _RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
_PIXEL_DATA = (0x7FE0, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_MOST_READS = 500_000
"""Of a header, whose elements take two each: far above any ultrasound image, far below the memory of a laptop."""
_MOST_BYTES = 1 << 24
"""Of one element of a header that is wanted."""


@dataclass(frozen=True)
class DicomFile:
    """A file open for reading. start, length: of its pixels in the stream; None where their length is not stated."""

    header: DicomHeader
    stream: BinaryIO
    start: int
    length: int | None

    def frame(self, index: int) -> bytes:
        """Return the coded bytes of a frame. Raises DataError when the file is damaged or cut short."""
        return self._coded(self._frames, index)

    def all_frames(self) -> Iterator[bytes]:
        """Yield the coded bytes of each frame, of which one is in memory at a time. Raises DataError as `frame`."""
        for index in range(self.header.frames):
            yield self._coded(self._frames, index)

    @cached_property
    def _frames(self) -> list[list[Fragment]]:
        """Return where the frames of encapsulated pixels are; nothing for others."""
        if not self.header.is_encapsulated:
            return []
        self.stream.seek(self.start)
        try:
            return frames_of(self.stream, self.header.frames, self.header.dataset.file_meta.TransferSyntaxUID == _RLE)
        except WrongFragments as problem:
            raise DataError(f"{problem}; replace the file", self.header.path) from None

    def _coded(self, frames: list[list[Fragment]], index: int) -> bytes:
        data = b""
        if self.length is not None:
            size = self.header.frame_bytes
            if (index + 1) * size <= self.length:
                self.stream.seek(self.start + index * size)
                data = self.stream.read(size)
            is_whole = len(data) == size
        else:
            with suppress(EOFError):
                data = joined(self.stream, frames[index]) if index < len(frames) else b""
            is_whole = bool(data)
        if not is_whole:
            raise DataError(DAMAGED, self.header.path)
        return data


class _Bounded:
    """A file of which no more is read than there is: a reader would allocate whatever length an element states."""

    def __init__(self, stream: BinaryIO, path: Path):
        self._path, self._stream, self._size = path, stream, stream.seek(0, os.SEEK_END)
        stream.seek(0)
        self.seek, self.tell = stream.seek, stream.tell
        self._reads, self.is_header = 0, True

    def read(self, count: int = -1) -> bytes:
        self._reads += 1
        if self.is_header and (self._reads > _MOST_READS or count > _MOST_BYTES):
            raise DataError("its header is far larger than that of an ultrasound image; replace the file", self._path)
        left = max(0, self._size - self.tell())
        return self._stream.read(min(count, left) if count >= 0 else left)


@contextmanager
def open_dicom(path: Path, limits: ReadLimits, data: bytes | None = None) -> Iterator[DicomFile]:
    """Open a DICOM file that has an image; its header is read and no pixel decoded.

    data: the file's bytes, read from the file when None. Raises DataError when it is missing, damaged, has no pixels,
    is beyond the limits, or when pydicom is not installed.
    """
    with opened(path) if data is None else BytesIO(data) as file, dicom_errors(path):
        bounded = _Bounded(file, path)
        stream = cast(BinaryIO, bounded)
        dataset = _read_dataset(stream, path)
        bounded.is_header = False
        header = DicomHeader(dataset, path)
        check_header(header, limits)
        yield DicomFile(header, stream, *_pixels(stream, header))


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
        raise DataError(DAMAGED, image) from None


def _read_dataset(stream: BinaryIO, path: Path) -> Any:
    """Return the data set before the pixels, at which the stream is then."""
    pydicom = load_pydicom(path)
    if _is_deflated(stream):  # before pydicom inflates it, to any size
        raise DataError("a deflated transfer syntax; save it with another one, such as Explicit VR Little Endian", path)
    wanted = [*_IMAGE_KEYWORDS, *_OTHER_KEYWORDS, *TABLE_KEYWORDS, *WINDOW_KEYWORDS]
    dataset = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=wanted)
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        swap_tables(dataset)
    return dataset


def _is_deflated(stream: BinaryIO) -> bool:
    """Return whether a file is deflated, as pydicom sees it; the stream is at its beginning before and afterwards."""
    from pydicom.filereader import read_dataset, read_preamble

    read_preamble(stream, force=False)
    begin = stream.tell()
    found = False
    for is_implicit in (False, True):  # the second is wrong, and pydicom reads it
        stream.seek(begin)
        with suppress(Exception):  # a file that cannot be read is found later
            meta = read_dataset(stream, is_implicit, True, stop_when=_is_after_meta, specific_tags=[_SYNTAX])
            found = str(meta[_SYNTAX].value).strip("\0 ") == _DEFLATED
            break
    stream.seek(0)
    return found


def _is_after_meta(tag: Any, vr: str | None, length: int) -> bool:
    return int(tag) >> 16 != 2


def _pixels(stream: BinaryIO, header: DicomHeader) -> tuple[int, int | None]:
    """Return position and length of the pixels in the stream, which is at their element; the header gets `pixel_vr`.

    The length is None where they are encapsulated. Raises DataError for one that the header contradicts: rows of
    another length would be read as a slanted picture. Less is a file that is cut short, whose first frames are there.
    """
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
    begin = stream.tell() - (4 if syntax.is_implicit_VR else 0)
    if header.is_encapsulated:
        return begin, None
    expected = header.frames * header.frame_bytes
    if length > expected + expected % 2:
        raise DataError(f"{length} bytes of pixels; expected {expected} of its size and frames; replace the file", path)
    return begin, length


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
