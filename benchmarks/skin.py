"""How often the skin is found wrong, with and without a doubt, where something covers the top of the image.

    python -m benchmarks.skin [--images N] [--seed N]

Simulated spines at half size, with a bar of one grey value, or an artefact of the simulation, over their first rows.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from sonoseg.phantom.layout import Settings
from sonoseg.phantom.spine.artefacts import ARTEFACTS
from sonoseg.phantom.spine.dataset import Scene, plan_spine
from sonoseg.postprocess.skin import find_skin
from sonoseg.types import Pixels

GREYS = (30, 50, 70, 85, 100, 120, 150)
ROWS = 14
LIMIT_MM = 1.5
"""Largest error that counts as right: the skin is that thick."""

Draw = Callable[[Pixels, int, np.random.Generator], Pixels]


def _bar(image: Pixels, rows: int, _: np.random.Generator, grey: int) -> Pixels:
    image[:rows] = grey
    return image


def trial(scenes: Sequence[tuple[Scene, float]], draw: Draw | None, rng: np.random.Generator) -> str:
    """Return cells: results wrong without a doubt, worst error without one in mm, doubted, and not found."""
    silent, doubted, absent = [], 0, 0
    for scene, row_mm in scenes:
        (midline,) = (shape.points for shape in scene.annotation if shape.structure == "MID")
        skin = find_skin(draw(scene.image.copy(), ROWS, rng) if draw else scene.image, midline)
        if skin.row is None:
            absent += 1
        elif skin.doubt:
            doubted += 1
        else:
            silent.append(abs(skin.row - scene.skin_row) * row_mm)
    wrong = sum(error > LIMIT_MM for error in silent)
    return f"{wrong} | {max(silent, default=0):.1f} mm | {doubted} | {absent}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table in Markdown; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.skin", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=60, help="simulated images; some show no midline")
    parser.add_argument("--seed", type=int, default=91)
    arguments = parser.parse_args(argv)
    cases = plan_spine(Settings(images=arguments.images, seed=arguments.seed, size_scale=0.5))
    scenes = [(case.make(), case.patient.device.row_mm) for case in cases if "MID" in case.view.labels]
    draws: dict[str, Draw | None] = {"nothing": None}
    draws.update({f"bar of grey {grey}": partial(_bar, grey=grey) for grey in GREYS})
    draws.update(ARTEFACTS)
    print(f"{len(scenes)} images, {ROWS} rows\n")
    print(f"| at the top | no doubt, wrong by over {LIMIT_MM} mm | no doubt, worst | doubted | not found |")
    print("|---|---|---|---|---|")
    for name, draw in draws.items():
        print(f"| {name} | {trial(scenes, draw, np.random.default_rng(arguments.seed))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
