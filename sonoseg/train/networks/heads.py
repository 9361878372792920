"""What a network's output means: one sigmoid channel for a single class, else softmax over background and classes.

A network of unpadded convolutions sees more than it says: its logits are smaller than its input. `target_of` brings
the reference to them for training, `predict` brings them back to the input's size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.core.task import Task
from sonoseg.core.training_sections import UNet2015
from sonoseg.train.networks.unet2015 import centre


def outputs_of(task: Task) -> int:
    """Return how many channels a task's network gives: 1 for a single class, else 1 + classes."""
    return 1 if task.is_binary else 1 + len(task.structures)


def activate(logits: Tensor) -> Tensor:
    """Turn logits `(B, C, h, w)` into probabilities `(B, 1 + K, h, w)` that sum to 1, background first."""
    if logits.shape[1] > 1:
        return torch.softmax(logits.float(), dim=1)
    inside = torch.sigmoid(logits.float())
    return torch.cat([1 - inside, inside], dim=1)


def foreground(logits: Tensor) -> Tensor:
    """Return the probabilities of the classes alone, `(B, K, h, w)`, with gradient."""
    return torch.sigmoid(logits.float()) if logits.shape[1] == 1 else torch.softmax(logits.float(), dim=1)[:, 1:]


def class_map(probabilities: Tensor, threshold: float = 0.5) -> Tensor:
    """Return labels `(B, h, w)` int64 from `(B, 1 + K, h, w)`: the most probable; of one class, above the threshold."""
    if probabilities.shape[1] == 2:
        return (probabilities[:, 1] > threshold).long()
    return probabilities.argmax(dim=1)


def target_of(labels: Tensor, logits: Tensor, task: Task) -> Tensor:
    """Return labels `(B, 1, h, w)` int64 as the logits are meant to be: unchanged, scaled to their size, or cropped."""
    size = logits.shape[-2:]
    if labels.shape[-2:] == size:
        return labels
    assert isinstance(task.network, UNet2015)
    if task.network.target == "cropped":
        return centre(labels, size)
    return functional.interpolate(labels.float(), size=size, mode="nearest-exact").long()


def predict(network: nn.Module, images: Tensor, task: Task) -> Tensor:
    """Return probabilities `(B, 1 + K, h, w)` at the size of `images` `(B, 1, h, w)`, whatever the network's own."""
    if isinstance(task.network, UNet2015) and task.network.target == "cropped":
        return overlap_tiles(network, images, task.network.output_size(task.input.size))
    probabilities = activate(network(images))
    if probabilities.shape[-2:] == images.shape[-2:]:
        return probabilities
    return functional.interpolate(probabilities, size=images.shape[-2:], mode="bilinear", align_corners=False)


def overlap_tiles(network: nn.Module, images: Tensor, output: tuple[int, int]) -> Tensor:
    """Return probabilities of the whole image, tile by tile; each tile is given the surroundings that it needs.

    The overlap-tile strategy of the U-Net paper, section 1: beyond the image's border its mirror image is seen.
    `images` (B, 1, h, w) have the size that the network takes, `output` (h', w') is the size that it gives.
    """
    height, width = images.shape[-2:]
    rows, cols = -(-height // output[0]), -(-width // output[1])
    margin = ((height - output[0]) // 2, (width - output[1]) // 2)
    after = (rows * output[0] - height + margin[0], cols * output[1] - width + margin[1])
    padded = functional.pad(images, (margin[1], after[1], margin[0], after[0]), mode="reflect")
    strips = []
    for top in range(0, rows * output[0], output[0]):
        tiles = [padded[..., top : top + height, left : left + width] for left in range(0, cols * output[1], output[1])]
        strip = activate(network(torch.cat(tiles)))  # all tiles of a row at once, one after the other in the batch
        strips.append(torch.cat(strip.chunk(cols), dim=-1))
    return torch.cat(strips, dim=-2)[..., :height, :width]
