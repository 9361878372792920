"""Folders of results to review: one made by the model that comes with SonoSeg, others written by hand."""

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

import inference
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.schema.task_files import load_task
from sonoseg.types import Pixels

HOSTILE = "<img src=x onerror=document.title='taken'>.png"
"""A file name that would run a script, were it taken for HTML."""
SHIFT = 12
"""How far the picture of a loop moves to either side, in pixels."""


def spine_results(folder: Path, images: int = 12) -> Path:
    """Segment simulated spines with the model that comes with SonoSeg; return the folder of the results."""
    data = ["--out", str(folder / "data"), "--images", str(images), "--seed", "3", "--size-scale", "0.6"]
    assert make_phantoms(data) == 0
    source = folder / "data" / "images"
    shutil.copy(source / "Image_001.png", source / HOSTILE)
    return segmented(folder, source, "spine_realtime", "--engine", "torch", "--jobs", "1")


def spine_loop(folder: Path, frames: int = 30) -> Path:
    """Return results of a video in which a simulated spine moves from side to side."""
    assert make_phantoms(["--out", str(folder / "data"), "--images", "4", "--seed", "5"]) == 0
    picture = cv2.imread(str(folder / "data" / "images" / "Image_002.png"))
    assert picture is not None
    height, width = picture.shape[0], picture.shape[1] - 2 * SHIFT
    (folder / "loops").mkdir()
    video = cv2.VideoWriter(str(folder / "loops" / "loop.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15, (width, height))
    for index in range(frames):
        left = SHIFT + round(SHIFT * math.sin(2 * math.pi * index / frames))
        video.write(picture[:height, left : left + width])
    video.release()
    return segmented(folder, folder / "loops", "spine_realtime", "--spacing", "0.2")


def segmented(folder: Path, images: Path, task: str, *flags: str) -> Path:
    """Run stage 4 with the model that comes with SonoSeg; return the folder of the results, `results` in `folder`."""
    arguments = ["--task", task, "--images", str(images), "--output", str(folder / "results"), *flags]
    assert inference.main([*arguments, "--workspace", str(folder)]) == 0
    return folder / "results"


def written_results(
    folder: Path, task: str, images: dict[str, Pixels], shapes: dict[str, Sequence[Any]], spacing: float | None = None
) -> Path:
    """Write results as stage 4 does: images by name `(H, W)` uint8, and [structure, kind, points] by name."""
    results, pictures = folder / "results", folder / "images"
    results.mkdir(parents=True)
    pictures.mkdir()
    settings = load_task(task).model_dump(mode="json")
    run = {"task": task, "task_settings": settings, "settings": {"images": str(pictures)}}
    (results / "run.json").write_text(json.dumps(run))
    for name, pixels in images.items():
        Image.fromarray(pixels).save(pictures / f"{name}.png")
        (results / f"{name}.json").write_text(json.dumps(record(name, pixels.shape, shapes.get(name, ()), spacing)))
    return results


def record(name: str, size: tuple[int, ...], shapes: Sequence[Any], spacing: float | None) -> dict[str, Any]:
    """Return the record of an image."""
    found = {shape[0]: 0.9 for shape in shapes}
    return {
        "image": f"{name}.png",
        "frame": None,
        "height": size[0],
        "width": size[1],
        "spacing_mm": {"row": spacing, "col": spacing} if spacing else None,
        "spacing_from": "metadata.csv" if spacing else "unknown",
        "status": "ok" if shapes else "check",
        "reasons": [] if shapes else ["nothing found"],
        "quality": 0.9,
        "shapes": list(shapes),
        "confidence": found,
        "made_from": {},
    }


def speckle(height: int, width: int, seed: int = 0) -> Pixels:
    """Return a dark picture that looks a little like ultrasound."""
    noise = np.random.default_rng(seed).rayleigh(18, (height, width))
    return noise.clip(0, 110).astype(np.uint8)


def many_results(folder: Path, number: int) -> Path:
    """Write `number` results of fetal heads of the same picture."""
    ellipse = ["HEAD", "ellipse", [[40, 60], [160, 60], [100, 20], [100, 100]]]
    results = written_results(folder, "fetal_head", {"head": speckle(120, 200)}, {"head": [ellipse]}, 0.2)
    values = json.loads((results / "head.json").read_text())
    rows = ["image,frame,name,status,reason,quality,width,height,confidence_HEAD"]
    for index in range(number):
        name, quality = f"head_{index:05d}", 0.5 + (index * 7919 % number) / number / 2
        (results / f"{name}.json").write_text(json.dumps(values | {"quality": quality}))
        rows.append(f"head.png,,{name},ok,,{quality:.4f},200,120,0.9")
    (results / "head.json").unlink()
    (results / "results.csv").write_text("\n".join(rows) + "\n")
    return results
