"""The four scripts on a workspace so small that all of them run in seconds, and their outputs."""

from collections.abc import Sequence
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

RECORDS = ("stage1_run.json", "stage2_run.json", "stage3_run.json", "scoring_run.json")
TIMED = (
    "last.ckpt",
    "history.csv",
    "run.json",
    "evaluation.json",
    "evaluation.html",
    "MODEL_CARD.md",
    "evaluations.jsonl",
    *RECORDS,
)
"""Files that contain durations, dates or the command line; the lists that contain them change with them."""
TIMED_LISTS = ("stage1.sha256", "stage2.sha256", "stage3.sha256", "stage4.sha256")


def make(root: Path, images: int = 12) -> Path:
    """Put a task and its data into `root` and return it; nothing has run."""
    small_task("spine", root, epochs=1, enhancement={"denoise": None})
    phantoms("spine", root, images)
    return root


def flags(stage: ModuleType, root: Path) -> list[str]:
    """Return the flags of a stage."""
    own = {
        train_test_data_preparation: ["--data", str(root / "spine")],
        image_preprocessing: ["--jobs", "1"],
        training: ["--device", "cpu", "--precision", "32-true", "--run", "run"],
        inference: ["--device", "cpu", "--engine", "torch", "--jobs", "1"],
    }
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root), *own[stage]]


def run(stage: ModuleType, root: Path, *more: str) -> int:
    """Run a stage in this process; return its exit code."""
    return int(stage.main([*flags(stage, root), *more]))


def ran(root: Path, stages: Sequence[ModuleType] = STAGES) -> Path:
    """Put a task and its data into `root`, run these stages on it, and return it."""
    make(root)
    for stage in stages:
        assert run(stage, root) == 0
    return root


def outputs(root: Path) -> dict[str, bytes]:
    """Return every file below the output folders, hidden ones too."""
    paths = [path for name in OUTPUTS for path in (root / name).rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
