"""Many images: time per image of stages 1 and 2, and time and memory of stage 4."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import image_preprocessing
import train_test_data_preparation
from benchmarks.compare import Figure, seconds_of
from benchmarks.samples import many_heads, quietly, trained
from sonoseg.runs.workspace import INFERENCE_RECORD, PREPROCESSING_STATE, Workspace

COUNTS = (250, 1000, 4000)
MANY = 10_000
REPOSITORY = Path(__file__).resolve().parents[1]


def run(root: Path) -> Iterator[Figure]:
    """Yield the cost of an image at 1x and 16x for stages 1 and 2, and the first and last thousand of 10,000."""
    root = root / "scale"
    stages = {name: np.array([stage_seconds(root, name, count) for count in COUNTS]) for name in ("stage 1", "stage 2")}
    for name, seconds in stages.items():
        slope = float(np.polyfit(np.log(COUNTS), np.log(seconds), 1)[0])
        each = seconds / COUNTS
        yield Figure(
            name=f"{name} of {COUNTS[0]} and of {COUNTS[-1]} images",
            unit="per image",
            before=float(each[0]),
            after=float(each[-1]),
            ratio=float(each[0] / each[-1]),
            before_is=f"{COUNTS[0]} images of 240x320",
            after_is=f"{COUNTS[-1]} images",
            target="slope at most 1.05",
            reached=slope <= 1.05,
            remains=f"Slope {slope:.3f} on a log-log line through {', '.join(map(str, COUNTS))} images.",
        )
    yield many(root)


def stage_seconds(root: Path, stage: str, count: int) -> float:
    """Return the shorter time in seconds of two runs of a stage on `count` images, in a new workspace."""
    data, task = many_heads(root, count)
    workspace = root / f"w{count}"
    flags = ["--task", str(task), "--workspace", str(workspace)]
    first = [*flags, "--data", str(data), "--force"]
    if stage == "stage 1":
        shutil.rmtree(workspace, ignore_errors=True)
        return min(seconds_of(lambda: quietly(train_test_data_preparation.main, first)) for _ in range(2))

    def second() -> None:
        (Workspace(workspace, "many_heads").split / PREPROCESSING_STATE).unlink(missing_ok=True)
        quietly(image_preprocessing.main, [*flags, "--jobs", "1"])

    return min(seconds_of(second) for _ in range(2))


def many(root: Path) -> Figure:
    """Run inference.py on 10,000 images in a separate process and record its memory and the times of its results."""
    data, task_file = many_heads(root, MANY)
    model, output = trained(root / "small", str(task_file), many_heads(root, COUNTS[0])[0]), root / "many"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, str(REPOSITORY / "inference.py"), "--images", str(data / "images")]
    command += ["--model", str(model), "--output", str(output)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    memory = []
    while process.poll() is None:
        memory.append(resident_mib(process.pid))
        time.sleep(0.5)
    assert process.stderr is not None
    if process.returncode != 0:
        raise RuntimeError(process.stderr.read().decode())
    done = np.sort([path.stat().st_mtime for path in output.glob("*.json") if path.name != INFERENCE_RECORD])
    first, last = (done[1999] - done[999]) / 1000, (done[-1] - done[-1001]) / 1000
    peak, early = max(memory), float(np.median(memory[len(memory) // 5 : len(memory) // 4]))
    return Figure(
        name=f"inference of {len(done)} images in one folder",
        unit="per image, second and last thousand",
        before=float(first),
        after=float(last),
        ratio=float(first / last),
        before_is="the second thousand",
        after_is="the last thousand",
        target="as fast, below 1.2 GiB",
        reached=bool(last <= 1.05 * first and peak < 1.2 * 1024),
        remains=f"Peak memory {peak:.0f} MiB; {early:.0f} MiB after a fifth of the run, {memory[-2]:.0f} at its end.",
    )


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process and its children, in MiB; 0 when it has ended."""
    total = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line)
        except (OSError, ValueError):
            continue
        if str(pid) in (folder.name, status["PPid"].strip()) and "VmRSS" in status:
            total += int(status["VmRSS"].split()[0]) / 1024
    return total
