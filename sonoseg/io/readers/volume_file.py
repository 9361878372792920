"""MetaImage and NIfTI files: the header, checked before anything is decoded, and the values.

No library is used: SimpleITK reads NIfTI files that are cut short without an error, and nibabel reads no MetaImage.
"""

import gzip
import io
import math
import struct
import zlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sonoseg.errors import DataError
from sonoseg.io.readers.meta_header import META_START, MOST_HEADER, meta_fields, separate_values
from sonoseg.io.readers.opening import opened

GZIP = b"\x1f\x8b\x08"
_NIFTI_BYTES = (348, 540)
_META_TYPES = {
    **{"MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4"},
    **{"MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
_NIFTI_TYPES = {
    **{2: "u1", 256: "i1", 512: "u2", 4: "i2", 768: "u4", 8: "i4", 16: "f4", 64: "f8"},
    **{128: "u1", 2304: "u1"},  # RGB and RGBA
}
_NIFTI_CHANNELS = {128: 3, 2304: 4}
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}
_SECONDS = {8: 1.0, 16: 0.001, 24: 1e-6}
_Numbers = tuple[float, ...]


@dataclass(frozen=True)
class VolumeHeader:
    """What the header of a file states. dims: pixels along each axis, the first is across the image, the second down.

    spacing: along the axes, in mm where `unit` is True; field: that has it. type: of a value, as numpy names it;
    channels: values of a pixel. start: of the values in their file, from its end where negative. packed: how they are
    compressed. scale: slope and intercept of the values. seconds: from frame to frame, None when it is not stated.
    file: of the values, where it is another one.
    """

    dims: tuple[int, ...]
    spacing: _Numbers
    unit: bool
    field: str
    type: str
    channels: int = 1
    start: int = 0
    packed: str = ""
    scale: tuple[float, float] = (1.0, 0.0)
    seconds: float | None = None
    file: Path | None = None

    @property
    def bytes(self) -> int:
        """Bytes of all values."""
        return math.prod(self.dims) * self.channels * np.dtype(self.type).itemsize


def is_nifti(start: bytes) -> bool:
    """Return whether a file begins as NIfTI does, by the length of its header and a plausible number of axes."""
    for order in "<>" if len(start) >= 42 else "":
        length, axes = struct.unpack_from(f"{order}i", start)[0], struct.unpack_from(f"{order}h", start, 40)[0]
        if length == 540 or (length == 348 and 1 <= axes <= 7):
            return True
    return False


def read_volume_header(path: Path, data: bytes | None = None) -> VolumeHeader:
    """Return the header of a file, or of its bytes `data`, as `opening.read_file` returns them.

    Raises DataError where it is damaged or not supported.
    """
    with _stream(path, data) as stream:
        start = stream.read(MOST_HEADER)
        if META_START.match(start):
            return _meta_header(start, path, has_values=data is not None)
        packed = "gzip" if start.startswith(GZIP) else ""
        if packed:
            stream.seek(0)
            try:
                start = gzip.GzipFile(fileobj=stream).read(max(_NIFTI_BYTES))
            except (EOFError, zlib.error, gzip.BadGzipFile):
                raise DataError("the gzip file is damaged or cut short; replace it", path) from None
    if not is_nifti(start):
        raise DataError("no NIfTI image in this gzip file; unpack or replace it", path)
    return _nifti_header(start, packed, path)


def read_values(path: Path, header: VolumeHeader, layer: int | None = None, data: bytes | None = None) -> Any:
    """Return the values of a file as numpy array: `(N, H, W)`, or `(N, H, W, channels)`; layer: that one alone.

    At most the bytes that the header states are read. Raises DataError for a file that is cut short or damaged.
    """
    size = header.bytes
    per_layer = size // math.prod(header.dims[2:])
    first, count = (0, size) if layer is None else (layer * per_layer, per_layer)
    with _stream(header.file or path, data) as stream:
        start = header.start
        if start < 0:
            start = stream.seek(0, io.SEEK_END) - size
        try:
            if header.packed == "gzip":
                unpacked = gzip.GzipFile(fileobj=stream)
                unpacked.read(start)
                values = unpacked.read(size)
                unpacked.read(1 << 16)  # the end of the file, where its checksum is compared
                values = values[first : first + count]
            elif header.packed == "zlib":
                stream.seek(start)
                values = _inflated(stream, size)[first : first + count]
            else:
                stream.seek(max(start, 0) + first)
                values = stream.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
            raise DataError(f"the file is damaged or cut short ({problem}); replace it", path) from None
    if start < 0 or len(values) < count:
        raise DataError(
            f"the file is cut short: {count} bytes of pixels declared, {len(values)} found; replace it", path
        )
    shape = (-1, header.dims[1], header.dims[0]) + ((header.channels,) if header.channels > 1 else ())
    read: npt.NDArray[Any] = np.frombuffer(values, header.type).reshape(shape)
    return read if header.scale == (1.0, 0.0) else read * header.scale[0] + header.scale[1]


def _inflated(stream: BinaryIO, size: int) -> bytes:
    """Return `size` bytes of zlib data, of which no more are made. Raises zlib.error for data without their end."""
    unpacker = zlib.decompressobj()
    values = unpacker.decompress(stream.read(), size)
    unpacker.decompress(unpacker.unconsumed_tail, 1)
    if not unpacker.eof:
        raise zlib.error("the compressed data have another length than the header states")
    return values


def _stream(path: Path, data: bytes | None) -> AbstractContextManager[BinaryIO]:
    return opened(path) if data is None else io.BytesIO(data)


def _nifti_header(start: bytes, packed: str, path: Path) -> VolumeHeader:
    order = "<" if struct.unpack_from("<i", start)[0] in _NIFTI_BYTES else ">"
    length = struct.unpack_from(f"{order}i", start)[0]
    if len(start) < length:
        raise DataError("the header is cut short; replace the file", path)
    if length == 348:
        dims, pixdim = struct.unpack_from(f"{order}8h", start, 40), struct.unpack_from(f"{order}8f", start, 76)
        code, units, magic = struct.unpack_from(f"{order}h", start, 70)[0], start[123], start[344:348]
        offset, *scale = struct.unpack_from(f"{order}3f", start, 108)
    else:
        dims, pixdim = struct.unpack_from(f"{order}8q", start, 16), struct.unpack_from(f"{order}8d", start, 104)
        code, units = struct.unpack_from(f"{order}h", start, 12)[0], struct.unpack_from(f"{order}i", start, 500)[0]
        offset, *scale = struct.unpack_from(f"{order}q2d", start, 168)
        magic = start[4:8]
    if magic[:3] not in (b"n+1", b"n+2"):
        raise DataError("a NIfTI header without its pixels; save header and pixels as one .nii file", path)
    if code not in _NIFTI_TYPES:
        raise DataError(f"NIfTI data type {code}; expected whole numbers, 32 or 64-bit floats, or RGB", path)
    sizes = dims[1 : max(dims[0], 0) + 1]
    steps = [abs(float(step)) for step in pixdim[1 : len(sizes) + 1]]
    finite = all(map(math.isfinite, [*steps, *scale, offset]))
    if not 1 <= dims[0] <= 7 or min(sizes) < 1 or not finite or not length <= offset <= MOST_HEADER:
        raise DataError(f"its header states the dimensions {list(sizes)}; the file is damaged, replace it", path)
    factor = _MILLIMETRES.get(units & 7)
    seconds = abs(pixdim[4]) * _SECONDS[units & 56] if (units & 56) in _SECONDS and dims[0] >= 4 else 0.0
    return VolumeHeader(
        tuple(sizes),
        tuple(step * (factor or 1.0) for step in steps),
        factor is not None,
        "pixdim",
        order + _NIFTI_TYPES[code],
        _NIFTI_CHANNELS.get(code, 1),
        int(offset),
        packed,
        (scale[0], scale[1]) if scale[0] and code not in _NIFTI_CHANNELS else (1.0, 0.0),
        seconds if math.isfinite(seconds) and seconds > 0 else None,
    )


def _meta_header(start: bytes, path: Path, has_values: bool) -> VolumeHeader:
    """Return the header that a file begins with; has_values: whether the values follow that it names a file for."""
    fields, end = meta_fields(start)
    if "ElementDataFile" not in fields:
        raise DataError("a MetaImage header without ElementDataFile; the file is damaged, replace it", path)
    kind = fields.get("ElementType", "")
    if fields.get("ObjectType", "Image") != "Image" or kind not in _META_TYPES or _is(fields, "BinaryData", False):
        raise DataError(f"MetaImage with ElementType {kind[:40]!a}; expected a binary image of numbers", path)
    dims = tuple(int(size) for size in _numbers(fields, "DimSize", path))
    (channels,) = _numbers(fields, "ElementNumberOfChannels", path, (1.0,))[:1]
    if str(len(dims)) != fields.get("NDims") or min(dims) < 1 or channels not in (1, 2, 3, 4):
        found = f"NDims {fields.get('NDims', '')[:20]!a} and DimSize {fields['DimSize'][:60]!a}"
        raise DataError(f"{found}; expected as many sizes; the header is damaged", path)
    steps = _numbers(fields, "ElementSpacing", path, ()) or _numbers(fields, "ElementSize", path, ())
    has_steps = len(steps) == len(dims)
    is_local = fields["ElementDataFile"].upper() == "LOCAL"
    file = None if has_values else separate_values(start, path)[0]
    (skipped,) = _numbers(fields, "HeaderSize", path, (0.0,))[:1]
    order = ">" if _is(fields, "BinaryDataByteOrderMSB", True) or _is(fields, "ElementByteOrderMSB", True) else "<"
    return VolumeHeader(
        dims,
        tuple(map(abs, steps)) if has_steps else (1.0,) * len(dims),
        has_steps,
        "ElementSpacing",
        order + _META_TYPES[kind],
        int(channels),
        -1 if skipped < 0 else (0 if file else end) + (0 if is_local else int(skipped)),
        "zlib" if _is(fields, "CompressedData", True) else "",
        file=file,
    )


def _is(fields: dict[str, str], key: str, value: bool) -> bool:
    return fields.get(key, "").casefold() in (("true", "1") if value else ("false", "0"))


def _numbers(fields: dict[str, str], key: str, path: Path, default: _Numbers | None = None) -> _Numbers:
    if key not in fields and default is not None:
        return default
    try:
        values = tuple(float(word) for word in fields.get(key, "").split())
    except ValueError:
        values = ()
    if not values or len(values) > 10 or not all(math.isfinite(value) and abs(value) < 1e9 for value in values):
        raise DataError(f"{key} is {fields.get(key, '')[:40]!a}; expected numbers; the header is damaged", path)
    return values
