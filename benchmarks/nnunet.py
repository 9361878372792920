"""Stage 4 beside nnU-Net's own predictor, on images of HC18, on this machine's processors.

    python -m venv nnunet-env && nnunet-env/bin/pip install nnunetv2
    python -m benchmarks.nnunet --data path/to/hc18 --python nnunet-env/bin/python [--images 10]

nnU-Net takes the fingerprint of HC18, plans its network, and segments images with random weights, which take as long as
others. Both read PNG files and write masks; SonoSeg also writes overlays and measurements.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sonoseg.errors import DataError, UsageError
from sonoseg.io.files import write_json
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.runs.command_line import number_type, run_guarded

REPOSITORY = Path(__file__).resolve().parents[1]
MORE = 200
"""Images over which SonoSeg is timed: its start takes longer than ten of them."""


def write_dataset(data: Path, root: Path, count: int) -> None:
    """Write HC18's images in nnU-Net's layout, `count` of them into `images/`, and `MORE` more into `more/`.

    Raises DataError for a folder with fewer.
    """
    files = sorted((data / "training_set").glob("*_HC.png"))
    if len(files) < count + MORE:
        raise DataError(
            f"{data}: {len(files)} files training_set/*_HC.png; expected at least {count + MORE}, as HC18 has"
        )
    folder = root / "raw" / "Dataset001_Heads"
    for name in (folder / "imagesTr", folder / "labelsTr", root / "images", root / "more"):
        name.mkdir(parents=True)
    for path in files:
        shutil.copy(path, folder / "imagesTr" / f"{path.stem}_0000.png")
        filled = read_image(path.with_name(f"{path.stem}_Annotation.png")).pixels
        write_image(folder / "labelsTr" / path.name, (filled > 0).astype(np.uint8), sync=False)
    for part, number in (("images", count), ("more", count + MORE)):
        for path in files[:: len(files) // number][:number]:
            shutil.copy(path, root / part)
    about = {"channel_names": {"0": "ultrasound"}, "labels": {"background": 0, "HEAD": 1}, "file_ending": ".png"}
    write_json(folder / "dataset.json", about | {"numTraining": len(files)})


def nnunet(python: Path, root: Path) -> dict[str, float]:
    """Return what `nnunet_predictor` prints. Raises UsageError when it fails."""
    folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
    command = [str(python), str(REPOSITORY / "benchmarks" / "nnunet_predictor.py"), str(root)]
    ended = subprocess.run(command, env=os.environ | folders, check=False, capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise UsageError(f"--python {python}: nnU-Net has failed: {last}; expected an environment with nnunetv2")
    found: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return found


def sonoseg(root: Path) -> float:
    """Return the time of an image without that of the start: `MORE` images, as an image is short beside the start."""
    taken = []
    for name in ("images", "more"):
        command = [sys.executable, "inference.py", "--task", "fetal_head", "--images", str(root / name)]
        started = time.monotonic()
        subprocess.run(
            [*command, "--output", str(root / f"of_{name}")], cwd=REPOSITORY, check=True, capture_output=True
        )
        taken.append(time.monotonic() - started)
    return (taken[1] - taken[0]) / MORE


def run(argv: Sequence[str] | None) -> int:
    """Time both and print a line for each. Raises SonoSegError and OSError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nnunet", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of HC18")
    parser.add_argument("--python", type=Path, required=True, help="Python of an environment with nnunetv2")
    parser.add_argument(
        "--images", type=number_type(int, 2, 500), default=10, help="images to segment with nnU-Net (default: 10)"
    )
    arguments = parser.parse_args(argv)
    if not arguments.python.is_file():
        raise UsageError(f"--python {arguments.python}: no such file; expected the Python of an environment")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_dataset(arguments.data, root, arguments.images)
        ours = sonoseg(root)
        theirs = nnunet(arguments.python, root)
    print(f"SonoSeg, fetal_head: {ours:.3f} s an image")
    print(f"nnU-Net, {theirs['millions']} M parameters, patch {theirs['patch']}, torch {theirs['torch']}:")
    for name in ("plain", "mirrored"):
        print(f"  {name}: {theirs[name]:.2f} s an image, {theirs[name] / ours:.0f} times as long")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
