"""The losses equal MONAI's or their formulas; the boundary term follows its schedule."""

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss, DiceFocalLoss, DiceLoss
from monai.losses import HausdorffDTLoss as MonaiHausdorff

from sonoseg.schema.training import HausdorffSchedule, Loss
from sonoseg.training.distance import squared_distances
from sonoseg.training.losses import HausdorffDTLoss, SegmentationLoss, class_indices, hausdorff_weight


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.zeros(3, 1, 40, 56, dtype=torch.int64)
    labels[0, 0, 5:20, 10:30] = 1
    labels[0, 0, 25:36, 20:50] = 2
    labels[1, 0, 10:12, 3:50] = 1  # class 2 is absent here, and the third image is empty
    logits = torch.randn(3, 3, 40, 56) + 3 * torch.nn.functional.one_hot(labels[:, 0].roll(4, -1), 3).permute(
        0, 3, 1, 2
    )
    return logits, labels


@pytest.mark.parametrize("alpha", [2.0, 1.0])
def test_hausdorff_equals_monai_in_value_and_gradient(batch: tuple[torch.Tensor, torch.Tensor], alpha: float) -> None:
    logits, labels = batch
    ours_at, theirs_at = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    ours = HausdorffDTLoss(alpha)(ours_at, labels)
    theirs = MonaiHausdorff(alpha=alpha, include_background=False, to_onehot_y=True, softmax=True, reduction="mean")(
        theirs_at, labels
    )
    scale = (np.hypot(40, 56) / 100) ** alpha
    torch.testing.assert_close(ours * scale, theirs, rtol=1e-5, atol=1e-5)
    ours.backward()
    theirs.backward()
    torch.testing.assert_close(ours_at.grad * scale, theirs_at.grad, rtol=1e-4, atol=1e-6)


def test_hausdorff_of_one_channel_equals_monai(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch[0][:, 1:2], (batch[1] == 1).long()
    theirs = MonaiHausdorff(alpha=2.0, include_background=True, sigmoid=True, reduction="mean")(logits, labels.float())
    torch.testing.assert_close(HausdorffDTLoss()(logits, labels) * (40**2 + 56**2) / 1e4, theirs, rtol=1e-5, atol=1e-5)


def test_losses_of_one_class_equal_their_formulas(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch[0][:, 1:2], (batch[1] == 1).long()
    target = labels.float()
    bce = torch.nn.functional.binary_cross_entropy(torch.sigmoid(logits), target)
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * target).sum() + 1e-5) / (p.sum() + target.sum() + 1e-5)
    for settings, expected in (
        (Loss(name="bce"), bce),
        (Loss(name="bce_dice"), dice + bce),
        (Loss(name="dice_ce"), dice + bce),
        (Loss(name="bce_dice", cross_entropy_weight=0.2), dice + 0.2 * bce),
    ):
        terms = SegmentationLoss(settings, binary=True)(logits, labels, epoch=0)
        torch.testing.assert_close(terms["total"], expected, rtol=1e-5, atol=1e-6)
        assert set(terms) == {"total", settings.name}


@pytest.mark.parametrize("batch_dice", [True, False])
@pytest.mark.parametrize("include_background", [True, False])
def test_region_losses_equal_monai_with_either_setting(
    batch: tuple[torch.Tensor, torch.Tensor], include_background: bool, batch_dice: bool
) -> None:
    logits, labels = batch
    common = {"to_onehot_y": True, "softmax": True, "include_background": include_background, "batch": batch_dice}
    dice, focal, cross_entropy = (kind(**common)(logits, labels) for kind in (DiceLoss, DiceFocalLoss, DiceCELoss))
    for name, both in (("dice_ce", cross_entropy), ("dice_focal", focal)):
        settings = {"include_background": include_background, "batch_dice": batch_dice, "cross_entropy_weight": 0.5}
        ours = SegmentationLoss(Loss(name=name, **settings))(logits, labels, epoch=0)["total"]
        torch.testing.assert_close(ours, dice + 0.5 * (both - dice))
        assert both > dice


@pytest.mark.parametrize("batch_dice", [True, False])
def test_dice_of_one_class_is_that_of_the_batch_or_the_mean_of_its_images(
    batch: tuple[torch.Tensor, torch.Tensor], batch_dice: bool
) -> None:
    logits, labels = batch[0][:, 1:2], (batch[1] == 1).long()
    ours = SegmentationLoss(Loss(name="bce_dice", batch_dice=batch_dice), binary=True)(logits, labels, 0)["total"]
    bce = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels.float())
    axes = (0, 1, 2, 3) if batch_dice else (1, 2, 3)
    p, target = torch.sigmoid(logits), labels.float()
    dice = 1 - (2 * (p * target).sum(axes) + 1e-5) / (p.sum(axes) + target.sum(axes) + 1e-5)
    torch.testing.assert_close(ours, dice.mean() + bce)


def test_hausdorff_does_not_grow_with_the_image() -> None:
    labels = torch.zeros(1, 1, 96, 96, dtype=torch.int64)
    labels[..., 24:72, 24:72] = 1
    logits = torch.nn.functional.one_hot(labels[:, 0].roll(15, -1), 2).permute(0, 3, 1, 2).float() * 20
    large = [torch.nn.functional.interpolate(part.float(), scale_factor=3, mode="nearest") for part in (logits, labels)]
    small = HausdorffDTLoss()(logits, labels)
    # Squared pixels would make it nine times as large; what is left is half a pixel at each boundary.
    assert float(HausdorffDTLoss()(large[0], large[1].long())) == pytest.approx(float(small), rel=0.1)


def test_given_distances_of_the_reference_give_the_same_loss(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    known = squared_distances(labels == class_indices(2, labels))
    torch.testing.assert_close(HausdorffDTLoss()(logits, labels, known), HausdorffDTLoss()(logits, labels))
    assert HausdorffDTLoss()(logits, labels, known + 1) > HausdorffDTLoss()(logits, labels), "they are used"


def test_schedule_values() -> None:
    schedule = HausdorffSchedule(start_epoch=10, ramp_epochs=4, max_weight=0.5)
    weights = [hausdorff_weight(schedule, epoch) for epoch in (0, 9, 10, 11, 12, 13, 14, 99)]
    assert weights == [0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert hausdorff_weight(None, 50) == 0


def test_total_is_the_sum_of_its_scheduled_terms(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    logits, labels = batch
    schedule = HausdorffSchedule(start_epoch=2, ramp_epochs=2, max_weight=3)
    loss = SegmentationLoss(Loss(hausdorff=schedule))
    before = loss(logits, labels, epoch=1)
    assert set(before) == {"total", "dice_ce"}
    region = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, reduction="mean", batch=True)(
        logits, labels
    )
    torch.testing.assert_close(before["total"], region)
    after = loss(logits, labels, epoch=2)
    torch.testing.assert_close(after["hausdorff"], 1.5 * HausdorffDTLoss()(logits, labels))
    torch.testing.assert_close(after["total"], region + after["hausdorff"])
    assert SegmentationLoss(Loss(hausdorff=schedule), warm_up=False).weight(0) == 3
