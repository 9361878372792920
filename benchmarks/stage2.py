"""Stage 2: seconds per image written, reading and writing included."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

import image_preprocessing
from benchmarks.compare import Figure, compare, seconds_of
from benchmarks.samples import phantoms, quietly, split
from sonoseg.io.masks import read_mask
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.preprocess.augmentation import apply, copy_generator, draw_parameters
from sonoseg.preprocess.enhance import enhance
from sonoseg.preprocess.fit import Fit
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import PREPROCESSING_STATE, Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

SOURCES = 24


def step_seconds(root: Path, sample: Sample, task: Task) -> tuple[float, float, float]:
    """Return the seconds to enhance one source, to warp it, and to encode and write it: the shortest of five each."""
    image = read_image(sample.image).pixels
    fitted = Fit.of(image.shape, task.input).apply(image)
    copy, target = draw_parameters(task.augmentation, np.random.default_rng(0)), root / "one.png"
    enhanced = min(seconds_of(lambda: enhance(image, task.enhancement)) for _ in range(5))
    written = min(seconds_of(lambda: write_image(target, fitted, sync=False)) for _ in range(5))
    warped = min(seconds_of(lambda: apply(copy, fitted, fitted)) for _ in range(5))
    return enhanced, warped, written


def run(root: Path) -> Iterator[Figure]:
    """Time stage 2 of the `spine` task, 7 copies, against one process that enhances every copy."""
    root = root / "stage2"
    flags = split(root, "spine", phantoms(root, images=SOURCES))
    task, workspace = load_task("spine"), Workspace(root, "spine")
    samples = [
        one
        for part in ("train", "test")
        for one in read_split(workspace.split_table(part), task.class_names, workspace.root)
    ]
    outputs = sum(1 + (task.augmentation.copies if one.fold is not None else 0) for one in samples)

    def plain() -> None:
        """A few sources, one after the other: each copy is warped and then enhanced, and written as OpenCV writes."""
        (root / "plain").mkdir(exist_ok=True)
        for sample in few:
            image = read_image(sample.image).pixels
            mask = read_mask(sample.mask)
            fit = Fit.of(image.shape, task.input)
            image, mask = fit.apply(image), fit.apply(mask, "nearest")
            for copy in range(1 + task.augmentation.copies):
                pair = apply(draw_parameters(task.augmentation, copy_generator(sample.id, 1, copy)), image, mask)
                denoised = cv2.fastNlMeansDenoising(pair[0], None, 5, 7, 21)
                rest = task.enhancement.model_copy(update={"denoise": None})
                cv2.imwrite(str(root / "plain" / f"{copy}.png"), enhance(denoised, rest))
                cv2.imwrite(str(root / "plain" / f"{copy}_mask.png"), pair[1])

    def ours() -> None:
        shutil.rmtree(workspace.split / "train", ignore_errors=True)
        shutil.rmtree(workspace.split / "test", ignore_errors=True)
        (workspace.split / PREPROCESSING_STATE).unlink(missing_ok=True)
        quietly(image_preprocessing.main, flags)

    few = [one for one in samples if one.fold is not None][:3]
    share = len(few) * (1 + task.augmentation.copies) / outputs  # `plain` does this part of the work
    before, after, ratio = compare(plain, ours, per=outputs)
    before, ratio = before / share, ratio / share

    once, warped, written = step_seconds(root, samples[0], task)
    floor = once / (outputs / len(samples)) + written / (os.cpu_count() or 1)
    yield Figure(
        name="stage 2 of `spine`",
        unit="per output image",
        before=before,
        after=after,
        ratio=ratio,
        before_is="one process, every copy denoised by OpenCV on all cores, written with its default compression",
        after_is="enhanced once per source, copies warped and written by a process per core; the whole script",
        target="28 ms",
        reached=after <= 0.028,
        floor=f"{floor * 1000:.1f} ms",
        remains=f"Enhancement of one source {once * 1000:.0f} ms on all cores, a warp {warped * 1000:.1f} ms, "
        f"encoding and writing an image {written * 1000:.1f} ms; the start of the processes is divided among "
        f"{outputs} images.",
    )
