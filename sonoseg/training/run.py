"""A training as stage 3 runs it: begun or resumed, saved after each epoch, and its model written at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.history import write_history
from sonoseg.evaluation.quality.files import earlier_quality, write_observations
from sonoseg.evaluation.quality.observe import familiarity_of, measured_of, validation_observations
from sonoseg.evaluation.results import remove_scores
from sonoseg.models.model_file import model_bytes
from sonoseg.models.networks import build_network
from sonoseg.quality.fit import fit_quality
from sonoseg.quality.model import QualityModel
from sonoseg.reporting.training_curves import curves_png
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import is_run_record
from sonoseg.runs.workspace import (
    BEST_MODEL,
    CASES_TABLE,
    CHECKPOINT,
    CROSS_VALIDATION,
    CURVES,
    ENSEMBLE,
    EVALUATION,
    EVALUATION_PAGE,
    FILES_OF_TRAINING,
    HISTORY,
    OUT_OF_FOLD,
    QUALITY_DATA,
    QUALITY_MODEL,
    SCORING_RECORD,
    TRAINING_RECORD,
)
from sonoseg.training.checkpoint import load_checkpoint, save_checkpoint
from sonoseg.training.progress import Progress
from sonoseg.training.records import model_facts, training_settings, write_run_record
from sonoseg.training.setup import TrainingSetup
from sonoseg.training.tracking import Tracker, read_examples


@dataclass(frozen=True)
class RunOptions:
    """How a training is run and recorded, apart from what decides its weights.

    name: of its folder in TensorBoard, below `logs`. command: the command line. resume: continue from the checkpoint.
    all_folds: it is one of a cross-validation, where a fold without a checkpoint starts at its first epoch.
    """

    name: str
    logs: Path
    command: Sequence[str]
    resume: bool = False
    all_folds: bool = False


@dataclass
class TrainingRun:
    """A training under way, and where it is saved. tracker: None in all processes but the first, which saves it."""

    setup: TrainingSetup
    data: FoldData
    output: OutputFolder
    settings: dict[str, Any]
    progress: Progress
    tracker: Tracker | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all epochs are done, or the patience is exhausted."""
        return self.progress.epoch >= self.setup.epochs or self.progress.has_stalled(self.setup.task.training.patience)


def claim_files(output: OutputFolder, outputs: Sequence[OutputFolder], only_score: bool, resume: bool) -> None:
    """Claim all files that stage 3 writes. Raises DataError when one of them exists and was not written by it.

    outputs: of each model, `output` alone or the folders of its folds. only_score: models are read and not written.
    resume: the checkpoint is claimed once it has been read.
    """
    scores = (EVALUATION, EVALUATION_PAGE, CASES_TABLE)
    names = [output.path(name) for name in (SCORING_RECORD, CROSS_VALIDATION, QUALITY_MODEL)]
    names += [output.subfolder(name).path(score) for name in (OUT_OF_FOLD, ENSEMBLE) for score in scores]
    names += [one.path(name) for one in outputs for name in (*scores, SCORING_RECORD)]
    trained = [one.path(name) for one in outputs for name in FILES_OF_TRAINING]
    if not output.has_earlier_run:
        for one in outputs:  # an unfinished run of an earlier version
            if is_run_record(one.path(TRAINING_RECORD)):
                output.adopt([one.path(TRAINING_RECORD)])
                output.adopt([*names, *trained] if one.path(CHECKPOINT).is_file() else [])
    if not only_score:
        names += [path for path in trained if not (resume and path.name in (CHECKPOINT, HISTORY))]
    output.claim(names)


def begin_run(setup: TrainingSetup, data: FoldData, output: OutputFolder, options: RunOptions) -> TrainingRun:
    """Return a training from its first epoch, or from where its checkpoint was saved, and write the record of the run.

    Raises ModelError for a checkpoint that is missing, damaged or of other settings.
    """
    settings = training_settings(setup, data)
    progress = Progress(f"{options.name}-fold{data.fold}" if options.all_folds else options.name)
    if options.resume and (not options.all_folds or output.path(CHECKPOINT).is_file()):
        progress = load_checkpoint(output.path(CHECKPOINT), setup, settings)
        output.adopt([CHECKPOINT, HISTORY])  # a valid checkpoint, and the scalars that it contains
    run, task = TrainingRun(setup, data, output, settings, progress), setup.task
    if setup.fabric.is_global_zero:
        examples = read_examples(data, task.enhancement, task.input)
        run.tracker = Tracker(options.logs / progress.run, task, progress.epoch, examples)
        write_run_record(output, TRAINING_RECORD, options.command, task, settings, resumed=options.resume)
    return run


def save_run(run: TrainingRun) -> Path:
    """Write `last.ckpt`, from which the training resumes at the next step, and return its path."""
    return save_checkpoint(run.output, run.setup, run.progress, run.settings)


def save_epoch(run: TrainingRun) -> None:
    """Log the epoch that has just been finished, and write `history.csv` and `last.ckpt`; by the first process only."""
    if run.tracker:
        run.tracker.scalars(run.progress.history[-1], run.progress.epoch)
        run.tracker.overlays(run.setup.validated, run.progress.epoch)
        write_history(run.output, run.progress.history)
        save_run(run)


def write_model(run: TrainingRun) -> None:
    """Write the weights of the best epoch, and the curves; by the first process only.

    The model is read back before it replaces an earlier one, whose scores are removed. Raises ModelError for weights
    that are not usable; then an earlier model and its scores stay.
    """
    if run.tracker:
        run.tracker.close()
        progress, task = run.progress, run.setup.task
        facts, is_refit = model_facts(progress, run.data, run.settings), run.data.fold is None
        # No image is left out of a refit, which so takes over the quality model of an earlier training.
        quality = earlier_quality(run.output.folder, task, run.data) if is_refit else None
        data = model_bytes(progress.best_state, task, facts, quality)
        remove_scores(run.output)
        run.output.write_bytes(BEST_MODEL, data, reread=True)
        run.output.remove(QUALITY_DATA)
        if not is_refit and not run.setup.options.sanity_check:
            data = model_bytes(progress.best_state, task, facts, fit_quality_of(run))
            run.output.write_bytes(BEST_MODEL, data, reread=True)
        run.output.write_bytes(CURVES, curves_png(progress.history, task, progress.best_epoch))


def fit_quality_of(run: TrainingRun) -> QualityModel | None:
    """Return the best epoch's quality model, and write the results that it is fitted to; None for too few images."""
    setup, task = run.setup, run.setup.task
    network = build_network(task)
    network.load_state_dict(run.progress.best_state)
    device = str(setup.fabric.device)
    observations = validation_observations(network.to(setup.fabric.device).eval(), run.data, task, device)
    write_observations(run.output, observations)
    familiarity, source = familiarity_of(run.data), f"fold {run.data.fold}"
    return fit_quality(observations, task.review.acceptable_dice, familiarity, source, measured_of(task))
