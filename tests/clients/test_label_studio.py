"""Label Studio's own package agrees: codec of the brush, and the configuration of the guide with what is written.

Runs where `label_studio_sdk` is installed, which the other tests do not need.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.annotations.label_studio.rle import decode_brush, encode_brush
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import LabelStudio
from sonoseg.schema.annotations import Structure
from tests.conftest import REPOSITORY

brush = pytest.importorskip("label_studio_sdk.converter.brush")
interface = pytest.importorskip("label_studio_sdk.label_interface")
utils = pytest.importorskip("label_studio_sdk.converter.utils")

SIZES = [(1, 1), (3, 5), (40, 70), (300, 257)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_the_codecs_of_the_brush_agree(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(1).random(size) < share
    assert np.array_equal(decode_brush(brush.mask2rle(mask.astype(np.uint8) * 255), size), mask)
    assert np.array_equal(brush.decode_rle(encode_brush(mask)).reshape(*size, 4)[..., 3] > 0, mask)


def test_alpha_decides_whatever_the_colours() -> None:
    pixels = np.random.default_rng(2).integers(0, 3, (20, 30, 4)).astype(np.uint8)
    assert np.array_equal(decode_brush(brush.encode_rle(pixels.ravel()), (20, 30)), pixels[..., 3] > 0)


def test_what_is_written_fits_the_configuration_of_the_guide(tmp_path: Path) -> None:
    guide = (REPOSITORY / "docs" / "guide" / "annotation_formats.md").read_text()
    (config,) = re.findall(r"```xml\n(<View>.*?)```", guide, re.DOTALL)
    shapes = (
        Shape("MID", "line", np.array([(3.0, 4), (30, 20)])),
        Shape("MID", "region", np.array([(3.0, 4), (30, 20), (5, 30)])),
        Shape("VTB", "rectangle", np.array([(3.0, 4), (30, 20)])),
        Shape("HEAD", "ellipse", Ellipse(30, 20, 30, 10, 150).axis_ends()),
        Bitmap.of("TUMOUR", np.ones((5, 5), bool), 3, 4),
    )
    section = LabelStudio(format="label_studio")
    FORMATS["label_studio"].write(tmp_path, section, [Annotation("a.png", shapes, size=(40, 60))])
    (task,) = json.loads((tmp_path / "annotations.json").read_text())
    checked = interface.LabelInterface(config)
    checked.validate()
    assert len(task["annotations"][0]["result"]) == len(shapes)
    for region in task["annotations"][0]["result"]:
        assert checked.validate_region(region, return_errors=True) in (True, []), region
    assert checked.validate_annotation(task["annotations"][0])


def test_a_rotated_rectangle_has_the_corners_that_its_package_gives(tmp_path: Path, write_picture) -> None:
    write_picture(tmp_path / "images" / "a.png", size=(40, 60))
    structure = Structure(name="VTB", shape="rectangle", color="#ff0000")
    value = {"x": 40.0, "y": 20.0, "width": 30.0, "height": 25.0, "rotation": 35.0}
    sides = {"original_width": 60, "original_height": 40}
    result = {"type": "rectanglelabels", "to_name": "image", "value": {**value, "rectanglelabels": ["VTB"]}, **sides}
    task = {"data": {"image": "a.png"}, "annotations": [{"result": [result]}]}
    (tmp_path / "annotations.json").write_text(json.dumps([task]))
    section = LabelStudio(format="label_studio")
    (item,), _ = FORMATS["label_studio"].read(tmp_path, section, [structure])
    corners = utils.convert_annotation_to_yolo_obb({**value, **sides}, normalize=False)
    assert np.abs(item.shapes[0][1].points + 0.5 - np.array(corners)).max() < 1e-4
