"""Smoothing invents classes between two others; thin structures that were drawn are not mistaken for it."""

import cv2
import numpy as np
import pytest

from sonoseg.annotations import FORMATS
from sonoseg.annotations.mask_values import class_indices
from sonoseg.annotations.smoothed_edges import smoothed_edges
from sonoseg.io.readers import read_image
from sonoseg.phantom.__main__ import main as simulate
from sonoseg.prepare.rasterize import label_map
from sonoseg.prepare.verify import verify


def jpeg(labels, quality):
    return cv2.imdecode(cv2.imencode(".jpg", labels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)


SMOOTHINGS = {
    "smaller": lambda labels: cv2.resize(labels, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_LINEAR),
    "half": lambda labels: cv2.resize(labels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda labels: cv2.resize(labels, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR),
    "cubic": lambda labels: cv2.resize(labels, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC),
    "blurred": lambda labels: cv2.GaussianBlur(labels, None, 0.7),
    "more blurred": lambda labels: cv2.GaussianBlur(labels, None, 1),
    "JPEG 95": lambda labels: jpeg(labels, 95),
    "JPEG 90": lambda labels: jpeg(labels, 90),
}


def blank():
    return np.zeros((200, 300), np.uint8)


def one_structure(value):
    return cv2.ellipse(blank(), (150, 100), (60, 35), 20, 0, 360, value, cv2.FILLED)


def three_structures():
    labels = blank()
    for centre, radius, value in (((80, 100), 40, 1), ((200, 100), 40, 2), ((140, 40), 20, 3)):
        cv2.circle(labels, centre, radius, value, cv2.FILLED)
    return labels


@pytest.mark.parametrize("change", SMOOTHINGS)
@pytest.mark.parametrize("labels", [one_structure(2), one_structure(3), three_structures()], ids=["2", "3", "1, 2, 3"])
def test_smoothed_edges_are_seen(spine, labels, change):
    assert class_indices(labels, spine.class_names)[1] is None
    smoothed = np.minimum(SMOOTHINGS[change](labels), 3)  # a cubic or JPEG overshoots; a value of no class is an error
    values, note = class_indices(smoothed, spine.class_names)
    assert np.array_equal(values, smoothed)
    assert note is not None and "class 1 MID" in note and "between background and class" in note
    assert note.endswith("are these edges smoothed? masks of several classes must be saved without interpolation")


def test_the_warning_says_how_many_pixels(spine):
    labels = np.zeros((10, 10), np.uint8)
    labels[2:7, 2:7] = 1
    labels[3:6, 3:6] = 2
    assert smoothed_edges(labels, spine.class_names) == (
        "class 1 MID is almost only a rim between background and class 2 VTB (16 pixels in all): are these edges "
        "smoothed? masks of several classes must be saved without interpolation"
    )
    labels[:, 8:] = 1
    assert "class 1 MID lies as a rim on 100% of the edge between background and class 2" in smoothed_edges(
        np.pad(labels, ((0, 0), (0, 9))), spine.class_names
    )


def rectangle():
    labels = blank()
    labels[80:140, 60:200] = 2
    return labels


LINES = {
    "across the background": ((20, 10), (280, 30)),
    "across both": ((100, 10), (150, 190)),
    "inside": ((70, 90), (190, 130)),
    "beside": ((59, 70), (59, 150)),
    "beside, along another side": ((60, 79), (199, 79)),
    "along the edge": ((60, 80), (60, 139)),
}


@pytest.mark.parametrize("width", [1, 2, 3, 10])
@pytest.mark.parametrize("line", LINES)
def test_a_line_that_was_drawn_is_no_smoothing(spine, line, width):
    assert smoothed_edges(cv2.line(rectangle(), *LINES[line], 1, width), spine.class_names) is None
    all_three = cv2.line(cv2.line(rectangle(), *LINES[line], 1, width), (90, 60), (170, 60), 3, width)
    assert smoothed_edges(all_three, spine.class_names) is None


def test_a_wall_of_two_pixels_and_layers_are_no_smoothing(spine):
    rows, columns = np.mgrid[:200, :300]
    distance = np.hypot(rows - 100, columns - 150)
    for radius in (8, 15, 30, 50, 80):
        wall = np.where(distance <= radius, 2, np.where(distance <= radius + 2, 1, 0)).astype(np.uint8)
        assert smoothed_edges(wall, spine.class_names) is None
    depth = rows - 60 - 10 * np.sin(columns / 30)
    for thickness in (1, 2, 4):
        layers = (depth > 0).astype(np.uint8) + (depth > thickness) + (depth > 40)
        assert smoothed_edges(layers.astype(np.uint8), spine.class_names) is None


@pytest.mark.parametrize("scale", ["1", "0.3"])
def test_the_spine_phantoms_are_not_smoothed_until_they_are(spine, tmp_path, scale):
    assert simulate(["--out", str(tmp_path), "--images", "12", "--size-scale", scale]) == 0
    items, _ = FORMATS["shapes_json"].read(tmp_path, spine.annotations, spine.structures)
    maps = [
        label_map((s for _, s in item.shapes), read_image(item.image).pixels.shape, spine.structures) for item in items
    ]
    assert [smoothed_edges(labels, spine.class_names) for labels in maps] == [None] * 12
    # A blur of one pixel leaves two rims around a slanting line of class 3. Along upright edges of class 2, all that
    # the others show, it leaves one that is two pixels wide, as a wall is.
    with_line = [labels for labels in maps if (labels == 3).any()]
    assert len(with_line) > 3
    assert all(smoothed_edges(cv2.GaussianBlur(labels, None, 1), spine.class_names) for labels in with_line)


def test_masks_of_several_classes_as_jpeg_are_warned_of(make_task, write_picture, tmp_path):
    task = make_task([{"name": "A", "shape": "region"}, {"name": "B", "shape": "region"}], mask_suffix="")
    labels = np.zeros((48, 64), np.uint8)
    labels[16:32, 16:48] = 2  # whole blocks of 8 x 8 pixels: a JPEG of them is exact
    for name, suffix in (("a_1", ".jpg"), ("b_1", ".png")):
        write_picture(tmp_path / "images" / f"{name}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "masks" / f"{name}{suffix}"), labels)
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    verify_faults = [fault for _, faults in verify(items, tmp_path, task) for fault in faults]
    assert faults == []
    assert [(fault.where, fault.kind) for fault in verify_faults] == [("masks/a_1.jpg", "grey")]
    assert "must be saved as PNG" in verify_faults[0].message
