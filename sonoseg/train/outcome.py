"""What a finished run leaves behind: the scores of the test split, and the facts that go into the model file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoseg.core.files import write_csv, write_json
from sonoseg.core.versions import versions
from sonoseg.train.checkpoint import Progress
from sonoseg.train.data import TrainingData
from sonoseg.train.evaluate import Case


def model_facts(progress: Progress, data: TrainingData, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a model file says of its own making: versions, data hashes, settings, and the epoch chosen."""
    return {
        "versions": versions(),
        "data": data.hashes,
        "images": {"train": len(data.train), "validation": len(data.validation)},
        "fold": settings["fold"],
        "seed": settings["seed"],
        "best_epoch": progress.best_epoch + 1,
        "epochs": progress.epoch,
        "validation_dice": progress.best_dice,
        "use": "not for clinical use",
    }


def write_evaluation(
    folder: Path, part: str, summary: dict[str, Any], cases: Sequence[Case], model: dict[str, Any]
) -> None:
    """Write `per_case.csv`, then `evaluation.json`: the scores of one part, and which model they are of."""
    rows = [case.row() for case in cases]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    write_csv(folder / "per_case.csv", columns, rows)
    write_json(folder / "evaluation.json", {"use": "not for clinical use", "part": part, **summary, "model": model})
