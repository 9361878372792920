"""Check 34: constant pictures are refused by name; a mask that is not the shape it should have is flagged."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import train_test_data_preparation as stage1
from sonoseg.errors import DataError
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.inference.segmenter import Segmenter
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.conftest import changed, real_data
from tests.models.members import member
from tests.trust.conftest import Segmented, rows_of
from tests.trust.runs import flags, make


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("form", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_constant_picture_fails_by_name(
    grey: int, form: str, segmented: Segmented, tmp_path: Path, fetal_head: Task
) -> None:
    (tmp_path / "in").mkdir()
    picture = np.full((96, 144, 3), grey, np.uint8)
    Image.fromarray(picture).save(tmp_path / "in" / form)
    code, rows = segmented(tmp_path / "in", tmp_path / "out")
    assert code == 1 and rows[form]["status"] == "failed"
    assert rows[form]["reason"].startswith(f"every pixel has the grey value {grey};") and not rows[form]["hc_px"]
    segmenter = Segmenter([member(lambda images: images.repeat(1, 2, 1, 1), fetal_head)])
    for image in (picture, picture[..., 0]):
        with pytest.raises(DataError, match=f"every pixel has the grey value {grey}; expected an ultrasound image"):
            segmenter(image)


def test_stage_1_warns_of_a_constant_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, 6)
    image = sorted((tmp_path / "spine" / "images").glob("*.png"))[2]
    Image.new("L", Image.open(image).size, 40).save(image)
    assert stage1.main(flags(stage1, tmp_path)) == 0
    assert f"{image.name}: every pixel has the grey value 40" in capsys.readouterr().out


def picture(kind: str) -> Pixels:
    """A bright structure on texture: an ellipse, a half moon as a crop gives, a frame around nothing."""
    image, inside = np.random.default_rng(3).integers(10, 90, (96, 144), dtype=np.uint8), np.zeros((96, 144), np.uint8)
    if kind == "triangle":
        cv2.fillPoly(inside, [np.array([[20, 85], [124, 85], [72, 10]], np.int32)], 1)
    else:
        cv2.ellipse(inside, (72, 48), (50, 38), 0, 0, 360, 1, -1)
    if kind == "half":
        inside[:, 72:] = 0
    image[inside == 1] = 200
    return image


@pytest.mark.parametrize(("kind", "status"), [("ellipse", "ok"), ("half", "check"), ("triangle", "check")])
def test_a_mask_that_is_no_ellipse_is_flagged(
    kind: str, status: str, segmented: Segmented, tmp_path: Path, bright: Task
) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(picture(kind)).save(tmp_path / "in" / "a.png")
    segmented(tmp_path / "in", tmp_path / "out")
    (row,) = rows_of(tmp_path / "out" / "results.csv")
    reasons = [reason for reason in row["reason"].split("; ") if "agree by" in reason]
    assert (row["status"] == "ok") == (status == "ok") and bool(reasons) == (status == "check"), row
    assert all(reason.endswith("(IoU), below 0.9") for reason in reasons)


def test_the_limit_is_a_setting_of_the_task(bright: Task, tmp_path: Path) -> None:
    image = picture("triangle")

    def found(task: Task) -> tuple[list[str], float]:
        import torch

        def network(images: torch.Tensor) -> torch.Tensor:
            inside = images[:, 0] > 0.5
            return torch.stack([~inside, inside], dim=1).float() * 8

        findings = Segmenter([member(network, task)])(image)
        return [reason for reason in findings.reasons if "agree" in reason], findings.shape_agreement["HEAD"]

    reasons, agreement = found(bright)
    assert reasons == [f"HEAD: mask and ellipse agree by {agreement:.2f} (IoU), below 0.9"] and 0.5 < agreement < 0.9
    review = {**bright.review.model_dump(), "shape_agreement": {"ellipse": 0.5}}
    assert found(changed(bright, review=review)) == ([], agreement)


@pytest.mark.parametrize(
    ("kind", "points"), [("ellipse", [[20, 50], [120, 50], [70, 10], [70, 90]]), ("rectangle", [[20, 10], [90, 60]])]
)
def test_agreement_is_the_intersection_over_union_of_drawn_shape_and_mask(kind: str, points: list[list[int]]) -> None:
    shape, corners = SHAPE_KINDS[kind], np.array(points, float)
    window, drawn = shape.draw(corners, (100, 150))
    mask = np.zeros((100, 150), bool)
    mask[window] = drawn
    assert shape.agreement(corners, mask) == pytest.approx(1, abs=2e-3)
    half = mask.copy()
    half[:, : 1 + int(corners[:, 0].mean())] = False
    assert shape.agreement(corners, half) == pytest.approx(half.sum() / mask.sum(), abs=2e-3)
    assert shape.agreement(corners, np.roll(mask, 5, axis=0)) == pytest.approx(
        (mask & np.roll(mask, 5, axis=0)).sum() / (mask | np.roll(mask, 5, axis=0)).sum(), abs=2e-3
    )


def test_reference_masks_of_hc18_agree_with_their_ellipses(fetal_head: Task) -> None:
    """At most 1 % of the reference masks may lie below the limit; here every 40th of them."""
    from sonoseg.annotations.mask_values import class_indices, fill_label_outlines
    from sonoseg.io.masks import read_mask

    folder, low = real_data("hc18") / "training_set", []
    for path in sorted(folder.glob("*_Annotation.png"))[::40]:
        mask = fill_label_outlines(class_indices(read_mask(path), ["HEAD"])[0], fetal_head.structures) > 0
        shape = SHAPE_KINDS["ellipse"]
        low.append(shape.agreement(shape.fit(mask)[0], mask))
    assert min(low) > 0.99 > fetal_head.review.shape_agreement.ellipse
