"""What a person sees in the terminal while a network trains and when it has been scored."""

from pathlib import Path

import torch

from sonoseg.runs.terminal import console
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task
from sonoseg.training.setup import Parts


def start_line(task: Task, parts: Parts, device: torch.device) -> str:
    """Return one line on what is about to be trained, and on how many images."""
    weights = sum(parameter.numel() for parameter in parts.network.parameters()) / 1e6
    training, validation = len(parts.training.dataset), len(parts.validation.dataset)
    size = "x".join(map(str, task.input.size))
    return (
        f"{task.name}: {training} training and {validation} validation images of {size} pixels, "
        f"{task.network.name} with {weights:.2f} M weights on {device}"
    )


def epoch_line(epoch: int, epochs: int, scalars: dict[str, float], task: Task, is_best: bool) -> str:
    """Return one line for a finished epoch (from 1)."""
    dice = "  ".join(f"{name} {scalars[f'dice/{name}']:.3f}" for name in task.class_names)
    boundary = f"  hausdorff weight {weight:.2f}" if (weight := scalars["schedule/hausdorff_weight"]) else ""
    return (
        f"epoch {epoch:3d}/{epochs}  loss {scalars['loss/total']:.4f}  "
        f"validation Dice {scalars['dice/mean']:.4f}  ({dice}){boundary}  "
        f"{scalars['time/epoch_s']:.0f} s{'  best so far' if is_best else ''}"
    )


def print_outcome(folder: Path, logs: Path) -> None:
    """Print where a finished run's files are."""
    files = {"model": BEST_MODEL, "curves": "curves.png", "scores": "evaluation.html", "card": "MODEL_CARD.md"}
    files |= {"folds": "cross_validation.json", "as one": "ensemble/evaluation.html"}
    for what, name in files.items():
        if (folder / name).is_file():
            console.print(f"{what + ':':8}{folder / name}", soft_wrap=True)
    console.print(f"watch:  tensorboard --logdir {logs}", soft_wrap=True)
