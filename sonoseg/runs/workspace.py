"""Names of the files and folders that the stages read and write."""

from dataclasses import dataclass
from pathlib import Path

BEST_MODEL = "best_model.safetensors"
"""What training calls a model, in whatever folder it puts it, and what is looked for in a folder."""

CHECKPOINT, HISTORY, CURVES = "last.ckpt", "history.csv", "curves.png"
"""What training writes beside its model: the state to resume from, the scalars of each epoch, the training curves."""

EVALUATION, EVALUATION_PAGE, CASES_TABLE = "evaluation.json", "evaluation.html", "per_case.csv"
"""Scores of a model: in total, as a page, and per image."""
SCORINGS_LOG = "evaluations.jsonl"
"""A line for each scoring of the test split, in the folder of the task's models."""
MODEL_CARD = "MODEL_CARD.md"

CROSS_VALIDATION_FOLDER, CROSS_VALIDATION = "cross_validation", "cross_validation.json"
OUT_OF_FOLD, ENSEMBLE = "out_of_fold", "ensemble"
"""Folders in that of a cross-validation: scores of all folds together, and of the ensemble on the test split."""
SANITY_CHECK_FOLDER = "sanity_check"

PREPARATION_RECORD, PREPROCESSING_RECORD, TRAINING_RECORD = (f"stage{number}_run.json" for number in (1, 2, 3))
INFERENCE_RECORD = "run.json"
"""Records of how the four stages were run, beside their outputs."""
EARLIER_RUNS = "earlier_runs"
"""Entry of the settings in `run.json`: where the images of earlier runs with results in the same folder were."""
QUALITY_DATA, QUALITY_MODEL = "quality_data.json", "quality_model.json"
"""Results on images that were not trained on, from which a quality model is fitted; and that of a cross-validation."""
FILES_OF_TRAINING = (BEST_MODEL, CHECKPOINT, HISTORY, CURVES, TRAINING_RECORD, QUALITY_DATA)
"""Files beside a model that scoring does not write."""
REVIEW_FOLDER, SUGGESTED_FOLDER = "review", "suggested"
"""Folders beside results: what reviewers have decided, and what to label next. They change, and no list names them."""
RESULTS_TABLE = "results.csv"
"""The table of stage 4: one row per image."""
SCORING_RECORD = "scoring_run.json"
"""How a model was scored when that was done apart from its training."""

DATASET_REPORT, DATASET_PAGE = "dataset_report.json", "dataset_report.html"
DATASET_CHECK_PAGE = "dataset_check.html"
"""What stage 1 reports of a dataset: data and page of a prepared one, and the page of one that was only checked."""
PREPROCESSING_STATE = "preprocessing.json"
"""Which images stage 2 has prepared, and with which settings."""

PLANNED_TASK = "task.yaml"
"""The task as stage 1 has planned it from the data, beside the split."""

PARTS = ("train", "test")
"""Parts of a split, as its tables and folders name them."""
IMAGES, MASKS = "images", "masks"
"""Folders of pictures below the split, and below each of its parts."""
ANY_FOLD = "fold_*"
"""Pattern of what `fold_folder` returns."""


@dataclass(frozen=True)
class Workspace:
    """The folders of one task below a root folder."""

    root: Path
    task: str

    @property
    def dataset(self) -> Path:
        return self.root / "Datasets" / self.task

    @property
    def split(self) -> Path:
        """Masks, tables and enhanced images: what stages 1 and 2 write."""
        return self.root / "Train_Test_Dataset" / self.task

    @property
    def patient_key(self) -> Path:
        """Secret key of the patients' pseudonyms, of all tasks; it goes into no list and no package."""
        return self.split.parent / "patient_key"

    @property
    def planned_task(self) -> Path:
        return self.split / PLANNED_TASK

    @property
    def models(self) -> Path:
        return self.root / "Models" / self.task

    @property
    def best_model(self) -> Path:
        return self.models / BEST_MODEL

    @property
    def results(self) -> Path:
        return self.root / "result" / self.task

    @property
    def archive(self) -> Path:
        """Results of stage 4 as Parquet shards."""
        return self.root / "result" / f"{self.task}_archive"

    @property
    def logs(self) -> Path:
        return self.root / "logs" / self.task

    def label_map(self, identity: str) -> Path:
        """Label map of stage 1."""
        return self.split / MASKS / f"{identity}.png"

    def prepared(self, part: str, kind: str, identity: str) -> Path:
        """Picture of stage 2; `part` is `train` or `test`, `kind` is `images` or `masks`."""
        return self.split / part / kind / f"{identity}.png"

    def all_prepared(self, part: str) -> list[Path]:
        """Pictures of stage 2 that exist, of both kinds."""
        return [path for kind in (IMAGES, MASKS) for path in (self.split / part / kind).glob("*.png")]

    def split_table(self, part: str) -> Path:
        """Table of stage 1; `part` is `train` or `test`."""
        return self.split / f"{part}_split.csv"

    def index(self, part: str) -> Path:
        """Table of stage 2; `part` is `train` or `test`."""
        return self.split / part / "index.csv"


def fold_folder(fold: int | None) -> str:
    """Return the name of a fold's folder in that of a cross-validation."""
    return f"fold_{fold}"
