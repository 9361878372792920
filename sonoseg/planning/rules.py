"""The rules that turn the fingerprint of a dataset into settings. Each returns choices with their reasons."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonoseg.planning.choice import Choice
from sonoseg.planning.fingerprint import INITIAL, MANY, Fingerprint
from sonoseg.preprocess.fit import Fit
from sonoseg.schema.images import Input
from sonoseg.sizes import Size

SAME_ASPECT = 0.05
"""Images whose proportions differ by no more than this are resized; others are letterboxed, which keeps angles."""
STEP = 32
"""Sides of the input are multiples of this: five halvings."""
MIN_SIDE, MAX_SIDE, MAX_SIDE_GPU = 256, 384, 512
"""Longer side of the input. On heads of HC18, 128 by 192 pixels were worse than 192 by 288 (docs/results.md)."""
ROUND_TRIP_DICE, LINE_PX, SMALLEST_PX = 0.99, 3.0, 12.0
"""What the input has to keep: Dice of label maps that are scaled there and back, width of lines, small structures."""

SMALLEST_EDGE, CONTEXT = 4, 1.2
"""Levels are added up to this edge of the deepest one, and until a pixel sees so many lengths of large structures."""
WIDTHS = (1, 2, 4, 8, 16, 16, 16, 16)
"""Channels of each level, in multiples of the first level's."""

RARE, SMALL = 0.05, 0.01
"""Part of the images without a class, and of an image's area, from which Dice is taken over the batch; structures below
the second are also enlarged in some copies."""

SIDED = re.compile(r"(?:^|[_\W])(?:left|right|l|r|lt|rt)(?:$|[_\W])", re.IGNORECASE)
FEW_PATIENTS = 30
FEW_IMAGES, SHIPPED_LEVELS = 150, 6
"""Below so many images the weights of fetal_head, which has these levels, and speckle were measured to help
(docs/results.md)."""

FROM_THE_FILE = "stated in the task file when the training was planned"
"""Reason of a value that the rest was planned with regard to."""


@dataclass(frozen=True)
class Machine:
    """Where a training is to run. minutes: its length."""

    gpu: bool
    minutes: float


def plan_images(facts: Fingerprint, machine: Machine, size: Size | None = None) -> list[Choice]:
    """Return size, fit and intensities of the network's input. size: the one that the task file states."""
    low, high = facts.aspects
    planned, why = _input_size(facts, machine) if size is None else (size, FROM_THE_FILE)
    aspect = planned[1] / planned[0]
    same = max(high / aspect, aspect / low) - 1 <= SAME_ASPECT
    fit = "resize" if same else "letterbox"
    reason = f"widths are {low:.2f} to {high:.2f} times the heights, {aspect:.2f} times in the input: "
    reason += f"the same within {SAME_ASPECT:.0%}" if same else "scaled evenly and padded"
    return [
        Choice("input.size", list(planned), why),
        Choice("input.fit", fit, reason),
        Choice("input.intensity", "z_score", "gain differs between scanners"),
    ]


def _input_size(facts: Fingerprint, machine: Machine) -> tuple[Size, str]:
    """Return the smallest size that keeps structures, and why."""
    limit = min(MAX_SIDE_GPU if machine.gpu else MAX_SIDE, _up(facts.longer_side))
    height, width = facts.size
    kept, size = "", (STEP, STEP)
    for longer in range(min(MIN_SIDE, limit), limit + 1, STEP):
        scale = longer / facts.longer_side
        size = _up(height * scale), _up(width * scale)
        dice = round_trip_dice(facts, size)
        small = [item for item in facts.structures if item.area and item.structure.shape != "line"]
        lines = [item.structure.thickness_px or 1 for item in facts.structures if item.structure.shape == "line"]
        thin = min(lines, default=math.inf) * scale
        side = min((item.side * longer for item in small), default=math.inf)
        kept = f"label maps scaled to it and back keep a Dice of {dice:.3f}" if dice is not None else "lines only"
        kept += f", lines are {thin:.1f} px wide" if lines else ""
        kept += f", small structures measure {side:.0f} px" if small else ""
        if (dice is None or dice >= ROUND_TRIP_DICE) and thin >= LINE_PX and side >= SMALLEST_PX:
            return size, f"the smallest of at least {MIN_SIDE} px that keeps the structures: {kept}"
    largest = f"the largest planned {'for' if machine.gpu else 'without'} a GPU"
    return size, f"{largest if limit >= MAX_SIDE else 'as large as the images are'}; {kept}"


def round_trip_dice(facts: Fingerprint, size: Size) -> float | None:
    """Return the mean Dice of label maps scaled to `size` and back, lines left out; None without other structures."""
    settings = Input(size=size, fit="letterbox")
    areas = [index for index, item in enumerate(facts.structures, start=1) if item.structure.shape != "line"]
    scores = []
    for labels in facts.maps:
        mapping = Fit.of(labels.shape, settings)
        small = mapping.apply(labels, "nearest")
        for index in areas:
            mask = labels == index
            if not mask.any():
                continue
            one_hot = np.stack([small != index, small == index]).astype(np.float32)
            back = mapping.invert(one_hot)[1] >= 0.5
            scores.append(2 * np.count_nonzero(back & mask) / (np.count_nonzero(back) + np.count_nonzero(mask)))
    return float(np.mean(scores)) if scores else None


def _up(side: float) -> int:
    return max(STEP, math.ceil(round(side, 3) / STEP) * STEP)


def plan_network(
    facts: Fingerprint, machine: Machine, size: Size, stated: Mapping[str, Any] | None = None
) -> list[Choice]:
    """Return the network for an input of `size`: depth from the structures' lengths, width from the machine.

    stated: the section `network` of the task file, valid values. Channels or strides of a UNet there decide the depth,
    and what is planned beside them fits them; initial weights are planned only where they fit.
    """
    own = stated if stated and stated.get("name", "unet") == "unet" else {}
    longest = max((item.length[2] for item in facts.structures), default=0.0) * max(size)
    few = facts.images < FEW_IMAGES and not machine.gpu and not facts.seen
    levels, why = _stated_levels(own), "as the task file states"
    if not levels:
        levels = _levels(size, CONTEXT * longest)
        if few and levels < SHIPPED_LEVELS and _allows(size, SHIPPED_LEVELS):
            levels = SHIPPED_LEVELS
        why = f"nine of ten structures are at most {longest:.0f} px long"
    width = 32 if machine.gpu else 16
    settings: dict[str, Any] = {
        "name": "unet",
        "channels": [width * WIDTHS[min(level, len(WIDTHS) - 1)] for level in range(levels)],
        "strides": [2] * (levels - 1),
        "residual_units": 2,
        "norm": "batch",
    }
    fits = all(own.get(name, value) == value for name, value in settings.items())
    halves = own.get("strides", settings["strides"]) == settings["strides"]
    settings["deep_supervision"] = [0.5, 0.25][: max(0, levels - 2)] if halves else []
    reason = f"{levels} levels: the deepest sees {receptive_field(levels)} px, {why}"
    if "channels" not in own:
        reason += f"; {width} channels at full size {'on a GPU' if machine.gpu else 'without a GPU'}"
    if few and levels == SHIPPED_LEVELS and fits:
        settings["init"] = INITIAL
        reason += f"; fewer than {FEW_IMAGES} images, so it has the levels of fetal_head and starts from its weights"
    if facts.seen and facts.images < FEW_IMAGES:
        reason += f"; no initial weights, as those of {INITIAL} were trained on {facts.seen} of these images"
    return [Choice("network", settings, reason)]


def _levels(size: Size, needed: float) -> int:
    """Return how many levels see `needed` pixels, or as many as an input of `size` allows."""
    levels = 3
    while levels < len(WIDTHS) and receptive_field(levels) < needed and _allows(size, levels + 1):
        levels += 1
    while levels > 2 and not _allows(size, levels):
        levels -= 1
    return levels


def _stated_levels(network: Mapping[str, Any]) -> int:
    """Return the number of levels of stated channels, or else of stated strides; 0 without either."""
    strides = network.get("strides")
    return len(network.get("channels") or ()) or (len(strides) + 1 if strides is not None else 0)


def _allows(size: Size, levels: int) -> bool:
    """Return whether both sides can be halved so often that the deepest edge is still long enough."""
    factor = 2 ** (levels - 1)
    return all(side % factor == 0 and side // factor >= SMALLEST_EDGE for side in size)


def receptive_field(levels: int) -> int:
    """Return how many pixels of the input a pixel of the deepest level depends on, each way, in MONAI's UNet.

    Each level of the encoder is a residual unit of two 3x3 convolutions, the first of them with stride 2 except at the
    deepest level.
    """
    field, distance = 1, 1
    for level in range(levels):
        field += 2 * distance
        if level < levels - 1:
            distance *= 2
        field += 2 * distance
    return field


def plan_augmentation(facts: Fingerprint, class_names: Sequence[str]) -> list[Choice]:
    """Return the random changes of the training images, as far as positions and sizes of the structures allow them."""
    sided = [name for name in class_names if SIDED.search(name)]
    upright = _upright_reason(facts)
    lengths = [item.length for item in facts.structures if item.length[0]]
    spread = max((math.log(high / low) / 2 for low, _, high in lengths), default=0)
    scale = round(min(0.35, max(0.2, spread)), 2)
    rotate = 15 if upright else 25
    choices = [
        Choice("augmentation.online", True, "no copy is seen twice"),
        Choice(
            "augmentation.flip_horizontal",
            0.0 if sided else 0.5,
            f"{', '.join(sided)} name a side" if sided else "no class names a side",
        ),
        Choice("augmentation.flip_vertical", 0.0 if upright else 0.5, upright or "structures lie as often high as low"),
        Choice(
            "augmentation.shift_scale_rotate",
            {"probability": 0.9, "shift": 0.1, "scale": scale, "rotate_deg": rotate},
            f"the 90th percentile of a structure's length is {math.exp(2 * spread):.1f} times the 10th",
        ),
        Choice("augmentation.elastic", {"probability": 0.1}, "as in the recipe that was measured on heads"),
        Choice("augmentation.gamma", {"probability": 0.5, "limit": 0.3}, "as in the recipe that was measured on heads"),
    ]
    if facts.images < FEW_IMAGES:
        reason = f"fewer than {FEW_IMAGES} images; the best of the intensity steps that were measured on 70 heads"
        choices.append(Choice("augmentation.speckle", {"probability": 0.2}, reason))
    small = [item.name for item in facts.structures if 0 < item.area < SMALL and item.structure.shape != "line"]
    if small:
        reason = f"{', '.join(small)} cover less than {SMALL:.0%} of the image"
        choices.append(Choice("augmentation.foreground_zoom", {"probability": 0.3}, reason))
    return choices


def _upright_reason(facts: Fingerprint) -> str:
    """Return why images must not be turned upside down; empty when positions give no reason."""
    for item in facts.structures:
        if len(item.offsets) >= MANY and _one_sided(item.offsets[:, 1]):
            where = "lower" if item.offsets[:, 1].mean() > 0 else "upper"
            return f"{item.name} lies in the {where} part"
    for (first, second), offsets in facts.pairs.items():
        if len(offsets) >= MANY and _one_sided(offsets[:, 1]):
            above, below = (first, second) if offsets[:, 1].mean() < 0 else (second, first)
            return f"{above} lies above {below}"
    return "" if any(len(item.offsets) >= MANY for item in facts.structures) else "too few images to know"


def _one_sided(offsets: np.ndarray) -> bool:
    """Return whether offsets lie on one side of 0: their mean is far from it, compared with their spread."""
    return abs(float(offsets.mean())) > max(0.03, 0.5 * float(offsets.std()))


def plan_loss(facts: Fingerprint) -> list[Choice]:
    """Return the loss: Dice over the batch where single images often lack a class or show little of it."""
    rare = [item.name for item in facts.structures if 1 - item.present > RARE]
    small = [item.name for item in facts.structures if 0 < item.area < SMALL]
    if rare:
        reason = f"{', '.join(rare)} {'is' if len(rare) == 1 else 'are'} absent from more than {RARE:.0%} of the images"
    elif small:
        reason = f"{', '.join(small)} {'covers' if len(small) == 1 else 'cover'} less than {SMALL:.0%} of the image"
    else:
        reason = "every class is in nearly every image, and not small"
    return [Choice("training.loss", {"name": "dice_ce", "batch_dice": bool(rare or small)}, reason)]


def plan_results(facts: Fingerprint) -> list[Choice]:
    """Return fitted shapes as masks, measurements, and the classes that every image has to show."""
    cross = any(item.structure.covered_by for item in facts.structures)
    reason = "some structures cover others" if cross else "no structure covers another"
    choices = [Choice("postprocessing.fill_gaps", cross, reason)]
    ellipses = [item for item in facts.structures if item.structure.shape == "ellipse"]
    if ellipses:
        good = all((item.fit_dice or 0) >= ROUND_TRIP_DICE for item in ellipses)
        reason = (
            f"fitted ellipses and reference masks have a Dice of {min(item.fit_dice or 0 for item in ellipses):.3f}"
        )
        choices.append(Choice("postprocessing.shape_mask", good, reason))
    sized = [item.name for item in facts.structures if item.structure.shape != "line"]
    if sized and len({name.lower() for name in sized}) == len(sized):
        sections = [{"kind": "size", "structure": name, "name": name.lower()} for name in sized]
        choices.append(Choice("measurements", sections, f"area and longest diameter of {', '.join(sized)}"))
    expected = [item.name for item in facts.structures if item.present >= 1 - RARE]
    if expected:
        choices.append(Choice("review.expected", expected, f"in at least {1 - RARE:.0%} of the images"))
    return choices


def plan_batch(facts: Fingerprint, machine: Machine) -> Choice:
    """Return the batch size: 5 % of the images, within limits."""
    limit = 12 if machine.gpu else 8
    batch = min(limit, max(4, round(0.05 * facts.images)))
    return Choice("training.batch_size", batch, f"5 % of {facts.images} training images, 4 to {limit}")
