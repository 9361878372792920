"""A folder of 10,000 images, one in a hundred damaged: exactly the damaged images fail. `make loadtest`.

python -m stress.load [--images 10000] [--seed 0]
"""

import argparse
import csv
import io
import json
import random
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

import inference
from benchmarks.samples import many_heads, trained
from sonoseg.errors import SonoSegError
from sonoseg.runs.command_line import SEED, number_type, run_guarded
from sonoseg.runs.workspace import INFERENCE_RECORD, RESULTS_TABLE

TRAINED_ON = 60


class Miscounted(SonoSegError):
    """Rows and inputs do not agree."""


def too_many_frames(data: bytes) -> bytes:
    """Return an animated PNG whose header declares 10^6 frames."""
    control = b"acTL" + struct.pack(">II", 1_000_000, 0)
    return data[:33] + struct.pack(">I", 8) + control + struct.pack(">I", zlib.crc32(control)) + data[33:]


def declared_huge(data: bytes) -> bytes:
    """Return a PNG whose header declares 30000x30000 pixels."""
    header = b"IHDR" + struct.pack(">II", 30000, 30000) + data[24:29]
    return data[:8] + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + data[33:]


def tiny(data: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 3)).save(stream, "PNG")
    return stream.getvalue()


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "cut off in the header": lambda data: data[:20],
    "cut off in the middle": lambda data: data[: len(data) // 2],
    "text": lambda data: b"not a picture at all",
    "zeros": lambda data: bytes(len(data)),
    "damaged pixels": lambda data: data[:60] + bytes(200) + data[260:],
    "too many frames": too_many_frames,
    "declared huge": declared_huge,
    "too small": tiny,
}


def load(images: int, seed: int, root: Path) -> dict[str, int]:
    """Segment `images` pictures of which a hundredth is damaged; return the counts. Raises Miscounted."""
    model = trained(root, str(many_heads(root, TRAINED_ON)[1]), many_heads(root, TRAINED_ON)[0])
    folder = many_heads(root, images)[0] / "images"
    for mask in folder.glob("*_mask.png"):
        mask.unlink()
    names = sorted(path.name for path in folder.glob("*.png"))
    damaged = dict(zip(random.Random(seed).sample(names, max(1, images // 100)), list(DAMAGE) * images, strict=False))
    for name, kind in damaged.items():
        (folder / name).write_bytes(DAMAGE[kind]((folder / name).read_bytes()))

    output = root / "result"
    code = inference.main(["--images", str(folder), "--model", str(model), "--output", str(output)])
    with (output / RESULTS_TABLE).open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    counts = json.loads((output / INFERENCE_RECORD).read_text())["counts"]
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    if failed != set(damaged):
        wrong = sorted(failed ^ set(damaged))[:5]
        raise Miscounted(
            f"failed rows and damaged files differ: {', '.join(f'{name} ({damaged.get(name)})' for name in wrong)}"
        )
    without = [name for name in failed if not rows[name]["reason"]]
    if without or set(rows) != set(names) or code != 1:
        raise Miscounted(f"{len(rows)} rows for {len(names)} images, {len(without)} without a reason, exit code {code}")
    if counts["inputs"] != len(names) or sum(counts.values()) - counts["inputs"] != len(names):
        raise Miscounted(f"run.json counts {counts} for {len(names)} images")
    return counts


def run_load(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="python -m stress.load", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=number_type(int, 20, 10**7), default=10_000, help="number of images")
    parser.add_argument("--seed", type=SEED, default=0, help="the same seed damages the same images")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        counts = load(arguments.images, arguments.seed, Path(folder))
    print(f"{counts}: the failed rows are exactly the damaged images")
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(run_load))
