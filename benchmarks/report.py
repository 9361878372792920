"""The figures as a page: `docs/benchmarks.md`."""

from collections.abc import Mapping
from typing import Any

TITLES = {
    "stage2": "Stage 2, images written",
    "denoise": "Non-local means",
    "training_step": "Training steps",
    "engines": "One forward pass",
    "folder": "A folder of images",
    "realtime": "Frame to measured result",
    "loop": "Loop to measured result",
    "start": "From the command to the first result",
    "scale": "Many images",
}

NOTES = {
    "denoise": """What is left is the table of weights: without it a pass takes half of the time, 38 of 77 ms. Sums of a
patch in vector instructions in place of the running sum, and one pass over the columns in place of two, give the same
bytes in 80 to 92 and in 76 ms.""",
    "training_step": """Profile of a step in 32 bits: convolutions 62 % (backward 41, forward 20 %), activations 7 %,
batch norm 7 %, the loss with its distances 10 %, copies 5 %. The convolutions, oneDNN's code, reach half of the rate of
a matrix product; 2.2x is reached in bf16 with `--compile`.""",
    "folder": """`fetal_head` on 240 images of HC18 took 26.2, 23.8 and, in 8 bits, 23.0 ms an image
([results](results.md#networks-in-8-bits)).

Since these figures the header of a PNG is read without decoding its pixels, which had taken 5 ms an image before the
first one was segmented. The whole program on 240 images of HC18, its start of a second included, alternately before
and after, medians of three (2026-11-28, two cores of an Intel Xeon, 315 GFLOP/s):

| engine | before | after |
|---|---|---|
| `openvino` | 35.5 ms an image | 29.4 ms |
| `openvino_bf16` | 31.2 ms | 25.3 ms |
| `openvino_int8` | 32.5 ms | 26.8 ms |

Without the start (240 images less 20, divided by 220; medians of three) it is 22.0, 20.0 and 20.9 ms an image: 25 ms
are reached, 14 ms in 8 bits are not.

Of an image in 8 bits, 40 ms of one core, the network takes 8 ms, text and lines of the overlay 7, decoding the PNG 5,
masks, shapes and measurements 5, quality 3, both PNGs 4, and the rest is records, digests and files. Two processes on
half of the images each take 21 ms an image where two threads take 25 to 29, as threads share Python's interpreter
lock.

nnU-Net's own predictor (nnunetv2 2.8.1 with the same torch), with the network that it plans for HC18
(46.3 M parameters, patches of 640x896), takes 2.75 s for an image on these two cores, and 10.1 s with mirroring, its
default. `inference.py --task fetal_head` takes 25 ms for an image of HC18, with overlay and measurements: 109 and 398
times less (2026-11-27). `python -m benchmarks.nnunet --data path/to/hc18 --python nnunet-env/bin/python --images 8`""",
    "scale": """Archives, with Parquet shards and on Ray, have figures of their own in
[What it costs](guide/archives.md#what-it-costs), from `python -m benchmarks.archives`.

`python -m benchmarks.review_page` (2026-11-28, two cores of an Intel Xeon): with 10,000 results the review page shows
its first image after 0.95 s the first time and then after 0.89 s (wanted: a second). Measurements of a dragged shape
are back after 3 ms in the median and 4 ms in 95 of 100 requests of heads, and 4 and 5 ms of spines (wanted: 50 ms).
Before answers were sent without waiting for acknowledgements it was 1.32 s, 0.94 s, and 48 and 52 ms.""",
}
"""Remarks below a table: what was tried, and what limits it."""

HEAD = """# Benchmarks

Each figure compares two implementations on the same input, timed alternately in one process: medians of at least 7
rounds after warm-up. Repeat them with

```
make bench                                   # all; half an hour on two otherwise idle cores
.venv/bin/python -m benchmarks stage2        # one of them
```

`benchmarks/results.json` has the same figures for programs. Floor: the least time that the machine allows,
operations or bytes over the maximal rate measured on it. Targets in milliseconds were set on two cores that reach 319
GFLOP/s in a matrix product; these figures are from a shared machine, whose rate at the time is given with each
table. The same command took 24.9, 28.5 and 31.2 ms for a folder of heads within three hours: ratios are accurate to a
tenth, milliseconds to a quarter, and floors, which are measured at another moment, no better.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    parts = [HEAD]
    for name, title in TITLES.items():
        if name in results:
            parts.append(_section(title, results[name]))
            parts += [f"{NOTES[name]}\n"] if name in NOTES else []
    return "\n".join(parts)


def _section(title: str, result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    lines = [f"## {title}", "", f"{machine['cores']} cores of {machine['processor']}, {machine['date']}; "]
    lines[-1] += ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name in SHOWN) + "."
    if "speed" in machine:
        lines[-1] += f" A matrix product ran at {machine['speed']} GFLOP/s at that time."
    lines += ["", "| what | before | after | ratio | target | floor |", "|---|---|---|---|---|---|"]
    for figure in result["figures"]:
        reached = {True: " (reached)", False: " (**not reached**)", None: ""}[figure["reached"]]
        lines.append(
            f"| {figure['name']}, {figure['unit']} | {time_of(figure['before'])} | {time_of(figure['after'])} "
            f"| {figure['ratio']:.2f} | {figure['target']}{reached} | {figure['floor']} |"
        )
    lines.append("")
    for figure in result["figures"]:
        compared = f"before, {figure['before_is']}; after, {figure['after_is']}."
        lines.append(f"* **{figure['name']}**: {compared} {figure['remains']}".rstrip())
        if figure["more"]:
            lines.append("  " + "; ".join(f"{name} {value}" for name, value in figure["more"].items()) + ".")
    return "\n".join([*lines, ""])


SHOWN = ("python", "torch", "monai", "opencv-python-headless", "numpy", "openvino")


def time_of(seconds: float) -> str:
    """Return a time in ms below a second, else in s."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
