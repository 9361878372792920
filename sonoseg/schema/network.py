"""Sections of a task file about the network, one class per kind of network."""

from collections.abc import Iterator
from itertools import count
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from sonoseg.schema.section import Section
from sonoseg.sizes import Size

MAX_LEVELS = 10
MAX_CHANNELS = 4096
MAX_SQUARES = 1 << 24
"""Largest sum of the squared numbers of channels, to which the number of weights is in proportion."""


def _few_weights(channels: list[int]) -> list[int]:
    """Return the channels. Raises ValueError when the weights would fill the machine's memory."""
    if sum(count**2 for count in channels) > MAX_SQUARES:
        raise ValueError(f"found {channels}; expected squares that add up to at most {MAX_SQUARES}")
    return channels


Channels = Annotated[
    list[Annotated[int, Field(ge=1, le=MAX_CHANNELS)]],
    Field(min_length=2, max_length=MAX_LEVELS),
    AfterValidator(_few_weights),
]


DeepSupervision = Annotated[
    list[Annotated[float, Field(gt=0, le=10)]],
    Field(
        max_length=MAX_LEVELS - 2,
        description="weights in the loss of further outputs at 1/2, 1/4, ... of the size; the full output has 1",
    ),
]
"""Deep supervision (Lee et al. 2015): the decoder's coarser levels have outputs and a loss of their own in training."""


def _few_outputs(weights: list[float], levels: int) -> None:
    """Raise ValueError when there are more outputs than the decoder of a network of `levels` has coarser levels."""
    if len(weights) > levels - 2:
        raise ValueError(f"deep_supervision: found {len(weights)} weights; expected at most {max(0, levels - 2)}")


class AnyNetwork(Section):
    """Base of the networks' sections: initial weights, accepted input sizes, and the size of the output."""

    init: str | None = Field(
        None,
        max_length=1000,
        description="initial weights of a training: a model that comes with SonoSeg (`sonoseg models`) or a file; "
        "tensors whose name and shape fit are taken, the others are drawn; null: all are drawn",
    )

    @property
    def downsampling(self) -> int:
        """Factor between the input's size and the deepest level's."""
        raise NotImplementedError

    @property
    def first_channels(self) -> int:
        """Number of feature maps at full resolution."""
        return int(getattr(self, "channels", [1])[0])

    @property
    def coarser_weights(self) -> list[float]:
        """Weights of the outputs of deep supervision, the finest first; empty without it."""
        return list(getattr(self, "deep_supervision", []))

    def output_size(self, size: Size) -> Size:
        """Return the size of the logits for an input of `size`. Raises ValueError for a size that is not accepted."""
        step = self.downsampling
        if any(side % step or side < 2 * step for side in size):
            raise ValueError(
                f"each side has to be a multiple of the network's downsampling, {step}, and at least twice as long"
            )
        return size


class UNet(AnyNetwork):
    """MONAI's UNet: strided residual units."""

    name: Literal["unet"]
    channels: Channels
    strides: list[Annotated[int, Field(ge=1, le=16)]]
    residual_units: int = Field(2, ge=0, le=8)
    norm: Literal["batch", "instance"] = Field("batch", description="instance: one image at a time, for tiny batches")
    dropout: float = Field(0.0, ge=0, lt=1)
    deep_supervision: DeepSupervision = Field([])

    @model_validator(mode="after")
    def _one_stride_per_step(self) -> "UNet":
        if len(self.strides) != len(self.channels) - 1:
            found = f"{len(self.strides)} strides for {len(self.channels)} channels"
            raise ValueError(f"found {found}; expected {len(self.channels) - 1}")
        _few_outputs(self.deep_supervision, len(self.channels))
        return self

    @property
    def downsampling(self) -> int:
        product = 1
        for stride in self.strides:
            product *= stride
        return product


MAX_ARGUMENTS = 1000
MONAI_NETWORKS = {
    "attention_unet": "AttentionUnet",  # Oktay et al. 2018
    "segresnet": "SegResNet",  # residual units throughout, Myronenko 2018
}
"""Further networks of MONAI by name: the class in `monai.networks.nets`. Adding a network of MONAI is one line here."""


class MonaiNetwork(AnyNetwork):
    """Another network of MONAI that takes one channel in, with the arguments of its own constructor."""

    name: Literal[tuple(MONAI_NETWORKS)]  # type: ignore[valid-type]  # mypy needs literal names
    arguments: dict[str, Any] = Field({}, description="passed to MONAI's class unchanged")
    multiple_of: int = Field(16, ge=1, le=1024, description="the input's sides have to be multiples of this")

    @field_validator("arguments")
    @classmethod
    def _numbers_are_bounded(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        values = list(_leaves(arguments, MAX_LEVELS))
        if len(values) > MAX_ARGUMENTS:
            raise ValueError(f"found {len(values)} values; expected at most {MAX_ARGUMENTS}")
        numbers = {name: value for name, value in values if isinstance(value, int | float)}
        for name, value in numbers.items():
            if not abs(value) <= MAX_CHANNELS:
                raise ValueError(f"{name} is beyond {MAX_CHANNELS}; expected a number up to that")
        if sum(value**2 for value in numbers.values()) > MAX_SQUARES:
            raise ValueError(f"expected numbers whose squares add up to at most {MAX_SQUARES}")
        return arguments

    @property
    def downsampling(self) -> int:
        return self.multiple_of


class SegNet(AnyNetwork):
    """VGG-style encoder and decoder that unpools to where the maxima were; optionally with skip connections."""

    name: Literal["segnet"]
    channels: Channels = Field([64, 128, 256, 512, 512])
    convolutions: list[Annotated[int, Field(ge=1, le=8)]] = Field([2, 2, 3, 3, 3], description="of each encoder stage")
    skip: bool = Field(False, description="the decoder also gets the encoder's feature maps of the same size")
    dropout: float = Field(0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_count_per_stage(self) -> "SegNet":
        if len(self.convolutions) != len(self.channels):
            found = f"{len(self.convolutions)} numbers of convolutions for {len(self.channels)} channels"
            raise ValueError(f"found {found}; expected {len(self.channels)}")
        return self

    @property
    def downsampling(self) -> int:
        return int(2 ** len(self.channels))


class UNet2015(AnyNetwork):
    """The U-Net of the 2015 paper. Unpadded (`valid`) convolutions give an output smaller than the input."""

    name: Literal["unet2015"]
    channels: Channels = Field([64, 128, 256, 512, 1024])
    padding: Literal["valid", "same"] = "same"
    target: Literal["resized", "cropped"] | None = Field(
        None,
        description="of `valid`: the mask is scaled to the output, or its centre is cropped; then inference is tiled",
    )
    norm: Literal["none", "batch"] = Field("none", description="the paper has none")
    dropout: float = Field(0.0, ge=0, lt=1, description="at the end of the contracting path, as in the paper")
    deep_supervision: DeepSupervision = Field([])

    @model_validator(mode="after")
    def _target_of_valid(self) -> "UNet2015":
        if (self.padding == "valid") != (self.target is not None):
            raise ValueError("target belongs to padding 'valid': resized or cropped there, nothing with 'same'")
        if self.deep_supervision and self.padding == "valid":
            raise ValueError("deep_supervision needs padding 'same'; leave it out, or change the padding")
        _few_outputs(self.deep_supervision, len(self.channels))
        return self

    @property
    def downsampling(self) -> int:
        return int(2 ** (len(self.channels) - 1))

    def output_size(self, size: Size) -> Size:
        if self.padding == "same":
            return super().output_size(size)
        height, width = (self._unpadded(side) for side in size)
        if height is None or width is None:
            smallest = next(side for side in count(1) if self._unpadded(side))
            allowed = ", ".join(str(smallest + n * self.downsampling) for n in range(3))
            raise ValueError(f"unpadded convolutions take sides of {allowed} ... (steps of {self.downsampling}) pixels")
        return height, width

    def _unpadded(self, side: int) -> int | None:
        """Return the output's side: 388 for 572. None where a pooled side is odd, or nothing is left."""
        levels = len(self.channels) - 1
        for _ in range(levels):
            side -= 4  # two 3x3 convolutions
            if side % 2:
                return None
            side //= 2
        side -= 4
        for _ in range(levels):
            side = 2 * side - 4
        return side if side > 0 else None


def _leaves(value: Any, levels: int, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of what is no list or dictionary. Raises ValueError when nested deeper than `levels`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield name, value
        return
    if not levels:
        raise ValueError(f"{name}: nested too deeply; expected at most {MAX_LEVELS} levels")
    for key, part in items:
        yield from _leaves(part, levels - 1, f"{name}.{key}".lstrip("."))


Network = Annotated[UNet | MonaiNetwork | SegNet | UNet2015, Field(discriminator="name")]
