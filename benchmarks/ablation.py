"""Train variants of a task for the same number of epochs, and score each on validation images; see `--help`.

    python -m benchmarks.ablation benchmarks/fetal_head_ablation.yaml --data path/to/hc18 --out /tmp/ablation

The list names a task, the epochs of every row, seeds, and the rows: settings that replace those of the task.
`further_seeds` has the seeds of single rows beside those of all; with `only_fold` images of that fold alone train and
validate. No test image is read. Rows that are in `results.jsonl` of the output folder are not trained again.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

import image_preprocessing
import train_test_data_preparation
from benchmarks.samples import quietly
from sonoseg.errors import UsageError, choices
from sonoseg.evaluation.folds import FoldData, load_data
from sonoseg.evaluation.segment import segment_and_compare
from sonoseg.evaluation.summary import summarise
from sonoseg.io.names import patient_key
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.predictor import Predictor, trained_flips
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from sonoseg.schema.yaml_text import read_yaml
from sonoseg.training.processes import start_fabric
from sonoseg.training.progress import Progress
from sonoseg.training.setup import TrainingOptions, TrainingSetup, build_training
from training import train_and_validate

RESULTS = "results.jsonl"


def run(argv: Sequence[str] | None) -> int:
    """Train and score the rows that are not done, and print a table of all of them. Raises SonoSegError and OSError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("list", type=Path, help="YAML file of the rows")
    parser.add_argument("--data", type=Path, required=True, help="annotated images, as stage 1 takes them")
    parser.add_argument("--out", type=Path, required=True, help="folder for workspaces and results")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="cpu", help="where to train (default: cpu)"
    )
    arguments = parser.parse_args(argv)
    plan = read_list(arguments.list)
    unknown = set(arguments.rows or ()) - set(plan["rows"])
    if unknown:
        raise UsageError(
            f"--rows: {arguments.list} has no {choices(sorted(unknown))}; expected {choices(list(plan['rows']))}"
        )
    results = arguments.out / RESULTS
    done = read_results(results)
    prepared: dict[str, tuple[Task, FoldData]] = {}
    for name, seed in rows_with_seeds(plan):
        if (name, seed) in done or (arguments.rows and name not in arguments.rows):
            continue
        if name not in prepared:
            task_name = re.sub(r"\W", "_", f"{arguments.list.stem}_{name}".lower())  # of the task's folders
            settings = plan["rows"][name] or {}
            prepared[name] = prepare(arguments.out, task_name, plan["task"], settings, arguments.data)
        task, data = prepared[name]
        if "only_fold" in plan:
            data = only_fold(data, plan["only_fold"])
        if plan.get("images"):
            data = subset(data, plan["images"], plan["validation"], seed)
        scores = train_and_score(task, data, plan["epochs"], seed, arguments.device)
        row = {"row": name, "seed": seed, "epochs": plan["epochs"], **scores}
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        done[name, seed] = row
        print(line(row), flush=True)
    print(*map(line, done.values()), sep="\n")
    return 0


def read_list(path: Path) -> dict[str, Any]:
    """Return the content of a list of variants. Raises UsageError when something is missing or a row is unknown."""
    plan = read_yaml(path)
    missing = {"task", "epochs", "rows"} - set(plan if isinstance(plan, dict) else ())
    if missing:
        raise UsageError(
            f"{path}: not a list of variants, as benchmarks/*.yaml are; lacks {', '.join(sorted(missing))}"
        )
    unknown = set(plan.get("further_seeds", {})) - set(plan["rows"])
    if unknown:
        raise UsageError(
            f"{path}: further_seeds: found {choices(sorted(unknown))}; expected {choices(list(plan['rows']))}"
        )
    return dict(plan)


def rows_with_seeds(plan: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield name and seed of each training of a list: all rows with each of its `seeds`, then its `further_seeds`."""
    for seed in plan.get("seeds", [0]):
        yield from ((name, seed) for name in plan["rows"])
    for name, seeds in plan.get("further_seeds", {}).items():
        yield from ((name, seed) for seed in seeds)


def read_results(path: Path) -> dict[tuple[str, int], dict[str, Any]]:
    """Return (row, seed) -> its results; empty without a file."""
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []
    return {(row["row"], row["seed"]): row for row in rows}


def prepare(out: Path, name: str, task: str, settings: dict[str, Any], data: Path) -> tuple[Task, FoldData]:
    """Run stages 1 and 2 for a task with other settings, in a workspace of its own, and return its first fold."""
    root = out / name
    root.mkdir(parents=True, exist_ok=True)
    file = root / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"extends": task, "name": name, **settings}), encoding="utf-8")
    flags = ["--task", str(file), "--workspace", str(root)]
    quietly(train_test_data_preparation.main, [*flags, "--data", str(data)])
    quietly(image_preprocessing.main, [*flags, "--jobs", "1"])
    loaded = load_task(str(file))
    return loaded, load_data(loaded, Workspace(root, loaded.name), 0)


def only_fold(data: FoldData, fold: int) -> FoldData:
    """Return the images of one fold, as a model that was validated on it has not seen them; none of them validates.

    Raises UsageError for the fold that validates, whose augmented copies are not among the rows.
    """
    samples = [sample for sample in data.samples if sample.fold == fold]
    if fold == data.fold:
        raise UsageError(f"only_fold: {fold} validates here; expected another fold")
    chosen = {sample.id for sample in samples}
    rows = [row for row in data.train if row.source_id in chosen]
    return replace(data, samples=samples, train=rows, validation=[], test=[])


def subset(data: FoldData, images: int, validation: int, seed: int) -> FoldData:
    """Return a fold that trains on `images` or a few more, of whole patients, and validates on others of the training
    part, at most `validation` of them.
    """
    tested = {row.source_id for row in data.test}
    samples = [sample for sample in data.samples if sample.id not in tested]
    patients = sorted({patient_key(sample.patient) for sample in samples})
    random.Random(seed).shuffle(patients)
    chosen: set[str] = set()
    for patient in patients:
        if len(chosen) < images:
            chosen |= {sample.id for sample in samples if patient_key(sample.patient) == patient}
    rows = [*data.train, *data.validation]
    unused = [row for row in rows if row.source_id not in chosen and row.augmentation == "none"]
    unused = random.Random(seed).sample(unused, min(validation, len(unused)))
    return replace(data, train=[row for row in rows if row.source_id in chosen], validation=unused)


def train_and_score(task: Task, data: FoldData, epochs: int, seed: int, device: str = "cpu") -> dict[str, Any]:
    """Return the scores of the last epoch on the validation images, in their own geometry, and the training's time."""
    setup = build_training(task, data, start_fabric(device, 1, "auto"), TrainingOptions(seed, epochs))
    progress, began, began_cpu = Progress("ablation"), time.perf_counter(), time.process_time()
    for _ in range(epochs):
        progress.finish_epoch(setup.validated, train_and_validate(setup, progress, []))
        print({key: round(value, 4) for key, value in progress.history[-1].items()}, file=sys.stderr, flush=True)
    minutes = {
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "cpu_minutes": round((time.process_time() - began_cpu) / 60, 1),
    }
    with torch.random.fork_rng(devices=[]):
        return {**minutes, **score(setup, data)}


def score(setup: TrainingSetup, data: FoldData) -> dict[str, Any]:
    """Return the scores of a trained network on the validation images, as stage 4 would segment them.

    Where the task has them: also with the network's own masks (`raw_`) and with test-time augmentation (`tta_`).
    """
    task, predictor = setup.task, predictor_of(setup)
    scores = mean_scores(predictor, task, data)
    if task.postprocessing.shape_mask:
        raw = mean_scores(predictor, task.with_raw_masks(), data)
        scores |= {f"raw_{key}": value for key, value in raw.items()}
    if flips := trained_flips(task.augmentation):
        scores |= {
            f"tta_{key}": value for key, value in mean_scores(replace(predictor, flips=flips), task, data).items()
        }
    return scores


def predictor_of(setup: TrainingSetup) -> Predictor:
    """Return the predictor of the network as it is now: the average of its weights, where the task has one."""
    task = setup.task
    return torch_predictor(setup.validated.eval(), task.network, task.enhancement, task.input, setup.fabric.device)


def summary_on(predictor: Predictor, task: Task, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the summary of annotated images, with the lowest Dice as `worst_dice`."""
    in_mm = all(sample.spacing for sample in samples)
    cases = list(segment_and_compare([predictor], samples, task, in_mm))
    summary = summarise(cases, task.class_names, task.evaluation, task.threshold)
    return {**summary, "worst_dice": round(min(case.dice for case in cases), 3)}


def mean_scores(predictor: Predictor, task: Task, data: FoldData) -> dict[str, float]:
    """Return means over the patients of the validation images: per class in mm or px, and errors of measurements."""
    scores: dict[str, float] = {}
    summary = summary_on(predictor, task, data.validation_samples)
    for name, values in summary["classes"].items():
        scores |= {f"{name}_{key}": round(values[key]["mean"], 4) for key in ("dice", "hd95", "hausdorff")}
    scores |= {f"{key}_mae": round(value, 3) for key, value in measured(summary)}
    return {**scores, "worst_dice": summary["worst_dice"]}


def measured(summary: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield key and mean absolute error of each measurement; a missed one counts as the largest error."""
    for key, entry in summary["measurements"].items():
        if "mean_absolute_error_with_missed" in entry and not key.endswith("_px"):
            yield key, entry["mean_absolute_error_with_missed"]["mean"]


def line(row: dict[str, Any]) -> str:
    """Return a row as a line of a Markdown table."""
    return "| " + " | ".join(f"{key} {value}" for key, value in row.items()) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, see `run_guarded`."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
