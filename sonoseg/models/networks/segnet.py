"""SegNet (Badrinarayanan, Kendall and Cipolla 2017): the encoder of VGG16 and a decoder in reverse order."""

from itertools import pairwise

from torch import Size, Tensor, are_deterministic_algorithms_enabled, cat, nn

from sonoseg.models.determinism import allow_nondeterministic
from sonoseg.schema.network import SegNet


class SegNetNetwork(nn.Module):
    """`(B, 1, h, w)` to logits `(B, outputs, h, w)`; h and w multiples of 2 to the number of stages.

    Each stage of the decoder puts its values at the positions of the encoder's maxima (max-unpooling), which keeps
    borders sharp without learned upsampling. With `skip` the encoder's maps from before the pooling are concatenated.
    """

    def __init__(self, settings: SegNet, outputs: int):
        super().__init__()
        widths, counts = settings.channels, settings.convolutions
        self.skip = settings.skip
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        self.dropout = nn.Dropout2d(settings.dropout)
        self.encoder = nn.ModuleList(
            _convolutions(inputs, width, width, count)
            for inputs, width, count in zip([1, *widths[:-1]], widths, counts, strict=True)
        )
        # A stage of the decoder ends with the width of the next shallower stage of the encoder, for its indices.
        after_stage = [widths[0], *widths[:-1]]
        self.decoder = nn.ModuleList(
            _convolutions(width * (2 if self.skip else 1), width, after, count)
            for width, after, count in reversed(list(zip(widths, after_stage, counts, strict=True)))
        )
        self.head = nn.Conv2d(widths[0], outputs, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps, stages = images, []
        for convolve in self.encoder:
            before = convolve(maps)
            maps, indices = self.pool(before)
            stages.append((before if self.skip else None, before.shape, indices))
        maps = self.dropout(maps)
        for convolve in self.decoder:
            before, size, indices = stages.pop()
            maps = self._unpool(maps, indices, size)
            maps = convolve(maps if before is None else cat([maps, before], dim=1))
        return self.head(maps)

    def _unpool(self, maps: Tensor, indices: Tensor, size: Size) -> Tensor:
        if not are_deterministic_algorithms_enabled():
            return self.unpool(maps, indices, output_size=size)
        with allow_nondeterministic():  # windows that do not overlap have their maxima in different places
            return self.unpool(maps, indices, output_size=size)


def _convolutions(inputs: int, width: int, outputs: int, count: int) -> nn.Sequential:
    """`count` times 3x3 convolution, batch norm, ReLU; the last one changes the width to `outputs`."""
    widths = [inputs, *[width] * (count - 1), outputs]
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        # Batch norm subtracts the mean, so a bias would be without effect.
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
