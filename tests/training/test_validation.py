"""Which classes choose the epoch: those that the fold that validates shows."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from sonoseg.evaluation.folds import FoldData
from sonoseg.io.image_ref import ImageRef
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.schema.task import Task
from sonoseg.training.progress import Progress, ValidationTotals
from sonoseg.training.records import model_facts
from sonoseg.training.terminal import absent_lines, epoch_line
from tests.training.setups import setup_of

NAMES = ("MID", "VTB", "EPI")


def totals_of(dice: list[float], absent: tuple[str, ...]) -> dict[str, float]:
    """Return the scalars of one validation image with these Dice."""
    scores = torch.tensor([dice], dtype=torch.float64)
    return ValidationTotals(NAMES, absent, losses=[0.1], dice=[scores], iou=[scores]).scalars()


@pytest.mark.parametrize(("absent", "mean"), [((), 0.8), (("EPI",), 0.7), (("MID", "EPI"), 0.8), (NAMES, 0.8)], ids=str)
def test_absent_classes_are_left_out_of_the_mean(absent: tuple[str, ...], mean: float) -> None:
    scalars = totals_of([0.6, 0.8, 1.0], absent)
    assert scalars["dice/mean"] == pytest.approx(mean)
    assert [scalars[f"dice/{name}"] for name in NAMES] == [0.6, 0.8, 1.0]


def test_an_absent_class_no_longer_chooses_the_epoch() -> None:
    # A false alarm of EPI in the second epoch would outweigh that both other classes have become better.
    progress, network = Progress(), torch.nn.Linear(1, 1)
    for dice in ([0.6, 0.6, 1.0], [0.7, 0.7, 0.5]):
        progress.finish_epoch(network, totals_of(dice, ("EPI",)))
    assert progress.best_epoch == 1 and progress.best_dice == pytest.approx(0.7)


def sample(name: str, fold: int | None, shown: str) -> Sample:
    present = {one: one in shown.split() for one in NAMES}
    return Sample(name, ImageRef(Path("i")), Path("m"), name, fold, present, 10, 10, None, "", "")


def data_of(*shown: str) -> FoldData:
    """Return the data of fold 1, whose images show these structures; those of fold 0 show all."""
    samples = [sample("train", 0, "MID VTB EPI"), *(sample(str(n), 1, one) for n, one in enumerate(shown))]
    rows = [Prepared(one.id, one.id, one.patient, one.fold, Path("i"), Path("m"), "none") for one in samples]
    return FoldData(1, rows[:1], rows[1:], [], samples, {})


def test_the_classes_that_the_fold_lacks() -> None:
    assert data_of("MID", "VTB MID").absent_from_validation(NAMES) == ["EPI"]
    assert data_of("MID", "VTB EPI").absent_from_validation(NAMES) == []
    assert data_of("").absent_from_validation(NAMES) == list(NAMES)
    assert data_of().absent_from_validation(NAMES) == []  # a refit


def test_a_warning_names_class_and_fold() -> None:
    setup = setup_of(torch.nn.Linear(1, 1), Fabric(accelerator="cpu", devices=1))
    assert absent_lines(setup, 1) == []
    (line,) = absent_lines(replace(setup, absent=["EPI"]), 1)
    assert line.startswith("warning: no image of fold 1 shows EPI: the Dice of MID, VTB alone chooses the epoch")
    (line,) = absent_lines(replace(setup, absent=list(NAMES)), 1)
    assert "the absence of false alarms alone" in line


def test_an_epoch_is_reported_by_the_classes_that_choose_it() -> None:
    setup = setup_of(torch.nn.Linear(1, 1), Fabric(accelerator="cpu", devices=1))
    assert setup.scored == list(NAMES) == replace(setup, absent=NAMES).scored
    scalars = {**totals_of([0.6, 0.8, 1.0], ("EPI",)), "loss/total": 0.1, "time/epoch_s": 1.0}
    scalars["schedule/hausdorff_weight"] = 0.0
    line = epoch_line(1, 2, scalars, replace(setup, absent=["EPI"]).scored, is_best=True)
    assert "validation Dice 0.7000  (MID 0.600  VTB 0.800)" in line


def test_the_model_states_what_chose_its_epoch(spine: Task) -> None:
    settings = {"task": spine.model_dump(mode="json"), "fold": 1, "seed": 0, "epochs": 2}
    assert model_facts(Progress(), data_of("MID", "VTB"), settings)["validation_without"] == ["EPI"]
    assert "validation_without" not in model_facts(Progress(), data_of("MID VTB EPI"), settings)
