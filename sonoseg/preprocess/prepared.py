"""The work of stage 2 on one source image, and the fingerprint that decides whether it has to be repeated."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sonoseg.errors import DataError
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask, write_label_map
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.io.readers.opening import digest_of_file, read_file
from sonoseg.preprocess.augmentation import apply, copy_generator, draw_parameters
from sonoseg.preprocess.enhance import enhance
from sonoseg.preprocess.fit import Fit
from sonoseg.runs.split_tables import RUN_STAGE_1_AGAIN, Prepared, Sample
from sonoseg.runs.workspace import IMAGES, MASKS, Workspace
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

ALGORITHM = 1
"""Raise it when the code gives other pixels for the same settings, so that all images are made again."""


@dataclass(frozen=True)
class JobSettings:
    """What all jobs of a run share. workspace: the root is an absolute path."""

    task: Task
    workspace: Workspace
    seed: int
    limits: ReadLimits


@dataclass(frozen=True)
class Job:
    """One source image of one part (`train` or `test`), with everything that a worker process needs."""

    settings: JobSettings
    part: str
    sample: Sample
    copies: int

    @property
    def name(self) -> str:
        return f"{self.part}/{self.sample.id}"

    @property
    def task(self) -> Task:
        return self.settings.task

    def rows(self) -> list[Prepared]:
        """Return the index rows of this source: the original, then its copies."""
        chosen = [draw_parameters(self.task.augmentation, self.rng(copy)) for copy in range(self.copies)]
        copies = [
            self._row(f"{self.sample.id}_aug{number}", parameters.describe())
            for number, parameters in enumerate(chosen, start=1)
        ]
        return [self._row(self.sample.id, "none"), *copies]

    def _row(self, id: str, augmentation: str) -> Prepared:
        workspace = self.settings.workspace
        return Prepared(
            id=id,
            source_id=self.sample.id,
            patient=self.sample.patient,
            fold=self.sample.fold,
            image_path=workspace.prepared(self.part, IMAGES, id),
            mask_path=workspace.prepared(self.part, MASKS, id),
            augmentation=augmentation,
            frame=self.sample.image.frame,
        )

    def rng(self, copy: int) -> np.random.Generator:
        """Return the generator of one copy, from 0."""
        return copy_generator(self.sample.id, self.settings.seed, copy)

    def check_sources(self) -> None:
        """Raise DataError when the image or its mask is missing, or differs from the one that stage 1 listed."""
        paths = (self.sample.image.path, self.sample.mask)
        for path in paths:
            if not path.is_file():
                raise DataError(f"{path}: no such file, although stage 1 listed it; restore it, or {RUN_STAGE_1_AGAIN}")
        self._check_digests([digest_of_file(path, self.settings.limits)[0] for path in paths])

    def _check_digests(self, digests: Sequence[str]) -> None:
        """Raise DataError unless these SHA-256, of image and mask, are those that stage 1 listed."""
        listed = ((self.sample.image.path, self.sample.sha256), (self.sample.mask, self.sample.mask_sha256))
        for (path, expected), digest in zip(listed, digests, strict=True):
            if digest != expected:
                raise DataError(f"{path}: the file has changed since stage 1; {RUN_STAGE_1_AGAIN}")

    def key(self) -> str:
        """Return a fingerprint of all that decides this job's output, from tables and settings alone."""
        decides = {
            "algorithm": [ALGORITHM, cv2.__version__],
            "sources": [self.sample.sha256, self.sample.mask_sha256],
            "enhancement": self.task.enhancement.model_dump(),
            "input": self.task.input.model_dump(exclude={"intensity"}),
            "augmentation": self.task.augmentation.model_dump(exclude={"copies", "online"}) if self.copies else None,
            "copies": self.copies,
            "seed": self.settings.seed if self.copies else None,
        }
        if self.sample.image.frame is not None:  # left out otherwise, so that earlier keys of single pictures hold
            decides["frame"] = self.sample.image.frame
        if self.sample.image.region is not None:
            decides["region"] = self.sample.image.region
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def is_done(self, key: str, done: dict[str, str]) -> bool:
        """Return whether all files of this job exist and were made with the same fingerprint."""
        return done.get(self.name) == key and all(
            path.is_file() for row in self.rows() for path in (row.image_path, row.mask_path)
        )

    def run(self) -> None:
        """Enhance the source once, fit it, and write it and its copies.

        Raises DataError for a file that cannot be read or has changed since stage 1.
        """
        limits = self.settings.limits
        files = [read_file(path, limits) for path in (self.sample.image.path, self.sample.mask)]
        self._check_digests([hashlib.sha256(data).hexdigest() for data in files])
        image = read_image(self.sample.image, limits, files[0]).pixels
        mask = read_mask(self.sample.mask, limits, files[1])
        if image.shape != mask.shape:
            sizes = f"the mask is {mask.shape}, its image {image.shape}"
            raise DataError(f"{self.sample.mask}: {sizes}; {RUN_STAGE_1_AGAIN}")
        fit = Fit.of(image.shape, self.task.input)
        image = fit.apply(enhance(image, self.task.enhancement))
        mask = fit.apply(mask, "nearest")
        original, *copies = self.rows()
        self._write(original, image, mask)
        for number, row in enumerate(copies):
            self._write(row, *apply(draw_parameters(self.task.augmentation, self.rng(number)), image, mask))

    def _write(self, row: Prepared, image: Pixels, mask: Pixels) -> None:
        write_image(row.image_path, image, sync=False)
        write_label_map(row.mask_path, mask, self.task.colors, sync=False)


def unlisted_images(workspace: Workspace, part: str, rows: Sequence[Prepared]) -> list[Path]:
    """Return the images and masks of a part that no row lists: those of earlier settings."""
    listed = {path.name for row in rows for path in (row.image_path, row.mask_path)}
    return [path for path in workspace.all_prepared(part) if path.name not in listed]
