"""The four scripts killed at seeded moments, started again, and compared with an uninterrupted run. `make killtest`.

python -m stress.killtest [--kills 50] [--seed 0]
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.progress import track
from safetensors.torch import load_file

from sonoseg.errors import SonoSegError
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.runs.command_line import SEED, number_type, run_guarded
from sonoseg.runs.workspace import (
    CHECKPOINT,
    CURVES,
    EVALUATION,
    EVALUATION_PAGE,
    HISTORY,
    INFERENCE_RECORD,
    PREPARATION_RECORD,
    PREPROCESSING_RECORD,
    TRAINING_RECORD,
    Workspace,
)

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = ("train_test_data_preparation.py", "image_preprocessing.py", "training.py", "inference.py")

TASK = {
    "extends": "spine",
    "name": "killed",
    "title": "Killed",
    "input": {"size": [64, 96]},
    "enhancement": {"denoise": None},
    "augmentation": {"copies": 3},
    "network": {"channels": [8, 16, 32], "strides": [2, 2], "residual_units": 1},
    "training": {"epochs": 6, "batch_size": 4, "patience": None, "loss": {"hausdorff": None}},
}

TIMELESS = ("results.csv", ".png", ".json", ".csv", ".html")
RECORDS = (PREPARATION_RECORD, PREPROCESSING_RECORD, TRAINING_RECORD, INFERENCE_RECORD)
NOT_COMPARED = (EVALUATION_PAGE, EVALUATION, CURVES, HISTORY, *RECORDS)
"""They contain times or the command line; the tensors, the history and the tables are compared instead."""


class ResultsDiffer(SonoSegError):
    """A restarted script failed, or its results are not those of an uninterrupted run."""


def command(stage: str, root: Path, *more: str) -> list[str]:
    flags = ["--task", str(root / "killed.yaml"), "--workspace", str(root), *more]
    if stage == "training.py":
        flags += ["--device", "cpu"]
    if stage == "inference.py":
        flags += ["--engine", "torch"]
    return [sys.executable, str(REPOSITORY / stage), *flags]


def run(stage: str, root: Path, *more: str) -> float:
    """Run a script to its end and return its seconds. Raises ResultsDiffer when it fails."""
    started = time.monotonic()
    ended = subprocess.run(command(stage, root, *more), capture_output=True, text=True, cwd=root)
    if ended.returncode != 0:
        raise ResultsDiffer(f"{stage} ended with {ended.returncode}: {ended.stderr.strip()}")
    return time.monotonic() - started


def run_and_kill(stage: str, root: Path, moment: float) -> bool:
    """Start a script and kill it after `moment` seconds; return whether it was still running."""
    process = subprocess.Popen(
        command(stage, root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root, start_new_session=True
    )
    try:
        process.wait(timeout=moment)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)  # the script alone: not its worker processes
        process.wait()
        return True


def restart(stage: str, root: Path) -> None:
    """Start a killed script again; training with --resume where there is a checkpoint."""
    resumable = stage == "training.py" and (Workspace(root, "killed").models / CHECKPOINT).is_file()
    run(stage, root, *(["--resume"] if resumable else []))


def content(root: Path) -> dict[str, Any]:
    """Return what runs are compared by: name -> bytes, tensors or rows."""
    contents: dict[str, Any] = {}
    workspace = Workspace(root, "killed")
    for folder in (workspace.split, workspace.results, workspace.models):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name.endswith(TIMELESS) and path.name not in NOT_COMPARED:
                contents[str(path.relative_to(root))] = path.read_bytes()
    models = workspace.models
    if workspace.best_model.is_file():
        weights = load_file(workspace.best_model)
        contents["weights"] = {name: tensor.numpy().tobytes() for name, tensor in weights.items()}
        history = torch.load(models / CHECKPOINT, weights_only=True)["progress"]["history"]
        contents["history"] = [{name: row[name] for name in row if not name.startswith("time/")} for row in history]
        contents["scores"] = json.loads((models / EVALUATION).read_text())["classes"]
    return contents


def compare(actual: dict[str, Any], expected: dict[str, Any], stage: str) -> None:
    """Raise ResultsDiffer when two runs differ in a file, a weight or a score."""
    wrong = sorted(name for name in actual.keys() | expected.keys() if actual.get(name) != expected.get(name))
    if wrong:
        raise ResultsDiffer(f"after a kill of {stage} these differ from an uninterrupted run: {', '.join(wrong[:5])}")


def killtest(kills: int, seed: int, root: Path) -> Counter[str]:
    """Kill the scripts in turn, `kills` times in all; return how often each was still running.

    Raises ResultsDiffer.
    """
    rng = random.Random(seed)
    base = root / "uninterrupted"
    data = base / "Datasets" / "killed"
    base.mkdir(parents=True)
    (base / "killed.yaml").write_text(yaml.safe_dump(TASK))
    make_phantoms(["--out", str(data), "--images", "16", "--seed", "4", "--size-scale", "0.3"])
    before, after, seconds = {}, {}, {}
    for stage in STAGES:
        before[stage] = Path(shutil.copytree(base, root / f"before_{stage}"))
        seconds[stage] = run(stage, base)
        after[stage] = content(base)

    running: Counter[str] = Counter()
    for turn in track(range(kills), "kill"):
        stage = STAGES[turn % len(STAGES)]
        shutil.rmtree(root / "copy", ignore_errors=True)
        copy = Path(shutil.copytree(before[stage], root / "copy"))
        running[stage] += run_and_kill(stage, copy, rng.uniform(0, seconds[stage]))
        restart(stage, copy)
        compare(content(copy), after[stage], stage)
    return running


def run_killtest(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress.killtest", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=number_type(int, 1, 10**6), default=50, help="number of kills")
    parser.add_argument("--seed", type=SEED, default=0, help="the same seed gives the same moments")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        running = killtest(arguments.kills, arguments.seed, Path(folder))
    for stage, count in running.items():
        print(f"{stage}: killed {count} times while it ran, and restarted with the results of an uninterrupted run")
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(run_killtest))
