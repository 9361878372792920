"""Stage 3: train the task's network, keep the best epoch by validation Dice, and score the test split once."""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.errors import DataError, Stopped, UsageError
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import EXIT_OK, JOBS, SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.signals import deferred_signals, stop_if_received
from sonoseg.runs.terminal import print_lines, progress_bar
from sonoseg.runs.workspace import (
    CROSS_VALIDATION_FOLDER,
    FILES_OF_TRAINING,
    SANITY_CHECK_FOLDER,
    SCORING_RECORD,
    Workspace,
    fold_folder,
)
from sonoseg.sizes import MAX_EPOCHS

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    import torch

    from sonoseg.evaluation.cases import Case
    from sonoseg.evaluation.folds import FoldData
    from sonoseg.evaluation.scoring import Scoring
    from sonoseg.schema.task import Task
    from sonoseg.training.progress import Progress
    from sonoseg.training.run import TrainingRun
    from sonoseg.training.setup import TrainingSetup

ALL_FOLDS = "all"
MAX_FOLD = 99


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--epochs", type=number_type(int, 1, MAX_EPOCHS), help="epochs to train (default: the task's)")
    validating = parser.add_mutually_exclusive_group()
    validating.add_argument(
        "--fold", type=fold_type, default=0, help="fold that validates, from 0; all: cross-validation"
    )
    validating.add_argument(
        "--refit",
        action="store_true",
        help="train on all folds, once the settings are chosen: no fold validates, and the last epoch is kept",
    )
    parser.add_argument("--seed", type=SEED, default=42, help="seed of the initial weights and the image order")
    parser.add_argument(
        "--run", type=name_type, default=time.strftime("%Y%m%d-%H%M%S"), help="name of a new run in TensorBoard"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--resume",
        action="store_true",
        help="resume from last.ckpt at the next step (several processes: at the next epoch)",
    )
    mode.add_argument("--summary", action="store_true", help="only show the network, layer by layer")
    mode.add_argument("--sanity-check", action="store_true", help="two batches, one epoch, in a separate folder")
    mode.add_argument("--score", action="store_true", help="only score the trained model on the test split again")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    parser.add_argument("--devices", type=JOBS, default=processes, help="GPUs or processes on this machine")
    precisions = ("auto", "32-true", "bf16-mixed", "16-mixed")
    parser.add_argument("--precision", choices=precisions, default="auto", help="auto: bf16 where the hardware has it")
    parser.add_argument("--compile", action="store_true", help="compile the network first: a minute, then faster steps")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        help="use deterministic kernels on a GPU, at some cost in speed; on a CPU the same number of threads gives the "
        "same bytes without it",
    )
    arguments = parser.parse_args(argv)
    if arguments.sanity_check and (arguments.refit or arguments.fold == ALL_FOLDS):
        raise UsageError("--sanity-check trains with one fold that validates; omit --fold all and --refit")
    return arguments


def name_type(text: str) -> str:
    """Return a name that is safe as a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected at most 100 letters, digits, '_', '-' or '.'")
    return text


def fold_type(text: str) -> int | str:
    """Return the number of a fold, or `all`."""
    return ALL_FOLDS if text == ALL_FOLDS else int(number_type(int, 0, MAX_FOLD)(text))


def run_stage(argv: Sequence[str] | None) -> int:
    """Run stage 3. Raises SonoSegError, Stopped and OSError."""
    arguments = parse_arguments(argv)

    from sonoseg.planning.planned_task import load_planned_task

    task = load_planned_task(arguments.task, arguments.workspace)
    workspace = Workspace(arguments.workspace, task.name)
    if arguments.refit:
        check_refit(task, arguments.epochs)
    if arguments.summary:
        from sonoseg.models.summary import network_table

        print_lines([network_table(task)])
        return EXIT_OK
    # Any number of trainings may read the same split; stages 1 and 2 wait until none does.
    with locked(workspace.split, shared=True) as remarks:
        print_lines(remarks)
        train_and_score(task, workspace, arguments)
    return EXIT_OK


def check_refit(task: "Task", epochs: int | None) -> None:
    """Raise UsageError for a task whose schedule or length depends on a fold that validates."""
    if task.training.optimizer.schedule == "plateau":
        raise UsageError(
            f"--refit: the schedule plateau of task {task.name} lowers the rate by the validation loss, and no "
            "fold validates; choose another training.optimizer.schedule"
        )
    if task.training.patience and not epochs:
        raise UsageError(
            f"--refit: task {task.name} ends by its patience, and no fold validates; state --epochs, such as the best "
            "epoch of a training with --fold 0"
        )


def train_and_score(task: "Task", workspace: Workspace, arguments: argparse.Namespace) -> None:
    """Train one model, or one per fold, and score it."""
    # Torch and MONAI take seconds to import; --help and a wrong task have been answered by now.
    from sonoseg.evaluation.cross_validation import check_folds
    from sonoseg.evaluation.folds import SinglePatientError, folds_of, load_data
    from sonoseg.evaluation.results import check_log
    from sonoseg.models.determinism import name_nondeterministic_operation
    from sonoseg.training.processes import process_group, start_fabric
    from sonoseg.training.records import write_run_record
    from sonoseg.training.run import RunOptions, begin_run, claim_files
    from sonoseg.training.setup import TrainingOptions, build_training
    from sonoseg.training.terminal import file_lines

    # Read the tables: which images train, validate and test. No test image is read before the scoring below.
    all_folds = arguments.fold == ALL_FOLDS
    numbers: list[int | None] = [None if arguments.refit else arguments.fold]
    numbers = [*folds_of(workspace)] if all_folds else numbers
    limits = ReadLimits(arguments.max_pixels)
    try:
        folds = [load_data(task, workspace, number, limits) for number in numbers]
    except SinglePatientError as error:
        raise DataError(f"{error}; --refit trains on all images, and validates none") from None
    folder = workspace.models
    if all_folds:
        folder /= CROSS_VALIDATION_FOLDER
        check_folds(folder, [data.fold for data in folds])
    elif arguments.sanity_check:
        folder /= SANITY_CHECK_FOLDER

    with (
        locked(folder) as remarks,
        OutputFolder(folder, "stage3") as output,
        name_nondeterministic_operation(),
        process_group(),
    ):
        print_lines(remarks)
        check_log(workspace)
        outputs = [output.subfolder(fold_folder(data.fold)) if all_folds else output for data in folds]
        claim_files(output, outputs, arguments.score, arguments.resume)
        fabric = start_fabric(arguments.device, arguments.devices, arguments.precision, arguments.deterministic)
        if not arguments.score:
            options = TrainingOptions(arguments.seed, arguments.epochs, arguments.compile, arguments.sanity_check)
            run_options = RunOptions(arguments.run, workspace.logs, arguments.command, arguments.resume, all_folds)
            # Set up network, optimizer, loss and batches, or continue from the checkpoint; then train.
            for data, fold_output in zip(folds, outputs, strict=True):
                train(begin_run(build_training(task, data, fabric, options), data, fold_output, run_options))
        if not fabric.is_global_zero:
            return
        if all_folds:
            score_folds(task, workspace, folds, output, fabric.device)
        else:
            score_model(task, workspace, folds[0], output, fabric.device, arguments.sanity_check)
        if arguments.score:
            write_run_record(output, SCORING_RECORD, arguments.command, task, {"data": folds[0].hashes})
        for path in [fold_output.path(name) for fold_output in outputs for name in FILES_OF_TRAINING]:
            if output.owns(path):  # not written by --score, nor by --resume of a complete training
                output.keep(path)
    models, has_test = folder if all_folds else None, bool(folds[0].test)
    print_lines([*file_lines(folder, workspace.logs), f"next: {following_command(arguments, models, has_test)}"])


def following_command(arguments: argparse.Namespace, models: Path | None, has_test: bool) -> str:
    """Return the command to run next; models: folder of a cross-validation. Without a test split, it names images."""
    if arguments.sanity_check:
        return next_command("training.py", arguments)
    flags = ([] if models is None else [f"--model {models}"]) + ([] if has_test else ["--images path/to/images"])
    return " ".join([next_command("inference.py", arguments), *flags])


def train(run: "TrainingRun") -> None:
    """Train one model: `last.ckpt` after every epoch, then `best_model.safetensors` and `curves.png`.

    Raises Stopped when a signal has ended it, after a checkpoint of the step that it was at.
    """
    from sonoseg.training.run import save_epoch, save_run, write_model
    from sonoseg.training.terminal import epoch_line, start_lines

    setup, progress, shown = run.setup, run.progress, run.setup.fabric.is_global_zero
    print_lines(start_lines(setup, run.data.fold) if shown else [])
    # Several processes would have to agree on a step to stop at: they end at once, and resume after their last epoch.
    stops_at_step = setup.fabric.world_size == 1 and not setup.options.sanity_check
    with deferred_signals(enabled=stops_at_step) as signals:
        try:
            while not run.is_complete:
                scalars = train_and_validate(setup, progress, signals)
                is_best = progress.finish_epoch(setup.validated, scalars)
                save_epoch(run)
                line = epoch_line(progress.epoch, setup.epochs, scalars, setup.scored, is_best)
                print_lines([line] if shown else [])
                stop_if_received(signals)
        except Stopped as stop:
            raise with_resume_hint(stop, save_run(run)) from None
    write_model(run)


def train_and_validate(setup: "TrainingSetup", progress: "Progress", signals: list[signal.Signals]) -> dict[str, float]:
    """Train and validate for one epoch; return its scalars. Raises Stopped after a step when a signal has come."""
    from sonoseg.training.loop import epoch_scalars, train_epoch, validate
    from sonoseg.training.optimizer import learning_rates
    from sonoseg.training.progress import ValidationTotals

    epoch, steps = progress.epoch, len(setup.training)
    totals, scores = progress.current_epoch, ValidationTotals(setup.task.class_names, setup.absent)
    began = time.perf_counter() - totals.seconds

    # Train: every image of the other folds once, in an order that depends on seed and epoch alone.
    rates = learning_rates(setup.task.training.optimizer, epoch, setup.epochs, steps, progress.validation_losses)
    title, shown = f"epoch {epoch + 1}/{setup.epochs}", setup.fabric.is_global_zero
    for _ in progress_bar(train_epoch(setup, epoch, rates, totals), title, steps, totals.step, shown):
        stop_if_received(signals)

    # Validate: the Dice of the held-out fold alone decides which epoch is kept; in a refit it is the last one.
    for _ in validate(setup, epoch, scores):
        stop_if_received(signals)
    return {**epoch_scalars(setup, progress, scores, rates[-1]), "time/epoch_s": time.perf_counter() - began}


def with_resume_hint(stop: Stopped, checkpoint: Path) -> Stopped:
    return Stopped(f"{stop}; checkpoint written to {checkpoint}; run the same command with --resume", stop.code)


def score_model(
    task: "Task",
    workspace: Workspace,
    data: "FoldData",
    output: OutputFolder,
    device: "torch.device",
    sanity_check: bool,
) -> None:
    """Score the chosen epoch once: on the test split, or for a sanity check on two validation images."""
    from sonoseg.evaluation.results import write_model_evaluation
    from sonoseg.evaluation.scoring import model_scoring
    from sonoseg.evaluation.terminal import score_report

    scoring = model_scoring(output.folder, data, task, sanity_check)
    summary = write_model_evaluation(output, scoring, score_with_bar(scoring, device), data, workspace)
    print_lines(score_report(summary, scoring.title) if summary else [])


def score_folds(
    task: "Task", workspace: Workspace, folds: Sequence["FoldData"], output: OutputFolder, device: "torch.device"
) -> None:
    """Score each fold by the model that was not trained on it, and the test split once by the ensemble of all."""
    from sonoseg.evaluation.cross_validation import cross_validation_scorings, write_cross_validation
    from sonoseg.evaluation.terminal import cross_validation_report

    scorings = cross_validation_scorings(output.folder, folds, task)
    cases = [score_with_bar(scoring, device) for scoring in scorings]
    print_lines(cross_validation_report(*write_cross_validation(output, scorings, cases, folds, workspace)))


def score_with_bar(scoring: "Scoring", device: "torch.device") -> list["Case"]:
    """Score the images of a scoring with a progress bar."""
    from sonoseg.evaluation.scoring import score_images

    return list(progress_bar(score_images(scoring, device), f"score the {scoring.title} images", len(scoring.samples)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 3; return the exit code, see `run_guarded`."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
