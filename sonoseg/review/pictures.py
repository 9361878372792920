"""The pictures of an item: the frame, the enhanced frame, and a thumbnail with outlines."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import rgb
from sonoseg.io.png import encode_png
from sonoseg.io.readers import read_image
from sonoseg.postprocess.placement import place_pixels
from sonoseg.preprocess.enhance import enhance
from sonoseg.schema.task import Task
from sonoseg.sizes import Region, Size
from sonoseg.types import Pixels

THUMBNAIL_PX = 128
"""Longer side of a thumbnail."""
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Frame:
    """A decoded frame: `pixels` `(H, W)` uint8 as it is shown, black around its region; `own`: the region's pixels."""

    pixels: Pixels
    own: Pixels
    region: Region | None = None

    @property
    def size(self) -> Size:
        return self.pixels.shape[0], self.pixels.shape[1]


def read_frame(image: ImageRef, limits: ReadLimits = DEFAULT_LIMITS) -> Frame:
    """Return a decoded frame. Raises DataError for an image that cannot be read."""
    record = read_image(image, limits)
    if record.region and record.frame_size:
        return Frame(place_pixels(record.pixels, record.region, record.frame_size), record.pixels, record.region)
    return Frame(record.pixels, record.pixels)


def original(frame: Frame) -> bytes:
    """Return a frame as PNG, grey, in its own size."""
    return encode_png(frame.pixels)


def enhanced(frame: Frame, task: Task) -> bytes:
    """Return a frame after the enhancement of the task as PNG, grey, in its own size."""
    pixels = enhance(frame.own, task.enhancement)
    return encode_png(place_pixels(pixels, frame.region, frame.size) if frame.region else pixels)


def thumbnail(frame: Frame, shapes: Sequence[Shape], task: Task) -> bytes:
    """Return a small frame as PNG with the outlines of shapes in the colours of their structures."""
    height, width = frame.size
    scale = THUMBNAIL_PX / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(frame.pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat(small[..., None], 3, axis=2)
    colors = {structure.name: rgb(structure.color) for structure in task.structures}
    for shape in shapes:
        points = (shape.outline(90) + 0.5) * scale - 0.5
        fine = np.rint(np.clip(points, -1e4, 1e4) * 2**_SUBPIXEL_BITS).astype(np.int32)
        closed = SHAPE_KINDS[shape.kind].is_closed
        cv2.polylines(picture, [fine], closed, colors[shape.structure], 1, cv2.LINE_AA, _SUBPIXEL_BITS)
    return encode_png(picture)
