"""Whether images that `sonoseg suggest` chooses teach a network more than random ones; see `--help`.

    python -m benchmarks.suggested_labels --out /tmp/loop [--seeds 3] [--rounds 2] [--count 20] [--images 240]

Simulated heads: `count` random images are labelled, a network is trained, further `count` images are chosen by
`sonoseg suggest` or at random and get their true annotation, and so on. Each network is scored on the same images,
which are never labelled. Networks have the fetal head task's settings at a quarter of its input size.
"""

import argparse
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import image_preprocessing
import train_test_data_preparation
import training
from benchmarks.samples import pictures, quietly
from sonoseg.annotations.mask_values import fill_outline
from sonoseg.errors import UsageError
from sonoseg.inference.segmenter import Segmenter
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.review.learning.suggest import suggest
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.workspace import Workspace

NAME = "suggested_heads"
TABLE = "training_set_pixel_size_and_HC.csv"
TEST_SHARE = 0.25
ARMS = ("suggested", "random")


def write_task(folder: Path, epochs: int) -> Path:
    """Write the task: that of the fetal head, smaller."""
    network = {
        "name": "unet",
        "channels": [16, 32, 64, 128],
        "strides": [2, 2, 2],
        "residual_units": 1,
        "norm": "batch",
    }
    fields = {
        "extends": "fetal_head",
        "name": NAME,
        "input": {"size": [96, 144]},
        "network": network,
        "split": {"test_size": 0.1, "folds": 4},
        "training": {"epochs": epochs, "batch_size": 4},
    }
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(fields))
    return path


def trained(task: Path, labelled: Sequence[Path], root: Path, seed: int) -> Path:
    """Train on labelled images in a workspace of its own; return the model."""
    data = root / "data"
    (data / "training_set").mkdir(parents=True)
    for path in labelled:
        for source in (path, path.with_name(f"{path.stem}_Annotation.png")):
            shutil.copy(source, data / "training_set")
    shutil.copy(labelled[0].parents[1] / TABLE, data)
    flags = ["--task", str(task), "--workspace", str(root)]
    quietly(train_test_data_preparation.main, [*flags, "--data", str(data), "--seed", str(seed)])
    quietly(image_preprocessing.main, [*flags, "--jobs", "1"])
    quietly(training.main, [*flags, "--seed", str(seed), "--device", "cpu", "--fold", "0"])
    return Workspace(root, NAME).best_model


def mean_dice(model: Path, images: Sequence[Path]) -> float:
    """Return the mean Dice of a model on images with annotations."""
    segmenter = Segmenter.load(model, "cpu", "torch")
    scores = []
    for path in images:
        found = segmenter(read_image(path).pixels).masks[0]
        truth = fill_outline(read_mask(path.with_name(f"{path.stem}_Annotation.png")) > 0)
        both, total = np.count_nonzero(found & truth), np.count_nonzero(found) + np.count_nonzero(truth)
        scores.append(2 * both / total if total else 1.0)
    return float(np.mean(scores))


def chosen(arm: str, pool: Sequence[Path], model: Path, count: int, draw: random.Random) -> list[Path]:
    """Return the images of the pool to label next; random ones where fewer are suggested."""
    picked: list[Path] = []
    if arm == "suggested":
        folder = model.parent / "pool"
        folder.mkdir()
        for path in pool:
            shutil.copy(path, folder)
        workspace = Workspace(model.parents[2], NAME)
        try:
            found = suggest(folder, [model], workspace, count, lambda images, _: images)
            names = [one.source.path.name for one in found.chosen]
            picked = [path for name in names for path in pool if path.name == name]
        except UsageError:  # the model rejects all of them
            picked = []
    rest = [path for path in pool if path not in picked]
    return picked + draw.sample(rest, min(count - len(picked), len(rest)))


def compare(images: Sequence[Path], task: Path, out: Path, settings: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Return the Dice after each round of both ways to choose; both begin with the same model."""
    draw = random.Random(seed)
    order = draw.sample(list(images), len(images))
    tested = round(len(order) * TEST_SHARE)
    test, pool = order[:tested], order[tested:]
    first = pool[: settings.count]
    start = trained(task, first, out / f"seed{seed}" / "start", seed)
    dice = {arm: [mean_dice(start, test)] for arm in ARMS}
    for arm in ARMS:
        model, labelled = start, list(first)
        for number in range(1, settings.rounds + 1):
            rest = [path for path in pool if path not in labelled]
            labelled += chosen(arm, rest, model, settings.count, random.Random(seed * 100 + number))
            model = trained(task, labelled, out / f"seed{seed}" / f"{arm}{number}", seed)
            dice[arm].append(mean_dice(model, test))
    return {"seed": seed, "labelled": [settings.count * (number + 1) for number in range(settings.rounds + 1)], **dice}


def run(argv: Sequence[str] | None) -> int:
    """Compare both ways for each seed, and print the Dice after each round. Raises SonoSegError and OSError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suggested_labels", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of all files; a new one")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of choosing and training")
    parser.add_argument("--count", type=int, default=20, help="images that are labelled in a round")
    parser.add_argument("--images", type=int, default=240, help="simulated images, a quarter of which test")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of each training")
    settings = parser.parse_args(argv)
    settings.out.mkdir(parents=True)
    task, better = write_task(settings.out, settings.epochs), 0
    for seed in range(1, settings.seeds + 1):
        data = settings.out / f"heads{seed}"
        size = ["--images", str(settings.images), "--size-scale", "0.4"]
        quietly(make_phantoms, ["--kind", "head", "--out", str(data), "--seed", str(seed), *size])
        result = compare(pictures(data), task, settings.out, settings, seed)
        better += result["suggested"][-1] > result["random"][-1]
        print(json.dumps(result), flush=True)
    print(f"suggested images are better after {settings.rounds} rounds in {better} of {settings.seeds} seeds")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
