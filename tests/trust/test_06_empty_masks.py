"""Check 6: a false alarm in an empty image counts as Dice 0, an empty prediction of it as 1."""

import numpy as np
import pytest
import torch

from sonoseg.evaluation.metrics import agreement, batch_dice
from sonoseg.schema.task import Task
from tests.evaluation.made_cases import SIZE, head_map, made_case, summary_of

EMPTY = np.zeros(SIZE, np.uint8)


def test_one_image() -> None:
    alarm, right = agreement(head_map() > 0, EMPTY > 0, (0.5, 0.25)), agreement(EMPTY > 0, EMPTY > 0, (0.5, 0.25))
    assert (alarm.dice, alarm.iou, alarm.surface_dice) == (0, 0, 0) and alarm.false_alarm and not alarm.missed
    assert alarm.hd95 == alarm.hausdorff == pytest.approx(np.hypot(SIZE[0] * 0.5, SIZE[1] * 0.25))
    assert (right.dice, right.iou, right.surface_dice, right.hd95, right.hausdorff) == (1, 1, 1, 0, 0)
    assert right.reference_empty and not right.false_alarm and not right.missed


def test_the_average_counts_both(fetal_head: Task) -> None:
    pairs = [(head_map(), EMPTY), (EMPTY, EMPTY), (EMPTY, EMPTY), (head_map(), head_map())]
    cases = [made_case(f"{n}", f"p{n}", ours, theirs, fetal_head) for n, (ours, theirs) in enumerate(pairs)]
    head = summary_of(cases, fetal_head)["classes"]["HEAD"]
    assert (head["n"], head["n_empty_reference"], head["n_false_alarm"], head["n_missed"]) == (4, 3, 1, 0)
    assert head["dice"]["mean"] == head["iou"]["mean"] == head["surface_dice"]["mean"] == 0.75
    assert head["hd95"]["mean"] == pytest.approx(np.hypot(*SIZE) * 0.5 / 4)


def test_the_choice_of_the_epoch_counts_both() -> None:
    ours, theirs = (torch.from_numpy(np.stack(maps).astype(np.int64)) for maps in ([head_map(), EMPTY], [EMPTY, EMPTY]))
    dice, iou = batch_dice(ours, theirs[:, None], 1)
    assert dice[:, 0].tolist() == iou[:, 0].tolist() == [0, 1]
