"""The settings of a task reach its training: the average that is saved, sizes, weights of the loss, absent classes."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import training
from sonoseg.evaluation.folds import FoldData
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import write_label_map
from sonoseg.io.png import write_image
from sonoseg.models.networks.heads import scaled_labels
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task
from sonoseg.sizes import Size
from sonoseg.training.loop import train_epoch
from sonoseg.training.run import RunOptions, TrainingRun, begin_run
from sonoseg.training.setup import TrainingOptions, TrainingSetup, build_training
from tests.conftest import changed

SIZE, SMALLER = (64, 96), (32, 48)
WEIGHTS = [0.25, 0.125]
"""Of the outputs of deep supervision."""


@pytest.fixture(scope="module")
def task(spine: Task) -> Task:
    """A small network with deep supervision and an average, and smaller images in the first half of the epochs."""
    network = {"channels": [4, 8, 8, 8], "strides": [2, 2, 2], "residual_units": 0, "deep_supervision": WEIGHTS}
    settings = {"batch_size": 2, "ema_decay": 0.9, "progressive_resizing": {"size": SMALLER, "fraction": 0.5}}
    return changed(
        spine,
        input=spine.input.model_dump() | {"size": SIZE},
        augmentation={"copies": 0},
        enhancement={"denoise": None},
        network=spine.network.model_dump() | network,
        training=spine.training.model_dump() | settings,
    )


@pytest.fixture(scope="module")
def data(task: Task, tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    """Four images that train and two that validate; the latter do not show EPI."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    rows, samples = [], []
    for number in range(6):
        name, validates = str(number), number >= 4
        image, mask = root / f"{name}.png", root / f"{name}_mask.png"
        labels = np.zeros(SIZE, np.uint8)
        labels[8:56, 40 + number : 44 + number] = 1
        labels[30:50, 50:80] = 2
        labels[4:8, 10:80] = 0 if validates else 3
        write_image(image, (60 * labels + rng.integers(0, 60, SIZE)).astype(np.uint8))
        write_label_map(mask, labels, task.colors)
        present = {"MID": True, "VTB": True, "EPI": not validates}
        rows.append(Prepared(name, name, name, int(validates), image, mask, "none"))
        samples.append(Sample(name, ImageRef(image), mask, name, int(validates), present, *SIZE, None, "", ""))
    return FoldData(1, rows[:4], rows[4:], [], samples, {})


def setup_for(task: Task, data: FoldData, epochs: int) -> TrainingSetup:
    return build_training(task, data, Fabric(accelerator="cpu", devices=1), TrainingOptions(seed=1, epochs=epochs))


@pytest.fixture(scope="module")
def run(task: Task, data: FoldData, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """A training of one epoch, as stage 3 runs it."""
    root = tmp_path_factory.mktemp("run")
    output = OutputFolder(root / "model", "stage3")
    made = begin_run(setup_for(task, data, epochs=1), data, output, RunOptions("run", root / "logs", []))
    training.train(made)
    return made


def test_the_saved_model_is_the_average_of_the_weights(run: TrainingRun) -> None:
    saved, average = load_file(run.output.path(BEST_MODEL)), run.setup.average
    assert average is not None
    assert saved.keys() == average.module.state_dict().keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in average.module.state_dict().items())
    trained = run.setup.network.module.state_dict()
    assert any(not torch.equal(saved[name], tensor) for name, tensor in trained.items()), "the network is another"


def test_a_class_that_no_validation_image_shows_does_not_choose_the_epoch(run: TrainingRun) -> None:
    (scalars,) = run.progress.history
    dice = [scalars[f"dice/{name}"] for name in ("MID", "VTB", "EPI")]
    assert scalars["dice/mean"] == run.progress.best_dice == pytest.approx(sum(dice[:2]) / 2)
    assert scalars["dice/mean"] != pytest.approx(sum(dice) / 3), "a mean over all three classes would differ"
    assert run.setup.scored == ["MID", "VTB"]


def test_the_first_half_of_the_epochs_has_smaller_images(task: Task, data: FoldData) -> None:
    setup, sizes = setup_for(task, data, epochs=2), list[Size]()
    setup.network.module.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    for epoch in range(2):
        list(train_epoch(setup, epoch, [0.001, 0.001]))
    assert sizes == [SMALLER, SMALLER, SIZE, SIZE]


def test_the_outputs_of_deep_supervision_have_the_weights_of_the_task(task: Task, data: FoldData) -> None:
    setup = setup_for(task, data, epochs=1)
    batch = next(iter(setup.training))
    logits, *coarser = setup.network(batch.images)
    terms = setup.loss(logits, batch.labels, 0, coarser=coarser)
    labels = [scaled_labels(batch.labels, output.shape[2:]) for output in coarser]
    losses = [float(setup.loss.region(*pair)) for pair in zip(coarser, labels, strict=True)]
    expected = sum(weight * loss for weight, loss in zip(WEIGHTS, losses, strict=True))
    assert float(terms["deep_supervision"]) == pytest.approx(expected)
