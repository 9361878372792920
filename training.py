"""Stage 3: train the task's network, keep the best epoch by validation Dice, and score the test split once."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sonoseg.errors import Stopped
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import BEST_MODEL, CHECKPOINT, CURVES, RUN_OF_SCORING, RUN_OF_TRAINING, Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from sonoseg.evaluation.folds import TrainingData

ALL_FOLDS = "all"
MADE_BY_TRAINING = (BEST_MODEL, CHECKPOINT, CURVES, RUN_OF_TRAINING)
"""Files of a model's folder that scoring does not write."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--epochs", type=number_type(int, 1), help="epochs to train (default: the task's)")
    parser.add_argument("--fold", type=fold, default=0, help="fold that validates, from 0; all: cross-validation")
    parser.add_argument("--seed", type=SEED, default=42, help="seed of weights and order")
    parser.add_argument("--run", default=time.strftime("%Y%m%d-%H%M%S"), help="name of a new run in TensorBoard")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--resume",
        action="store_true",
        help="go on from last.ckpt: after Ctrl-C or SIGTERM with the next step, several processes with the next epoch",
    )
    instead.add_argument("--summary", action="store_true", help="only show the network, layer by layer")
    instead.add_argument("--sanity-check", action="store_true", help="two batches, one epoch, in a folder of its own")
    instead.add_argument("--score", action="store_true", help="only score the trained model on the test split again")
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
        help="on a GPU: only operations that give the same bytes every time, at some cost in speed; a CPU gives the "
        "same bytes, for the same number of threads, without it",
    )
    arguments = parser.parse_args(argv)
    if arguments.sanity_check and arguments.fold == ALL_FOLDS:
        parser.error("--sanity-check looks at one fold; leave --fold all out")
    return arguments


def fold(text: str) -> int | str:
    return ALL_FOLDS if text == ALL_FOLDS else int(number_type(int, 0)(text))


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)
    task = load_task(arguments.task)
    workspace = Workspace(arguments.workspace, task.name)

    if arguments.summary:
        from sonoseg.models.summary import network_table
        from sonoseg.runs.terminal import console

        console.print(network_table(task))
        return 0
    # Any number of trainings may read the same split; stages 1 and 2 wait until none does.
    with locked(workspace.split, shared=True) as remarks:
        for remark in remarks:
            print(remark)
        return train_and_score(task, workspace, arguments)


def train_and_score(task: Task, workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Train one model, or one per fold, and score it. Raises SonoSegError and OSError."""
    # Torch and MONAI take seconds to import; --help and a wrong task have answered by now.
    from sonoseg.evaluation.cross_validation import refuse_other_folds
    from sonoseg.evaluation.folds import folds_of, load_data
    from sonoseg.evaluation.scoring import score_folds, score_model
    from sonoseg.models.determinism import name_nondeterministic_operation
    from sonoseg.runs.terminal import console
    from sonoseg.training.loop import start_fabric
    from sonoseg.training.records import record_run
    from sonoseg.training.terminal import print_outcome

    # Data: which images train, which validate. Of the test split no image is opened before the last block.
    several, limits = arguments.fold == ALL_FOLDS, ReadLimits(arguments.max_pixels)
    folds = folds_of(workspace) if several else [arguments.fold]
    runs = [load_data(task, workspace, number, limits) for number in folds]
    folder = workspace.models
    if several or arguments.sanity_check:
        folder /= "cross_validation" if several else "sanity_check"
    if several:
        refuse_other_folds(folder, [data.fold for data in runs])
    with locked(folder) as remarks, OutputFolder(folder, "stage3") as output, name_nondeterministic_operation():
        for remark in remarks:
            print(remark)
        outputs = [output.subfolder(f"fold_{data.fold}") if several else output for data in runs]
        fabric = start_fabric(arguments.device, arguments.devices, arguments.precision, arguments.deterministic)
        for data, own in zip(runs if not arguments.score else [], outputs, strict=False):
            train(task, workspace, data, own, fabric, arguments)
        if not fabric.is_global_zero:
            return 0

        # The test split is scored once: by the chosen epoch, or by the models of all folds together.
        if several:
            score_folds(output, runs, workspace, task, fabric.device)
        elif arguments.sanity_check:  # looks at two validation images instead
            score_model(output, "validation", runs[0].validation[:2], runs[0], workspace, task, fabric.device)
        else:
            score_model(output, "test", runs[0].test, runs[0], workspace, task, fabric.device)
        if arguments.score:
            record_run(output, RUN_OF_SCORING, arguments.command, task, {"data": runs[0].hashes})
        for path in [own.path(name) for own in outputs for name in MADE_BY_TRAINING]:
            output.keep(path)  # --score, and --resume of a run that was complete, leave them as they are
    print_outcome(folder, workspace.logs)
    following = next_command("training.py" if arguments.sanity_check else "inference.py", arguments)
    console.print(f"next: {following}{f' --model {folder}' if several else ''}", soft_wrap=True)
    return 0


def train(
    task: Task,
    workspace: Workspace,
    data: "TrainingData",
    output: OutputFolder,
    fabric: "Fabric",
    arguments: argparse.Namespace,
) -> None:
    """Train one model into `output`: `last.ckpt` after every epoch, then `best_model.safetensors` and `curves.png`.

    Raises Stopped when a signal ended it, after the checkpoint of the step that it was at.
    """
    from sonoseg.evaluation.results import forget_scores
    from sonoseg.models.model_file import model_bytes
    from sonoseg.reporting.training_curves import curves_png
    from sonoseg.runs.terminal import console, epoch_bar
    from sonoseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint
    from sonoseg.training.loop import train_epoch, validate
    from sonoseg.training.optimizer import learning_rates
    from sonoseg.training.records import model_facts, record_run
    from sonoseg.training.setup import build_parts
    from sonoseg.training.stopping import stopping_between_steps
    from sonoseg.training.terminal import epoch_line, start_line
    from sonoseg.training.tracking import Tracker, read_examples

    sanity_check = arguments.sanity_check
    parts = build_parts(task, data, fabric, arguments.seed, arguments.compile, warm_up=not sanity_check)
    network, optimizer, loss = parts.network, parts.optimizer, parts.loss
    epochs = 1 if sanity_check else arguments.epochs or task.training.epochs
    limit = 2 if sanity_check else None
    steps = min(len(parts.order), limit or len(parts.order))

    # A run goes on only with the settings that it began with.
    settings = {"task": task.model_dump(mode="json"), "fold": data.fold, "seed": arguments.seed, "epochs": epochs}
    settings |= {"data": data.hashes, "precision": fabric.strategy.precision.precision}
    settings |= {"deterministic": True} if arguments.deterministic else {}
    checkpoint = output.path(CHECKPOINT)
    progress = Progress(arguments.run if arguments.fold != ALL_FOLDS else f"{arguments.run}-fold{data.fold}")
    if arguments.resume and (arguments.fold != ALL_FOLDS or checkpoint.is_file()):
        progress = load_checkpoint(checkpoint, fabric, network, optimizer, settings)
    tracker = Tracker(workspace.logs / progress.run, task, progress.epoch) if fabric.is_global_zero else None
    examples = read_examples(data, task) if tracker else []
    if tracker:
        record_run(output, RUN_OF_TRAINING, arguments.command, task, settings, goes_on=arguments.resume)
        console.print(start_line(task, parts, fabric.device), soft_wrap=True)

    # Several processes would have to agree on a step to stop at: they end at once, and go on from their last epoch.
    with stopping_between_steps(checkpoint, fabric.world_size == 1 and not sanity_check) as check:
        while progress.epoch < epochs and not progress.has_stalled(task.training.patience):
            epoch, now = progress.epoch, progress.under_way
            began = time.perf_counter() - now.seconds
            try:
                # Train on every image of the other folds once, in an order that only seed and epoch decide.
                parts.order.epoch = epoch
                rates = learning_rates(task.training.optimizer, epoch, epochs, steps, progress.validation_losses)
                with epoch_bar(f"epoch {epoch + 1}/{epochs}", steps, fabric.is_global_zero, now.step) as advance:
                    scalars = train_epoch(
                        fabric, network, optimizer, loss, parts.training, task, epoch, rates, advance, now, check
                    )
                # Validate on the held-out fold; its Dice alone decides which epoch is kept.
                scalars |= validate(fabric, network, loss, parts.validation, task, epoch, limit, check)
            except Stopped:
                save_checkpoint(output, fabric, network, optimizer, progress, settings)
                raise
            scalars = fabric.broadcast(scalars)  # one rank's view, so that all stop, and keep, at the same epoch
            scalars["time/epoch_s"] = time.perf_counter() - began
            is_best = progress.finish_epoch(network, scalars)

            # Log and save.
            if tracker:
                tracker.scalars(scalars, epoch + 1)
                tracker.overlays(network.module, examples, epoch + 1)
                save_checkpoint(output, fabric, network, optimizer, progress, settings)
                console.print(epoch_line(epoch + 1, epochs, scalars, task, is_best), soft_wrap=True)
            check()

    # The best epoch becomes the model: one file, which is read back before it is used.
    if tracker:
        tracker.close()
        forget_scores(output)
        facts = model_facts(progress, data, settings)
        output.write_bytes(BEST_MODEL, model_bytes(progress.best_state, task, facts), reread=True)
        output.write_bytes(CURVES, curves_png(progress.history, task, progress.best_epoch))


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 3; return 0, or 2 with one sentence on stderr."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
