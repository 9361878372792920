"""Stage 3: train the task's network, keep the best epoch by validation Dice, and score the test split once."""

import argparse
import os
import sys
import time
from collections.abc import Sequence

from sonoseg.core.cli import SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.core.files import check_writable
from sonoseg.core.task_files import load_task
from sonoseg.core.workspace import Workspace


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--epochs", type=number_type(int, 1), help="epochs to train (default: the task's)")
    parser.add_argument("--fold", type=number_type(int, 0), default=0, help="fold of the training table that validates")
    parser.add_argument("--seed", type=SEED, default=42, help="seed of weights and order")
    parser.add_argument("--resume", action="store_true", help="go on from Models/<task>/last.ckpt")
    parser.add_argument("--sanity-check", action="store_true", help="two batches, one epoch, in a folder of its own")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to train")
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    parser.add_argument(
        "--devices", type=number_type(int, 1), default=processes, help="GPUs or processes on this machine"
    )
    precisions = ("auto", "32-true", "bf16-mixed", "16-mixed")
    parser.add_argument("--precision", choices=precisions, default="auto", help="auto: bf16 where the hardware has it")
    parser.add_argument("--run", default=time.strftime("%Y%m%d-%H%M%S"), help="name of a new run in TensorBoard")
    return parser.parse_args(argv)


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)
    task = load_task(arguments.task)
    workspace = Workspace(arguments.workspace, task.name)

    # Torch and MONAI take seconds to import; --help and a wrong task have answered by now.
    from sonoseg.train.checkpoint import Progress, load_checkpoint, save_checkpoint
    from sonoseg.train.curves import draw_curves
    from sonoseg.train.data import load_data
    from sonoseg.train.datasets import EpochBatches, SegmentationDataset, loader
    from sonoseg.train.evaluate import score, summarise
    from sonoseg.train.loop import start_fabric, train_epoch, validate
    from sonoseg.train.losses import SegmentationLoss
    from sonoseg.train.model_file import load_model, save_model
    from sonoseg.train.networks import build_network
    from sonoseg.train.optimizer import build_optimizer
    from sonoseg.train.outcome import model_facts, write_evaluation
    from sonoseg.train.report import console, epoch_bar, epoch_line, print_outcome, print_scores, start_line
    from sonoseg.train.tracking import Tracker

    # Data: which images train, which validate. Of the test split no image is opened before the last block.
    data = load_data(task, workspace, arguments.fold)
    check_writable(workspace.models)
    epochs = 1 if arguments.sanity_check else arguments.epochs or task.training.epochs
    limit = 2 if arguments.sanity_check else None
    folder = workspace.models / "sanity_check" if arguments.sanity_check else workspace.models

    # Parts: the same ones on a CPU, a GPU, or several under torchrun.
    fabric = start_fabric(arguments.device, arguments.devices, arguments.precision, arguments.seed)
    network = build_network(task)
    network, optimizer = fabric.setup(network, build_optimizer(task.training.optimizer, network.parameters()))
    loss = SegmentationLoss(task.training.loss, warm_up=not arguments.sanity_check)
    size = task.training.batch_size
    batches = EpochBatches(len(data.train), size, arguments.seed, fabric.global_rank, fabric.world_size)
    train_loader = loader(SegmentationDataset(data.train, workspace, task), batches)
    validation_loader = loader(SegmentationDataset(data.validation, workspace, task), size)

    settings = {"task": task.model_dump(mode="json"), "fold": arguments.fold, "seed": arguments.seed, "epochs": epochs}
    settings |= {"data": data.hashes, "precision": fabric.strategy.precision.precision, "processes": fabric.world_size}
    checkpoint = folder / "last.ckpt"
    progress = Progress(arguments.run)
    if arguments.resume:
        progress = load_checkpoint(checkpoint, fabric, network, optimizer, settings)
    tracker = Tracker(workspace.logs / progress.run, task, progress.epoch) if fabric.is_global_zero else None
    if tracker:
        console.print(start_line(task, network, len(data.train), len(data.validation), fabric.device), soft_wrap=True)

    while progress.epoch < epochs and not progress.has_stalled(task.training.patience):
        began, epoch = time.perf_counter(), progress.epoch

        # Train on every image of the other folds once, in an order that only seed and epoch decide.
        batches.epoch = epoch
        steps = min(len(batches), limit or len(batches))
        with epoch_bar(f"epoch {epoch + 1}/{epochs}", steps, shown=fabric.is_global_zero) as advance:
            scalars = train_epoch(fabric, network, optimizer, loss, train_loader, task, epoch, epochs, steps, advance)

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

    if not tracker:
        return 0
    tracker.close()

    # The best epoch becomes the model: one file, read back before it is used.
    facts = model_facts(progress, data, settings)
    (folder / "evaluation.json").unlink(missing_ok=True)  # scores of an earlier model
    facts["sha256"] = save_model(folder / workspace.best_model.name, progress.best_state, task, facts)
    draw_curves(folder / "curves.png", progress.history, task, progress.best_epoch)
    best = build_network(task).to(fabric.device)
    best.load_state_dict(load_model(folder / workspace.best_model.name).state)

    # The test split is scored once, by the chosen epoch; a sanity check looks at two validation images instead.
    part, rows = ("validation", data.validation[:2]) if arguments.sanity_check else ("test", data.test)
    cases = []
    with epoch_bar(f"score the {part} images", len(rows)) as advance:
        for case in score(best, rows, data.samples, workspace, task, fabric.device):
            cases.append(case)
            advance()
    if cases:
        summary = summarise(cases, task)
        write_evaluation(folder, part, summary, cases, facts)
        print_scores(summary, part)
    print_outcome(folder, workspace.logs, scored=bool(cases))
    following = "training.py" if arguments.sanity_check else "inference.py"
    console.print(f"next: {next_command(following, arguments)}", soft_wrap=True)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 3; return 0, or 2 with one sentence on stderr."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
