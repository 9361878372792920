"""SonoSeg: segment ultrasound images and measure what is found, in millimetres."""

from importlib import import_module
from typing import Any

__version__ = "0.2.0"

_HOMES = {
    "EpochBatches": "sonoseg.training.datasets",
    "InOrder": "sonoseg.training.datasets",
    "Loader": "sonoseg.training.datasets",
    "SegmentationDataset": "sonoseg.training.datasets",
    "SegmentationLoss": "sonoseg.training.losses",
    "Segmenter": "sonoseg.inference.segmenter",
    "Workspace": "sonoseg.runs.workspace",
    "available_tasks": "sonoseg.schema.task_files",
    "build_network": "sonoseg.models.networks",
    "build_optimizer": "sonoseg.training.optimizer",
    "class_map": "sonoseg.postprocess.class_map",
    "learning_rates": "sonoseg.training.optimizer",
    "load_data": "sonoseg.evaluation.folds",
    "load_task": "sonoseg.schema.task_files",
    "predict": "sonoseg.models.networks.heads",
    "read_image": "sonoseg.io.images",
    "read_mask": "sonoseg.io.images",
    "start_fabric": "sonoseg.training.loop",
    "summarise_network": "sonoseg.models.summary",
    "tint": "sonoseg.reporting.drawing",
    "train_epoch": "sonoseg.training.loop",
    "validate": "sonoseg.training.loop",
}
"""What a notebook needs, and the module it is written in."""

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a part, and torch with it where it needs torch, when it is first asked for: `import sonoseg` is instant."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    part = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return part


def __dir__() -> list[str]:
    """Return the parts, so that a notebook completes their names before they are loaded."""
    return sorted({*globals(), *_HOMES})
