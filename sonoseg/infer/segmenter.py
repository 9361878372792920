"""A trained model as one callable: image in, findings out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoseg.core.errors import DataError, ModelError, UsageError
from sonoseg.core.images import Pixels
from sonoseg.core.manifest import Spacing
from sonoseg.core.task import Task
from sonoseg.postprocess.interpret import Findings, interpret
from sonoseg.preprocess.enhance import enhance
from sonoseg.preprocess.fit import Fit
from sonoseg.preprocess.intensity import normalise
from sonoseg.train.model_file import load_model
from sonoseg.train.networks import activate, build_network

MIN_SIDE = 8
"""Shorter sides are refused: nothing anatomical is left in so few pixels."""


class Segmenter:
    """A network with the task it was trained for. `sha256` and `info` are those of its model file."""

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        task: Task,
        device: str = "cpu",
        sha256: str = "",
        info: dict[str, Any] | None = None,
    ):
        self.network = network
        self.task = task
        self.device = torch.device(device)
        self.sha256 = sha256
        self.info = info or {}

    @classmethod
    def load(cls, path: Path | str, device: str = "auto") -> "Segmenter":
        """Return the segmenter of a model file, ready on `device`: `auto` (CUDA when there is one), `cpu` or `cuda`.

        Raises ModelError for a file that is missing or not a SonoSeg model, UsageError for a device that is not there.
        """
        chosen = choose_device(device)
        model = load_model(Path(path))
        network = build_network(model.task)
        try:
            network.load_state_dict(model.state)
        except RuntimeError as error:
            raise ModelError(
                f"{path}: its weights do not fit its own network settings; train the model again"
            ) from error
        return cls(network.to(chosen).eval(), model.task, chosen, model.sha256, model.info)

    def __call__(self, image: NDArray[np.uint8], spacing: Spacing | None = None) -> Findings:
        """Return what is found in one image, in its own geometry.

        image: uint8 grey `(H, W)` or RGB `(H, W, 3)`; spacing: (row_mm, col_mm), or None when it is unknown, and then
        lengths are in pixels only. Raises DataError when the array or the spacing is something else.
        """
        grey = check_image(image)
        return interpret(self.probabilities(grey), grey, self.task, check_spacing(spacing))

    @torch.inference_mode()
    def probabilities(self, image: Pixels) -> NDArray[np.float32]:
        """Return class probabilities `(1 + K, H, W)` float32, background first, for a grey image `(H, W)` uint8."""
        fit = Fit.of(image.shape, self.task.input)
        values = normalise(fit.apply(enhance(image, self.task.enhancement)), self.task.input.intensity)
        batch = torch.from_numpy(values)[None, None].to(self.device, memory_format=torch.channels_last)
        return fit.invert(activate(self.network(batch))[0].cpu().numpy())


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu` or `cuda`. Raises UsageError when CUDA is asked for and not there."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is available here; use --device cpu")
    return wanted


def check_image(image: NDArray[np.uint8]) -> Pixels:
    """Return the image as grey `(H, W)` uint8; RGB becomes luma (ITU-R 601). Raises DataError for any other array."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"the image is {found}; expected a NumPy array of uint8 (0 to 255): scale and convert it first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise DataError(f"the image has shape {image.shape}; expected (height, width), or (height, width, 3) for RGB")
    if min(image.shape[:2]) < MIN_SIDE:
        raise DataError(f"the image is {image.shape[1]}x{image.shape[0]} pixels; expected at least {MIN_SIDE} each way")
    return np.ascontiguousarray(image) if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def check_spacing(spacing: Spacing | None) -> Spacing | None:
    """Return the spacing as two floats, or None. Raises DataError unless both are finite and above 0."""
    if spacing is None:
        return None
    try:
        row_mm, col_mm = (float(value) for value in spacing)
    except (TypeError, ValueError):
        raise DataError(f"the spacing is {spacing!r}; expected (row_mm, col_mm), or None when it is unknown") from None
    if not (np.isfinite([row_mm, col_mm]).all() and min(row_mm, col_mm) > 0):
        raise DataError(f"the spacing is {spacing!r}; expected two numbers above 0, in mm per pixel")
    return row_mm, col_mm
