"""The card beside a model: facts from files, a person's words kept, nothing invented."""

from pathlib import Path
from typing import Any

import pytest
import torch

from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.model_card import TO_COMPLETE, disjointness, write_model_card
from sonoseg.io.image_ref import ImageRef
from sonoseg.models.model_header import read_header
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.evaluation.made_cases import head_map, made_case, summary_of
from tests.models.unchecked import save_unchecked


def sample(id: str, patient: str, fold: int | None) -> Sample:
    return Sample(id, ImageRef(Path("i")), Path("m"), patient, fold, {}, 10, 10, None, "", "")


def prepared(id: str, patient: str) -> Prepared:
    return Prepared(id, id, patient, 0, Path("i"), Path("m"), "none")


def data_of(patients: str) -> FoldData:
    rows = [prepared(str(number), patient) for number, patient in enumerate(patients)]
    samples = [sample(row.id, row.patient, 0) for row in rows]
    return FoldData(0, rows[:2], rows[2:3], rows[3:], samples, {"t/test_split.csv": "ab" * 32})


def test_a_card_says_what_the_files_say_and_keeps_what_a_person_wrote(tmp_path: Path, fetal_head: Task) -> None:
    task = changed(fetal_head, title="Head <script>|x")
    facts: dict[str, Any] = {
        "seed": 3,
        "epochs": 7,
        "best_epoch": 5,
        "validation_dice": 0.87654,
        "fold": 0,
        "versions": {"torch": "9"},
    }
    save_unchecked(tmp_path / "best_model.safetensors", {"w": torch.zeros(1)}, task, facts)
    header = read_header(tmp_path / "best_model.safetensors")
    cases = [made_case(str(n), f"p{n}", head_map(x=80 + n), head_map(), fetal_head, (1.0, 1.0)) for n in range(3)]
    summary = {"part": "test", **summary_of(cases, fetal_head)}
    path = write_model_card(OutputFolder(tmp_path, "stage3"), header, data_of("aabb"), summary)
    text = path.read_text()
    assert "Not for clinical use" in text and "<script>" not in text and header.sha256 in text
    assert "epoch 5 kept for its validation Dice, 0.8765 on fold 0" in text and "torch 9" in text
    dice = summary["classes"]["HEAD"]["dice"]
    low, high = dice["interval_95"]
    mean = f"{dice['mean']:.3f} ({low:.3f} to {high:.3f})"
    assert "| class | Dice | Dice where present |" in text and f"| HEAD | {mean} | {mean} |" in text
    assert "Gestational age: its error is that of the head circumference" in text
    assert "1.5 weeks from 18 to 24 weeks" in text
    assert "95 % intervals: t intervals on patient means" in text
    bias, (lower, upper) = (
        summary["measurements"]["hc_mm"]["bias"],
        summary["measurements"]["hc_mm"]["limits_of_agreement"],
    )
    assert f"{bias['mean']:.2f} ({bias['interval_95'][0]:.2f} to" in text
    assert f"| {lower:.2f} (" in text and f" to {upper:.2f} (" in text
    assert text.count(TO_COMPLETE) == 3

    path.write_text(text.replace(f"{TO_COMPLETE} For which question", "Measuring heads of dolls; for which question"))
    again = write_model_card(OutputFolder(tmp_path, "stage3"), header, data_of("aabb"), None).read_text()
    assert "Measuring heads of dolls" in again and again.count(TO_COMPLETE) == 2
    assert "None: the test split is empty." in again


def test_a_card_names_classes_that_did_not_choose_the_epoch(tmp_path: Path, spine: Task) -> None:
    facts = {"seed": 3, "epochs": 7, "best_epoch": 5, "validation_dice": 0.9, "fold": 1, "validation_without": ["EPI"]}
    save_unchecked(tmp_path / "best_model.safetensors", {"w": torch.zeros(1)}, spine, facts)
    header = read_header(tmp_path / "best_model.safetensors")
    text = write_model_card(OutputFolder(tmp_path, "stage3"), header, data_of("aabb"), None).read_text()
    assert "0.9000 on fold 1, without EPI, which no image of that fold shows" in text


def test_disjointness_is_never_claimed_for_unknown_patients() -> None:
    assert disjointness(data_of("aabb"), False) == "by patient: 2 patients, none of them in two parts"
    assert disjointness(data_of("abcd"), False).startswith("by image")
    groups = disjointness(data_of("0022"), True)  # groups of similar images have the name of one of their images
    assert groups.startswith("by groups of similar images (2 groups): who the patients are is unknown. One patient may")
    assert "none of them" not in groups
    assert disjointness(data_of("aa22"), True).startswith("by patient where one is stated (1), else by groups")
    assert disjointness(data_of("aabb"), True) == disjointness(data_of("aabb"), False), "the table states them all"


def test_a_card_of_a_task_without_patients_says_that_they_are_unknown(tmp_path: Path, fetal_head: Task) -> None:
    task = changed(fetal_head, patients="unknown")
    save_unchecked(tmp_path / "best_model.safetensors", {"w": torch.zeros(1)}, task, {})
    header = read_header(tmp_path / "best_model.safetensors")
    text = write_model_card(OutputFolder(tmp_path, "stage3"), header, data_of("0022"), None).read_text()
    assert "* Split by groups of similar images (2 groups)" in text


@pytest.mark.parametrize(
    ("fold", "counts"), [(0, "2 for training, 2 for validation"), (1, "3 for training, 1 for validation"), (None, "4 ")]
)
def test_numbers_of_images_are_those_of_the_model_that_is_scored(
    tmp_path: Path, fetal_head: Task, fold: int | None, counts: str
) -> None:
    """`--score` without `--fold` reads the tables as for fold 0, whichever fold validated the model."""
    facts = {"seed": 3, "epochs": 7, "best_epoch": 5, "validation_dice": 0.9, "fold": fold}
    save_unchecked(tmp_path / "best_model.safetensors", {"w": torch.zeros(1)}, fetal_head, facts)
    header = read_header(tmp_path / "best_model.safetensors")
    samples = [sample(str(n), "ab"[n % 2], of) for n, of in enumerate((0, 0, 1, 2, None))]
    rows = [prepared(str(n), "a") for n in range(5)]
    data = FoldData(0, rows[2:4], rows[:2], rows[4:], samples, {})
    text = write_model_card(OutputFolder(tmp_path, "stage3"), header, data, None).read_text()
    assert f"5 annotated images: {counts}" in text and "1 for testing" in text
    assert ("0 for validation" in text) == ("on the images of all folds" in text) == (fold is None)
