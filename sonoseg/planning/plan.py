"""The plan of a training: all settings that a task file leaves open, from the fingerprint of its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoseg.planning.choice import Choice, nested
from sonoseg.planning.fingerprint import Fingerprint
from sonoseg.planning.rows import PlannedSetting, rows_of
from sonoseg.planning.rules import (
    FEW_PATIENTS,
    FROM_THE_FILE,
    Machine,
    plan_augmentation,
    plan_batch,
    plan_images,
    plan_loss,
    plan_network,
    plan_results,
)
from sonoseg.schema.drafts import Draft, value_at
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import task_of

FEWEST_EPOCHS, MOST_COPIES = 10, 7
"""An epoch has as many copies of each image as leave so many epochs, after each of which the model is validated."""
OTHER_WORK = 0.1
"""Part of a training's time that is no step: validation, checkpoints, the quality model."""
LEAST_DECAY, MOST_DECAY, AVERAGED = 0.9, 0.999, 0.05
"""Decay of the average of the weights, and the part of the steps over which it averages."""


@dataclass(frozen=True)
class Plan:
    """The planned task, its rows, and advice on how to train with few patients, empty for many."""

    task: Task
    rows: Sequence[PlannedSetting]
    advice: str = ""


def make_plan(draft: Draft, facts: Fingerprint) -> Plan:
    """Return the plan of a draft on this machine: times some training steps. Raises TaskError for settings that clash.

    Settings that the task file states are kept, and others are planned with regard to them.
    """
    # Imported late: stage 1 needs PyTorch for a plan only, and it takes seconds to import.
    from sonoseg.planning.timing import has_gpu, seconds_per_step

    machine = Machine(has_gpu(), draft.plan.minutes)
    fields = draft.fields
    names = [item.name for item in facts.structures]
    pinned_size = value_at(fields, "input.size")
    choices = plan_images(facts, machine, pinned_size)
    size = pinned_size or value_at(nested(choices), "input.size")
    choices += plan_network(facts, machine, (int(size[0]), int(size[1])), value_at(fields, "network"))
    choices += [*plan_augmentation(facts, names), plan_batch(facts, machine), *plan_loss(facts), *plan_results(facts)]
    choices += _optimizer()
    one_epoch = task_of(draft, nested([*choices, Choice("training.epochs", 1, "")]))
    stated = Length.stated_in(fields, one_epoch)
    choices += plan_length(one_epoch, seconds_per_step(one_epoch), facts, machine, stated)
    task = task_of(draft, nested(choices))
    return Plan(task, rows_of(draft, task, choices), advice(facts))


def _optimizer() -> list[Choice]:
    settings = {"name": "adamw", "learning_rate": 0.003, "weight_decay": 0.01, "schedule": "one_cycle"}
    reason = "one cycle of the rate ends where the time does; as in the recipe that was measured on heads"
    return [
        Choice("training.optimizer", settings, reason),
        Choice("training.gradient_clipping", 1.0, "as in the recipe that was measured on heads"),
    ]


@dataclass(frozen=True)
class Length:
    """What a task file states of the length of a training; None: left open."""

    copies: int | None = None
    epochs: int | None = None

    @staticmethod
    def stated_in(fields: Mapping[str, Any], task: Task) -> "Length":
        """Return what `fields` state; `task` has their validated values."""
        copies, epochs = task.augmentation.copies, task.training.epochs
        return Length(
            None if value_at(fields, "augmentation.copies") is None else copies,
            None if value_at(fields, "training.epochs") is None else epochs,
        )


def plan_length(
    task: Task, seconds: float, facts: Fingerprint, machine: Machine, stated: Length = Length()
) -> list[Choice]:
    """Return copies, epochs and the average's decay that fill the time of steps of `seconds` each.

    What is stated is kept, and the rest fills the time beside it. `task` has all other settings.
    """
    steps = max(1, int(machine.minutes * 60 * (1 - OTHER_WORK) / seconds))
    batch = task.training.batch_size
    images = max(1, facts.images - facts.validating)
    of_images = -(-images // batch)
    fewest = stated.epochs or FEWEST_EPOCHS
    least = 0 if stated.epochs else 1  # rather fewer epochs than no copy: nothing else is augmented
    fitting = max(least, min(MOST_COPIES, steps // (fewest * of_images) - 1))
    copies = fitting if stated.copies is None else stated.copies
    per_epoch = -(-images * (1 + copies) // batch)
    epochs = stated.epochs or max(1, round(steps / per_epoch))
    decay = round(min(MOST_DECAY, max(LEAST_DECAY, 1 - 1 / (AVERAGED * epochs * per_epoch))), 4)
    reason = (
        f"a step takes {seconds:.2f} s here, so {machine.minutes:g} minutes are {steps} steps; {per_epoch} steps "
        f"show {images} images, those that do not validate, and {copies} copies of each"
    )
    if stated.copies is not None:
        leave = FROM_THE_FILE
    elif stated.epochs:
        leave = f"fill {steps} steps in {fewest} epochs" + ("" if copies else ": no time for augmented copies")
    else:
        leave = f"leave {epochs} epochs" + (", the fewest copies that augment" if epochs < FEWEST_EPOCHS else "")
    return [
        Choice("augmentation.copies", copies, leave),
        Choice("training.epochs", epochs, reason if stated.epochs is None else FROM_THE_FILE),
        Choice("training.ema_decay", decay, f"averages the weights over {AVERAGED:.0%} of the steps"),
    ]


def advice(facts: Fingerprint) -> str:
    """Return what to do where few patients train; empty for enough of them."""
    if facts.patients >= FEW_PATIENTS:
        return ""
    if facts.patients < 2:
        return (
            "1 patient trains: with none left to validate, only a refit on all folds is possible, and no score; add "
            "images of further patients"
        )
    return (
        f"{facts.patients} patients train: too few for one fold to tell how good a model is; estimate it by "
        "cross-validation over all folds, then train the model to use by a refit on all of them"
    )
