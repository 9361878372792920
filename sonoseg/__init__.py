"""SonoSeg: segment ultrasound images and measure what is found, in millimetres."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_MODULES = {
    "Loader": "sonoseg.training.datasets",
    "SegmentationDataset": "sonoseg.training.datasets",
    "SegmentationLoss": "sonoseg.training.losses",
    "Segmenter": "sonoseg.inference.segmenter",
    "SequentialBatchSampler": "sonoseg.training.datasets",
    "ShuffledBatchSampler": "sonoseg.training.datasets",
    "TrainingOptions": "sonoseg.training.setup",
    "TrainingSetup": "sonoseg.training.setup",
    "Workspace": "sonoseg.runs.workspace",
    "available_tasks": "sonoseg.schema.task_files",
    "build_network": "sonoseg.models.networks",
    "build_optimizer": "sonoseg.training.optimizer",
    "build_training": "sonoseg.training.setup",
    "class_map": "sonoseg.postprocess.class_map",
    "learning_rates": "sonoseg.training.optimizer",
    "load_data": "sonoseg.evaluation.folds",
    "load_task": "sonoseg.schema.task_files",
    "predict": "sonoseg.models.networks.heads",
    "read_image": "sonoseg.io.readers",
    "read_mask": "sonoseg.io.masks",
    "start_fabric": "sonoseg.training.processes",
    "summarise_network": "sonoseg.models.summary",
    "tint": "sonoseg.reporting.drawing",
    "train_epoch": "sonoseg.training.loop",
    "validate": "sonoseg.training.loop",
}
"""Public name -> module that defines it."""

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name at its first use, so that `import sonoseg` imports no torch. Raises AttributeError."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return all public names, for completion, without importing them."""
    return sorted({*globals(), *_MODULES})
