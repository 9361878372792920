"""Stage 4 over a folder: seconds per image, from decoding to the written record, in the steady state."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DynUNet

from benchmarks.compare import Figure, seconds_of
from benchmarks.samples import phantoms, pictures, trained
from sonoseg.core.images import read_image
from sonoseg.core.task_files import load_task
from sonoseg.preprocess.denoise import denoise

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES, ROUNDS = 240, 3
NNUNET_CHANNELS, NNUNET_SIZE = [32, 64, 128, 256, 512, 512, 512, 512], (640, 896)


def run(root: Path) -> Iterator[Figure]:
    """Yield the time per image of two tasks against one image after the other by torch."""
    for name, kind in (("fetal_head", "head"), ("spine", "spine")):
        model = trained(root, name, phantoms(root, kind))
        folder = many_copies(root, kind)
        pairs = []
        for _ in range(ROUNDS):
            plain = seconds_per_image(root, folder, model, "--engine", "torch", "--jobs", "1")
            pairs.append((plain, seconds_per_image(root, folder, model)))
        before, after = (float(np.median([pair[side] for pair in pairs])) for side in (0, 1))
        limit, target, more = limits(name, folder)
        yield Figure(
            name=f"folder inference of `{name}`",
            unit="per image, everything included",
            before=before,
            after=after,
            ratio=float(np.median([one / other for one, other in pairs])),
            before_is="`--engine torch --jobs 1`",
            after_is="as it comes: the fastest engine, an image per core",
            target=target,
            reached=after <= limit,
            remains=f"{1 / after:.0f} images a second.",
            more=more,
        )
    yield nnunet(root)


def many_copies(root: Path, kind: str) -> Path:
    """Return a folder of IMAGES pictures: the phantoms again and again, under names of their own."""
    folder = root / f"many_{kind}"
    sources = pictures(phantoms(root, kind))
    folder.mkdir(exist_ok=True)
    for number in range(IMAGES):
        target = folder / f"{number:04d}.png"
        if not target.is_file():
            shutil.copy(sources[number % len(sources)], target)
    return folder


def seconds_per_image(root: Path, folder: Path, model: Path, *more: str) -> float:
    """Return the time between the records of a run's images, without its first and last tenth."""
    output = root / "folder_result"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, str(REPOSITORY / "inference.py"), "--images", str(folder), "--model", str(model)]
    subprocess.run([*command, "--output", str(output), "--spacing", "0.2", *more], check=True, capture_output=True)
    done = np.sort([path.stat().st_mtime for path in output.glob("[0-9]*.json")])
    rest = len(done) // 10
    return float((done[-rest] - done[rest]) / (len(done) - 2 * rest))


def limits(name: str, folder: Path) -> tuple[float, str, dict[str, str]]:
    """Return the seconds that a task may take, the target in words, and what it rests on."""
    denoising = load_task(name).enhancement.denoise
    if denoising is None:
        return 0.025, "25 ms", {}
    image = read_image(next(folder.glob("*.png")))

    def one() -> None:
        denoise(image, denoising.strength, denoising.template, denoising.search)

    alone = min(seconds_of(one) for _ in range(7))
    return min(alone + 0.020, 0.085), "denoiser + 20 ms, below 85 ms", {"the denoiser alone": f"{alone * 1000:.0f} ms"}


@torch.inference_mode()
def nnunet(root: Path) -> Figure:
    """Compare whole results of `fetal_head` with one forward pass of the network that nnU-Net plans for HC18."""
    depth = len(NNUNET_CHANNELS)
    strides = [1] + [2] * (depth - 1)
    network = DynUNet(2, 1, 2, [3] * depth, strides, strides[1:], filters=NNUNET_CHANNELS).eval()
    weights = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    image = torch.rand(1, 1, *NNUNET_SIZE)
    folder, model = many_copies(root, "head"), trained(root, "fetal_head", phantoms(root, "head"))
    before = float(np.median([seconds_of(lambda: network(image)) for _ in range(7)]))
    after = float(np.median([seconds_per_image(root, folder, model) for _ in range(ROUNDS)]))
    return Figure(
        name="`fetal_head` beside nnU-Net's plan for HC18",
        unit="per image",
        before=before,
        after=after,
        ratio=before / after,
        before_is=f"one forward pass alone of MONAI's DynUNet with that plan ({weights:.0f} M weights, 640x896)",
        after_is="the whole way from file to masks, overlay and millimetres",
        target="100x",
        reached=before / after >= 100,
        remains="nnU-Net also mirrors each image, four passes in all, unless that is switched off.",
    )
