"""Stage 3: train the task's network, keep the best epoch by validation Dice, and score the test split once."""

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.errors import Stopped
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import EXIT_OK, SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.signals import deferred_signals, stop_if_received
from sonoseg.runs.workspace import (
    BEST_MODEL,
    CHECKPOINT,
    CROSS_VALIDATION_FOLDER,
    CURVES,
    HISTORY,
    RUN_OF_SCORING,
    RUN_OF_TRAINING,
    SANITY_CHECK_FOLDER,
    Workspace,
    fold_folder,
)
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from lightning_fabric import Fabric
    from rich.table import Table

    from sonoseg.evaluation.folds import FoldData
    from sonoseg.training.progress import Progress
    from sonoseg.training.setup import TrainingSetup

ALL_FOLDS = "all"
FILES_OF_TRAINING = (BEST_MODEL, CHECKPOINT, HISTORY, CURVES, RUN_OF_TRAINING)
"""Files beside a model that scoring does not write."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--epochs", type=number_type(int, 1), help="epochs to train (default: the task's)")
    parser.add_argument("--fold", type=fold, default=0, help="fold that validates, from 0; all: cross-validation")
    parser.add_argument("--seed", type=SEED, default=42, help="seed of weights and order")
    parser.add_argument(
        "--run", type=run_name, default=time.strftime("%Y%m%d-%H%M%S"), help="name of a new run in TensorBoard"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--resume",
        action="store_true",
        help="resume from last.ckpt: after Ctrl-C or SIGTERM with the next step, several processes with the next epoch",
    )
    mode.add_argument("--summary", action="store_true", help="only show the network, layer by layer")
    mode.add_argument("--sanity-check", action="store_true", help="two batches, one epoch, in a separate folder")
    mode.add_argument("--score", action="store_true", help="only score the trained model on the test split again")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    parser.add_argument(
        "--devices", type=number_type(int, 1), default=processes, help="GPUs or processes on this machine"
    )
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
    if arguments.sanity_check and arguments.fold == ALL_FOLDS:
        parser.error("--sanity-check trains one fold; leave --fold all out")
    return arguments


def run_name(text: str) -> str:
    """Return a name that is safe as a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; expected letters, digits, '_', '-' or '.'")
    return text


def fold(text: str) -> int | str:
    return ALL_FOLDS if text == ALL_FOLDS else int(number_type(int, 0)(text))


def run_stage(argv: Sequence[str] | None) -> int:
    arguments = parse_arguments(argv)
    task = load_task(arguments.task)
    workspace = Workspace(arguments.workspace, task.name)
    if arguments.summary:
        from sonoseg.models.summary import network_table

        show([network_table(task)])
        return EXIT_OK
    # Any number of trainings may read the same split; stages 1 and 2 wait until none does.
    with locked(workspace.split, shared=True) as remarks:
        show(remarks)
        return train_and_score(task, workspace, arguments)


def train_and_score(task: Task, workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Train one model, or one per fold, and score it. Raises SonoSegError and OSError."""
    # Torch and MONAI take seconds to import; --help and a wrong task have been answered by now.
    from sonoseg.evaluation.cross_validation import check_folds
    from sonoseg.evaluation.folds import folds_of, load_data
    from sonoseg.models.determinism import name_nondeterministic_operation
    from sonoseg.training.processes import start_fabric
    from sonoseg.training.records import write_run_record
    from sonoseg.training.terminal import file_lines

    # Read the tables: which images train, validate and test. No test image is read before the scoring below.
    all_folds = arguments.fold == ALL_FOLDS
    numbers, limits = folds_of(workspace) if all_folds else [arguments.fold], ReadLimits(arguments.max_pixels)
    folds = [load_data(task, workspace, number, limits) for number in numbers]
    folder = workspace.models
    if all_folds:
        folder /= CROSS_VALIDATION_FOLDER
        check_folds(folder, [data.fold for data in folds])
    elif arguments.sanity_check:
        folder /= SANITY_CHECK_FOLDER

    with locked(folder) as remarks, OutputFolder(folder, "stage3") as output, name_nondeterministic_operation():
        show(remarks)
        outputs = [output.subfolder(fold_folder(data.fold)) if all_folds else output for data in folds]
        fabric = start_fabric(arguments.device, arguments.devices, arguments.precision, arguments.deterministic)
        if not arguments.score:
            for data, fold_output in zip(folds, outputs, strict=True):
                train(task, workspace, data, fold_output, fabric, arguments)
        if not fabric.is_global_zero:
            return EXIT_OK
        score(task, workspace, folds, output, fabric, arguments)
        if arguments.score:
            write_run_record(output, RUN_OF_SCORING, arguments.command, task, {"data": folds[0].hashes})
        for path in [fold_output.path(name) for fold_output in outputs for name in FILES_OF_TRAINING]:
            output.keep(path)  # not written by --score, nor by --resume of a complete training
    following = next_command("training.py" if arguments.sanity_check else "inference.py", arguments)
    show([*file_lines(folder, workspace.logs), f"next: {following}{f' --model {folder}' if all_folds else ''}"])
    return EXIT_OK


def train(
    task: Task,
    workspace: Workspace,
    data: "FoldData",
    output: OutputFolder,
    fabric: "Fabric",
    arguments: argparse.Namespace,
) -> None:
    """Train one model into `output`: `last.ckpt` after every epoch, then `best_model.safetensors` and `curves.png`.

    Raises Stopped when a signal has ended it, after a checkpoint of the step that it was at.
    """
    from sonoseg.evaluation.history import write_history
    from sonoseg.evaluation.results import remove_scores
    from sonoseg.models.model_file import model_bytes
    from sonoseg.reporting.training_curves import curves_png
    from sonoseg.training.checkpoint import load_checkpoint, save_checkpoint
    from sonoseg.training.progress import Progress
    from sonoseg.training.records import model_facts, training_settings, write_run_record
    from sonoseg.training.setup import TrainingOptions, build_training
    from sonoseg.training.terminal import epoch_line, start_line
    from sonoseg.training.tracking import Tracker, read_examples

    # Set up: network, optimizer, loss and batches; or continue from the checkpoint, with the settings it was made with.
    options = TrainingOptions(arguments.seed, arguments.epochs, arguments.compile, arguments.sanity_check)
    setup = build_training(task, data, fabric, options)
    settings = training_settings(setup, data)
    progress = Progress(arguments.run if arguments.fold != ALL_FOLDS else f"{arguments.run}-fold{data.fold}")
    if arguments.resume and (arguments.fold != ALL_FOLDS or output.path(CHECKPOINT).is_file()):
        progress = load_checkpoint(output.path(CHECKPOINT), setup, settings)
    tracker = None
    if fabric.is_global_zero:
        examples = read_examples(data, task.enhancement, task.input)
        tracker = Tracker(workspace.logs / progress.run, task, progress.epoch, examples)
        write_run_record(output, RUN_OF_TRAINING, arguments.command, task, settings, resumed=arguments.resume)
        show([start_line(setup)])

    # Several processes would have to agree on a step to stop at: they end at once, and resume after their last epoch.
    with deferred_signals(enabled=fabric.world_size == 1 and not arguments.sanity_check) as signals:
        try:
            while progress.epoch < setup.epochs and not progress.has_stalled(task.training.patience):
                scalars = run_epoch(setup, progress, signals)
                is_best = progress.finish_epoch(setup.network, scalars)
                if tracker:  # log and save
                    tracker.scalars(scalars, progress.epoch)
                    tracker.overlays(setup.network.module, progress.epoch)
                    write_history(output, progress.history)
                    save_checkpoint(output, setup, progress, settings)
                    show([epoch_line(progress.epoch, setup.epochs, scalars, task.class_names, is_best)])
                stop_if_received(signals)
        except Stopped as stop:
            checkpoint = save_checkpoint(output, setup, progress, settings)
            raise resumable(stop, checkpoint) from None

    # Write the model: the weights of the best epoch, read back before they replace an earlier model.
    if tracker:
        tracker.close()
        remove_scores(output)
        facts = model_facts(progress, data, settings)
        output.write_bytes(BEST_MODEL, model_bytes(progress.best_state, task, facts), reread=True)
        output.write_bytes(CURVES, curves_png(progress.history, task, progress.best_epoch))


def resumable(stop: Stopped, checkpoint: Path) -> Stopped:
    resume = "the same command with --resume goes on from there"
    return Stopped(f"{stop}; {checkpoint} holds the run as it is after this step: {resume}", stop.code)


def run_epoch(setup: "TrainingSetup", progress: "Progress", signals: list[signal.Signals]) -> dict[str, float]:
    """Train and validate for one epoch; return its scalars. Raises Stopped after a step when a signal has come."""
    from sonoseg.runs.terminal import progress_bar
    from sonoseg.training.loop import train_epoch, validate
    from sonoseg.training.optimizer import learning_rates
    from sonoseg.training.progress import ValidationTotals

    epoch, steps = progress.epoch, len(setup.training)
    totals, scores = progress.current_epoch, ValidationTotals(setup.task.class_names)
    began = time.perf_counter() - totals.seconds

    # Train: every image of the other folds once, in an order that depends on seed and epoch alone.
    rates = learning_rates(setup.task.training.optimizer, epoch, setup.epochs, steps, progress.validation_losses)
    title, shown = f"epoch {epoch + 1}/{setup.epochs}", setup.fabric.is_global_zero
    for _ in progress_bar(train_epoch(setup, epoch, rates, totals), title, steps, totals.step, shown):
        stop_if_received(signals)

    # Validate: the Dice of the held-out fold alone decides which epoch is kept.
    for _ in validate(setup, epoch, scores):
        stop_if_received(signals)

    scalars = {**totals.scalars(), **scores.scalars()}
    scalars |= {"schedule/learning_rate": rates[-1], "schedule/hausdorff_weight": setup.loss.weight(epoch)}
    scalars = setup.fabric.broadcast(scalars)  # of rank 0, so that all processes keep and stop at the same epoch
    return {**scalars, "time/epoch_s": time.perf_counter() - began}


def score(
    task: Task,
    workspace: Workspace,
    folds: Sequence["FoldData"],
    output: OutputFolder,
    fabric: "Fabric",
    arguments: argparse.Namespace,
) -> None:
    """Score the test split once: by the chosen epoch, or by the ensemble of the models of all folds.

    Each of these models is also scored on the fold that it was not trained on, and a sanity check on two validation
    images in place of the test split.
    """
    from sonoseg.evaluation.cross_validation import cross_validation_scorings, folds_table, write_cross_validation
    from sonoseg.evaluation.results import write_model_evaluation
    from sonoseg.evaluation.scoring import model_scoring, score_images
    from sonoseg.evaluation.terminal import score_report
    from sonoseg.runs.terminal import progress_bar

    # Compute.
    if arguments.fold == ALL_FOLDS:
        scorings = cross_validation_scorings(output.folder, folds, task)
    else:
        scorings = [model_scoring(output.folder, folds[0], task, arguments.sanity_check)]
    cases = []
    for scoring in scorings:
        scored = score_images(scoring, fabric.device)
        cases.append(list(progress_bar(scored, f"score the {scoring.title} images", len(scoring.samples))))

    # Write, and show.
    if arguments.fold == ALL_FOLDS:
        result, ensemble = write_cross_validation(output, scorings, cases, folds, workspace)
        show(score_report(ensemble, "test, by the ensemble of all folds") if ensemble else [])
        show([folds_table(result)])
    else:
        summary = write_model_evaluation(output, scorings[0], cases[0], folds[0], workspace)
        show(score_report(summary, scorings[0].title) if summary else [])


def show(items: Iterable["Table | str"]) -> None:
    from sonoseg.runs.terminal import console

    for item in items:
        console.print(item, soft_wrap=isinstance(item, str))


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 3; return 0, or 2 with one sentence on stderr."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
