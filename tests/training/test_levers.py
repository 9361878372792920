"""Deep supervision, the average of the weights, sizes that change, clipping, and the weight of the Hausdorff term."""

import copy
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from torch import nn

from sonoseg.schema.task import Task
from sonoseg.schema.training import HausdorffSchedule, Loss, ProgressiveResizing
from sonoseg.training.datasets import Batch
from sonoseg.training.loop import size_in, train_epoch
from sonoseg.training.losses import SegmentationLoss, gradient_ratio
from sonoseg.training.optimizer import averaged
from sonoseg.training.setup import TrainingOptions, TrainingSetup
from tests.conftest import changed

CPU = torch.device("cpu")


def squares() -> torch.Tensor:
    """Two label maps of 32x48 pixels with class 1, of which the first has class 2 as well."""
    labels = torch.zeros(2, 1, 32, 48, dtype=torch.int64)
    labels[:, 0, 4:20, 8:32] = 1
    labels[0, 0, 20:28, 12:40] = 2
    return labels


def test_coarser_outputs_are_compared_with_the_nearest_labels_and_weighted() -> None:
    torch.manual_seed(0)
    labels, logits = squares(), torch.randn(2, 3, 32, 48)
    coarser = [torch.randn(2, 3, 16, 24), torch.randn(2, 3, 8, 12)]
    loss = SegmentationLoss(Loss(), coarser_weights=[0.5, 0.25])
    terms = loss(logits, labels, 0, coarser=coarser)
    # Blocks of 2x2 and 4x4 pixels, of which all pixels have one label, are what they are.
    expected = [float(loss.region(output, labels[..., :: 2**n, :: 2**n])) for n, output in enumerate(coarser, start=1)]
    assert float(terms["deep_supervision"]) == pytest.approx(0.5 * expected[0] + 0.25 * expected[1])
    assert float(terms["total"]) == pytest.approx(float(terms["dice_ce"] + terms["deep_supervision"]))
    assert set(loss(logits, labels, 0)) == {"total", "dice_ce"}, "validation has the full output alone"


def test_an_average_is_that_of_the_formula_and_counts_are_copied() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = averaged(network, 0.5, CPU)
    weights, means = [], []
    for step in range(4):
        with torch.no_grad():
            network[0].weight.fill_(float(step))
        network(torch.full((4, 2), float(step)))
        average.update_parameters(network)
        weights.append(float(network[0].weight.detach()[0, 0]))
        means.append(network[1].running_mean.clone())
    expected, statistics = weights[0], means[0]
    for step in range(1, 4):
        decay = min(0.5, (1 + step) / (10 + step))  # 2/11, 3/12, 4/13
        expected = decay * expected + (1 - decay) * weights[step]
        statistics = decay * statistics + (1 - decay) * means[step]
    assert float(average.module[0].weight.detach()[0, 0]) == pytest.approx(expected)
    torch.testing.assert_close(average.module[1].running_mean, statistics)
    assert int(average.module[1].num_batches_tracked) == 4 == int(network[1].num_batches_tracked)


def test_the_first_epochs_have_smaller_images() -> None:
    resizing = ProgressiveResizing(size=(192, 288), fraction=0.65)
    assert [size_in(resizing, epoch, 10) is None for epoch in range(10)] == [False] * 6 + [True] * 4
    assert size_in(resizing, 0, 10) == (192, 288) and size_in(None, 0, 10) is None


@pytest.mark.parametrize(
    ("size", "problem"),
    [((100, 150), "multiple"), ((192, 192), "the proportions of input.size"), ((256, 384), "a smaller size")],
)
def test_sizes_that_do_not_fit_are_refused(size: tuple[int, int], problem: str, fetal_head: Task) -> None:
    training = fetal_head.training.model_dump() | {"progressive_resizing": {"size": size}}
    with pytest.raises(ValidationError, match=problem):
        changed(fetal_head, input={"size": (256, 384)}, training=training)


class OneBatch:
    """A loader of the same batch at each step."""

    def __init__(self, batch: Batch):
        self.batch, self.dataset = batch, type("Dataset", (), {})()

    def epoch(self, number: int, skip: int = 0):  # type: ignore[no-untyped-def]
        while True:
            yield self.batch


def one_step(task: Task, network: nn.Module, batch: Batch, precision: Any = "32-true", epoch: int = 0) -> float:
    """Return how far a step of gradient descent with learning rate 1 moves the weights together."""
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    wrapped, optimizer = fabric.setup(network, optimizer)
    before = [weight.detach().clone() for weight in network.parameters()]
    loss, loader = SegmentationLoss(task.training.loss), OneBatch(batch)
    setup = TrainingSetup(task, fabric, TrainingOptions(), 1, wrapped, optimizer, loss, loader, loader)  # type: ignore[arg-type]
    next(train_epoch(setup, epoch, [1.0]))
    moved = [(weight.detach() - old).norm() ** 2 for weight, old in zip(network.parameters(), before, strict=True)]
    return float(sum(moved)) ** 0.5


def test_clipping_limits_the_norm_of_the_gradient(spine: Task) -> None:
    steps = {}
    for limit in (None, 0.01, 1e6):
        torch.manual_seed(0)
        task = changed(spine, training=spine.training.model_dump() | {"gradient_clipping": limit})
        network = nn.Conv2d(1, 4, 3, padding=1)
        steps[limit] = one_step(task, network, Batch(torch.randn(2, 1, 32, 48), squares()))
    assert (
        steps[0.01] == pytest.approx(0.01, rel=1e-3) and steps[None] == pytest.approx(steps[1e6]) and steps[None] > 0.1
    )


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_hausdorff_term_moves_the_weights_by_its_ratio(precision: str, spine: Task) -> None:
    steps = {}
    for ratio in (0.1, 3.0):
        torch.manual_seed(0)
        loss = {"hausdorff": {"start_epoch": 1, "ramp_epochs": 1, "max_gradient_ratio": ratio}}
        task = changed(spine, training=spine.training.model_dump() | {"loss": loss})
        network, batch = nn.Conv2d(1, 4, 3, padding=1), Batch(torch.randn(2, 1, 32, 48), squares())
        steps[ratio] = [one_step(task, copy.deepcopy(network), batch, precision, epoch) for epoch in (0, 1)]
    assert steps[0.1][0] == steps[3.0][0], "not yet in the first epoch"
    assert steps[3.0][1] != pytest.approx(steps[0.1][1], rel=0.05)


def test_a_ratio_of_gradients_is_reached_whatever_the_scale_of_the_term() -> None:
    torch.manual_seed(0)
    labels, logits = squares(), torch.randn(2, 3, 32, 48, requires_grad=True)
    for alpha in (1.0, 2.0):
        schedule = HausdorffSchedule(start_epoch=0, ramp_epochs=2, max_gradient_ratio=0.4, alpha=alpha)
        loss = SegmentationLoss(Loss(hausdorff=schedule))
        for epoch, ratio in ((0, 0.2), (1, 0.4), (7, 0.4)):
            terms = loss(logits, labels, epoch)
            norms = {
                name: float(torch.autograd.grad(term, logits, retain_graph=True)[0].norm())
                for name, term in terms.items()
            }
            assert norms["hausdorff"] / norms["dice_ce"] == pytest.approx(ratio, rel=1e-4)
            assert loss.weight(epoch) == ratio
    with torch.no_grad():
        assert float(loss(logits.detach(), labels, 7)["hausdorff"]) == 0, "without gradients there is no ratio"
    full = torch.randn(1, 3, 8, 8, requires_grad=True)
    assert gradient_ratio(full.sum(), 0 * full.sum(), full) == 0, "a term without a gradient is left out"


def test_the_hausdorff_term_has_a_maximum_and_a_given_weight_is_one() -> None:
    with pytest.raises(ValidationError, match="expected max_gradient_ratio or max_weight"):
        HausdorffSchedule(start_epoch=0, ramp_epochs=1)
    both = HausdorffSchedule(start_epoch=0, ramp_epochs=1, max_gradient_ratio=0.2, max_weight=3)
    assert both.maximum == 3 and not both.is_ratio, "as a task file of before, which extends one with a ratio, means it"
