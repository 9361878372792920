"""Scored cases made of label maps, without a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.evaluation.cases import Case, surface_tolerance
from sonoseg.evaluation.metrics import agreement
from sonoseg.evaluation.scoring import Scoring
from sonoseg.evaluation.shape_errors import shape_errors
from sonoseg.evaluation.summary import summarise
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import encode_label_map, write_label_map
from sonoseg.io.png import write_image
from sonoseg.models.model_header import ModelHeader
from sonoseg.postprocess.interpret import measure_labels
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels

SIZE = (120, 160)


def head_map(x: float = 80, y: float = 60, across: float = 50, down: float = 36) -> Pixels:
    """Return a label map of one filled ellipse, its half-axes given."""
    rows, columns = np.indices(SIZE)
    return np.asarray(((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 <= 1, dtype=np.uint8)


def spine_map(tilt: int = 0, drop: int = 0, without: tuple[int, ...] = ()) -> Pixels:
    """Return a label map with MID (1), VTB (2) and EPI (3), tilted and dropped by pixels, some left out."""
    rows, columns = np.indices(SIZE)
    middle = 80 + tilt * (rows - 60) / 60
    labels = np.zeros(SIZE, np.uint8)
    for index, mask in (
        (2, (abs(columns - 80) <= 30) & (abs(rows - 95 - drop) <= 10)),
        (1, (abs(columns - middle) <= 5) & (rows >= 12) & (rows <= 108)),
        (3, (abs(columns - 80) <= 25) & (abs(rows - 70 - drop) <= 5)),
    ):
        if index not in without:
            labels[mask] = index
    return labels


def made_case(
    name: str,
    patient: str,
    prediction: Pixels,
    reference: Pixels,
    task: Task,
    spacing: Spacing | None = (0.5, 0.5),
    root: Path | None = None,
) -> Case:
    """Return the Case of a predicted and a reference label map; with `root`, image and mask are written there."""
    unit = "mm" if spacing else "px"
    image = np.random.default_rng(0).integers(20, 60, SIZE, dtype=np.uint8)
    image[12:16] = 230  # the skin's echo
    predicted, expected = (measure_labels(labels, image, task, spacing) for labels in (prediction, reference))
    folder = root or Path()
    if root:
        write_image(root / f"{name}.png", image)
        write_label_map(root / f"{name}_mask.png", reference, task.colors)
    return Case(
        id=name,
        patient=patient,
        agreement={
            name: agreement(prediction == index, reference == index, spacing, surface_tolerance(task.evaluation, unit))
            for index, name in enumerate(task.class_names, start=1)
        },
        pixel_accuracy=float(np.mean(prediction == reference)),
        measurements=predicted.measurements,
        distance_unit=unit,
        reference_measurements=expected.measurements,
        shape_errors=shape_errors(
            predicted.shapes, expected.shapes, task.structures, spacing, in_mm=spacing is not None
        ),
        image=ImageRef(folder / f"{name}.png"),
        mask=folder / f"{name}_mask.png",
        prediction=encode_label_map(prediction, task.colors),
        status="ok" if prediction.any() else "check",
        reasons=[] if prediction.any() else ["nothing found"],
        size={"px": SIZE} | ({"mm": (SIZE[0] * spacing[0], SIZE[1] * spacing[1])} if spacing else {}),
    )


def summary_of(cases: Sequence[Case], task: Task) -> dict[str, Any]:
    """Return the summary of cases of a task."""
    return summarise(cases, task.class_names, task.evaluation, task.threshold)


def scoring_of(part: str, task: Task, facts: dict[str, Any], sha256: str = "m0") -> Scoring:
    """Return the scoring of a part by a model with these facts; its cases are made elsewhere."""
    return Scoring(part, part, [ModelHeader(Path("best_model.safetensors"), task, facts, sha256)], [])


def output_of(folder: Path) -> OutputFolder:
    return OutputFolder(folder, "stage3")
