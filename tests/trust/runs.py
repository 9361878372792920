"""The four scripts on a workspace so small that all of them run in seconds, and what is in it afterwards."""

from pathlib import Path
from types import ModuleType

import image_preprocessing
import inference
import train_test_data_preparation
import training
from tests.small import phantoms, small_task

NAME = "small_spine"
STAGES = (train_test_data_preparation, image_preprocessing, training, inference)
OUTPUTS = ("Train_Test_Dataset", "Models", "result")

TIMED = ("last.ckpt", "run.json", "evaluation.json", "evaluation.html", "MODEL_CARD.md", "evaluations.jsonl")
"""They hold how long something took, or when it was; so do the lists that name them."""
TIMED_LISTS = ("stage3.sha256", "stage4.sha256")


def make(root: Path, images: int = 12) -> Path:
    """Put a task and its data into `root` and return it; nothing has run."""
    small_task("spine", root, epochs=1, enhancement={"denoise": None})
    phantoms("spine", root, images)
    return root


def flags(stage: ModuleType, root: Path) -> list[str]:
    """Return what a stage is called with."""
    own = {
        train_test_data_preparation: ["--data", str(root / "spine")],
        image_preprocessing: ["--jobs", "1"],
        training: ["--device", "cpu", "--precision", "32-true", "--run", "run"],
        inference: ["--device", "cpu", "--engine", "torch", "--jobs", "1"],
    }
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root), *own[stage]]


def run(stage: ModuleType, root: Path, *more: str) -> int:
    return int(stage.main([*flags(stage, root), *more]))


def outputs(root: Path) -> dict[str, bytes]:
    """Return every file below the output folders, hidden ones too."""
    paths = [path for name in OUTPUTS for path in (root / name).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
