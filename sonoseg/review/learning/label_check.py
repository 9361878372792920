"""Annotations that may be wrong: those with which a model disagrees that was not trained on them, and is sure.

After a cross-validation each training image was scored by the model of the fold that it validated. Where the Dice is
far below the expected one, either the model or the annotation is wrong, and a person should look.
"""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.errors import DataError, UsageError
from sonoseg.geometry.shapes import Shape, fit_annotated
from sonoseg.inference.sources import Source as Image
from sonoseg.io.image_ref import UNKNOWN, ImageRef
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image_header
from sonoseg.io.tables import read_table
from sonoseg.models.model_header import read_header
from sonoseg.postprocess.gaps import full_masks
from sonoseg.review.live import LiveImages, Predictor
from sonoseg.review.predictions import Prediction
from sonoseg.review.results import FOLDER, Item
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import ANY_FOLD, BEST_MODEL, CASES_TABLE, OUT_OF_FOLD, Workspace, fold_folder
from sonoseg.schema.task import Task

LEAST_MARGIN = 0.05
"""Of the expected Dice above the Dice, below which no annotation is doubted."""
ROBUST_Z = 3.0


@dataclass(frozen=True)
class Doubt:
    """How well the out-of-fold prediction of an image agrees with its annotation: Dice, and the one expected."""

    dice: float
    expected: float

    @property
    def margin(self) -> float:
        return self.expected - self.dice


def doubts_of(rows: list[dict[str, str]], task: Task) -> dict[str, Doubt]:
    """Return image id -> doubt, from the rows of `per_case.csv`; images without an expected Dice are left out."""
    found = {}
    for row in rows:
        dice = [float(row[f"{name}_dice"]) for name in task.class_names if row.get(f"{name}_dice")]
        if row.get("quality") and dice:
            found[row["id"]] = Doubt(float(np.mean(dice)), float(row["quality"]))
    return found


def limit_of(doubts: dict[str, Doubt]) -> float:
    """Return the margin from which an annotation is doubted: median + 3 robust standard deviations (1.4826 MAD)."""
    margins = np.array([doubt.margin for doubt in doubts.values()] or [0.0])
    middle = float(np.median(margins))
    return max(LEAST_MARGIN, middle + ROBUST_Z * 1.4826 * float(np.median(np.abs(margins - middle))))


class DoubtfulLabels:
    """The training images of a cross-validation as a source: annotations to check, beside what the models found."""

    problem = ""

    def __init__(self, folder: Path, root: Path):
        """folder: of a cross-validation, `Models/<task>/cross_validation`; root: of its workspace.

        Raises UsageError for a folder without its scores, DataError for tables that cannot be read, ModelError.
        """
        table = folder / OUT_OF_FOLD / CASES_TABLE
        models = sorted(folder.glob(f"{ANY_FOLD}/{BEST_MODEL}"))
        if not table.is_file() or not models:
            raise UsageError(
                f"{folder}: no scores and models of a cross-validation; cross-validate the task first (training.py)"
            )
        self.task = read_header(models[0]).task
        samples = read_split(Workspace(root, self.task.name).split_table("train"), self.task.class_names, root)
        self._samples = {sample.id: sample for sample in samples}
        self._doubts = doubts_of([row for _, row in read_table(table, "training.py")], self.task)
        if not self._doubts:
            raise UsageError(f"{table}: no expected Dice; it takes a quality model, which needs more images")
        self._limit = limit_of(self._doubts)
        self._predictor = Predictor([])
        self._live: dict[int | None, LiveImages] = {}
        self._of: dict[str, tuple[LiveImages, Sample]] = {}
        doubted = [sample for sample in samples if sample.id in self._doubts]
        for fold in dict.fromkeys(sample.fold for sample in doubted):
            self._add([sample for sample in doubted if sample.fold == fold], folder)

    def _add(self, samples: list[Sample], folder: Path) -> None:
        """Add the images that a fold validated, at least one."""
        fold = samples[0].fold
        model, records = folder / fold_folder(fold) / BEST_MODEL, folder / FOLDER / "live" / fold_folder(fold)
        digest = read_header(model).sha256 if model.is_file() else ""
        live = LiveImages(self.task, records, self._predictor.of([str(model)]), digest)
        images = [Image(one.image, one.id, one.spacing, "split table" if one.spacing else UNKNOWN) for one in samples]
        self._live[fold] = live
        self._of |= {key: (live, sample) for key, sample in zip(live.add(images), samples, strict=True)}

    def close(self) -> None:
        """End the process of the networks."""
        self._predictor.close()

    def state(self) -> Hashable:
        return tuple(live.state() for live in self._live.values())

    def items(self) -> list[Item]:
        found = [item for live in self._live.values() for item in live.items()]
        return [self._doubted(item) for item in found]

    def _doubted(self, item: Item) -> Item:
        sample = self._of[item.id][1]
        doubt = self._doubts[sample.id]
        is_doubted = doubt.margin >= self._limit
        return replace(
            item,
            status="check" if is_doubted else "ok",
            quality=doubt.expected,
            order=-doubt.margin,
            reasons=(self._reason(doubt),) if is_doubted else (),
            patient=sample.patient,
            structures=tuple(name for name, shown in sample.present.items() if shown),
            sample=sample.id,
        )

    def _reason(self, doubt: Doubt) -> str:
        return (
            f"a model that was not trained on this image agrees with its annotation by Dice {doubt.dice:.2f}, and "
            f"{doubt.expected:.2f} was expected: is the annotation wrong?"
        )

    def prediction(self, item: Item, frame: int | None) -> tuple[int, Prediction]:
        """Return what the model of the other folds found, with the shapes of the annotation beside it."""
        live, sample = self._of[item.id]
        number, found = live.prediction(item, frame)
        doubted = self._doubted(item)
        return number, replace(
            found, annotated=self._annotation(sample), status=doubted.status, reasons=list(doubted.reasons)
        )

    def _annotation(self, sample: Sample) -> list[Shape]:
        """Return the shapes of an annotation, in pixels of the frame. Raises DataError."""
        labels = read_mask(sample.mask)
        if labels.shape != (sample.height, sample.width):
            raise DataError("its label map has another size than the image; run stage 1 again")
        masks = full_masks(labels, self.task.structures, self.task.postprocessing)
        region = read_image_header(sample.image.path).region_of(sample.image)
        left, top = (region.left, region.top) if region else (0, 0)
        pairs = zip(self.task.structures, masks, strict=True)
        shapes = [one for each, mask in pairs for one in fit_annotated(mask, each.name, each.shape, sample.spacing)]
        return [shape.moved(left, top) for shape in shapes]

    def image(self, item: Item, frame: int) -> ImageRef:
        return self._of[item.id][1].image

    def image_sha256(self, item: Item) -> str:
        return self._of[item.id][0].image_sha256(item)

    def series(self, item: Item) -> dict[str, Any]:
        return self._of[item.id][0].series(item)
