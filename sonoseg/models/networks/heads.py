"""From logits to class probabilities: sigmoid for a single class, else softmax over background and classes.

The logits of unpadded convolutions are smaller than the input. `target_of` brings label maps to the size of the logits
for training, `predict` brings probabilities to the size of the input.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.models.networks.unet2015 import centre
from sonoseg.models.networks.whole_image import activate
from sonoseg.schema.network import AnyNetwork, UNet2015


def output_channels(classes: int) -> int:
    """Return the channels of a network's logits: 1 for a single class, else 1 + classes, background first."""
    return 1 if classes == 1 else 1 + classes


def foreground(logits: Tensor) -> Tensor:
    """Return the probabilities of the classes alone, `(B, K, h, w)`, with gradient."""
    return torch.sigmoid(logits.float()) if logits.shape[1] == 1 else torch.softmax(logits.float(), dim=1)[:, 1:]


def target_of(labels: Tensor, logits: Tensor, settings: AnyNetwork) -> Tensor:
    """Return label maps `(B, 1, h, w)` int64 at the size of the logits: unchanged, scaled, or cropped to the centre."""
    size = logits.shape[-2:]
    if labels.shape[-2:] == size:
        return labels
    assert isinstance(settings, UNet2015)
    if settings.target == "cropped":
        return centre(labels, size)
    return scaled_labels(labels, size)


def scaled_labels(labels: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return label maps `(B, 1, h, w)` int64 at another size (h', w'), each pixel that of the nearest."""
    return functional.interpolate(labels.float(), size=tuple(size), mode="nearest-exact").long()


def predict(network: nn.Module, images: Tensor, settings: AnyNetwork) -> Tensor:
    """Return probabilities `(B, 1 + K, h, w)` at the size of `images` `(B, 1, h, w)`."""
    if isinstance(settings, UNet2015) and settings.target == "cropped":
        height, width = (int(side) for side in images.shape[-2:])  # tracing gives tensors
        return overlap_tiles(network, images, settings.output_size((height, width)))
    probabilities = activate(network(images))
    if probabilities.shape[-2:] == images.shape[-2:]:
        return probabilities
    return functional.interpolate(probabilities, size=images.shape[-2:], mode="bilinear", align_corners=False)


def overlap_tiles(network: nn.Module, images: Tensor, output: tuple[int, int]) -> Tensor:
    """Return probabilities `(B, 1 + K, h, w)` of `images` `(B, 1, h, w)`, whose size is that of the network's input.

    The overlap-tile strategy of the U-Net paper, section 1: the image is mirrored beyond its border, and each tile of
    size `output` (h', w') is predicted from its surroundings. Tiles are spread evenly from border to border, so that as
    little as possible is mirrored; where they overlap, they are averaged.
    """
    height, width = (int(side) for side in images.shape[-2:])  # tracing gives tensors
    margin = ((height - output[0]) // 2, (width - output[1]) // 2)
    padded = functional.pad(images, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")
    lefts = tile_starts(width, output[1])
    total, count = torch.zeros(()), torch.zeros(())
    for top in tile_starts(height, output[0]):
        tiles = [padded[..., top : top + height, left : left + width] for left in lefts]
        strip = activate(network(torch.cat(tiles)))  # the tiles of a row, concatenated along the batch
        for left, tile in zip(lefts, strip.chunk(len(lefts)), strict=True):
            around = (left, width - left - output[1], top, height - top - output[0])
            total = total + functional.pad(tile, around)
            count = count + functional.pad(torch.ones_like(tile[:1, :1]), around)
    return total / count


def tile_starts(length: int, tile: int) -> list[int]:
    """Return the starts of the fewest tiles that cover `length`, spread evenly from 0 to `length - tile`."""
    count = -(-length // tile)
    return [round(number * (length - tile) / max(1, count - 1)) for number in range(count)]
