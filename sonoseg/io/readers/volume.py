"""Reader of MetaImage (.mha, .mhd) and NIfTI (.nii, .nii.gz) files.

Such files may be volumes of other devices. Only what is surely an ultrasound image, or a loop of them, is read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sonoseg.errors import DataError, LimitError
from sonoseg.io.image_ref import UNKNOWN, ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.base import each_by_itself
from sonoseg.io.readers.meta_header import META_START, META_SUFFIXES
from sonoseg.io.readers.opening import check_length, opened
from sonoseg.io.readers.volume_file import GZIP, VolumeHeader, is_nifti, read_values, read_volume_header
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels

COLOURS = 3
"""Length of a third axis that is that of colours: red, green and blue are stored as three layers."""
_SUFFIXES = (*META_SUFFIXES, ".nii", ".nii.gz")


class VolumeReader:
    """See `base.ImageReader`. The spacing comes from the header; there is no patient in it.

    A third axis is time where the file says so, as a fourth axis of NIfTI does, or where it has bytes and the header's
    step along this axis is 1 or 0, which stand for none. A file with another step is a volume, and is refused.
    """

    suffixes = _SUFFIXES

    def accepts(self, start: bytes) -> bool:
        return is_volume(start)

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        return _image_header(read_volume_header(path), path, limits)

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        """Values are those of `grey_values`."""
        return self._read(image, limits, data)

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord | DataError]:
        path, values = images[0].path, None
        stated = read_volume_header(path, data)
        if stated.packed and len(images) > 1 and _image_header(stated, path, limits).frames > 1:
            values = read_values(path, stated, data=data)  # compressed ones can be read from their beginning only
        return each_by_itself(images, lambda image: self._read(image, limits, data, values))

    def _read(self, image: ImageRef, limits: ReadLimits, data: bytes | None, values: Any = None) -> ImageRecord:
        """Return one image; values: of all frames, where they have been read."""
        stated, header = _checked(image, limits, data)
        if image.frame is None and header.frames > 1:
            raise DataError("2 frames or more; expected a single picture: give the number of a frame", image)
        layers = _layers(image, stated, header, data) if values is None else values[image.frame or 0]
        return ImageRecord(image, grey_values(layers, image), header.spacing, header.spacing_from)

    def read_loop(self, image: ImageRef, limits: ReadLimits) -> Iterator[ImageRecord | DataError]:
        stated, header = _checked(ImageRef(image.path, None, image.region), limits)
        values = read_values(image.path, stated)
        for index in range(header.frames):
            frame = ImageRef(image.path, index)
            yield ImageRecord(frame, grey_values(values[index], frame), header.spacing, header.spacing_from)


def is_volume(start: bytes) -> bool:
    """Return whether a file that begins with `start` is MetaImage, NIfTI, or packed by gzip as NIfTI files are."""
    return bool(META_START.match(start)) or start.startswith(GZIP) or is_nifti(start)


def stored_values(image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> Pixels:
    """Return the values of a mask as stored, `(H, W)` uint8. Raises DataError for other values, and for colours."""
    stated, header = _checked(image, limits, data)
    if stated.channels > 1 or stated.dims[2:3] == (COLOURS,):
        raise DataError("a coloured mask; expected class indices in one layer; save it with one channel", image)
    if image.frame is None and header.frames > 1:
        raise DataError("2 frames or more; expected a single mask: give the number of a frame", image)
    values = _layers(image, stated, header, data)
    if not (values.min() >= 0 and values.max() <= 255 and (values == np.rint(values)).all()):
        raise DataError(f"mask values {values.min():g} to {values.max():g}; expected whole numbers 0 to 255", image)
    return np.ascontiguousarray(values).astype(np.uint8)


def grey_values(values: npt.NDArray[Any], image: object) -> Pixels:
    """Return `(H, W)` or colours `(H, W, 3 or 4)` as `(H, W)` uint8 grey.

    Colours become luma (ITU-R 601). Whole numbers up to 255 stay as they are, above they are scaled by 1/257, as 16-bit
    pictures are. Fractions up to 1 are multiplied by 255, those up to 255 rounded. Raises DataError for all other
    values, such as the negative ones of CT.
    """
    if values.ndim == 3:
        if values.min() < 0 or values.max() > 255:
            raise DataError(
                f"colours {values.min():g} to {values.max():g}; expected 0 to 255; save it with 8 bits", image
            )
        values = np.asarray(Image.fromarray(values[..., :3].astype(np.uint8)).convert("L"))
    if values.dtype == np.uint8:
        return np.array(values)
    low, high = float(values.min()), float(values.max())
    is_float = values.dtype.kind == "f"
    if not low >= 0 or not high <= (255 if is_float else 65535):
        raise DataError(
            f"values {low:g} to {high:g}, which are no grey values of an ultrasound image; save it with 8 bits", image
        )
    scale = 255.0 if is_float and high <= 1 else 1.0 if high <= 255 else 1 / 257
    return np.rint(values.astype(np.float64) * scale).astype(np.uint8)


def _checked(image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> tuple[VolumeHeader, ImageHeader]:
    """Return the headers of an image. Raises DataError for a frame or a region that is not there."""
    stated = read_volume_header(image.path, data)
    header = _image_header(stated, image.path, limits)
    header.region_of(image)
    if (image.frame or 0) >= header.frames:
        raise DataError("no such frame in the file; it has changed, or has fewer frames", image)
    return stated, header


def _image_header(stated: VolumeHeader, path: Path, limits: ReadLimits) -> ImageHeader:
    """Return what a file states about its images. Raises DataError for a volume, and beyond the limits."""
    for file in {path, stated.file or path}:
        with opened(file) as stream:
            check_length(stream, file, limits)
    if len(stated.dims) < 2:
        raise DataError("one axis; expected an image with two", path)
    width, height = stated.dims[:2]
    if width * height > limits.max_pixels:
        reason = f"{width}x{height} pixels declared; at most {limits.max_pixels} are decoded"
        raise LimitError(f"{reason}; raise the limit if the image is right", path)
    frames = _frames(stated, path)
    if frames > limits.max_frames:
        raise DataError(f"{frames} frames; at most {limits.max_frames} are read, split the file", path)
    if stated.bytes > limits.max_bytes:
        raise LimitError(f"more than {limits.max_bytes} bytes of pixels declared; split the file", path)
    col_mm, row_mm = stated.spacing[:2]
    spacing: Spacing | None = (row_mm, col_mm)
    source = stated.field
    if not stated.unit:
        spacing, source = None, f"{UNKNOWN} (the header states no unit of length)"
    elif (row_mm, col_mm) == (1.0, 1.0) or min(row_mm, col_mm) <= 0:
        spacing, source = None, f"{UNKNOWN} (the header has {row_mm:g} and {col_mm:g}, which stand for none)"
    seconds = stated.seconds if frames > 1 else None
    return ImageHeader((height, width), frames, spacing, source, is_loop=frames > 1, frame_seconds=seconds)


def _frames(stated: VolumeHeader, path: Path) -> int:
    """Return the number of frames. Raises DataError where a further axis is not surely time."""
    long = [size for size in stated.dims[2:] if size > 1]
    if not long or (stated.dims[2] == COLOURS and len(long) == 1 and stated.channels == 1):
        return 1
    is_byte = stated.type[-2:] == "u1"
    has_time = len(long) == 1 and stated.dims[2] == 1 and len(stated.dims) > 3 and stated.dims[3] > 1
    is_bare = len(long) == 1 and stated.dims[2] > 1 and is_byte and _is_bare(stated)
    if is_byte and (has_time or is_bare):
        return long[0]
    size = " x ".join(map(str, stated.dims))
    if has_time:
        raise DataError(f"a loop of {size} pixels with more than 8 bits each; save it with 8", path)
    raise DataError(
        f"a volume of {size} pixels; expected an image with two axes, or a loop with 8 bits per pixel whose header has "
        "the step 1 along the third axis; save the images themselves",
        path,
    )


def _is_bare(stated: VolumeHeader) -> bool:
    """Return whether the header states no length along the third axis: writers put 1 or 0 there."""
    return stated.spacing[2] in (0.0, 1.0)


def _layers(image: ImageRef, stated: VolumeHeader, header: ImageHeader, data: bytes | None = None) -> Any:
    """Return the values of one image: `(H, W)`, or colours `(H, W, channels)`."""
    values = read_values(image.path, stated, image.frame if header.frames > 1 else None, data)
    return np.moveaxis(values, 0, -1) if len(values) == COLOURS and stated.channels == 1 else values[0]
