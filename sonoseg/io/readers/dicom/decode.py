"""Grey pixels of one coded DICOM frame."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.readers.dicom.codestream import coded_size, has_colour_transform, is_longer, plain, stores_luma
from sonoseg.io.readers.dicom.header import DicomHeader
from sonoseg.io.readers.dicom.palette import palette_to_rgb
from sonoseg.io.readers.jpeg import decode_luma, with_longer_scans
from sonoseg.types import Pixels

_JPEG_8_BIT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_JPEG = (*_JPEG_8_BIT, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
"""JPEG with and without loss, whose decoders replace missing data without an error."""
_RLE, _RLE_PADDING = "1.2.840.10008.1.2.5", 1024
_LUMA_FIRST = ("MONOCHROME1", "MONOCHROME2", "YBR_FULL", "YBR_FULL_422")
"""Photometric interpretations whose first component is grey."""

_PLUGINS = ("pydicom", "pillow", "pyjpegls", "gdcm")
"""Decoders of pydicom; the first that is there is used. gdcm is the last: a damaged JPEG 2000 ends its process."""
_SILENT = Lock()
"""Held while messages of a decoder are discarded, as there is one stderr for all threads."""


def grey_frame(coded: bytes, header: DicomHeader) -> Pixels:
    """Return a frame `(H, W)` uint8 from its coded bytes, white as 255.

    Colours become luma (ITU-R 601), which is the Y of YBR; more than 8 bits become 8 as `window.grey_levels` has them.
    Raises DataError for a codec that is not installed and for a frame that is cut short, any error of a decoder for
    other damage.
    """
    dataset = header.dataset
    coded = plain(coded) if header.is_encapsulated else coded
    _check_size(coded, header)
    colours = _stored_colours(coded, header)
    values = _decode(coded, header, colours)
    values = luma(palette_to_rgb(values, dataset)) if colours == "PALETTE COLOR" else _to_8_bits(values, header)
    if values.ndim == 3:
        values = np.ascontiguousarray(values[..., 0]) if colours in _LUMA_FIRST else luma(values)
    if values.shape != header.size:
        raise DataError("a frame of another size than the file declares; replace the file", header.path)
    return 255 - values if colours == "MONOCHROME1" else values


def _check_size(coded: bytes, header: DicomHeader) -> None:
    """Raise DataError for a frame of another size than the header's, before a decoder allocates memory for it."""
    if not header.is_encapsulated:
        return
    if header.dataset.file_meta.TransferSyntaxUID == _RLE:
        height, width = header.size
        is_other = is_longer(coded, 2 * height * width + _RLE_PADDING)
    else:
        size = coded_size(coded)
        is_other = size is not None and size != header.size
    if is_other:
        raise DataError("a frame of another size than the file declares; replace the file", header.path)


def _stored_colours(coded: bytes, header: DicomHeader) -> str:
    """Return the photometric interpretation of the decoded values: what the coded frame itself states comes first."""
    colours, syntax = str(header.dataset.PhotometricInterpretation), header.dataset.file_meta.TransferSyntaxUID
    if colours not in ("PALETTE COLOR", "MONOCHROME1", "MONOCHROME2"):
        if syntax in _JPEG and stores_luma(coded):
            return "YBR_FULL"
        if has_colour_transform(coded):
            return "RGB"
    return colours


def luma(colours: NDArray[np.uint8]) -> Pixels:
    """Return the luma `(H, W)` uint8 of RGB `(H, W, 3)` uint8, rounded as that of other pictures (Pillow's)."""
    return np.array(Image.fromarray(np.ascontiguousarray(colours)).convert("L"))


def _decode(coded: bytes, header: DicomHeader, colours: str) -> NDArray[Any]:
    """Return the stored values of a frame, `(H, W)` or `(H, W, C)`; of YBR in JPEG the Y alone.

    colours: the photometric interpretation of these values.

    Raises DataError for a codec that is not installed, and for a JPEG that is cut short.
    """
    dataset = header.dataset
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _JPEG_8_BIT and dataset.BitsAllocated == 8 and colours in _LUMA_FIRST:
        picture, whole = decode_luma(coded)
        values = np.array(picture)
    else:
        values, whole = _by_plugin(coded, header), True
        if syntax in _JPEG:  # as `jpeg.is_complete`, by the same decoder
            whole = np.array_equal(values, _by_plugin(with_longer_scans(coded), header))
    if not whole:
        raise DataError("a frame is cut short, and grey would stand in for what is missing; replace it", header.path)
    return values


def _by_plugin(coded: bytes, header: DicomHeader) -> NDArray[Any]:
    """Return what pydicom decodes from a frame, `(H, W)` or `(H, W, C)`. Raises DataError without a decoder."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels import as_pixel_options, get_decoder

    syntax = header.dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        name = "a transfer syntax of its own" if syntax.name == syntax else f"transfer syntax {syntax.name}"
        raise DataError(f"{name}, which is not read; save it as JPEG", header.path) from None
    source = encapsulate([coded], has_bot=False) if syntax.is_encapsulated else coded
    known = {"number_of_frames": 1, "transfer_syntax_uid": syntax, "pixel_keyword": "PixelData"}
    options = as_pixel_options(header.dataset, **known)
    options.pop("extended_offsets", None)
    if header.pixel_vr:
        options["pixel_vr"] = header.pixel_vr
    plugin = next((name for name in _PLUGINS if name in decoder.available_plugins), "")
    if not plugin and syntax.is_encapsulated:
        raise DataError(f"{syntax.name} is read by gdcm; run: pip install sonoseg[dicom]", header.path)
    with _without_messages() if plugin == "gdcm" else nullcontext():
        return decoder.as_array(source, index=0, raw=True, decoding_plugin=plugin, **options)[0]


@contextmanager
def _without_messages() -> Iterator[None]:
    """Discard what the C code of a decoder writes to stderr: gdcm has no other way to silence its libjpeg."""
    with _SILENT:
        try:
            stderr = os.dup(2)
        except OSError:  # stderr is closed
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(nowhere)


def _to_8_bits(values: NDArray[Any], header: DicomHeader) -> NDArray[np.uint8]:
    """Return values of `BitsStored` bits as grey levels. Bits above them, such as an overlay, are left out."""
    bits = header.dataset.BitsStored
    if values.dtype == np.uint8 and bits >= 8:
        return values
    return header.grey_levels[values & ((1 << bits) - 1)]
