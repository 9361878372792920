"""Training: seconds per step of the spine network at its full size, and the share of its parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from monai.losses import DiceCELoss, HausdorffDTLoss
from monai.networks import nets
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.compare import Figure, compare, matrix_product_rate, memory_rate, seconds_of
from benchmarks.samples import phantoms, prepared
from sonoseg.evaluation.folds import load_data
from sonoseg.models.networks import build_network
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from sonoseg.training import losses
from sonoseg.training.datasets import Loader, SegmentationDataset, ShuffledBatchSampler
from sonoseg.training.loop import train_epoch
from sonoseg.training.losses import SegmentationLoss
from sonoseg.training.optimizer import build_optimizer
from sonoseg.training.processes import start_fabric
from sonoseg.training.setup import TrainingOptions, TrainingSetup

BATCH, STEPS = 2, 4


def run(root: Path) -> Iterator[Figure]:
    """Time steps with the Hausdorff loss on: a plain loop with MONAI's losses, and SonoSeg's loop."""
    root = root / "training"
    prepared(root, "spine", phantoms(root, images=12), "--copies", "1")
    task, workspace = load_task("spine"), Workspace(root, "spine")
    data = load_data(task, workspace, 0)
    images = SegmentationDataset(data.train, task.input, len(task.structures))
    images.with_squared_distances = True
    batch = next(iter(Loader(images, ShuffledBatchSampler(len(images), BATCH, seed=0))))
    plain = plain_steps(task, batch.images, batch.labels)

    rate, half = matrix_product_rate(), matrix_product_rate(dtype="bfloat16")
    operations = operations_of(task)
    for precision, compiled, ceiling in (
        ("32-true", False, rate), ("32-true", True, rate), ("bf16-mixed", False, half), ("bf16-mixed", True, half)
    ):  # fmt: skip
        epoch = Epoch(task, images, precision, compiled)
        before, after, ratio = compare(plain, epoch.run, per=STEPS)
        yield Figure(
            name=f"training step, {precision}{', compiled' if compiled else ''}",
            unit=f"batch of {BATCH}",
            before=before,
            after=after,
            ratio=ratio,
            before_is="MONAI's UNet, DiceCELoss and HausdorffDTLoss, plain loop in 32 bits, images in memory",
            after_is="`train_epoch` with its loader: channels_last, target distances from the loader",
            target="2.2x",
            reached=ratio >= 2.2,
            floor=f"{operations / ceiling * 1000:.0f} ms",
            remains=f"{operations / 1e9:.0f} GFLOP a step, {operations / after / 1e9:.0f} GFLOP/s reached of "
            f"{ceiling / 1e9:.0f} in a matrix product; waiting for data {epoch.waited:.2%} of the step.",
        )
    yield hausdorff_share(task, images)
    for kept in (False, True):
        yield online(root, task, data.train, kept)


def plain_steps(task: Task, images: torch.Tensor, labels: torch.Tensor) -> Any:
    """Return a function that runs STEPS training steps of a plain MONAI loop."""
    channels = (16, 32, 64, 128, 256, 512)
    network = nets.UNet(2, 1, 1 + len(task.structures), channels, (2,) * 5, num_res_units=2, norm="batch")
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    region = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, reduction="mean")
    boundary = HausdorffDTLoss(include_background=False, to_onehot_y=True, softmax=True, reduction="mean")

    def steps() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            logits = network(images)
            (region(logits, labels) + 1e-4 * boundary(logits, labels)).backward()
            optimizer.step()

    return steps


class Epoch:
    """STEPS steps of SonoSeg's own loop; `waited` is the share of the last run that was spent waiting for data."""

    def __init__(self, task: Task, images: SegmentationDataset, precision: str, compiled: bool = False):
        fabric = start_fabric("cpu", 1, precision)
        torch.manual_seed(0)
        network = build_network(task)
        optimizer = build_optimizer(task.training.optimizer, network.parameters())
        if compiled:
            network.compile()
        network, optimizer = fabric.setup(network, optimizer)
        loss = SegmentationLoss(task.training.loss, warm_up=False)
        batches = Loader(images, ShuffledBatchSampler(len(images), BATCH, seed=0))
        options = TrainingOptions(epochs=1)
        self.setup = TrainingSetup(task, fabric, options, 1, network, optimizer, loss, batches, batches)
        self.waited = 0.0

    def run(self) -> None:
        *_, totals = train_epoch(self.setup, 99, [1e-3] * STEPS)
        self.waited = totals.scalars()["time/data"]


def operations_of(task: Task) -> float:
    """Return the floating-point operations of one step, forward and backward."""
    network = build_network(task)
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(BATCH, 1, *task.input.size)).mean().backward()
    return float(counter.get_total_flops())


def hausdorff_share(task: Task, images: SegmentationDataset) -> Figure:
    """Time the boundary term, forward and backward, on the logits of a training batch: MONAI's and SonoSeg's."""
    torch.manual_seed(0)
    batch = next(iter(Loader(images, ShuffledBatchSampler(len(images), BATCH, seed=0))))
    near = torch.nn.functional.one_hot(batch.labels[:, 0].roll(4, -1), 1 + len(task.structures)).permute(0, 3, 1, 2)
    logits = (8.0 * near + torch.randn(near.shape)).requires_grad_()
    reference = HausdorffDTLoss(include_background=False, to_onehot_y=True, softmax=True, reduction="mean")
    ours = losses.HausdorffDTLoss()
    before, after, ratio = compare(
        lambda: reference(logits, batch.labels).backward(),
        lambda: ours(logits, batch.labels, batch.squared_distances).backward(),
    )
    epoch = Epoch(task, images, "bf16-mixed")
    epoch.run()
    step = min(seconds_of(epoch.run) for _ in range(3)) / STEPS
    share = after / step
    return Figure(
        name="Hausdorff term",
        unit=f"batch of {BATCH}",
        before=before,
        after=after,
        ratio=ratio,
        before_is="MONAI's HausdorffDTLoss",
        after_is="exact OpenCV transforms of the prediction, the reference's from the loader; equal values",
        floor=f"{12 * logits.numel() * 4 / memory_rate() * 1000:.1f} ms",
        target="10 % of the step",
        reached=share <= 0.10,
        remains=f"{share:.1%} of the fastest training step without compiling ({step * 1000:.0f} ms, bf16). "
        "Floor: probabilities, distances and gradient read or written twelve times; the rest is the exact transform.",
    )


def online(root: Path, task: Task, rows: Any, kept: bool) -> Figure:
    """Compare epochs that read copies with epochs that draw them, image by image.

    kept: the copies that are read are few enough to stay in memory, with their distance maps, after the first epoch.
    """
    drawing = Task.model_validate(
        {**task.model_dump(), "augmentation": {**task.augmentation.model_dump(), "copies": 1, "online": True}}
    )
    originals = [row for row in rows if row.augmentation == "none"]
    classes = len(task.structures)
    stored = SegmentationDataset(rows, task.input, classes)
    if not kept:
        stored._cache = stored._squared_distances = None
    offline = Epoch(task, stored, "bf16-mixed")
    drawn = SegmentationDataset(originals, task.input, classes, drawing.augmentation)
    fresh = Epoch(drawing, drawn, "bf16-mixed")
    before, after, ratio = compare(offline.run, fresh.run, per=STEPS)
    return Figure(
        name=f"copies drawn on the fly, beside those {'in memory' if kept else 'on the disk'}",
        unit=f"training step, batch of {BATCH}, bf16",
        before=before,
        after=after,
        ratio=ratio,
        before_is=f"copies of stage 2, {'kept in memory' if kept else 'read in each epoch'}",
        after_is="copies drawn by the loader's threads, with their distance maps",
        floor=f"{before * 1000:.0f} ms",
        target="1.0x",
        reached=ratio >= 0.97,
        remains=f"Waiting for data {fresh.waited:.2%} of the step; the threads share the two cores with the network.",
    )
