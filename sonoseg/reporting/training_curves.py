"""Training curves: losses, validation Dice and schedule by epoch."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task
from sonoseg.schema.training import Loss

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves_png(history: Sequence[dict[str, float]], task: Task, best_epoch: int) -> bytes:
    """Return the figure of `curves_figure`, with the task's title, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = curves_figure(history, task.structures, task.training.loss, best_epoch)
    figure.suptitle(f"{task.title}: not for clinical use", fontsize=10)
    stream = io.BytesIO()
    FigureCanvasAgg(figure).print_png(stream)
    return stream.getvalue()


def curves_figure(
    history: Sequence[dict[str, float]], structures: Sequence[Structure], loss: Loss, best_epoch: int
) -> "Figure":
    """Draw losses, validation Dice per class, and the learning rate with the boundary term's weight.

    `history` has a row of scalars per epoch, at least one; `best_epoch` counts from 0. Without validation, as in a
    refit, the middle panel says so.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(15, 4.2), layout="constrained", dpi=110)
    losses, dice, rate = figure.subplots(1, 3)
    names = {name for row in history for name in row if name.startswith("loss/")}
    if not loss.hausdorff and "loss/deep_supervision" not in names:
        names.discard("loss/total")  # the same as its only term
    for name in sorted(names):
        values = [row.get(name, float("nan")) for row in history]
        losses.plot(epochs, values, marker=".", label=name.removeprefix("loss/"))
    losses.set(title="Loss", xlabel="epoch")
    lowest = min((value for row in history for name, value in row.items() if name.startswith("dice/")), default=0.0)
    if "dice/mean" in history[-1]:
        for structure in structures:
            values = [row[f"dice/{structure.name}"] for row in history]
            dice.plot(epochs, values, marker=".", color=structure.color, label=structure.name)
        dice.plot(epochs, [row["dice/mean"] for row in history], color="black", linewidth=2, label="mean")
        dice.axvline(best_epoch + 1, color="grey", linestyle=":", label=f"best: epoch {best_epoch + 1}")
        dice.legend(loc="lower right")
    else:
        dice.text(0.5, 0.5, "refit: no fold validates", transform=dice.transAxes, ha="center")
    # From the 0.1 below the lowest value: between 0 and 1, curves above 0.95 would be one line.
    dice.set(title="Validation Dice", xlabel="epoch", ylim=(math.floor(lowest * 10) / 10, 1))
    rate.plot(epochs, [row["schedule/learning_rate"] for row in history], color="black", label="learning rate")
    rate.set(title="Schedule", xlabel="epoch")
    handles, scales = rate.get_lines(), [rate]
    if loss.hausdorff:
        weight, kind = rate.twinx(), "gradient ratio" if loss.hausdorff.is_ratio else "weight"
        weights = [row["schedule/hausdorff_weight"] for row in history]
        scales.append(weight)
        handles += weight.plot(epochs, weights, color="tab:red", label=f"Hausdorff {kind} (right axis)")
    for axes in (losses, dice, rate):
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    losses.legend()
    for axes in scales:  # room for the legend above both curves
        axes.set_ylim(top=1.35 * axes.get_ylim()[1])
    rate.legend(handles=handles, loc="upper right")
    return figure
