"""Comparison of an exported model with the model itself, before the export is kept."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import ModelError
from sonoseg.models.engines.check import simulated_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader
from sonoseg.postprocess.class_map import class_map
from sonoseg.schema.images import Enhancement
from sonoseg.types import Maps, Pixels

MIN_AGREEMENT = 0.9999
"""Fraction of the pixels whose label has to be that of the model."""
_SHAPES = ((1.0, 1.0), (1.3, 1.9), (2.0, 2.0), (2.8, 1.7), (3.1, 4.0))
"""Heights and widths of the images, in those of the network's input."""
_SEED = 1
_TIE = 0.002
"""Probabilities that differ by less count as equal."""

Exported = Callable[[Pixels], Pixels]
"""Image `(H, W)` uint8 -> label map `(H, W)` uint8."""


def check_export(model: ModelHeader, run: Exported, name: str) -> float:
    """Return the fraction of the pixels of simulated images of five sizes that get the label which torch gives them.

    The images are taken as enhanced where the model enhances images. Pixels that hardly belong to one class rather than
    to another count as equal. Raises ModelError below `MIN_AGREEMENT`; `name` is
    that of the export in the message.
    """
    task, random = model.task, np.random.default_rng(_SEED)
    predict = torch_predictor(load_network(model), task.network, Enhancement(), task.input)
    equal = total = 0
    for number, (high, wide) in enumerate(_SHAPES):
        size = round(task.input.size[0] * high), round(task.input.size[1] * wide)
        image = simulated_image(size, number, random)
        labels, maps = run(image), predict(image)
        expected = class_map(maps, task.postprocessing.threshold)
        if labels.shape != expected.shape:
            raise ModelError(f"{name}: the label map has {labels.shape} pixels for an image of {expected.shape}")
        equal += int(np.count_nonzero((labels == expected) | _undecided(maps, task.postprocessing.threshold)))
        total += expected.size
    if equal < MIN_AGREEMENT * total:
        raise ModelError(
            f"{model.path}: the {name} export gives {equal / total:.3%} of the pixels the label that torch gives them, "
            f"at least {MIN_AGREEMENT:.2%} are expected; it is not kept"
        )
    return equal / total


def _undecided(maps: Maps, threshold: float) -> NDArray[np.bool_]:
    """Return the pixels `(H, W)` of probabilities `(1 + K, H, W)` at which rounding decides the label."""
    if len(maps) == 2:
        return np.abs(maps[1] - threshold) < _TIE
    highest = np.sort(maps, axis=0)
    return highest[-1] - highest[-2] < _TIE
