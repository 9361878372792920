"""Lines for the terminal: the start of a training, each epoch, and where its files are."""

from collections.abc import Sequence
from pathlib import Path

from sonoseg.runs.workspace import BEST_MODEL, CROSS_VALIDATION, CURVES, ENSEMBLE, EVALUATION_PAGE, MODEL_CARD
from sonoseg.training.setup import TrainingSetup


def start_lines(setup: TrainingSetup, fold: int | None) -> list[str]:
    """Return lines on the task, its numbers of images, the network and the device, initial weights, and absent classes.

    fold: the one that validates.
    """
    task = setup.task
    parameters = sum(parameter.numel() for parameter in setup.network.parameters()) / 1e6
    training, validation = len(setup.training.dataset), len(setup.validation.dataset) or "no"
    size = "x".join(map(str, task.input.size))
    line = (
        f"{task.name}: {training} training and {validation} validation images of {size} pixels, "
        f"{task.network.name} with {parameters:.2f} M parameters on {setup.fabric.device}"
    )
    return [line, *setup.remarks, *absent_lines(setup, fold)]


def absent_lines(setup: TrainingSetup, fold: int | None) -> list[str]:
    """Return a warning for classes that the fold that validates does not show; without such classes no line."""
    if not setup.absent:
        return []
    scored = [name for name in setup.task.class_names if name not in setup.absent]
    chosen = f"the Dice of {', '.join(scored)} alone" if scored else "the absence of false alarms alone"
    return [
        f"warning: no image of fold {fold} shows {', '.join(setup.absent)}: {chosen} chooses the epoch; validate with "
        "another fold, or divide the training part into fewer folds"
    ]


def epoch_line(epoch: int, epochs: int, scalars: dict[str, float], class_names: Sequence[str], is_best: bool) -> str:
    """Return a line on a complete epoch (from 1), with the Dice of `class_names`."""
    dice = ""  # no image validates in a refit
    if "dice/mean" in scalars:
        classes = "  ".join(f"{name} {scalars[f'dice/{name}']:.3f}" for name in class_names)
        dice = f"validation Dice {scalars['dice/mean']:.4f}  ({classes})"
    boundary = f"  hausdorff {weight:.2f}" if (weight := scalars["schedule/hausdorff_weight"]) else ""
    return (
        f"epoch {epoch:3d}/{epochs}  loss {scalars['loss/total']:.4f}  {dice}{boundary}  "
        f"{scalars['time/epoch_s']:.0f} s{'  best so far' if is_best and dice else ''}"
    )


def file_lines(folder: Path, logs: Path) -> list[str]:
    """Return a line for each file that is there for the user, and the command that shows the curves."""
    files = {"model": BEST_MODEL, "curves": CURVES, "scores": EVALUATION_PAGE, "card": MODEL_CARD}
    files |= {"folds": CROSS_VALIDATION, "all": f"{ENSEMBLE}/{EVALUATION_PAGE}"}
    lines = [f"{title + ':':8}{folder / name}" for title, name in files.items() if (folder / name).is_file()]
    return [*lines, f"watch:  tensorboard --logdir {logs}"]
