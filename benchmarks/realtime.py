"""Video: from a frame in memory to its measured result, one frame at a time."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.compare import Figure, matrix_product_rate
from benchmarks.samples import phantoms, pictures, trained
from sonoseg import Segmenter
from sonoseg.io.readers import read_image
from sonoseg.models.summary import summarise_network
from sonoseg.schema.task_files import load_task

FRAMES = 300
SIZE = (300, 400)
MEDIAN_S, LAST_S = 0.012, 0.020
"""Targets of the median and of the 99th percentile, in seconds."""
TURN_FRAMES = 30
"""Frames that a model processes before the other model's turn, as a second of video."""


def run(root: Path) -> Iterator[Figure]:
    """Yield the latency of `spine_realtime` and of `spine`, with each engine."""
    for engine in ("openvino", "openvino_bf16"):
        yield latency(root, engine)


def latency(root: Path, engine: str) -> Figure:
    """Time frames, a second of video in turn: `spine` with OpenVINO, `spine_realtime` with `engine`."""
    data = phantoms(root)
    every = [read_image(path).pixels for path in pictures(data)]
    frames = [frame for frame in every if frame.shape == SIZE]
    tasks = (("spine", "openvino"), ("spine_realtime", engine))
    segmenters = [Segmenter.load(trained(root, name, data), "cpu", used) for name, used in tasks]
    seconds: tuple[list[float], list[float]] = ([], [])
    for first in range(-TURN_FRAMES, FRAMES, TURN_FRAMES):  # the first turn of each warms up
        for segmenter, times in zip(segmenters, seconds, strict=True):
            for number in range(first, first + TURN_FRAMES):
                started = time.perf_counter()
                segmenter(frames[number % len(frames)], (0.2, 0.2))
                if number >= 0:
                    times.append(time.perf_counter() - started)
    before, after = (np.array(times) for times in seconds)
    rate = matrix_product_rate(dtype="bfloat16" if engine == "openvino_bf16" else "float32")
    network = 2 * summarise_network(load_task("spine_realtime")).total_mult_adds / rate
    last = float(np.percentile(after, 99))
    return Figure(
        name=f"frame of {SIZE[0]}x{SIZE[1]} to measured result, {engine}",
        unit="median latency",
        before=float(np.median(before)),
        after=float(np.median(after)),
        ratio=float(np.median(before / after)),
        before_is="task `spine`",
        after_is="task `spine_realtime`: no denoising, 256x352, a fifteenth of the parameters",
        target=f"{MEDIAN_S * 1000:.0f} ms, and 99 of 100 below {LAST_S * 1000:.0f} ms",
        reached=float(np.median(after)) <= MEDIAN_S and last < LAST_S,
        floor=f"{network * 1000:.0f} ms",
        remains=f"99th percentile {last * 1000:.1f} ms over {FRAMES} frames. Floor: the network at a matrix product's "
        "rate.",
    )
