"""The figures as a page for people: `docs/benchmarks.md`."""

from collections.abc import Mapping
from typing import Any

TITLES = {
    "stage2": "Stage 2, images written",
    "denoise": "Non-local means",
    "training_step": "Training steps",
    "engines": "One forward pass",
    "folder": "A folder of images",
    "realtime": "Frame to measured result",
    "start": "From the command to the first result",
    "scale": "Many images",
}

HEAD = """# Benchmarks

Each figure is a ratio of two ways of doing the same on the same input, timed alternately in one process: medians of at
least 7 rounds after warm-up. Repeat them with

```
make bench                                   # all; half an hour on two cores that do nothing else
.venv/bin/python -m benchmarks stage2        # one of them
```

`benchmarks/results.json` has the same figures for programs. Floor: what the machine's own limit leaves, in operations
or bytes over the ceiling measured on it. Targets in milliseconds were set on two cores that reach 319 GFLOP/s in a
matrix product; the machine at hand is shared, and what it gave at the time of a figure stands above it. One command
gave 24.9, 28.5 and 31.2 ms for a folder of heads within three hours: trust the ratios to a tenth, the milliseconds to
a quarter, and a floor, which is measured at a moment of its own, no better.
"""


def page(results: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    parts = [HEAD]
    for name, title in TITLES.items():
        if name in results:
            parts.append(_section(title, results[name]))
    return "\n".join(parts)


def _section(title: str, result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    lines = [f"## {title}", "", f"{machine['cores']} cores of {machine['processor']}, {machine['date']}; "]
    lines[-1] += ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if name in SHOWN) + "."
    if "speed" in machine:
        lines[-1] += f" A matrix product ran at {machine['speed']} GFLOP/s at that time."
    lines += ["", "| what | before | after | ratio | target | floor |", "|---|---|---|---|---|---|"]
    for one in result["figures"]:
        reached = {True: " (reached)", False: " (**not reached**)", None: ""}[one["reached"]]
        lines.append(
            f"| {one['name']}, {one['unit']} | {time_of(one['before'])} | {time_of(one['after'])} | {one['ratio']:.2f} "
            f"| {one['target']}{reached} | {one['floor']} |"
        )
    lines.append("")
    for one in result["figures"]:
        lines.append(
            f"* **{one['name']}**: before, {one['before_is']}; after, {one['after_is']}. {one['remains']}".rstrip()
        )
        if one["more"]:
            lines.append("  " + "; ".join(f"{name} {value}" for name, value in one["more"].items()) + ".")
    return "\n".join([*lines, ""])


SHOWN = ("python", "torch", "monai", "opencv-python-headless", "numpy", "openvino")


def time_of(seconds: float) -> str:
    """Return a time in the unit that a person reads easily."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
