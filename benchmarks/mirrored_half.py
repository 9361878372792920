"""Whether a second prediction, of the mirrored image at half resolution, improves the expected Dice; see `--help`.

    python -m benchmarks.mirrored_half --data path/to/hc18 --out /tmp/mirrored [--images 200]

Images of HC18's training split, and their degraded copies as the fit of a quality model makes them, by the model that
comes with SonoSeg. Feature `mirrored`: 1 minus the Dice of the mask with that of the second prediction, turned back.
Regressions without it, with it alone and with both are fitted to patients other than those of the image.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

import train_test_data_preparation
from benchmarks.samples import quietly
from sonoseg.evaluation.quality.observe import COPIES, DEGRADATION
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import read_header
from sonoseg.models.registry import FOLDER
from sonoseg.postprocess.interpret import interpret
from sonoseg.preprocess.augmentation import apply, copy_generator, draw_parameters
from sonoseg.quality.fit import PARTS
from sonoseg.quality.model import LEAST_LOSS, transformed
from sonoseg.quality.regression import fit_monotone
from sonoseg.runs.command_line import run_guarded
from sonoseg.runs.split_tables import read_split
from sonoseg.runs.workspace import Workspace

HALF = (96, 160)
"""Half of the network's 192x288, padded to a multiple of 32."""
FAILURE = 0.9
_FLOOR = 1e-3
"""Added to the feature before its logarithm, as to the others."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One result: its Dice, the features `(F,)` of a quality model, and the new one."""

    patient: str
    is_copy: bool
    dice: float
    features: Array
    mirrored: float


def dice_of(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice of two masks `(H, W)` of which one has a pixel."""
    return 2 * float(np.count_nonzero(one & other)) / float(np.count_nonzero(one) + np.count_nonzero(other))


def rows_of(data: Path, out: Path, images: int) -> list[Row]:
    """Return the results in which a head was found."""
    header, workspace = read_header(FOLDER / "fetal_head.safetensors"), Workspace(out, "fetal_head")
    task, network = header.task, load_network(header).eval()
    if not workspace.split_table("train").is_file():
        flags = ["--task", "fetal_head", "--workspace", str(out), "--data", str(data)]
        quietly(train_test_data_preparation.main, flags)
    half = task.input.model_copy(update={"size": HALF})
    full_size, half_size = (torch_predictor(network, task.network, task.enhancement, fit) for fit in (task.input, half))
    rows = []
    samples = read_split(workspace.split_table("train"), task.class_names, workspace.root)
    for sample in samples[:: max(1, len(samples) // images)][:images]:
        pair = read_image(sample.image).pixels, read_mask(sample.mask)
        draws = [draw_parameters(DEGRADATION, copy_generator(sample.id, 0, copy)) for copy in range(COPIES)]
        for number, (image, reference) in enumerate([pair, *(apply(drawn, *pair) for drawn in draws)]):
            found = interpret(full_size(image), image, task, sample.spacing)
            if "HEAD" not in found.features:
                continue
            turned = half_size(np.ascontiguousarray(image[:, ::-1]))[1][:, ::-1] > task.postprocessing.threshold
            rows.append(
                Row(
                    sample.patient,
                    number > 0,
                    dice_of(found.labels == 1, reference == 1),
                    transformed(found.features["HEAD"]),
                    float(np.log(1 - dice_of(found.labels == 1, turned) + _FLOOR)),
                )
            )
    return rows


def expected(rows: Sequence[Row], inputs: Array) -> Array:
    """Return the expected log(1 - Dice) `(N,)` from inputs `(N, F)`, each row by a fit without its patient's part."""
    part_of = {patient: index % PARTS for index, patient in enumerate(dict.fromkeys(row.patient for row in rows))}
    parts = np.array([part_of[row.patient] for row in rows])
    targets = np.log([max(1 - row.dice, LEAST_LOSS) for row in rows])
    result = np.empty(len(rows))
    for part in range(PARTS):
        result[parts == part] = fit_monotone(inputs[parts != part], targets[parts != part])(inputs[parts == part])
    return result


def auroc(scores: Array, is_failure: NDArray[np.bool_]) -> float:
    """Return how often a failure has a higher score than another result; NaN without both."""
    failures, others = int(is_failure.sum()), int((~is_failure).sum())
    if not failures or not others:
        return float("nan")
    return float((rankdata(scores)[is_failure].sum() - failures * (failures + 1) / 2) / (failures * others))


def run(arguments: argparse.Namespace) -> int:
    rows = rows_of(arguments.data, arguments.out, arguments.images)
    features, mirrored = np.stack([row.features for row in rows]), np.array([[row.mirrored] for row in rows])
    dice, copies = np.array([row.dice for row in rows]), np.array([row.is_copy for row in rows])
    ways = {"the present features": features, "mirrored alone": mirrored, "both": np.hstack([features, mirrored])}
    print(f"{len(rows)} results, {int((dice < FAILURE).sum())} with a Dice below {FAILURE}\n")
    print("| | rank correlation with 1 - Dice | of the images | of the copies | AUROC of failures |")
    print("|---|---|---|---|---|")
    for name, inputs in ways.items():
        scores = expected(rows, inputs)
        chosen = (np.ones(len(rows), dtype=bool), ~copies, copies)
        ranks = [f"{spearmanr(scores[some], 1 - dice[some]).statistic:.3f}" for some in chosen]
        print(f"| {name} | {' | '.join(ranks)} | {auroc(scores, dice < FAILURE):.3f} |")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table in Markdown; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mirrored_half", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="HC18 as it is downloaded")
    parser.add_argument("--out", type=Path, required=True, help="folder of the split")
    parser.add_argument("--images", type=int, default=200, help="images; each has two degraded copies")
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(run_guarded(main))
