"""Metrics against values worked out by hand."""

import numpy as np
import pytest
import torch

from sonoseg.train.metrics import agreement, batch_dice, hausdorff95


def square(top: int, left: int, side: int = 20, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize("shift", [0, 3, 10])
def test_shifted_square(shift: int) -> None:
    one = agreement(square(10, 10 + shift), square(10, 10), None)
    common = 20 * (20 - shift)
    assert one.dice == pytest.approx(2 * common / 800)
    assert one.iou == pytest.approx(common / (800 - common))
    # 20 of the 76 surface pixels lie at the full shift, more than 5 %
    assert one.hd95 == pytest.approx(shift)


def test_spacing_scales_distances_each_way_on_its_own() -> None:
    assert agreement(square(10, 14), square(10, 10), (0.5, 0.25)).hd95 == pytest.approx(4 * 0.25)
    assert agreement(square(14, 10), square(10, 10), (0.5, 0.25)).hd95 == pytest.approx(4 * 0.5)


def test_one_pixel() -> None:
    one = agreement(square(5, 9, side=1), square(2, 5, side=1), None)
    assert (one.dice, one.iou) == (0, 0)
    assert one.hd95 == pytest.approx(5)


def test_empty_masks() -> None:
    nothing, something = np.zeros((30, 40), bool), square(3, 3, size=(30, 40))
    both = agreement(nothing, nothing, None)
    assert (both.dice, both.iou, both.hd95) == (1, 1, 0)
    assert both.reference_empty and not both.missed and not both.false_alarm
    missed = agreement(nothing, something, None)
    assert (missed.dice, missed.iou, missed.hd95) == (0, 0, 50) and missed.missed
    alarm = agreement(something, nothing, (0.1, 0.1))
    assert (alarm.dice, alarm.iou) == (0, 0) and alarm.hd95 == pytest.approx(5) and alarm.false_alarm


def test_missing_more_structures_never_helps() -> None:
    reference, prediction, nothing = square(10, 10), square(11, 12), np.zeros((64, 80), bool)
    averages = []
    for missed in range(6):
        found = [agreement(nothing if case < missed else prediction, reference, None) for case in range(5)]
        averages.append((np.mean([one.dice for one in found]), -np.mean([one.hd95 for one in found])))
        assert sum(one.missed for one in found) == min(missed, 5)
    assert averages == sorted(averages, reverse=True) and averages[0] > averages[-1]


def test_a_full_image_has_its_frame_as_surface() -> None:
    assert hausdorff95(np.ones((20, 20), bool), np.ones((20, 20), bool), None) == 0


def test_batch_dice_agrees_with_the_plain_one() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 24, 32)
    labels = torch.randint(0, 3, (4, 1, 24, 32))
    labels[1][labels[1] == 2] = 0
    logits[1, 2] = -100  # absent on both sides
    dice, iou = batch_dice(logits, labels)
    predicted = logits.argmax(1).numpy()
    for case in range(4):
        for index in (1, 2):
            one = agreement(predicted[case] == index, labels[case, 0].numpy() == index, None)
            assert float(dice[case, index - 1]) == pytest.approx(one.dice)
            assert float(iou[case, index - 1]) == pytest.approx(one.iou)
    assert float(dice[1, 1]) == 1
