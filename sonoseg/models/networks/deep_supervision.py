"""Deep supervision (Lee et al. 2015): in training, coarser levels of the decoder have an output of their own."""

from typing import Any

from monai.networks import nets
from torch import Tensor, cat, nn


def coarser_outputs(channels: list[int], outputs: int, count: int) -> nn.ModuleList:
    """Return a 1x1 convolution to `outputs` channels for each of the first `count` numbers of channels."""
    return nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in channels[:count])


class DeeplySupervisedUNet(nets.UNet):
    """MONAI's UNet with `count` further outputs, at the size of the maps of each encoder level.

    In training mode it returns a list of logits, `(B, outputs, h, w)` first, then with strides of 2 those at h/2, h/4,
    ...; in evaluation mode the first alone. Its other weights have the names that they have in MONAI's UNet.
    """

    def __init__(self, count: int, **arguments: Any):
        super().__init__(**arguments)
        channels = list(arguments["channels"])
        self.coarser = coarser_outputs(channels, arguments["out_channels"], count)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:  # type: ignore[override]  # a list in training mode
        logits: list[Tensor] = []
        full = self._decode(self.model, x, 0, logits)
        return [full, *reversed(logits)] if self.training else full

    def _decode(self, block: nn.Module, maps: Tensor, level: int, logits: list[Tensor]) -> Tensor:
        """Return the decoder's maps of a level, from 0 for the full size; append the coarser logits, coarsest first."""
        down, connection, up = block.children()
        inner: nn.Module = connection.submodule  # type: ignore[assignment]  # of MONAI's SkipConnection
        skipped = down(maps)
        is_deepest = level == len(self.channels) - 2
        below = inner(skipped) if is_deepest else self._decode(inner, skipped, level + 1, logits)
        if self.training and level < len(self.coarser):
            logits.append(self.coarser[level](below))
        return up(cat([skipped, below], dim=1))
