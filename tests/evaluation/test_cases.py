"""Scores over patients, missed structures, and references from the metadata table."""

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sonoseg.evaluation.cases import SCORES, Case
from sonoseg.evaluation.cross_validation import summarise_folds
from sonoseg.evaluation.metrics import Agreement
from sonoseg.evaluation.segment import segment_and_compare
from sonoseg.evaluation.summary import in_one_unit
from sonoseg.evaluation.terminal import folds_table
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import decode_label_map, read_mask, write_label_map
from sonoseg.io.png import write_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.postprocess.measure import Measurement
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.quantity import Quantity, length_quantities
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.conftest import changed
from tests.evaluation.made_cases import head_map, made_case, spine_map, summary_of

GOOD = Agreement(0.9, 0.8, 0.85, 1.0, 2.0, 0.99, reference_empty=False, missed=False, false_alarm=False)
MISSED = Agreement(0.0, 0.0, 0.0, 90.0, 90.0, 0.7, reference_empty=False, missed=True, false_alarm=False)
ALARM = Agreement(0.0, 0.0, 0.0, 90.0, 90.0, 0.7, reference_empty=True, missed=False, false_alarm=True)


HC = Quantity("hc", "mm", "HC")


def case(patient: str, agreement: Agreement = GOOD, hc: float | None = 101.0, reference: float | None = 100.0) -> Case:
    return Case(
        f"{patient}-{id(agreement)}",
        patient,
        ImageRef(Path("a.png")),
        Path("a_mask.png"),
        {"HEAD": agreement},
        {HC.key: Measurement(HC, hc)},
        "mm",
        {HC.key: Measurement(HC, reference)},
        pixel_accuracy=agreement.pixel_accuracy,
        size={"mm": (72.0, 54.0)},
    )


def test_patients_count_equally(fetal_head: Task) -> None:
    cases = [case("A"), case("A"), case("A"), case("B", MISSED, hc=None)]
    summary = summary_of(cases, fetal_head)
    head = summary["classes"]["HEAD"]
    assert head["dice"]["mean"] == pytest.approx((0.9 + 0) / 2) == head["dice"]["median"]
    assert head["dice"]["standard_deviation"] == pytest.approx(0.9 / 2**0.5)
    assert head["hd95"]["mean"] == pytest.approx((1 + 90) / 2)
    assert head["hausdorff"]["mean"] == pytest.approx((2 + 90) / 2)
    assert head["surface_dice"]["mean"] == pytest.approx(0.85 / 2)
    assert summary["pixel_accuracy"]["mean"] == pytest.approx((0.99 + 0.7) / 2)
    assert (summary["mean_dice"], summary["mean_iou"]) == (pytest.approx(0.45), pytest.approx(0.4))
    assert (head["n"], head["n_missed"], head["n_empty_reference"], head["n_false_alarm"]) == (4, 1, 0, 0)


def test_missed_and_false_alarm_measurements_are_counted(fetal_head: Task) -> None:
    cases = [case("A", hc=103.0), case("B", hc=99.0), case("C", MISSED, hc=None), case("D", ALARM, reference=None)]
    hc = summary_of(cases, fetal_head)["measurements"]["hc_mm"]
    assert (hc["n"], hc["n_missed"], hc["n_false_alarm"]) == (2, 1, 1)
    assert (hc["name"], hc["unit"], hc["label"]) == ("hc", "mm", "HC")
    assert hc["mean_absolute_error"]["mean"] == pytest.approx(2) and hc["bias"]["mean"] == pytest.approx(1)
    assert hc["mean_absolute_error_with_missed"]["mean"] == pytest.approx((3 + 1 + 2 * (72 + 54)) / 3)
    # differences 3 and -1: mean 1, standard deviation sqrt(8)
    assert hc["limits_of_agreement"] == pytest.approx([1 - 1.96 * 8**0.5, 1 + 1.96 * 8**0.5])


EMPTY = Agreement(1.0, 1.0, 1.0, 0.0, 0.0, 1.0, reference_empty=True, missed=False, false_alarm=False)


def test_dice_where_present_leaves_out_rightly_empty_masks(fetal_head: Task) -> None:
    # Nine patients without the structure, rightly empty or a false alarm; one missed, one found with 0.9.
    cases = [case(str(n), EMPTY if n else ALARM) for n in range(9)] + [case("A", MISSED), case("B"), case("B", EMPTY)]
    summary = summary_of(cases, fetal_head)
    head = summary["classes"]["HEAD"]
    assert head["dice"]["mean"] == pytest.approx((8 * 1 + 0 + 0 + (0.9 + 1) / 2) / 11)
    assert head["dice_where_present"]["mean"] == pytest.approx((0 + 0.9) / 2) and head["dice_where_present"]["n"] == 2
    assert head["dice_where_present"]["interval_95"] is None  # two patients
    assert summary["mean_dice_where_present"] == pytest.approx(0.45)


def test_a_class_that_no_reference_has_has_no_dice_where_present(spine: Task) -> None:
    cases = [made_case(str(n), str(n), spine_map(tilt=n), spine_map(), spine) for n in range(3)]
    alike = summary_of(cases, spine)
    for scores in alike["classes"].values():
        assert scores["dice_where_present"]["mean"] == scores["dice"]["mean"]
    without = [made_case(str(n), str(n), *[spine_map(without=(3,))] * 2, spine) for n in range(3)]
    summary = summary_of(without, spine)
    assert summary["classes"]["EPI"]["dice_where_present"] is None and summary["classes"]["EPI"]["dice"]["mean"] == 1
    assert summary["mean_dice_where_present"] == 1


def test_folds_that_lack_a_class_do_not_count_where_present(spine: Task) -> None:
    parts = [((), ()), ((3,), ())], [((3,), (3,))], [((), ())]
    summaries = [
        summary_of(
            [
                made_case(str(n), str(n), *(spine_map(without=one) for one in pair), spine)
                for n, pair in enumerate(part)
            ],
            spine,
        )
        for part in parts
    ]
    found = summarise_folds(summaries, summaries[0], [])["classes"]["EPI"]
    assert found["dice"]["folds"] == [0.5, 1, 1]
    assert found["dice_where_present"]["folds"] == [0.5, None, 1] and found["dice_where_present"]["mean"] == 0.75
    absent = summarise_folds(summaries[1:2], summaries[1], [])
    assert absent["classes"]["EPI"]["dice_where_present"] is None
    table = folds_table(absent)
    assert [str(column.header) for column in table.columns][1:3] == ["Dice", "where present"] and table.row_count == 3


def test_median_and_mean_error_are_over_patients(fetal_head: Task) -> None:
    # Patients' mean errors: A (1 + 5) / 2 = 3, B 1, C 8. Over images the median would be 3 as well, without C 1.
    cases = [case("A", hc=101), case("A", hc=95), case("B", hc=101), case("C", hc=108), case("B", hc=99)]
    hc = summary_of(cases, fetal_head)["measurements"]["hc_mm"]
    assert hc["median_absolute_error"] == pytest.approx(3)
    assert hc["mean_absolute_error"]["mean"] == pytest.approx((3 + 1 + 8) / 3)
    assert hc["bias"]["mean"] == pytest.approx((-2 + 0 + 8) / 3)
    # The limits are about this bias, and not about that of all images, 4/5.
    assert sum(hc["limits_of_agreement"]) / 2 == pytest.approx(hc["bias"]["mean"])


def test_a_single_pair_has_no_limits(fetal_head: Task) -> None:
    hc = summary_of([case("A")], fetal_head)["measurements"]["hc_mm"]
    assert hc["limits_of_agreement"] == [None, None] and hc["mean_absolute_error"]["interval_95"] is None


def averages(summary: dict[str, Any]) -> dict[str, float]:
    """Return every average of overlap and distance so that larger is better."""
    values = {"mean_dice": summary["mean_dice"], "mean_iou": summary["mean_iou"]}
    values["pixel_accuracy"] = summary["pixel_accuracy"]["mean"]
    for name, scores in summary["classes"].items():
        for kind in SCORES:
            sign = -1 if kind in ("hd95", "hausdorff") else 1
            values |= {
                f"{name} {kind}": sign * scores[kind]["mean"],
                f"{name} {kind} median": sign * scores[kind]["median"],
            }
        for error, errors in scores.get("shape_errors", {}).items():
            values[f"{name} {error}"] = -errors["mean_with_missed"]["mean"]
    for name, entry in summary["measurements"].items():
        values[name] = -entry["mean_absolute_error_with_missed"]["mean"]
    return values


def counts(summary: dict[str, Any]) -> dict[str, int]:
    """Return every count of missed structures, measurements and shapes."""
    totals = {f"class {name}": scores["n_missed"] for name, scores in summary["classes"].items()}
    totals |= {name: entry["n_missed"] for name, entry in summary["measurements"].items()}
    for name, scores in summary["classes"].items():
        totals |= {f"{name} {error}": errors["n_missed"] for error, errors in scores.get("shape_errors", {}).items()}
    return totals


@pytest.mark.parametrize("name", ["spine", "fetal_head"])
def test_every_further_missed_structure_makes_all_averages_worse(name: str, request: pytest.FixtureRequest) -> None:
    task: Task = request.getfixturevalue(name)
    reference, near = (spine_map(), spine_map(2)) if name == "spine" else (head_map(), head_map(x=82))
    summaries = []
    for missed in range(8):
        predictions = [np.zeros_like(near) if number < missed else near for number in range(7)]
        cases = [made_case(str(n), str(n), prediction, reference, task) for n, prediction in enumerate(predictions)]
        summaries.append(summary_of(cases, task))
        assert not any(value != value for value in averages(summaries[-1]).values())
        assert set(counts(summaries[-1]).values()) == {missed}
    for better, worse in pairwise(summaries):
        for what, value in averages(better).items():
            if what.endswith("median"):
                assert averages(worse)[what] <= value, what
            else:
                assert averages(worse)[what] < value, what
    for what, value in averages(summaries[0]).items():
        assert averages(summaries[-1])[what] < value, what


def test_shape_errors_are_listed_by_class(spine: Task) -> None:
    pairs = [(spine_map(drop=4), spine_map()), (spine_map(without=(3,)), spine_map()), (spine_map(), spine_map())]
    cases = [made_case(str(n), str(n), *pair, spine) for n, pair in enumerate(pairs)]
    classes = summary_of(cases, spine)["classes"]
    vtb = classes["VTB"]["shape_errors"]["centre_distance_mm"]
    assert (vtb["n"], vtb["mean"], vtb["median"]) == (3, pytest.approx(4 * 0.5 / 3), 0)
    epi = classes["EPI"]["shape_errors"]
    assert {(error["n"], error["n_missed"], error["n_false_alarm"]) for error in epi.values()} == {(2, 1, 0)}
    assert epi["end_point_error_mm"]["mean"] == pytest.approx(4 * 0.5 / 2, abs=0.05)
    assert epi["angle_error_deg"]["mean"] == pytest.approx(0, abs=0.2)
    assert {key: (error["name"], error["unit"], error["label"]) for key, error in epi.items()} == {
        "end_point_error_mm": ("end_point_error", "mm", "end points"),
        "angle_error_deg": ("angle_error", "deg", "angle"),
    }
    row = cases[1].row()
    assert row["EPI_angle_error_deg"] is None and row["VTB_centre_distance_mm"] == 0


def test_two_patients_have_no_interval_and_three_a_wide_one(fetal_head: Task) -> None:
    sure = Agreement(1.0, 1.0, 1.0, 0.0, 0.0, 1.0, reference_empty=False, missed=False, false_alarm=False)
    cases = [case("A", sure) for _ in range(40)] + [case("B", MISSED) for _ in range(40)]
    summary = summary_of(cases, fetal_head)
    assert summary["classes"]["HEAD"]["dice"]["interval_95"] is None and summary["mean_dice_interval_95"] is None
    assert "2 patients: too few for intervals" in summary["warning"]
    summary = summary_of([*cases, case("C", sure)], fetal_head)
    # Two patients with 1 and one with 0: t of 2 degrees of freedom gives 0.67 -/+ 1.43; no Dice is outside 0 to 1.
    assert summary["classes"]["HEAD"]["dice"]["interval_95"] == [0, 1] == summary["mean_dice_interval_95"]
    assert summary["classes"]["HEAD"]["dice"]["interval_method"] == "t" == summary["mean_dice_interval_method"]
    assert summary["classes"]["HEAD"]["hd95"]["interval_95"][0] == 0
    alone = summary_of([case(str(n), sure) for n in range(9)], fetal_head)["classes"]["HEAD"]["dice"]
    assert alone["interval_95"] == [1, 1] and alone["standard_deviation"] == 0


def test_intervals_contain_the_mean_and_few_patients_give_a_warning(fetal_head: Task) -> None:
    cases = [case(str(n), GOOD if n % 3 else MISSED) for n in range(30)]
    summary = summary_of(cases, fetal_head)
    low, high = summary["classes"]["HEAD"]["dice"]["interval_95"]
    # twenty of thirty: 0.6, with a standard error of 0.9 * sqrt(2/9/30) = 0.077
    assert summary["classes"]["HEAD"]["dice"]["mean"] == pytest.approx(0.6)
    assert low == pytest.approx(0.6 - 1.96 * 0.077, abs=0.03) and high == pytest.approx(0.6 + 1.96 * 0.077, abs=0.03)
    assert "30 patients" in summary["warning"]
    assert "warning" not in summary_of([case(str(n)) for n in range(60)], fetal_head)
    assert summary_of([case("A")], fetal_head)["classes"]["HEAD"]["dice"]["interval_95"] is None


def test_tolerance_and_threshold_are_in_the_summary(fetal_head: Task, spine: Task) -> None:
    task = changed(fetal_head, evaluation={"surface_tolerance_mm": 2.5, "surface_tolerance_px": 7})
    head = head_map()
    in_mm = summary_of([made_case("a", "a", head, head, task)], task)
    assert (in_mm["surface_tolerance"], in_mm["distance_unit"], in_mm["threshold"]) == (2.5, "mm", 0.5)
    in_px = summary_of([made_case("a", "a", head, head, task, spacing=None)], task)
    assert (in_px["surface_tolerance"], in_px["distance_unit"]) == (7, "px")
    assert "threshold" not in summary_of([made_case("a", "a", spine_map(), spine_map(), spine)], spine)


def test_lengths_in_px_are_left_out_where_mm_are_known() -> None:
    quantities = [*length_quantities("a", "A"), *length_quantities("b", "B"), Quantity("angle", "deg", "angle")]
    counts = zip(quantities, (3, 3, 0, 2, 1), strict=True)
    assert in_one_unit({quantity.key: {**asdict(quantity), "n": n} for quantity, n in counts}) == [
        "a_mm",
        "b_px",
        "angle_deg",
    ]


class Fixed(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, images: Tensor) -> Tensor:
        return self.logits.expand(len(images), -1, -1, -1)


def test_an_ensemble_averages_probabilities(fetal_head: Task, tmp_path: Path) -> None:
    sizes = {"size": (96, 160), "fit": "resize", "intensity": "unit"}
    task = changed(fetal_head, input=sizes, postprocessing={"shape_mask": False})
    truth = head_map(y=48, down=30)[:96]
    image = write_image(tmp_path / "a.png", np.full((96, 160), 90, np.uint8))
    mask = write_label_map(tmp_path / "a_mask.png", truth, task.colors)
    sample = Sample("a", ImageRef(image), mask, "p", None, {"HEAD": True}, 96, 160, (0.5, 0.5), "", "", {"hc_mm": 7.0})
    inside = torch.from_numpy(truth).bool()[None, None]
    sure, weak, blind = (torch.where(inside, logit, -9.0) for logit in (4.0, -0.5, -9.0))  # 0.98, 0.38, 0.00

    def one_case(*logits: Tensor) -> Case:
        predictors = [torch_predictor(Fixed(values), task.network, task.enhancement, task.input) for values in logits]
        return next(segment_and_compare(predictors, [sample], task, in_mm=True))

    assert one_case(sure).agreement["HEAD"].dice == 1
    assert one_case(weak).agreement["HEAD"].missed
    together = one_case(sure, weak, weak)  # 0.58, although the majority says no
    assert together.agreement["HEAD"].dice == 1 and together.pixel_accuracy == 1
    assert one_case(sure, *[weak] * 5).agreement["HEAD"].missed  # 0.48, although the mean logit is above 0
    assert one_case(sure, sure, blind, blind).agreement["HEAD"].missed  # 0.49
    assert one_case(sure, sure, sure, blind, blind).agreement["HEAD"].dice == 1  # 0.59
    assert together.reference("hc_mm") == 7 and together.errors["hc_mm"] > 0
    assert (together.image, together.mask) == (ImageRef(image), mask)
    (tmp_path / "again.png").write_bytes(together.prediction)
    assert (read_mask(tmp_path / "again.png") == truth).all()
    assert one_case(weak).status == "check" and "HEAD not found" in one_case(weak).reasons


def test_filled_ellipses_are_scored_against_the_reference_as_it_is(fetal_head: Task, tmp_path: Path) -> None:
    ellipse = head_map(y=48, down=30)[:96]
    notched = ellipse.copy()
    notched[44:50, 30:44] = 0
    task = changed(fetal_head, input={"size": (96, 160), "fit": "resize", "intensity": "unit"})
    raw_masks, filled = (changed(task, postprocessing={"shape_mask": on}) for on in (False, True))
    image = write_image(tmp_path / "a.png", np.full((96, 160), 90, np.uint8))

    def scored(task: Task) -> tuple[Case, Pixels]:
        mask = write_label_map(tmp_path / "a_mask.png", notched, task.colors)
        sample = Sample("a", ImageRef(image), mask, "p", None, {"HEAD": True}, 96, 160, (0.5, 0.5), "", "", {})
        network = Fixed(torch.where(torch.from_numpy(notched).bool()[None, None], 4.0, -9.0))
        predictor = torch_predictor(network, task.network, task.enhancement, task.input)
        case = next(segment_and_compare([predictor], [sample], task, in_mm=True))
        return case, decode_label_map(case.prediction)

    raw, prediction = scored(raw_masks)
    assert raw.agreement["HEAD"].dice == 1 and np.array_equal(prediction, notched)
    case, prediction = scored(filled)
    assert np.mean(prediction != ellipse) < 0.01 < np.mean(prediction != notched)
    common, total = int((prediction & notched).sum()), int(prediction.sum() + notched.sum())
    assert case.agreement["HEAD"].dice == pytest.approx(2 * common / total)
    assert case.measurements == raw.measurements and case.reference_measurements == raw.reference_measurements


def test_the_rows_of_skin_and_structure_are_compared_apart(spine: Task, tmp_path: Path) -> None:
    """EPI is predicted 4 rows too deep, and the skin is found at a bright band, 20 rows above the true one."""
    spine = changed(spine, input={"size": (96, 160), "fit": "resize", "intensity": "unit"})
    truth, predicted = (spine_map(drop=drop)[:96] for drop in (0, 4))
    pixels = np.full((96, 160), 40, np.uint8)
    pixels[:2], pixels[2:6] = 10, 200
    image = write_image(tmp_path / "a.png", pixels)
    mask = write_label_map(tmp_path / "a_mask.png", truth, spine.colors)
    present = dict.fromkeys(("MID", "VTB", "EPI"), True)
    logits = torch.from_numpy(np.where(np.arange(4)[:, None, None] == predicted, 9.0, -9.0)).float()[None]
    predictor = torch_predictor(Fixed(logits), spine.network, spine.enhancement, spine.input)

    def scored(reference: dict[str, float]) -> Case:
        sample = Sample("a", ImageRef(image), mask, "p", None, present, 96, 160, (0.5, 0.5), "", "", reference)
        return next(segment_and_compare([predictor], [sample], spine, in_mm=True))

    shared, known = scored({}), scored({"skin_row_px": 24.0})
    assert shared.errors["mid_skin_row_mm"] == 0 and shared.errors["skin_to_epi_mm"] == pytest.approx(2, abs=0.2)
    assert known.errors["mid_skin_row_mm"] == pytest.approx((3.5 - 24) / 2, abs=0.3)
    for case, label in ((shared, "same search on both sides"), (known, "true row")):
        assert label in case.reference_measurements["mid_skin_row_px"].quantity.label
        assert case.errors["skin_to_epi_end_row_mm"] == pytest.approx(2, abs=0.2)
        difference = case.errors["skin_to_epi_end_row_mm"] - case.errors["mid_skin_row_mm"]
        assert case.errors["skin_to_epi_mm"] == pytest.approx(difference, abs=0.05)
