"""Reader of raster pictures: PNG (also animated), JPEG, BMP and TIFF (also of several pages), decoded by Pillow."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from sonoseg.errors import DataError, LimitError, choices
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.base import each_by_itself
from sonoseg.io.readers.jpeg import is_complete
from sonoseg.io.readers.opening import decoding, opened
from sonoseg.sizes import Size
from sonoseg.types import Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""Pillow's other formats are never used: for EPS it starts another program."""
_WITH_FRAMES = ("PNG", "TIFF")
"""Formats of which frames are read."""
_STARTS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM"),
    *(b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"),  # TIFF and BigTIFF, in both byte orders
)
_PHOTOMETRIC, _ORIENTATION = 262, 0x0112
_DAMAGED = b"cut"
_PNG_WITH_EXIF = {b"eXIf", b"tEXt", b"zTXt", b"iTXt", _DAMAGED}
"""Chunks that may contain EXIF; a damaged file is left to Pillow, which says what is wrong with it."""
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_MODES = (*_MODES_8_BIT, "I;16", "I;16L", "I;16B", "I;16N", "I")


class RasterReader:
    """See `base.ImageReader`. Raster pictures contain neither a spacing nor a patient that could be relied on."""

    suffixes = SUFFIXES

    def accepts(self, start: bytes) -> bool:
        # The 128 bytes before the mark of DICOM may be the beginning of a TIFF.
        return start.startswith(_STARTS) and start[128:132] != b"DICM"

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        with _open(path) as picture:
            _check(picture, path, limits)
            size = _size_as_displayed(picture, path)
            return ImageHeader(size, _count_frames(picture, path, limits))

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        """Colour becomes luma (ITU-R 601), transparency is composited over black, 16-bit pixels are scaled by 1/257."""
        return ImageRecord(image, _grey(decode_picture(image, limits, data), image))

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord | DataError]:
        return each_by_itself(images, lambda image: self.read_image(image, limits, data))

    def read_loop(self, image: ImageRef, limits: ReadLimits) -> Iterator[ImageRecord | DataError]:
        yield from self.read_frames(self.read_header(image.path, limits).refs(image.path), limits)


def is_single(start: bytes) -> bool:
    """Return whether a file that begins with `start` is surely a raster picture without further frames.

    Known from the beginning alone, without a decoder: JPEG, BMP, and PNG that are not animated.
    """
    if start.startswith((b"\xff\xd8\xff", b"BM")):
        return True
    # The chunk that makes a PNG animated comes before the first with pixels.
    return start.startswith(b"\x89PNG") and b"IDAT" in start and b"acTL" not in start[: start.index(b"IDAT")]


def decode_picture(image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> Image.Image:
    """Return the decoded picture in its own mode, EXIF rotation applied. Raises DataError as `ImageReader` does.

    data: the file's bytes, read from the file when None.
    """
    with _open(image.path, data) as picture:
        _check(picture, image.path, limits)
        _select_frame(picture, image, limits)
        with decoding(image):
            picture.load()
            whole = picture.format != "JPEG" or is_complete(data or image.path.read_bytes(), picture)
            upright = ImageOps.exif_transpose(picture)
    if not whole:
        raise DataError("the file is damaged: data are missing, and grey would stand in for them; replace it", image)
    return upright


def _grey(picture: Image.Image, image: ImageRef) -> Pixels:
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise DataError(
                f"pixel values {deep.min()} to {deep.max()}; expected 8 or 16 bits; save it as 8-bit grey PNG",
                image,
            )
        return ((deep + 128) // 257).astype(np.uint8)
    picture = over_black(picture)
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return np.array(picture.convert("L"))


def over_black(picture: Image.Image) -> Image.Image:
    """Return a picture with transparency as RGB over black; another one as it is."""
    if picture.mode not in ("LA", "PA", "RGBA") and "transparency" not in picture.info:
        return picture
    layer = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")


@contextmanager
def _open(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open a picture, in a file or in the file's bytes; its header is read and no pixel decoded."""
    # Pillow gets the open file and not its name: by name it maps a plain TIFF into memory, and mixes up the rows of a
    # rotated one.
    with opened(path) if data is None else io.BytesIO(data) as stream:
        with decoding(path, f"not a readable picture ({choices(SUFFIXES)}); replace the file"):
            # Pillow's own guard against huge pictures only warns below twice its limit; `_check` refuses them.
            Image.MAX_IMAGE_PIXELS = None
            picture = Image.open(stream, formats=_FORMATS)
        yield picture


def _check(picture: Image.Image, path: Path, limits: ReadLimits) -> None:
    """Raise DataError when the header of the current frame is beyond the limits, or of a kind that is not read."""
    width, height = picture.size
    if width * height > limits.max_pixels:
        reason = f"{width}x{height} pixels declared; at most {limits.max_pixels} are decoded"
        raise LimitError(f"{reason}; raise the limit if the image is right", path)
    if picture.format not in _WITH_FRAMES and _has_frame(picture, path, 1):
        raise _several_frames(path)
    if picture.mode not in _MODES:
        raise DataError(
            f"colour mode {picture.mode}; expected {choices(_MODES)}; save it as 8-bit grey or RGB PNG", path
        )
    if picture.mode.startswith("I") and getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        raise DataError("16 bits per pixel with white as 0, which would be read as a negative; save it as PNG", path)


def _size_as_displayed(picture: Image.Image, path: Path) -> Size:
    with decoding(path):
        # Pillow rotates a TIFF by itself, and returns its size as displayed.
        rotated = picture.format != "TIFF" and _exif(picture).get(_ORIENTATION, 1) in (5, 6, 7, 8)
    width, height = picture.size
    return (width, height) if rotated else (height, width)


def _exif(picture: Image.Image) -> Image.Exif:
    """Return the EXIF values of an open picture that was not decoded.

    Pillow decodes all pixels of a PNG for those that may follow them; here the chunks after the pixels are looked up
    first, and nothing is decoded where they say nothing of that kind.
    """
    if isinstance(picture, PngImageFile) and not _PNG_WITH_EXIF & _chunks_after_pixels(picture.fp):
        return Image.Image.getexif(picture)
    return picture.getexif()


def _chunks_after_pixels(stream: IO[bytes] | None) -> set[bytes]:
    """Return the names of the chunks of a PNG after its first pixels; also `_DAMAGED` where it is not complete."""
    assert stream is not None
    before, names, end = stream.tell(), set(), stream.seek(0, os.SEEK_END)
    position, has_pixels, name = 8, False, b""
    while name != b"IEND":
        stream.seek(position)
        head = stream.read(8)
        position += 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or position > end:
            names.add(_DAMAGED)
            break
        name = head[4:]
        has_pixels |= name == b"IDAT"
        if has_pixels:
            names.add(name)
    stream.seek(before)
    return names


def _count_frames(picture: Image.Image, path: Path, limits: ReadLimits) -> int:
    """Return the number of frames, counted up to the limit. Raises DataError beyond it."""
    if picture.format != "TIFF":
        frames = getattr(picture, "n_frames", 1)  # an animated PNG declares them
    else:
        frames = 1
        while frames <= limits.max_frames and _has_frame(picture, path, frames):
            frames += 1
    if frames > limits.max_frames:
        raise DataError(f"more than {limits.max_frames} frames; at most so many are read, split the file", path)
    return frames


def _select_frame(picture: Image.Image, image: ImageRef, limits: ReadLimits) -> None:
    """Make the frame of `image` the current one, and check its own header."""
    if image.frame is None:
        if getattr(picture, "n_frames", 1) > 1 if picture.format == "PNG" else _has_frame(picture, image.path, 1):
            raise _several_frames(image.path)
        return
    with decoding(image):
        try:
            if image.frame >= limits.max_frames:
                raise EOFError
            picture.seek(image.frame)
        except EOFError:
            raise DataError("no such frame in the file; it has changed, or has fewer frames", image) from None
    _check(picture, image.path, limits)


def _several_frames(path: Path) -> DataError:
    return DataError("2 frames or more; expected a single picture: export one frame per file", path)


def _has_frame(picture: Image.Image, path: Path, frame: int) -> bool:
    """Return whether there is a frame of this number, from 0; the first frame is current afterwards."""
    with decoding(path):
        try:
            picture.seek(frame)
            picture.seek(0)
        except EOFError:
            return False
    return True
