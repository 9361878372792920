"""Copies and epochs of a planned training fill its minutes, with whatever of them the task file states."""

import pytest

from sonoseg.planning.fingerprint import Fingerprint
from sonoseg.planning.plan import Length, plan_length
from sonoseg.planning.rules import Machine
from sonoseg.schema.task import Task
from tests.conftest import changed

FACTS = Fingerprint(200, 100, (200, 300), (1.5, 1.5), (), {}, ())
"""200 images; steps of 0.5 s each in 30 minutes, of which a tenth is other work, are 3240."""


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
    shown = f"{25 * (1 + copies)} steps show each image and {copies} copies"
    expected = shown if stated.epochs is None else "stated in the task file when the training was planned"
    assert expected in planned["training.epochs"].reason
    steps = epochs * 25 * (1 + copies)
    assert planned["training.ema_decay"].value == pytest.approx(min(0.999, max(0.9, 1 - 20 / steps)), abs=1e-4)


def test_what_a_task_file_states_is_found(fetal_head: Task) -> None:
    assert Length.stated_in({"training": {"batch_size": 2}}, fetal_head) == Length()
    fields = {"training": {"epochs": 3}, "augmentation": {"copies": 0}}
    task = changed(
        fetal_head,
        training=fetal_head.training.model_dump() | {"epochs": 3},
        augmentation=fetal_head.augmentation.model_dump() | {"copies": 0},
    )
    assert Length.stated_in(fields, task) == Length(copies=0, epochs=3)
