"""Copies and epochs of a planned training fill its minutes, with whatever of them the task file states."""

from dataclasses import replace

import pytest
import torch

from sonoseg.planning import timing
from sonoseg.planning.fingerprint import Fingerprint
from sonoseg.planning.plan import Length, plan_length
from sonoseg.planning.rules import Machine
from sonoseg.preprocess.augmentation import AugmentationParameters, apply
from sonoseg.schema.task import Task
from sonoseg.training import datasets
from sonoseg.types import Pixels
from tests.conftest import changed

FACTS = Fingerprint(250, 100, (200, 300), (1.5, 1.5), (), {}, (), validating=50)
"""200 images that train; steps of 0.5 s each in 30 minutes, of which a tenth is other work, are 3240."""


@pytest.mark.parametrize(
    ("stated", "copies", "epochs"),
    [
        (Length(), 7, 16),  # 10 epochs of 25 steps leave place for 11 copies, of which 7 are made: 200 steps
        (Length(copies=0), 0, 130),  # 3240 / 25
        (Length(copies=3), 3, 32),  # 3240 / 100
        (Length(epochs=100), 0, 100),  # 100 epochs of 25 steps leave no time for a copy
        (Length(epochs=40), 2, 40),  # 40 epochs of 75 steps
        (Length(copies=1, epochs=5), 1, 5),
    ],
)
def test_what_is_stated_is_kept_and_the_rest_fills_the_time(
    fetal_head: Task, stated: Length, copies: int, epochs: int
) -> None:
    task = changed(fetal_head, training=fetal_head.training.model_dump() | {"batch_size": 8})
    planned = {choice.setting: choice for choice in plan_length(task, 0.5, FACTS, Machine(False, 30), stated)}
    assert planned["augmentation.copies"].value == copies and planned["training.epochs"].value == epochs
    shown = f"{25 * (1 + copies)} steps show 200 images, those that do not validate, and {copies} copies of each"
    expected = shown if stated.epochs is None else "stated in the task file when the training was planned"
    assert expected in planned["training.epochs"].reason
    steps = epochs * 25 * (1 + copies)
    assert planned["training.ema_decay"].value == pytest.approx(min(0.999, max(0.9, 1 - 20 / steps)), abs=1e-4)


@pytest.mark.training
@pytest.mark.parametrize("copies", [0, 7])
def test_a_step_is_one_of_stage_3_with_the_drawing_of_its_copies(
    fetal_head: Task, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    drawn = []

    def counted(parameters: AugmentationParameters, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
        drawn.append(parameters)
        return apply(parameters, image, mask)

    monkeypatch.setattr(timing, "TIMED", 3)
    monkeypatch.setattr(datasets, "apply", counted)
    augmentation = fetal_head.augmentation.model_dump() | {"copies": copies}
    small = fetal_head.input.model_dump() | {"size": (64, 96)}
    state = torch.random.get_rng_state()
    assert 0 < timing.seconds_per_step(changed(fetal_head, augmentation=augmentation, input=small)) < 10
    assert torch.equal(torch.random.get_rng_state(), state)
    # Seven of eight items are copies: of the 8 images of each of 6 steps, and of those that were made ahead.
    assert len(drawn) >= 30 if copies else not drawn


@pytest.mark.parametrize(
    ("images", "minutes", "stated", "copies", "epochs", "reason"),
    [
        (3493, 30, Length(), 1, 5, "leave 5 epochs, the fewest copies that augment"),  # 3240 of 699 steps
        (250, 1, Length(), 1, 2, "leave 2 epochs, the fewest copies that augment"),
        (250, 1, Length(epochs=10), 0, 10, "fill 108 steps in 10 epochs: no time for augmented copies"),
        (250, 30, Length(), 7, 16, "leave 16 epochs"),
    ],
)
def test_images_are_augmented_also_where_there_is_little_time(
    fetal_head: Task, images: int, minutes: int, stated: Length, copies: int, epochs: int, reason: str
) -> None:
    task = changed(fetal_head, training=fetal_head.training.model_dump() | {"batch_size": 8})
    facts = replace(FACTS, images=images, validating=images // 5)
    planned = {choice.setting: choice for choice in plan_length(task, 0.5, facts, Machine(False, minutes), stated)}
    assert planned["augmentation.copies"].value == copies and planned["training.epochs"].value == epochs
    assert planned["augmentation.copies"].reason == reason


def test_what_a_task_file_states_is_found(fetal_head: Task) -> None:
    assert Length.stated_in({"training": {"batch_size": 2}}, fetal_head) == Length()
    fields = {"training": {"epochs": 3}, "augmentation": {"copies": 0}}
    task = changed(
        fetal_head,
        training=fetal_head.training.model_dump() | {"epochs": 3},
        augmentation=fetal_head.augmentation.model_dump() | {"copies": 0},
    )
    assert Length.stated_in(fields, task) == Length(copies=0, epochs=3)
