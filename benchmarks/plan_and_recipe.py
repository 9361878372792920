"""A plan read off 70 heads beside the recipe `fetal_head` for them, trained equally long; see `--help`.

    python -m benchmarks.plan_and_recipe --data path/to/hc18 --out /tmp/seventy [--minutes 15] [--ways plan recipe]

70 training images of HC18 or a few more, of whole patients, are copied into a folder. The plan is what `new-task` and
stage 1 make of it; the recipe is `fetal_head` for as many epochs as the time allows, found by training two. Both are
scored on 200 other training images. No test image is read.
"""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

import image_preprocessing
import train_test_data_preparation
import training
from benchmarks.ablation import subset, summary_on
from benchmarks.samples import quietly
from sonoseg.__main__ import main as sonoseg
from sonoseg.evaluation.folds import load_data
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import read_header
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task_files import load_task

HEADS, SCORED = 70, 200
TABLE = "training_set_pixel_size_and_HC.csv"
WAYS = ("plan", "recipe")


def divide(data: Path, root: Path) -> tuple[Path, list[Sample]]:
    """Return a folder of `HEADS` annotated images, as HC18 is downloaded, and `SCORED` other images."""
    flags = ["--task", "fetal_head", "--workspace", str(root)]
    workspace, task = Workspace(root, "fetal_head"), load_task("fetal_head")
    if not workspace.split_table("train").is_file():
        quietly(train_test_data_preparation.main, [*flags, "--data", str(data)])
        quietly(image_preprocessing.main, [*flags, "--jobs", "1"])
    fold = subset(load_data(task, workspace, 0), HEADS, SCORED, seed=1)
    folder = root / "heads"
    names = {Path(row.source_id).name for row in fold.train}
    if not folder.is_dir():
        (folder / "training_set").mkdir(parents=True)
        for name in names:
            for path in (data / "training_set").glob(f"{name}*.png"):
                shutil.copy(path, folder / "training_set")
        shutil.copy(data / TABLE, folder)
    return folder, fold.validation_samples


def planned(folder: Path, root: Path, minutes: float) -> Path:
    """Return the task file that `new-task` writes."""
    path = root / "planned.yaml"
    if not path.is_file():
        quietly(
            sonoseg, ["new-task", str(folder), "--name", "planned", "--out", str(path), "--minutes", f"{minutes:g}"]
        )
    return path


def recipe(folder: Path, root: Path, minutes: float) -> Path:
    """Return a task file of the recipe, with the epochs that fit into the time on this machine."""
    path = root / "recipe.yaml"
    fields: dict[str, Any] = {"extends": "fetal_head", "name": "recipe"}
    if not path.is_file():
        trial = root / "trial" / "recipe.yaml"
        trial.parent.mkdir(exist_ok=True)
        trial.write_text(yaml.safe_dump(fields | {"training": {"epochs": 2}}))
        train(trial, folder, trial.parent)
        with (trial.parent / "Models" / "recipe" / "history.csv").open() as table:
            seconds = float(list(csv.DictReader(table))[-1]["time/epoch_s"])
        path.write_text(yaml.safe_dump(fields | {"training": {"epochs": max(1, round(60 * minutes / seconds))}}))
    return path


def train(task: Path, folder: Path, root: Path) -> Path:
    """Run stages 1 to 3, or go on with stage 3; return the model."""
    workspace = Workspace(root, task.stem)
    flags = ["--task", str(task), "--workspace", str(root)]
    resumed = (workspace.models / "last.ckpt").is_file()
    if not resumed:
        quietly(train_test_data_preparation.main, [*flags, "--data", str(folder)])
        quietly(image_preprocessing.main, [*flags, "--jobs", "1"])
    quietly(training.main, [*flags, *(["--resume"] if resumed else [])])
    return workspace.best_model


def score(model: Path, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the scores of a model on annotated images, as stage 4 would segment them."""
    header = read_header(model)
    predictor = torch_predictor(load_network(header), header.task.network, header.task.enhancement, header.task.input)
    summary = summary_on(predictor, header.task, samples)
    (values,) = summary["classes"].values()
    means = {key: round(values[key]["mean"], 4) for key in ("dice", "hd95", "hausdorff")}
    circumference = values["shape_errors"]["circumference_error_mm"]["mean_with_missed"]["mean"]
    return means | {"circumference_mm": round(circumference, 2), "worst_dice": summary["worst_dice"]}


def run(argv: Sequence[str] | None) -> int:
    """Train and score both, and print a line each. Raises SonoSegError and OSError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan_and_recipe", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of HC18")
    parser.add_argument("--out", type=Path, required=True, help="folder of all files; unfinished work goes on")
    parser.add_argument("--minutes", type=float, default=15, help="length of each training (default: 15)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="default: both")
    settings = parser.parse_args(argv)
    folder, samples = divide(settings.data, settings.out)
    for way in settings.ways:
        root = settings.out / way
        root.mkdir(parents=True, exist_ok=True)
        task = (planned if way == "plan" else recipe)(folder, root, settings.minutes)
        model = train(task, folder, root)
        epochs = read_header(model).info["epochs"]
        print(json.dumps({"way": way, "epochs": epochs, **score(model, samples)}), flush=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
