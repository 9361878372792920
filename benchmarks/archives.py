"""Archives: images per second and core, bytes of a row, and what Ray costs, in one run on this machine.

    python -m benchmarks.archives                  # 2,000 simulated images
    python -m benchmarks.archives --images 20000   # as many as the guide speaks of
    python -m benchmarks.archives --folder PATH    # images of one's own

Runs stage 4 as a user does: with Parquet shards, and with Parquet shards on Ray where that is installed. Each way runs
twice, on a twentieth of the images and on all, so that the start is not counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from sonoseg.io.png import write_image

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = (120, 160)
FEW = 20


def write_images(folder: Path, count: int) -> None:
    """Write small pictures of a bright disc in noise, 1,000 in each sub-folder."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SMALL[0], : SMALL[1]]
    for index in range(count):
        disc = (rows - 60) ** 2 + (columns - 80) ** 2 < 900 + index % 900
        pixels = np.where(disc, 180, 20).astype(np.uint8) + rng.integers(0, 60, SMALL, dtype=np.uint8)
        write_image(folder / f"{index // 1000:04d}" / f"{index:07d}.png", pixels, sync=False)


def seconds_of(images: Path, out: Path, flags: Sequence[str]) -> float:
    """Run stage 4; return its time in seconds. Raises RuntimeError when it fails."""
    command = [sys.executable, "inference.py", "--images", str(images), "--output", str(out), *flags]
    started = time.monotonic()
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1):
        raise RuntimeError(ended.stderr)
    return time.monotonic() - started


def list_of(files: Sequence[Path], path: Path) -> Path:
    path.write_text("\n".join(map(str, files)))
    return path


def measure(files: Sequence[Path], root: Path, model: str, jobs: int) -> None:
    """Print a line for each way."""
    few = files[:: max(1, min(FEW, len(files) // 2))]
    ways = {"parquet": ["--results", "parquet"]}
    if find_spec("ray"):
        ways["ray local"] = ["--ray", "local"]
    usual = ["--model", model, "--spacing", "0.2", "--jobs", str(jobs), "--overlays", "none"]
    for name, flags in ways.items():
        label = name.replace(" ", "_")
        short = seconds_of(list_of(few, root / "few.txt"), root / f"{label}_few", [*usual, *flags])
        whole = seconds_of(list_of(files, root / "all.txt"), root / f"{label}_all", [*usual, *flags])
        count = len(files) - len(few)
        rate = count / max(whole - short, 1e-9)
        tables = [path.stat().st_size for path in (root / f"{label}_all" / "shards").iterdir()]
        print(
            f"{name}: {rate:.1f} images a second on {jobs} cores, {rate / jobs:.1f} a core, start {short:.1f} s, "
            f"{sum(tables) / len(files):.0f} bytes a row in {len(tables)} shards"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="number of simulated images")
    parser.add_argument("--folder", type=Path, help="images of one's own, with sub-folders, in place of simulated ones")
    parser.add_argument("--model", default="spine_realtime", help="model file, or name of one that comes with SonoSeg")
    parser.add_argument("--jobs", type=int, default=2, help="cores")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sonoseg-") as name:
        root = Path(name)
        folder = arguments.folder or root / "images"
        if not arguments.folder:
            write_images(folder, arguments.images)
        files = sorted(path.resolve() for path in folder.rglob("*.png"))
        measure(files, root, arguments.model, arguments.jobs)


if __name__ == "__main__":
    main()
