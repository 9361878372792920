"""Which prepared images train, which validate, which are the untouched test."""

from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import DataError, choices
from sonoseg.io.files import sha256_of
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.prepare.split import assert_no_leak
from sonoseg.preprocess.plan import check_prepared
from sonoseg.runs.split_tables import Prepared, Sample, read_index, read_split
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class TrainingData:
    """Rows of stage 2 by their use, the sources of all of them, and the hashes of the tables they come from.

    `fold` is the one that validates; `limits` apply to all images.
    """

    fold: int

    train: list[Prepared]
    validation: list[Prepared]
    test: list[Prepared]
    samples: list[Sample]
    hashes: dict[str, str]
    limits: ReadLimits = DEFAULT_LIMITS


def load_data(task: Task, workspace: Workspace, fold: int, limits: ReadLimits = DEFAULT_LIMITS) -> TrainingData:
    """Read and check the tables of stages 1 and 2.

    Validation is the originals of one fold, training everything of the other folds.

    Raises DataError when a table is missing, a patient leaks between the parts, stage 2's pictures are not of this
    split and these settings, or the fold is empty.
    """
    train_samples, test_samples = (
        read_split(workspace.split_table(part), task.class_names, workspace.root) for part in ("train", "test")
    )
    assert_no_leak(train_samples, test_samples)
    index, test = (read_index(workspace.index(part), workspace.root) for part in ("train", "test"))
    _check_same_sources(workspace.index("train"), index, train_samples)
    _check_same_sources(workspace.index("test"), test, test_samples)

    check_prepared(task, workspace)

    folds = sorted({row.fold for row in index if row.fold is not None})
    if fold not in folds:
        raise DataError(
            f"{workspace.index('train')}: no images in fold {fold}; expected {choices(folds)}. "
            "A dataset needs at least two patients in its training part"
        )
    if len(folds) == 1:
        raise DataError(f"{workspace.index('train')}: all images are in fold {fold}, so none is left to train on")
    tables = [
        workspace.split_table("train"),
        workspace.split_table("test"),
        workspace.index("train"),
        workspace.index("test"),
    ]
    return TrainingData(
        fold=fold,
        train=[row for row in index if row.fold != fold],
        validation=[row for row in index if row.fold == fold and row.augmentation == "none"],
        test=test,
        samples=[*train_samples, *test_samples],
        hashes={f"{table.parent.name}/{table.name}": sha256_of(table) for table in tables},
        limits=limits,
    )


def folds_of(workspace: Workspace) -> list[int]:
    """Return the folds of the training part, sorted. Raises DataError when stage 2 has not run."""
    return sorted({row.fold for row in read_index(workspace.index("train"), workspace.root) if row.fold is not None})


def _check_same_sources(table: Path, rows: list[Prepared], samples: list[Sample]) -> None:
    """Stage 2 has to be of this split: same images, same patients, same folds."""
    expected = {(sample.id, sample.patient, sample.fold) for sample in samples}
    if {(row.source_id, row.patient, row.fold) for row in rows} != expected:
        raise DataError(f"{table}: made from another split than the one now in its folder; run stage 2 again")
