"""One spine dataset twice: as DICOM and video files with annotations in their frames, and as PNG of the regions."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sonoseg.io.image_ref import ImageRef
from sonoseg.io.readers import read_image
from sonoseg.phantom.dataset import plan
from sonoseg.phantom.layout import Settings
from tests.dicom_files import region_item, write_dicom, write_video

TOP, LEFT, BOTTOM, RIGHT = 20, 30, 9, 50
"""Pixels of the frame around its ultrasound region."""
SPACING = (0.25, 0.25)
IDENTITY = "SECRET-{}"
NAME, BORN, STUDY, REFERRER = "Geheim^Anna", "19511223", "1.2.826.0.1.3680043.10.511.77.{}", "Doktor^Verborgen"
NEVER_WRITTEN = ("SECRET", "Geheim", "Anna", BORN, "3680043.10.511", "Verborgen", "HIDDEN-ACC", "Klinik Sowieso")
"""Parts of what the headers of the files contain."""


def framed(pixels: np.ndarray) -> np.ndarray:
    """Return a frame that shows an image, with bright text around it."""
    height, width = pixels.shape
    frame = np.zeros((height + TOP + BOTTOM, width + LEFT + RIGHT), np.uint8)
    for row in (14, frame.shape[0] - 1):
        cv2.putText(frame, "Geheim, Anna 23.12.1951", (2, row), cv2.FONT_HERSHEY_PLAIN, 0.9, 255)
    frame[TOP : TOP + height, LEFT : LEFT + width] = pixels
    return frame


def region_of(pixels: np.ndarray, **elements: Any) -> Any:
    """Return the item of the region that `framed` gives an image."""
    height, width = pixels.shape[-2:]
    return region_item(LEFT, TOP, LEFT + width - 1, TOP + height - 1, SPACING, **elements)


def secrets(patient: int) -> dict[str, Any]:
    """Return data elements that identify a patient."""
    return {
        "PatientID": IDENTITY.format(patient),
        "PatientName": NAME,
        "PatientBirthDate": BORN,
        "StudyInstanceUID": STUDY.format(patient),
        "ReferringPhysicianName": REFERRER,
        "AccessionNumber": "HIDDEN-ACC",
        "InstitutionName": "Klinik Sowieso",
    }


def shapes_json(shapes: Any, columns: int = 0, rows: int = 0) -> list[Any]:
    """Return the entry of an image's shapes, moved to the right and down."""
    return [shape.moved(columns, rows).to_json() for shape in shapes]


def write_both(root: Path, count: int = 12) -> tuple[Path, Path]:
    """Write `count` stills of two per patient, a loop of 6 frames and a video of 4, and the same as PNG.

    Of the loop, the frames 2, 4 and 5 are annotated, of the video 1 and 3. Each is of a patient of its own; of the
    video nobody knows which. Returns the two data folders; the PNG have a table with patients.
    """
    dicom, png = root / "dicom", root / "png"
    for folder in (dicom, png):
        (folder / "images").mkdir(parents=True)
    annotations: dict[str, dict[str, Any]] = {"dicom": {}, "png": {}}
    rows = ["image,patient,row_mm,col_mm"]
    cases = [case.simulate() for case in plan(Settings(images=count + 5, seed=3, size_scale=0.3))]
    size = min(case.image.shape for case in cases)
    for number, case in enumerate(cases[:count]):
        name, patient = f"i{number:02}", number // 2
        write_dicom(dicom / "images" / f"{name}.dcm", framed(case.image), [region_of(case.image)], **secrets(patient))
        cv2.imwrite(str(png / "images" / f"{name}.png"), case.image)
        annotations["dicom"][name] = shapes_json(case.shapes, LEFT, TOP)
        annotations["png"][name] = shapes_json(case.shapes)
        rows.append(f"{name},P{patient},{SPACING[0]},{SPACING[1]}")
    rng = np.random.default_rng(4)
    loop = [rng.integers(0, 200, size, dtype=np.uint8) for _ in range(6)]
    shown = {1: cases[count], 3: cases[count + 1], 4: cases[count + 2]}
    for frame, case in shown.items():
        loop[frame] = np.ascontiguousarray(case.image[: size[0], : size[1]])
        annotations["dicom"][f"loop_frame{frame + 1:04}"] = shapes_json(case.shapes, LEFT, TOP)
        annotations["png"][f"loop_frame{frame + 1:04}"] = shapes_json(case.shapes)
        cv2.imwrite(str(png / "images" / f"loop_frame{frame + 1:04}.png"), loop[frame])
        rows.append(f"loop_frame{frame + 1:04},Z loop,{SPACING[0]},{SPACING[1]}")
    stack = np.stack([framed(pixels) for pixels in loop])
    write_dicom(dicom / "images" / "loop.dcm", stack, [region_of(loop[0])], **secrets(99))
    even = size[0] // 2 * 2, size[1] // 2 * 2
    film = np.stack([cases[count + 3 + (frame > 1)].image[: even[0], : even[1]] for frame in range(4)])
    write_video(dicom / "images" / "film.avi", film)
    for frame, case in ((0, cases[count + 3]), (2, cases[count + 4])):
        name = f"film_frame{frame + 1:04}"
        annotations["dicom"][name] = annotations["png"][name] = shapes_json(case.shapes)
        pixels = read_image(ImageRef(dicom / "images" / "film.avi", frame)).pixels
        cv2.imwrite(str(png / "images" / f"{name}.png"), pixels)
        rows.append(f"{name},A film,,")
    for folder in (dicom, png):
        (folder / "annotations.json").write_text(json.dumps(annotations[folder.name]))
    (png / "metadata.csv").write_text("\n".join(rows) + "\n")
    return dicom, png
