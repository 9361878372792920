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
    "denoise": """What is left is the table of weights: without it a pass takes half of the time, 38 of 77 ms. Tried in
its place: everything in vector instructions, namely one pass over the columns, sums of seven columns in place of the
running sum, and weights as a polynomial of degree 6 in 32-bit numbers, which gives each entry of the table for all
strengths up to 14. The bytes are the same. As shares of OpenCV's time, measured alternately, it takes 0.35 to 0.51
where the present code takes 0.42 to 0.47; with vectors of 512 bits, which the compiler does not choose by itself, 0.27
to 0.42 and 0.36 to 0.44. Of such a pass of 133 ms the squared differences take 30 alone, the sums of columns 24, the
weights 46, the two additions to the sums of each pixel 42 to 55: most of it is reading and writing rows in the
first-level cache. To leave out pairs without weight gains little: 60 to 67 % of the pairs have one (simulated spines,
a real one, a head), and three quarters of all groups of 16 neighbours.""",
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

`spine` took 220 and 209 ms an image before 2026-11-28. The network of these runs had been trained for 8 epochs and
found no structure (Dice 0.05), and its many reasons made a text for the overlay each possible length of which was
measured, 160 to 200 ms of one core; it is cut by halving now, and the network is trained until it finds structures. Of
an image, 264 ms of one core, the denoiser takes 101 ms and the network 91, in 8 bits 52. In 8 bits this network is not
kept: on four images the Dice of MID falls by 0.0014, and errors of depths rise by up to 0.08 mm.

Of an image of a head in 8 bits, 40 ms of one core, the network takes 8 ms, text and lines of the overlay 7, decoding
the PNG 5, masks, shapes and measurements 5, quality 3, both PNGs 4, and the rest is records, digests and
files. Two processes on half of the images each take 21 ms an image where two threads take 25 to 29, as threads share
Python's interpreter lock.

nnU-Net's own predictor (nnunetv2 2.8.1 with the same torch), with the network that it plans for HC18
(46.3 M parameters, patches of 640x896), takes 2.75 s for an image on these two cores, and 10.1 s with mirroring, its
default. `inference.py --task fetal_head` takes 25 ms for an image of HC18, with overlay and measurements: 109 and 398
times less (2026-11-27). `python -m benchmarks.nnunet --data path/to/hc18 --python nnunet-env/bin/python --images 8`""",
    "realtime": """At 330 GFLOP/s, earlier on the same day, frames of five sizes from 300x400 to 480x640 took 21.1 and
19.4 ms. Of 24.6 ms with `openvino_bf16` the network takes 7.0, fitting shapes 4.6, quality 3.6, cleaning masks 3.2,
fitting to and from the network's size 2.2, measuring 1.4 and contrast 1.3: 12 ms are not reached, because the rest
takes longer than that without any network. In 8 bits `spine_realtime` loses more than is allowed
([results](results.md#networks-in-8-bits)).""",
    "loop": """The machine was slow at that time: within ten hours of that day the MP4 took 7.1, 8.4, 8.9, 9.4, 9.7 and
11.1 s and the DICOM file 7.4, 8.6, 9.2, 10.2, 10.1 and 11.1 s. Before that day's last runs the peak was 424 and 698
MiB; the kernel's figure that was read then begins with the memory of the process that starts the other one.""",
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
make bench                                   # all; fifty minutes on two otherwise idle cores
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
