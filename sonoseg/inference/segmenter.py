"""One trained model, or several together, as one callable: image in, findings out."""

import ctypes
import sys
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import DataError, ModelError, UsageError
from sonoseg.models.engines.choose import EngineOptions, engines_to_try
from sonoseg.models.members import Member, check_same_classes, load_member, model_files
from sonoseg.models.model_header import ModelHeader, digest_of, read_header
from sonoseg.models.predictor import mean_and_variance, mean_probabilities, predict_each
from sonoseg.postprocess.interpret import Findings, interpret
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Maps, Pixels

MIN_SIDE = 8
"""Shorter sides are refused: nothing anatomical is left in so few pixels."""


class Segmenter:
    """One member, or an ensemble whose class probabilities are averaged in the image's own geometry.

    Members may differ in network, input size and enhancement, but not in classes. Threshold, rules, measurements and
    review are those of the first member's task. Several threads may call it at once. After the first call nothing is
    read from the disk, so it serves the frames of a video; what it returns belongs to the caller and stays as it is.
    """

    def __init__(self, members: Sequence[Member], device: str = "cpu"):
        """Take at least one member, whose networks are on `device`. Raises ModelError when their classes differ."""
        check_same_classes(members)
        self.members = tuple(members)
        self.device = device
        self._predictors = [member.predictor for member in members]
        self._options: EngineOptions | None = None

    @classmethod
    def load(
        cls,
        path: Path | str | Sequence[Path | str],
        device: str = "auto",
        engine: str = "auto",
        num_threads: int = 0,
    ) -> "Segmenter":
        """Return the segmenter of a model file, of several, or of a folder, ready to run.

        A folder stands for the `best_model.safetensors` in it, or else for those in its direct sub-folders.
        device: `auto` (CUDA when there is one), `cpu` or `cuda`.
        engine: `auto` (on the CPU the fastest installed one that agrees with torch, found at a model's first load and
        stored beside the model; on CUDA torch), `torch`, `openvino`, `onnxruntime` or `openvino_bf16`.
        num_threads: threads that call at once, each with one core (torch: for all of this process from then on); 0: one
        thread with all cores. The results do not depend on it, but for torch's last bits.
        Raises ModelError for a file that is missing, named twice or not a SonoSeg model, a folder without models,
        classes that differ, and an engine that cannot run a model; UsageError for a device or an engine that is not
        available.
        """
        return cls.from_models(read_models(path), EngineOptions(engine, choose_device(device), num_threads))

    @classmethod
    def from_models(cls, models: Sequence[ModelHeader], options: EngineOptions) -> "Segmenter":
        """Return the segmenter of models that `read_models` has read. Raises as `load` does."""
        segmenter = cls([load_member(model, options) for model in models], options.device)
        segmenter._options = options
        return segmenter

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the paths of the model files and the options: the networks are read again where it is unpickled.

        Raises ModelError for networks that come from no file.
        """
        if self._options is None:
            raise ModelError("only a segmenter that was loaded from model files can be pickled; use Segmenter.load")
        files = tuple(str(Path(member.file).resolve()) for member in self.members)
        return load_once, (files, self._options, self.sha256)

    @property
    def task(self) -> Task:
        """Return the first member's task: it decides all that comes after the probabilities."""
        return self.members[0].task

    @property
    def threshold(self) -> float | None:
        """Return the probability above which a pixel belongs to the class; None when there are several classes."""
        return self.task.postprocessing.threshold if self.task.is_binary else None

    @property
    def sha256(self) -> str:
        """Return 64 hexadecimal digits that name the model.

        One member: the SHA-256 of its file. Several: that of their own digests written one after the other, in order,
        as `training.py --fold all` names the ensemble.
        """
        return digest_of([member.sha256 for member in self.members])

    @property
    def info(self) -> dict[str, Any]:
        """Return the facts of the model's training; empty for several members, each of which has its own."""
        return self.members[0].info if len(self.members) == 1 else {}

    def __call__(self, image: NDArray[np.uint8], spacing: Spacing | None = None) -> Findings:
        """Return what is found in one image, in its own geometry.

        image: uint8 grey `(H, W)` or RGB `(H, W, 3)`; spacing: (row_mm, col_mm), or None when it is unknown, and then
        lengths are in pixels only. Raises DataError when the array or the spacing is something else.
        """
        grey = check_image(image)
        return interpret(self.probabilities(grey), grey, self.task, check_spacing(spacing))

    def probabilities(self, image: Pixels) -> Maps:
        """Return class probabilities `(1 + K, H, W)` float32, background first, for a grey image `(H, W)` uint8."""
        return mean_probabilities(self._predictors, image)

    def member_probabilities(self, image: Pixels) -> list[Maps]:
        """Return the class probabilities `(1 + K, H, W)` float32 of each member, in their order."""
        return list(predict_each(self._predictors, image))

    def mean_and_variance(self, image: Pixels) -> tuple[Maps, Maps]:
        """Return mean and variance (n - 1) of the members' class probabilities, each `(1 + K, H, W)` float32.

        The variance of a single member is 0 everywhere.
        """
        return mean_and_variance(self._predictors, image)


_loaded: dict[tuple[tuple[str, ...], EngineOptions, str], Segmenter] = {}
_loading = Lock()


def load_once(files: tuple[str, ...], options: EngineOptions, sha256: str) -> Segmenter:
    """Return the segmenter of these files and options, loaded once per process. For worker processes: spawn them.

    sha256: of the model when it was pickled. Raises ModelError when the files have changed since then.
    """
    key = files, options, sha256
    with _loading:
        if key not in _loaded:
            segmenter = Segmenter.from_models(read_models(files), options)
            if segmenter.sha256 != sha256:
                raise ModelError(f"{', '.join(files)}: changed since the segmenter was pickled; load it again")
            _loaded[key] = segmenter
        return _loaded[key]


def read_models(path: Path | str | Sequence[Path | str]) -> list[ModelHeader]:
    """Return the headers of a model file, of several, or of a folder, as `Segmenter.load` takes them.

    Raises ModelError for a file that is missing, named twice or not a SonoSeg model, and for a folder without models.
    """
    paths = [path] if isinstance(path, Path | str) else path
    return [read_header(file) for file in model_files([Path(file) for file in paths])]


def first_use_remarks(models: Sequence[ModelHeader], options: EngineOptions) -> list[str]:
    """Return a sentence per model on which engines will be tried first, which takes seconds; often none.

    Raises ModelError and UsageError as `Segmenter.load` does.
    """
    remarks = []
    for model in models:
        names = engines_to_try(model, options)
        if names:
            remarks.append(f"{model.path}: first use on this machine; {', '.join(names)} are tried once")
    return remarks


def choose_device(wanted: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu` or `cuda`. Raises UsageError when CUDA is asked for and not there."""
    if wanted == "cpu" or (wanted == "auto" and not _has_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UsageError("device cuda: no CUDA device is available here; use cpu")
    return "cpu"


def _has_driver() -> bool:
    """Tell whether CUDA's driver is installed, in a millisecond and without torch."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


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
