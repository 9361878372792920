"""What a network's output means: one sigmoid channel for a single class, else softmax over background and classes.

A network of unpadded convolutions sees more than it says: its logits are smaller than its input. `target_of` brings
the reference to them for training, `predict` brings them back to the input's size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.models.networks.unet2015 import centre
from sonoseg.schema.network import AnyNetwork, UNet2015


def output_channels(classes: int) -> int:
    """Return the channels of a network's logits: 1 for a single class, else 1 + classes, background first."""
    return 1 if classes == 1 else 1 + classes


def activate(logits: Tensor) -> Tensor:
    """Turn logits `(B, C, h, w)` into probabilities `(B, 1 + K, h, w)` that sum to 1, background first."""
    if logits.shape[1] > 1:
        return torch.softmax(logits.float(), dim=1)
    inside = torch.sigmoid(logits.float())
    return torch.cat([1 - inside, inside], dim=1)


def foreground(logits: Tensor) -> Tensor:
    """Return the probabilities of the classes alone, `(B, K, h, w)`, with gradient."""
    return torch.sigmoid(logits.float()) if logits.shape[1] == 1 else torch.softmax(logits.float(), dim=1)[:, 1:]


def target_of(labels: Tensor, logits: Tensor, settings: AnyNetwork) -> Tensor:
    """Return labels `(B, 1, h, w)` int64 as the logits are meant to be: unchanged, scaled to their size, or cropped."""
    size = logits.shape[-2:]
    if labels.shape[-2:] == size:
        return labels
    assert isinstance(settings, UNet2015)
    if settings.target == "cropped":
        return centre(labels, size)
    return functional.interpolate(labels.float(), size=size, mode="nearest-exact").long()


def predict(network: nn.Module, images: Tensor, settings: AnyNetwork) -> Tensor:
    """Return probabilities `(B, 1 + K, h, w)` at the size of `images` `(B, 1, h, w)`, whatever the network's own."""
    if isinstance(settings, UNet2015) and settings.target == "cropped":
        height, width = (int(side) for side in images.shape[-2:])  # numbers also while the network is being traced
        return overlap_tiles(network, images, settings.output_size((height, width)))
    probabilities = activate(network(images))
    if probabilities.shape[-2:] == images.shape[-2:]:
        return probabilities
    return functional.interpolate(probabilities, size=images.shape[-2:], mode="bilinear", align_corners=False)


def overlap_tiles(network: nn.Module, images: Tensor, output: tuple[int, int]) -> Tensor:
    """Return probabilities of the whole image, tile by tile; each tile is given the surroundings that it needs.

    The overlap-tile strategy of the U-Net paper, section 1: beyond the image's border its mirror image is seen. Tiles
    are spread evenly from border to border, so that no more of it is mirrored than has to be; where they overlap they
    are averaged. `images` (B, 1, h, w) have the size that the network takes, `output` (h', w') is the size it gives.
    """
    height, width = (int(side) for side in images.shape[-2:])  # numbers also while the network is being traced
    margin = ((height - output[0]) // 2, (width - output[1]) // 2)
    padded = functional.pad(images, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")
    lefts = tile_starts(width, output[1])
    found, times = torch.zeros(()), torch.zeros(())
    for top in tile_starts(height, output[0]):
        tiles = [padded[..., top : top + height, left : left + width] for left in lefts]
        strip = activate(network(torch.cat(tiles)))  # all tiles of a row at once, one after the other in the batch
        for left, tile in zip(lefts, strip.chunk(len(lefts)), strict=True):
            around = (left, width - left - output[1], top, height - top - output[0])
            found = found + functional.pad(tile, around)
            times = times + functional.pad(torch.ones_like(tile[:1, :1]), around)
    return found / times


def tile_starts(length: int, tile: int) -> list[int]:
    """Return where the fewest tiles that cover `length` begin, spread evenly; one begins at 0, one ends at the end."""
    count = -(-length // tile)
    return [round(number * (length - tile) / max(1, count - 1)) for number in range(count)]
