"""The images of one fold: which train, which validate, and which are the test split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sonoseg.errors import DataError, choices
from sonoseg.io.files import sha256_of
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.names import patient_key
from sonoseg.prepare.split import assert_no_leak
from sonoseg.preprocess.plan import check_prepared
from sonoseg.runs.split_tables import RUN_STAGE_2_AGAIN, Prepared, Sample, read_index, read_split
from sonoseg.runs.workspace import PARTS, Workspace
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class FoldData:
    """Prepared images by their use when `fold` validates, the annotated images that they were made from, and hashes.

    fold: None for a refit, in which all images train and none validates. samples: all annotated images. hashes: table
    -> SHA-256, of the tables of stages 1 and 2. limits: of all images.
    """

    fold: int | None

    train: list[Prepared]
    validation: list[Prepared]
    test: list[Prepared]
    samples: list[Sample]
    hashes: dict[str, str]
    limits: ReadLimits = DEFAULT_LIMITS

    @property
    def validation_samples(self) -> list[Sample]:
        """The annotated images of the fold that validates."""
        return self._sources(self.validation)

    @property
    def test_samples(self) -> list[Sample]:
        """The annotated images of the test split."""
        return self._sources(self.test)

    def absent_from_validation(self, classes: Sequence[str]) -> list[str]:
        """Return the classes that no image of the fold that validates shows; none when no image validates."""
        samples = self.validation_samples
        return [name for name in classes if samples and not any(sample.present[name] for sample in samples)]

    def _sources(self, rows: Sequence[Prepared]) -> list[Sample]:
        return [self._by_id[row.source_id] for row in rows]

    @cached_property
    def _by_id(self) -> dict[str, Sample]:
        return {sample.id: sample for sample in self.samples}


class SinglePatientError(DataError):
    """The patients that train are in one fold, so none is left where it validates; without validation all train."""


def load_data(task: Task, workspace: Workspace, fold: int | None, limits: ReadLimits = DEFAULT_LIMITS) -> FoldData:
    """Read and check the tables of stages 1 and 2.

    The original images of `fold` validate; the images of the other folds train, with their augmented copies. None: all
    of them train.

    Raises DataError when a table is missing, a patient is in two parts, the images of stage 2 were made from another
    split or with other settings, or the fold is empty; SinglePatientError when the fold has all training images.
    """
    train_samples, test_samples = (
        read_split(workspace.split_table(part), task.class_names, workspace.root) for part in PARTS
    )
    assert_no_leak(train_samples, test_samples)
    index, test = (read_index(workspace.index(part), workspace.root) for part in PARTS)
    _check_same_sources(workspace.index("train"), index, train_samples)
    _check_same_sources(workspace.index("test"), test, test_samples)

    check_prepared(task, workspace)

    folds = sorted({row.fold for row in index if row.fold is not None})
    if fold is not None and fold not in folds:
        raise DataError(
            f"{workspace.index('train')}: no images in fold {fold}; expected {choices(folds)}. "
            "A dataset needs at least two patients in its training part"
        )
    if fold is not None and len(folds) == 1:
        raise SinglePatientError(
            f"{workspace.index('train')}: all images are in fold {fold}, so none is left to "
            "train on; a dataset needs at least two patients in its training part"
        )
    tables = [
        workspace.split_table("train"),
        workspace.split_table("test"),
        workspace.index("train"),
        workspace.index("test"),
    ]
    return FoldData(
        fold=fold,
        train=[row for row in index if fold is None or row.fold != fold],
        validation=[row for row in index if fold is not None and row.fold == fold and row.augmentation == "none"],
        test=test,
        samples=[*train_samples, *test_samples],
        hashes={table_name(table): sha256_of(table) for table in tables},
        limits=limits,
    )


def table_name(table: Path) -> str:
    """Return what a table of stages 1 and 2 is called in the facts of a model, such as `spine/test_split.csv`."""
    return f"{table.parent.name}/{table.name}"


def folds_of(workspace: Workspace) -> list[int]:
    """Return the folds of the training part, sorted. Raises DataError when stage 2 has not run."""
    return sorted({row.fold for row in read_index(workspace.index("train"), workspace.root) if row.fold is not None})


def _check_same_sources(table: Path, rows: list[Prepared], samples: list[Sample]) -> None:
    """Raise DataError unless stage 2 was run on this split: same images, patients and folds."""
    expected = {(sample.id, patient_key(sample.patient), sample.fold) for sample in samples}
    if {(row.source_id, patient_key(row.patient), row.fold) for row in rows} != expected:
        raise DataError(f"{table}: made from another split than the one now in its folder; {RUN_STAGE_2_AGAIN}")
