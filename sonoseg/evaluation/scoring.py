"""Score trained models, read back from their files, on images that they were not trained on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sonoseg.errors import ModelError
from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.segment import segment_and_compare
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader, digest_of, read_header
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task

SANITY_CHECK_IMAGES = 2
OF_EACH_MEMBER = ("best_epoch", "epochs", "validation_dice", "validation_without", "images")
"""Facts of a model that an ensemble does not have."""


@dataclass(frozen=True)
class Scoring:
    """Annotated images to be scored, and the models that segment them: one, or the members of an ensemble.

    title: of the images, such as `fold 2`. part: `test`, `validation` or `out-of-fold`. in_mm: whether distances are in
    mm; None: when every image has a spacing. Scorings that are summarised together need the same unit.
    """

    title: str
    part: str
    models: Sequence[ModelHeader]
    samples: Sequence[Sample]
    in_mm: bool | None = None
    limits: ReadLimits = DEFAULT_LIMITS

    @property
    def task(self) -> Task:
        return self.models[0].task

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of the model with its `sha256`; of an ensemble what its members have in common, and `members`."""
        if len(self.models) == 1:
            return {**self.models[0].info, "sha256": self.models[0].sha256}
        members = [model.sha256 for model in self.models]
        common = {name: value for name, value in self.models[0].info.items() if name not in OF_EACH_MEMBER}
        return {**common, "fold": "all", "sha256": digest_of(members), "members": members}


def model_scoring(folder: Path, data: FoldData, task: Task, sanity_check: bool = False) -> Scoring:
    """Return the scoring of the model in `folder` on the test split; for a sanity check on two validation images.

    Raises ModelError as `read_trained_model`.
    """
    model = read_trained_model(folder / BEST_MODEL, data, task, any_fold=not sanity_check)
    if sanity_check:
        return Scoring(
            "validation", "validation", [model], data.validation_samples[:SANITY_CHECK_IMAGES], limits=data.limits
        )
    return Scoring("test", "test", [model], data.test_samples, limits=data.limits)


def score_images(scoring: Scoring, device: torch.device) -> Iterator[Case]:
    """Yield a Case per image, in order; see `segment_and_compare`.

    Raises ModelError when the weights of a model do not fit its network.
    """
    task, in_mm = scoring.task, scoring.in_mm
    if in_mm is None:  # one unit for all: an average of millimetres and pixels has no meaning
        in_mm = all(sample.spacing for sample in scoring.samples)
    predictors = [
        torch_predictor(load_network(model, device), task.network, task.enhancement, task.input, device)
        for model in scoring.models
    ]
    qualities = [model.quality for model in scoring.models]
    yield from segment_and_compare(predictors, scoring.samples, task, in_mm, scoring.limits, qualities)


def read_trained_model(path: Path, data: FoldData, task: Task, any_fold: bool = False) -> ModelHeader:
    """Return the header of a model that was trained with this task on these tables.

    With `any_fold` another fold may have validated: the test split is the same for all. Raises ModelError when the task
    has changed, or when the model may have been trained on images on which it would be scored.
    """
    model = read_header(path)
    current, trained = (
        each.without_codes().model_dump(exclude={"review"})
        for each in (task, model.task)  # change no score
    )
    sections = sorted(name for name in current if current[name] != trained[name])
    if sections:
        raise ModelError(
            f"{path}: trained with other settings than the task file has now ({', '.join(sections)}); settings "
            "must not be chosen by test scores; undo the change, or train again"
        )
    changed = sorted(name for name, value in data.hashes.items() if model.info.get("data", {}).get(name) != value)
    fold = model.info.get("fold")
    if changed or (fold != data.fold and not any_fold):
        what = f"other tables ({', '.join(changed)})" if changed else f"fold {fold} held out"
        raise ModelError(
            f"{path}: trained with {what} than now, so it may have seen the images it would be scored on; train again"
        )
    return model
