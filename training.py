"""Stage 3: train the task's network, keep the best epoch by validation Dice, and score the test split once."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.core.cli import SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.core.integrity import recorded
from sonoseg.core.lock import locked
from sonoseg.core.task import Task
from sonoseg.core.task_files import load_task
from sonoseg.core.workspace import BEST_MODEL, Workspace

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from sonoseg.train.data import TrainingData

ALL_FOLDS = "all"
CHECKPOINT = "last.ckpt"
CURVES = "curves.png"
MADE_BY_TRAINING = (BEST_MODEL, CHECKPOINT, CURVES)
"""Files of a model's folder that scoring does not write."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--epochs", type=number_type(int, 1), help="epochs to train (default: the task's)")
    parser.add_argument("--fold", type=fold, default=0, help="fold that validates, from 0; all: cross-validation")
    parser.add_argument("--seed", type=SEED, default=42, help="seed of weights and order")
    parser.add_argument("--run", default=time.strftime("%Y%m%d-%H%M%S"), help="name of a new run in TensorBoard")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--resume", action="store_true", help="go on from last.ckpt")
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
        from sonoseg.train.report import console
        from sonoseg.train.summary import network_table

        console.print(network_table(task))
        return 0
    # Any number of trainings may read the same split; stages 1 and 2 wait until none does.
    with locked(workspace.split, shared=True, say=print):
        return train_and_score(task, workspace, arguments)


def train_and_score(task: Task, workspace: Workspace, arguments: argparse.Namespace) -> int:
    """Train one model, or one per fold, and score it. Raises SonoSegError and OSError."""
    # Torch and MONAI take seconds to import; --help and a wrong task have answered by now.
    from sonoseg.train.cross_validation import refuse_other_folds
    from sonoseg.train.data import folds_of, load_data
    from sonoseg.train.loop import start_fabric
    from sonoseg.train.report import console, print_outcome
    from sonoseg.train.scoring import score_folds, score_model

    # Data: which images train, which validate. Of the test split no image is opened before the last block.
    several = arguments.fold == ALL_FOLDS
    runs = [load_data(task, workspace, number) for number in (folds_of(workspace) if several else [arguments.fold])]
    folder = workspace.models
    if several or arguments.sanity_check:
        folder /= "cross_validation" if several else "sanity_check"
    if several:
        refuse_other_folds(folder, [data.fold for data in runs])
    folders = [folder / f"fold_{data.fold}" if several else folder for data in runs]
    with locked(folder, say=print), recorded(folder, "stage3") as record:
        fabric = start_fabric(arguments.device, arguments.devices, arguments.precision)
        for data, own in zip(runs if not arguments.score else [], folders, strict=False):
            train(task, workspace, data, own, fabric, arguments)
        if not fabric.is_global_zero:
            return 0

        # The test split is scored once: by the chosen epoch, or by the models of all folds together.
        if several:
            score_folds(folder, runs, workspace, task, fabric.device)
        elif arguments.sanity_check:  # looks at two validation images instead
            score_model(folder, "validation", runs[0].validation[:2], runs[0], workspace, task, fabric.device)
        else:
            score_model(folder, "test", runs[0].test, runs[0], workspace, task, fabric.device)
        for path in [own / name for own in folders for name in MADE_BY_TRAINING]:
            record.keep(path)  # --score, and --resume of a run that was complete, leave them as they are
    print_outcome(folder, workspace.logs)
    following = next_command("training.py" if arguments.sanity_check else "inference.py", arguments)
    console.print(f"next: {following}{f' --model {folder}' if several else ''}", soft_wrap=True)
    return 0


def train(
    task: Task,
    workspace: Workspace,
    data: "TrainingData",
    folder: Path,
    fabric: "Fabric",
    arguments: argparse.Namespace,
) -> None:
    """Train one model into `folder`: `last.ckpt` after every epoch, then `best_model.safetensors` and `curves.png`."""
    from sonoseg.train.checkpoint import Progress, load_checkpoint, save_checkpoint
    from sonoseg.train.cross_validation import forget_results
    from sonoseg.train.curves import draw_curves
    from sonoseg.train.datasets import EpochBatches, InOrder, Loader, SegmentationDataset
    from sonoseg.train.loop import train_epoch, validate
    from sonoseg.train.losses import SegmentationLoss
    from sonoseg.train.model_file import save_model
    from sonoseg.train.networks import build_network
    from sonoseg.train.optimizer import build_optimizer, learning_rates
    from sonoseg.train.outcome import forget_evaluation, model_facts
    from sonoseg.train.processes import share_statistics
    from sonoseg.train.report import console, epoch_bar, epoch_line, start_line
    from sonoseg.train.tracking import Tracker

    # Parts: the same ones on a CPU, a GPU, or several under torchrun.
    fabric.seed_everything(arguments.seed, workers=True, verbose=False)
    network = share_statistics(build_network(task), fabric.world_size)
    optimizer = build_optimizer(task.training.optimizer, network.parameters())
    if arguments.compile:
        network.compile()  # in place: its weights keep their names
    network, optimizer = fabric.setup(network, optimizer)
    loss = SegmentationLoss(task.training.loss, task.is_binary, warm_up=not arguments.sanity_check)
    size = task.training.batch_size
    images = SegmentationDataset(data.train, workspace, task, augmented=True, seed=arguments.seed)
    held_out = SegmentationDataset(data.validation, workspace, task)
    batches = EpochBatches(len(images), size, arguments.seed, fabric.global_rank, fabric.world_size)
    train_loader, validation_loader = Loader(images, batches), Loader(held_out, InOrder(len(held_out), size))

    epochs = 1 if arguments.sanity_check else arguments.epochs or task.training.epochs
    limit = 2 if arguments.sanity_check else None
    steps = min(len(batches), limit or len(batches))
    settings = {"task": task.model_dump(mode="json"), "fold": data.fold, "seed": arguments.seed, "epochs": epochs}
    settings |= {"data": data.hashes, "precision": fabric.strategy.precision.precision}
    checkpoint = folder / CHECKPOINT
    progress = Progress(arguments.run if arguments.fold != ALL_FOLDS else f"{arguments.run}-fold{data.fold}")
    if arguments.resume and (arguments.fold != ALL_FOLDS or checkpoint.is_file()):
        progress = load_checkpoint(checkpoint, fabric, network, optimizer, settings)
    tracker = Tracker(workspace.logs / progress.run, task, progress.epoch) if fabric.is_global_zero else None
    if tracker:
        console.print(start_line(task, network, len(images), len(held_out), fabric.device), soft_wrap=True)

    while progress.epoch < epochs and not progress.has_stalled(task.training.patience):
        began, epoch = time.perf_counter(), progress.epoch

        # Train on every image of the other folds once, in an order that only seed and epoch decide.
        batches.epoch = epoch
        rates = learning_rates(task.training.optimizer, epoch, epochs, steps, progress.validation_losses)
        with epoch_bar(f"epoch {epoch + 1}/{epochs}", steps, shown=fabric.is_global_zero) as advance:
            scalars = train_epoch(fabric, network, optimizer, loss, train_loader, task, epoch, rates, advance)

        # Validate on the held-out fold; its Dice alone decides which epoch is kept.
        scalars |= validate(fabric, network, loss, validation_loader, task, epoch, limit)
        scalars = fabric.broadcast(scalars)  # one rank's view, so that all stop, and keep, at the same epoch
        scalars["time/epoch_s"] = time.perf_counter() - began
        is_best = progress.finish_epoch(network, scalars)

        # Log and save.
        if tracker:
            tracker.scalars(scalars, epoch + 1)
            tracker.overlays(network.module, next(iter(validation_loader)), epoch + 1)
            save_checkpoint(checkpoint, fabric, network, optimizer, progress, settings)
            console.print(epoch_line(epoch + 1, epochs, scalars, task, is_best), soft_wrap=True)

    # The best epoch becomes the model: one file, which is read back before it is used.
    if tracker:
        tracker.close()
        forget_evaluation(folder)
        if arguments.fold == ALL_FOLDS:
            forget_results(folder.parent)
        save_model(folder / BEST_MODEL, progress.best_state, task, model_facts(progress, data, settings))
        draw_curves(folder / CURVES, progress.history, task, progress.best_epoch)


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 3; return 0, or 2 with one sentence on stderr."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
