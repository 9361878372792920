"""A trained model or an ensemble as one callable: image in, findings out."""

import ctypes
import math
import os
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
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
from sonoseg.models.predictor import Predictor, mean_and_variance, mean_probabilities, predict_each
from sonoseg.models.registry import check_registered, resolve
from sonoseg.postprocess.interpret import Findings, interpret
from sonoseg.quality.assess import assess
from sonoseg.schema.annotations import Metadata
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Maps, Pixels

MIN_SIDE = 8
"""Images with a shorter side are refused: they show no anatomy."""


class Segmenter:
    """One member, or an ensemble whose class probabilities are averaged in the image's own geometry.

    Members may differ in network, input size and enhancement, but not in classes. Threshold, rules, measurements and
    review are those of the first member's task. Several threads may call it at once. After the first call nothing is
    read from the disk, so it can segment the frames of a video. Arrays that it has returned
    are not changed by later calls.
    """

    def __init__(self, members: Sequence[Member], device: str = "cpu", raw_masks: bool = False, tta: bool = False):
        """Take at least one member, whose networks are on `device`; see `load` for `raw_masks` and `tta`.

        Raises ModelError when their classes differ, and UsageError for `tta` with a member that was trained without
        flips.
        """
        check_same_classes([(member.description, member.task) for member in members])
        if raw_masks:
            members = [member.with_raw_masks() for member in members]
        if tta:
            members = [member.with_flips() for member in members]
        self.members = tuple(members)
        self.device, self.raw_masks, self.tta = device, raw_masks, tta
        self._process = os.getpid()
        self._source: tuple[tuple[str, ...], EngineOptions] | None = None  # absolute paths of the model files

    @classmethod
    def load(
        cls,
        path: Path | str | Sequence[Path | str],
        device: str = "auto",
        engine: str = "auto",
        num_threads: int = 0,
        raw_masks: bool = False,
        tta: bool = False,
    ) -> "Segmenter":
        """Return the segmenter of a model file, of several, or of a folder, ready to run.

        A folder stands for the `best_model.safetensors` in it, or else for those in its direct sub-folders. The name of
        a model that comes with SonoSeg, such as `fetal_head`, stands for its file where there is no such path.
        device: `auto` (CUDA when there is one), `cpu` or `cuda`.
        engine: `auto` (on the CPU the fastest installed one that agrees with torch, found at a model's first load and
        stored beside the model; on CUDA torch), `torch`, `openvino`, `onnxruntime`, `openvino_bf16` or `openvino_int8`.
        num_threads: threads that call at once, each with one core (torch: for all of this process from then on); 0: one
        thread with all cores. The results do not depend on it, but for torch's last bits.
        raw_masks: the network's masks also where the task asks for filled ellipses (`postprocessing.shape_mask`).
        tta: test-time augmentation, the mean over the flips that each member's task had in training (`trained_flips`).
        Raises ModelError for a file that is missing, given twice or not a SonoSeg model, a folder without models,
        classes that differ, and an engine that cannot run a model; UsageError for a device or an engine that is not
        available, and for `tta` with a model that was trained without flips.
        """
        options = EngineOptions(engine, choose_device(device), num_threads)
        return cls.from_models(read_models(path), options, raw_masks=raw_masks, tta=tta)

    @classmethod
    def from_models(
        cls, models: Sequence[ModelHeader], options: EngineOptions, raw_masks: bool = False, tta: bool = False
    ) -> "Segmenter":
        """Return the segmenter of models that `read_models` has read. Raises as `load` does."""
        segmenter = cls([load_member(model, options) for model in models], options.device, raw_masks, tta)
        segmenter._source = tuple(str(model.path.resolve()) for model in models), options
        return segmenter

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the paths of the model files and the options: the networks are read again where it is unpickled.

        They run in the engine that was chosen here, where all members have the same.
        Raises ModelError for networks that come from no file.
        """
        if self._source is None:
            raise ModelError("only a segmenter that was loaded from model files can be pickled; use Segmenter.load")
        files, options = self._source[0], replace(self._source[1], elsewhere=False)
        if len(engines := {member.engine.name for member in self.members}) == 1:
            options = replace(options, name=engines.pop())
        return load_once, (files, options, self.sha256, self.raw_masks, self.tta)

    @property
    def _predictors(self) -> list[Predictor]:
        """Return the members' predictors. Raises ModelError in a forked process: there engines wait for ever."""
        if os.getpid() != self._process:
            raise ModelError(
                "this segmenter was loaded before the process was forked, and the threads of its engines are missing "
                "here; spawn worker processes (multiprocessing.get_context('spawn')), or load it in each of them"
            )
        return [member.predictor for member in self.members]

    @property
    def task(self) -> Task:
        """Return the first member's task, which decides how probabilities are interpreted.

        With `raw_masks` its `postprocessing.shape_mask` is false.
        """
        return self.members[0].task

    @property
    def threshold(self) -> float | None:
        """Return the probability above which a pixel belongs to the class; None when there are several classes."""
        return self.task.threshold

    @property
    def interval_keys(self) -> set[str]:
        """Return the keys of the measurements that have intervals: those for which every member has them."""
        keys = [set(member.quality.intervals) if member.quality else set() for member in self.members]
        return set.intersection(*keys)

    @property
    def sha256(self) -> str:
        """Return 64 hexadecimal digits that identify the model; of several members see `digest_of`."""
        return digest_of([member.sha256 for member in self.members])

    @property
    def info(self) -> dict[str, Any]:
        """Return the facts of the model's training; empty for several members, each of which has its own."""
        return self.members[0].info if len(self.members) == 1 else {}

    def __call__(self, image: NDArray[np.uint8], spacing: Spacing | None = None) -> Findings:
        """Return the findings of an image, in its own geometry.

        image: uint8 grey `(H, W)` or RGB `(H, W, 3)`; spacing: (row_mm, col_mm), or None when it is unknown, and then
        lengths are in pixels only. Raises DataError for any other array or spacing, an image of a single grey value,
        and a spacing outside `metadata.spacing_range_mm` of the task; ModelError in a forked process.
        """
        predictors = self._predictors  # first, because OpenCV's threads are missing in a forked process as well
        spacing, grey = check_spacing(spacing, self.task.metadata), check_image(image)
        findings = interpret(mean_probabilities(predictors, grey), grey, self.task, spacing)
        return assess(findings, grey, [member.quality for member in self.members])

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


_loaded: dict[tuple[tuple[str, ...], EngineOptions, str, bool, bool], Segmenter] = {}
"""Unpickled segmenters of this process, by the arguments of `load_once`."""
_loading = Lock()


def load_once(
    files: tuple[str, ...], options: EngineOptions, sha256: str, raw_masks: bool = False, tta: bool = False
) -> Segmenter:
    """Return the segmenter of these files and options, loaded once per process.

    sha256: of the model when it was pickled. Worker processes have to be spawned: in a forked one the lock may be taken
    and the threads of an engine are missing. Raises ModelError when the files have changed since they were pickled,
    UsageError when the device or the engine is not available in this process.
    """
    key = files, options, sha256, raw_masks, tta
    with _loading:
        if key not in _loaded:
            models = read_models(files)
            if digest_of([model.sha256 for model in models]) != sha256:
                raise ModelError(f"{', '.join(files)}: changed since the segmenter was pickled; load it again")
            choose_device(options.device)
            _loaded[key] = Segmenter.from_models(models, options, raw_masks=raw_masks, tta=tta)
        return _loaded[key]


def read_models(path: Path | str | Sequence[Path | str]) -> list[ModelHeader]:
    """Return the headers of a model file, of several, of a folder, or of a name that `sonoseg models` lists.

    Raises ModelError for a file that is missing, given twice or not a SonoSeg model, no model, and classes that differ.
    """
    paths = [path] if isinstance(path, Path | str) else path
    headers = [read_header(file) for file in model_files([resolve(file) for file in paths])]
    for header in headers:
        check_registered(header.path, header.sha256)
    check_same_classes([(str(header.path), header.task) for header in headers])
    return headers


def first_use_remarks(models: Sequence[ModelHeader], options: EngineOptions) -> list[str]:
    """Return a sentence per model on which engines will be tried first, which takes seconds; often none.

    Raises ModelError and UsageError as `Segmenter.load` does.
    """
    return [
        f"{model.path}: first use on this machine; {', '.join(names)} are tried once"
        for model in models
        if (names := engines_to_try(model, options))
    ]


def choose_device(device: str) -> str:
    """Return `cpu` or `cuda` for `auto`, `cpu` or `cuda`. Raises UsageError when there is no CUDA device for `cuda`."""
    if device == "cpu" or (device == "auto" and not _has_driver()):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
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
    """Return the image as grey `(H, W)` uint8; RGB becomes luma (ITU-R 601).

    Raises DataError for any other array, also a masked one, and for an image of a single grey value.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = image.dtype if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"the image is {kind}; expected a NumPy array of uint8 (0 to 255): scale and convert it first")
    if isinstance(image, np.ma.MaskedArray):
        raise DataError("the image is a masked array; expected a plain one: fill its masked pixels first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise DataError(f"the image has shape {image.shape}; expected (height, width), or (height, width, 3) for RGB")
    if min(image.shape[:2]) < MIN_SIDE:
        raise DataError(f"the image is {image.shape[1]}x{image.shape[0]} pixels; expected at least {MIN_SIDE} each way")
    grey = np.ascontiguousarray(image) if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if grey.min() == grey.max():
        raise DataError(f"every pixel has the grey value {grey[0, 0]}; expected an ultrasound image: replace the image")
    return grey


def check_spacing(spacing: Spacing | None, metadata: Metadata) -> Spacing | None:
    """Return the spacing as two floats, or None.

    Raises DataError unless it is a sequence of two numbers above 0 that `metadata.spacing_range_mm` includes.
    """
    if spacing is None:
        return None
    try:
        if isinstance(spacing, _NO_PAIR) or len(spacing) != 2:
            raise TypeError
        row_mm, col_mm = (_millimetres(value) for value in spacing)
    except (TypeError, ValueError):
        found = f"the spacing is a {type(spacing).__name__} and no pair of numbers"
        raise DataError(f"{found}; expected (row_mm, col_mm), or None when it is unknown") from None
    except OverflowError:
        raise DataError("the spacing has more than 308 digits; expected two numbers, in mm per pixel") from None
    if not (math.isfinite(row_mm + col_mm) and min(row_mm, col_mm) > 0):
        raise DataError(f"the spacing is {(row_mm, col_mm)}; expected two numbers above 0, in mm per pixel")
    problem = metadata.spacing_problem((row_mm, col_mm))
    if problem:
        raise DataError(problem)
    return row_mm, col_mm


_NO_PAIR = (str, bytes, bytearray, memoryview, Mapping, Set, np.ma.MaskedArray)
"""Types of which two values can be taken that are no (row_mm, col_mm)."""


def _millimetres(value: Any) -> float:
    """Return a number as float. Raises TypeError for text and truth values, which `float` takes as well."""
    if isinstance(value, str | bytes | bytearray | bool | np.bool_ | np.ma.MaskedArray):
        raise TypeError
    return float(value)
