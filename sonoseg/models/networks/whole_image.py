"""From a grey image of any size to probabilities and a label map of that size, as one module of PyTorch.

This file imports PyTorch alone: exported graphs are traced from it, and a MONAI bundle contains a copy of it. It
computes what `preprocess.fit`, `preprocess.intensity` and `postprocess.class_map` of SonoSeg do. Resizing is a product
with a matrix on each side, whose weights follow from the image's size, so a traced graph takes images of any size.
"""

from typing import Any

import torch
from torch import Tensor, nn

_UNIT, _Z_SCORE = "unit", "z_score"


class WholeImage(nn.Module):
    """A network between the fit to its input size and the inverse of the fit.

    network: images `(1, 1, h, w)` float32 -> probabilities `(1, 1 + K, h, w)`, background first.
    size: (h, w). fit: `resize`, `letterbox`, `pad_or_crop` or `pad_square`; square_px: least side of the square.
    intensity: `unit` or `z_score`. threshold: of the probability, for a single class; of several the most probable.
    """

    size: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: tuple[int, int],
        fit: str,
        intensity: str,
        threshold: float = 0.5,
        square_px: int = 0,
    ):
        super().__init__()
        if fit not in _SIZES or intensity not in (_UNIT, _Z_SCORE):
            raise ValueError(f"fit {fit}, intensity {intensity}; expected {', '.join(_SIZES)} and unit or z_score")
        self.network, self.fit, self.intensity = network, fit, intensity
        self.threshold, self.square_px = threshold, square_px
        self.register_buffer("size", torch.tensor(size), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the label map `(H, W)` uint8 and the probabilities `(1 + K, H, W)` float32 of an image `(H, W)`.

        image: grey values 0 to 255, uint8.
        """
        axes = self._axes(image)
        weights = axes[0].to_input(), axes[1].to_input()
        averaged = _resized(image.float(), *weights)
        averaged = torch.where(axes[0].is_halved & axes[1].is_halved, (averaged + 0.5).floor(), averaged.round())
        values = torch.where(axes[0].is_averaged, averaged, _interpolated(image.float(), *weights))
        maps = self.network(_normalised(values, self.intensity)[None, None])[0]
        rows, columns = (axis.to_source() for axis in axes)
        # Where the input did not show the image, because it was cropped, there is background.
        unseen = 1 - rows.sum(dim=1)[:, None] * columns.sum(dim=1)[None]
        maps = _resized(maps, rows, columns)
        maps = torch.cat([maps[:1] + unseen, maps[1:]])
        if maps.shape[0] == 2:
            return (maps[1] > self.threshold).to(torch.uint8), maps
        return maps.argmax(dim=0).to(torch.uint8), maps

    def _axes(self, image: Tensor) -> tuple["_Axis", "_Axis"]:
        source = torch.stack([self.size[side] * 0 + image.shape[side] for side in (0, 1)])  # tensors, which are traced
        canvas, scaled = _SIZES[self.fit](source, self.size, self.square_px)
        shrinks = scaled.prod() < canvas.prod()
        mixed = (scaled > canvas).any() & (scaled < canvas).any()
        rows, columns = (
            _Axis(source[side], canvas[side], scaled[side], self.size[side], shrinks, mixed) for side in (0, 1)
        )
        return rows, columns


class LabelMaps(nn.Module):
    """Images `(B, 1, H, W)`, grey values 0 to 255, -> label maps `(B, 1, H, W)` uint8.

    network: gives logits; the other arguments are those of `WholeImage`.
    """

    def __init__(self, network: nn.Module, **settings: Any):
        super().__init__()
        self.whole = WholeImage(_Activated(network), **settings)

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([self.whole(image[0].to(torch.uint8))[0][None] for image in images])


class _Activated(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return activate(self.network(images))


def activate(logits: Tensor) -> Tensor:
    """Turn logits `(B, C, h, w)` into probabilities `(B, 1 + K, h, w)` that sum to 1, background first."""
    if logits.shape[1] > 1:
        return torch.softmax(logits.float(), dim=1)
    inside = torch.sigmoid(logits.float())
    return torch.cat([1 - inside, inside], dim=1)


class _Axis:
    """One axis of a fit: the image lies on a canvas, which is scaled and lies in the network's input. 0-d tensors.

    shrinks: the scaled canvas has fewer pixels; mixed: one of its axes grows, and the other shrinks.
    """

    def __init__(self, source: Tensor, canvas: Tensor, scaled: Tensor, target: Tensor, shrinks: Tensor, mixed: Tensor):
        self.source, self.canvas, self.scaled, self.target = source, canvas, scaled, target
        self.shrinks, self.mixed = shrinks, mixed
        self.is_averaged = shrinks & ~mixed
        self.is_halved = canvas == 2 * scaled  # then OpenCV rounds whole numbers and a half up, else to even ones
        self.on_canvas = torch.div(canvas - source, 2, rounding_mode="floor")
        self.in_target = torch.div(target - scaled, 2, rounding_mode="floor")

    def to_input(self) -> Tensor:
        """Return the weights `(target, source)` float32 from the image to the network's input."""
        ends = _count(self.target) - self.in_target, _count(self.source) + self.on_canvas
        return _weights(*ends, self.scaled, self.canvas, self.shrinks, self.mixed)

    def to_source(self) -> Tensor:
        """Return the weights `(source, target)` float32 from the network's output to the image."""
        ends = _count(self.source) + self.on_canvas, _count(self.target) - self.in_target
        return _weights(*ends, self.canvas, self.scaled, ~self.shrinks, self.mixed)


def _count(length: Tensor) -> Tensor:
    """Return 0, 1, ... `(length,)`; a tensor as the length is traced."""
    return torch.arange(length)  # type: ignore[call-overload]  # torch's own types have numbers only


def _weights(to: Tensor, of: Tensor, after: Tensor, before: Tensor, shrinks: Tensor, mixed: Tensor) -> Tensor:
    """Return the weights `(N, M)` float32 of resizing from `before` to `after` pixels, as OpenCV's `resize` has them.

    to: `(N,)` positions in what results; of: `(M,)` positions in what is resized; what lies outside gets no weight.
    Images that shrink are averaged over areas (INTER_AREA), others interpolated (INTER_LINEAR).
    """
    inside = (to >= 0) & (to < after)
    to, of = to[:, None].double(), of[None].double()
    ratio = after.double() / before.double()
    step = 1 / ratio
    area = (torch.minimum((to + 1) * step, of + 1) - torch.maximum(to * step, of)).clamp(min=0) / step
    linear = _between((to + 0.5) * step - 0.5, of, before)
    # Where only one axis shrinks, INTER_AREA is an interpolation whose pixels do not blend beyond their neighbours.
    first = torch.floor(to * step)
    part = ((to + 1) - (first + 1) * ratio).float().double()
    sharp = _between(first + torch.where(part > 0, part - torch.floor(part), part * 0), of, before)
    weights = torch.where(shrinks, torch.where(mixed, sharp, area), linear)
    return torch.where(inside[:, None], weights, weights * 0).float()


def _between(at: Tensor, of: Tensor, length: Tensor) -> Tensor:
    """Return the weights of linear interpolation at positions `at` `(N, 1)` between pixels `of` `(1, M)`."""
    at = torch.minimum(at.clamp(min=0), length.double() - 1)
    return (1 - (at - of).abs()).clamp(min=0)


def _resized(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return maps `(..., H, W)` float32 multiplied by the weights of the rows and of the columns."""
    return rows @ maps @ columns.T


def _interpolated(image: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return `_resized` of grey values `(H, W)` with the roundings of OpenCV, whose weights have 11 bits.

    Each row of the weights has at most two that are not 0.
    """
    across = (image @ (columns * 2048).round().T / 16).floor()
    first = (rows > 0) & ((rows > 0).long().cumsum(dim=1) == 1)
    total: Tensor | int = 2
    for tap in (first, (rows > 0) & ~first):
        weight = ((rows * 2048).round() * tap).sum(dim=1)[:, None].long()
        total = total + torch.div((tap.float() @ across).long() * weight, 65536, rounding_mode="floor")
    return torch.div(total, 4, rounding_mode="floor").float()


def _normalised(values: Tensor, intensity: str) -> Tensor:
    if intensity == _UNIT:
        return values / 255
    centred = values - values.mean()
    return centred / torch.sqrt((centred**2).mean()).clamp(min=1e-6)


def _resize(source: Tensor, target: Tensor, square: int) -> tuple[Tensor, Tensor]:
    return source, target


def _letterbox(source: Tensor, target: Tensor, square: int) -> tuple[Tensor, Tensor]:
    return source, _scaled_into(source, target)


def _pad_or_crop(source: Tensor, target: Tensor, square: int) -> tuple[Tensor, Tensor]:
    return source, source


def _pad_square(source: Tensor, target: Tensor, square: int) -> tuple[Tensor, Tensor]:
    canvas = source.max().clamp(min=square).repeat(2)
    return canvas, _scaled_into(canvas, target)


_SIZES = {"resize": _resize, "letterbox": _letterbox, "pad_or_crop": _pad_or_crop, "pad_square": _pad_square}
"""`fit` -> the function that returns the sizes (h, w) of canvas and scaled canvas for an image."""


def _scaled_into(source: Tensor, target: Tensor) -> Tensor:
    scale = (target.double() / source.double()).min()
    return (source.double() * scale).round().clamp(min=1).long()
