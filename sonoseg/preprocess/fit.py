"""Fit of an image of any size to the network's input size, and its inverse for probability maps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.schema.images import Input
from sonoseg.sizes import Size
from sonoseg.types import Maps, Pixels


@dataclass(frozen=True)
class Fit:
    """Place the source on a canvas, scale the canvas, place it in the target. Each step has an exact inverse.

    Offsets are (top, left) of the smaller in the larger; a negative one crops.
    """

    source: Size
    canvas: Size
    canvas_offset: Size
    scaled: Size
    target: Size
    target_offset: Size

    @classmethod
    def of(cls, source: Size, settings: Input) -> "Fit":
        """Return the fit of the settings for an image of size `source`."""
        target = settings.size
        canvas, scaled = FITS[settings.fit](source, settings)
        return cls(source, canvas, _centred(source, canvas), scaled, target, _centred(scaled, target))

    def apply(self, image: Pixels, interpolation: Literal["linear", "nearest"] = "linear") -> Pixels:
        """Return `image` (H, W) at the target's size; pixels outside the image are 0. Label maps need `nearest`."""
        canvas = _place(image, self.canvas, self.canvas_offset)
        if self.scaled != self.canvas:
            method = (
                cv2.INTER_NEAREST_EXACT if interpolation == "nearest" else _interpolation_for(self.canvas, self.scaled)
            )
            canvas = cv2.resize(canvas, self.scaled[::-1], interpolation=method)
        return _place(canvas, self.target, self.target_offset)

    def invert(self, maps: Maps) -> Maps:
        """Return probability maps (C, h, w) in the source's geometry (C, H, W).

        Source pixels outside the target (cropped by `pad_or_crop`) are background: channel 0 is 1 there.
        """
        inverse = np.empty((len(maps), *self.source), maps.dtype)
        for index, channel in enumerate(maps):
            self._invert_channel(channel, float(index == 0), inverse[index])
        return inverse

    def _invert_channel(self, channel: Maps, fill: float, inverse: Maps) -> None:
        """Fill `inverse` (H, W)."""
        scaled = _place(channel, self.scaled, _negative(self.target_offset), fill)
        if self.scaled != self.canvas:
            method = _interpolation_for(self.scaled, self.canvas)
            target = inverse if self.canvas == self.source else None  # written where it belongs, without a copy
            scaled = cv2.resize(scaled, self.canvas[::-1], target, interpolation=method)
        if scaled is not inverse:
            inverse[:] = _place(scaled, self.source, _negative(self.canvas_offset), fill)


def _resize(source: Size, settings: Input) -> tuple[Size, Size]:
    return source, settings.size


def _letterbox(source: Size, settings: Input) -> tuple[Size, Size]:
    return source, _scaled_into(source, settings.size)


def _pad_or_crop(source: Size, settings: Input) -> tuple[Size, Size]:
    return source, source


def _pad_square(source: Size, settings: Input) -> tuple[Size, Size]:
    side = max(*source, settings.square_px or 0)
    return (side, side), _scaled_into((side, side), settings.size)


FITS: dict[str, Callable[[Size, Input], tuple[Size, Size]]] = {
    "resize": _resize,
    "letterbox": _letterbox,
    "pad_or_crop": _pad_or_crop,
    "pad_square": _pad_square,
}
"""`fit` of a task's `input` -> the function that returns the sizes of canvas and scaled canvas for a source."""


def _scaled_into(source: Size, target: Size) -> Size:
    """Return the largest size with the source's proportions inside the target, at least one pixel each way."""
    scale = min(target[0] / source[0], target[1] / source[1])
    return max(1, round(source[0] * scale)), max(1, round(source[1] * scale))


def _centred(inner: Size, outer: Size) -> Size:
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2


def _negative(offset: Size) -> Size:
    return -offset[0], -offset[1]


def _interpolation_for(before: Size, after: Size) -> int:
    """Return the interpolation: averaging when an image shrinks, so that speckle does not alias."""
    return cv2.INTER_AREA if after[0] * after[1] < before[0] * before[1] else cv2.INTER_LINEAR


def _place(image: NDArray, size: Size, offset: Size, fill: float = 0) -> NDArray:
    """Return an array of `size` with `image` at `offset`: padded with `fill`, or cropped, on each side."""
    if image.shape == size:
        return image
    placed = np.full(size, fill, image.dtype)
    top, left = offset
    rows = slice(max(0, top), min(size[0], top + image.shape[0]))
    cols = slice(max(0, left), min(size[1], left + image.shape[1]))
    placed[rows, cols] = image[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
    return placed
