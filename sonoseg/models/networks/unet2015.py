"""The U-Net of Ronneberger, Fischer and Brox (2015): 64 to 1024 channels, 23 convolutions."""

from torch import Tensor, cat, nn

from sonoseg.models.networks.deep_supervision import coarser_outputs
from sonoseg.schema.network import UNet2015


class ConvolutionPair(nn.Sequential):
    """Two 3x3 convolutions with ReLU, with batch norm before it for `norm: batch`."""

    def __init__(self, inputs: int, outputs: int, settings: UNet2015):
        layers: list[nn.Module] = []
        normalised = settings.norm == "batch"
        for channels in (inputs, outputs):
            layers.append(nn.Conv2d(channels, outputs, 3, padding=settings.padding, bias=not normalised))
            layers += [nn.BatchNorm2d(outputs)] if normalised else []
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class UNet2015Network(nn.Module):
    """`(B, 1, h, w)` to logits `(B, outputs, h', w')`.

    With `padding: same` the output has the input's size. With `valid` it is 184 pixels smaller for five levels (572 to
    388, 252 to 68), because every 3x3 convolution removes a border of one pixel; the encoder's maps are cropped to the
    centre, to the size of the decoder's. With `deep_supervision`, in training mode, it returns a list of logits: these
    first, then those of the decoder's maps at h/2, h/4, ...
    """

    def __init__(self, settings: UNet2015, outputs: int):
        super().__init__()
        widths = settings.channels
        self.down = nn.ModuleList(
            ConvolutionPair(inputs, width, settings) for inputs, width in zip([1, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(settings.dropout)
        deep_first = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(deep, width, 2, stride=2) for deep, width in deep_first)
        self.up = nn.ModuleList(ConvolutionPair(2 * width, width, settings) for _, width in deep_first)
        self.head = nn.Conv2d(widths[0], outputs, 1)
        self.coarser = coarser_outputs(widths[1:], outputs, len(settings.deep_supervision))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # Normal with standard deviation sqrt(2 / inputs of a node), section 3 of the paper.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        maps, skipped = images, []
        decoded: list[Tensor] = []
        for level, convolve in enumerate(self.down):
            maps = convolve(self.pool(maps) if level else maps)
            skipped.append(maps)
        maps = self.dropout(skipped.pop())
        for grow, convolve in zip(self.grow, self.up, strict=True):
            maps = grow(maps)
            maps = convolve(cat([centre(skipped.pop(), maps.shape[-2:]), maps], dim=1))
            decoded.insert(0, maps)
        full = self.head(maps)
        if not self.training or not self.coarser:
            return full
        return [full, *(output(maps) for output, maps in zip(self.coarser, decoded[1:], strict=False))]


def centre(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return the centre of `maps` (..., h, w), of `size` (h', w'); unchanged when they have that size already."""
    top, left = ((maps.shape[axis] - size[axis]) // 2 for axis in (-2, -1))
    return maps[..., top : top + size[-2], left : left + size[-1]]
