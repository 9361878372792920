"""Stage 4 over a folder: seconds per image, from decoding to the written record, in the steady state."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DynUNet

from benchmarks.compare import Figure, matrix_product_rate, seconds_of
from benchmarks.engines import DTYPES, scores_in_8_bits
from benchmarks.samples import phantoms, pictures, trained
from sonoseg.io.readers import read_image
from sonoseg.models.engines import QUANTIZED
from sonoseg.models.model_header import read_header
from sonoseg.models.summary import summarise_network
from sonoseg.preprocess.denoise import denoise
from sonoseg.schema.task_files import load_task

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES, ROUNDS = 240, 3
KINDS = {"fetal_head": "head", "spine": "spine"}
LIMITS_MS = {
    ("fetal_head", "openvino"): 25,
    ("fetal_head", "openvino_bf16"): 25,
    ("fetal_head", QUANTIZED): 14,
    ("spine", "openvino"): 60,
    ("spine", "openvino_bf16"): 60,
}
"""Task and engine -> target for an image, in milliseconds."""
NNUNET_CHANNELS, NNUNET_SIZE = [32, 64, 128, 256, 512, 512, 512, 512], (640, 896)


def run(root: Path) -> Iterator[Figure]:
    """Yield the time per image of two tasks, in 32 and fewer bits, compared with torch and one image at a time."""
    for (name, engine), milliseconds in LIMITS_MS.items():
        yield one_task(root, name, engine, milliseconds)
    yield nnunet(root)


def one_task(root: Path, name: str, engine: str, milliseconds: int) -> Figure:
    """Compare a folder with `engine` and an image per core with torch and one image at a time."""
    model, folder = trained(root, name, phantoms(root, KINDS[name])), many_copies(root, KINDS[name])
    before, after, ratio = in_turn(root, folder, model, ("--engine", "torch", "--jobs", "1"), ("--engine", engine))
    network = (
        2
        * summarise_network(load_task(name)).total_mult_adds
        / matrix_product_rate(dtype=DTYPES.get(engine, "float32"))
    )
    denoiser = denoiser_alone(name, folder)
    scores = f" {scores_in_8_bits(read_header(model))}" if engine == QUANTIZED else ""
    return Figure(
        name=f"folder inference of `{name}`, {engine}",
        unit="per image, everything included",
        before=before,
        after=after,
        ratio=ratio,
        before_is="`--engine torch --jobs 1`",
        after_is=f"`--engine {engine}`, an image per core",
        target=f"{milliseconds} ms",
        reached=after <= milliseconds / 1000,
        floor=f"{(network + denoiser) * 1000:.0f} ms",
        remains=f"{1 / after:.0f} images a second. At the rate of a matrix product the network takes "
        f"{network * 1000:.1f} ms of both cores; the denoiser takes {denoiser * 1000:.1f} ms.{scores}",
    )


def in_turn(
    root: Path, folder: Path, model: Path | str, plain: tuple[str, ...], fast: tuple[str, ...]
) -> tuple[float, float, float]:
    """Return the median seconds per image with two sets of flags, timed in turn, and the median of their quotients."""
    pairs = [[seconds_per_image(root, folder, model, *flags) for flags in (plain, fast)] for _ in range(ROUNDS)]
    before, after = np.median(pairs, axis=0)
    return float(before), float(after), float(np.median([slow / quick for slow, quick in pairs]))


def many_copies(root: Path, kind: str) -> Path:
    """Return a folder of IMAGES pictures: copies of the phantoms under different names."""
    folder = root / f"many_{kind}"
    sources = pictures(phantoms(root, kind))
    folder.mkdir(exist_ok=True)
    for number in range(IMAGES):
        target = folder / f"{number:04d}.png"
        if not target.is_file():
            shutil.copy(sources[number % len(sources)], target)
    return folder


def seconds_per_image(root: Path, folder: Path, model: Path | str, *more: str) -> float:
    """Return the time between the records of a run's images, without its first and last tenth."""
    output = root / "folder_result"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, str(REPOSITORY / "inference.py"), "--images", str(folder), "--model", str(model)]
    subprocess.run([*command, "--output", str(output), "--spacing", "0.2", *more], check=True, capture_output=True)
    done = np.sort([path.stat().st_mtime for path in output.glob("[0-9]*.json")])
    rest = len(done) // 10
    return float((done[-rest] - done[rest]) / (len(done) - 2 * rest))


def denoiser_alone(name: str, folder: Path) -> float:
    """Return the seconds of a task's denoiser for one image, on all cores; 0 when it has none."""
    denoising = load_task(name).enhancement.denoise
    if denoising is None:
        return 0.0
    image = read_image(next(folder.glob("*.png"))).pixels

    def denoise_image() -> None:
        denoise(image, denoising.strength, denoising.template, denoising.search)

    return min(seconds_of(denoise_image) for _ in range(7))


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
        before_is=f"one forward pass alone of MONAI's DynUNet with that plan ({weights:.0f} M parameters, 640x896)",
        after_is="the whole way from file to masks, overlay and millimetres",
        target="100x",
        reached=before / after >= 100,
        remains="nnU-Net also mirrors each image, four passes in all, unless that is switched off.",
    )
