"""Correcting shapes with pointer and keys: what is saved is where it was seen, at every zoom and screen resolution."""

import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.browser.page import ReviewPage
from tests.browser.server import Server
from tests.browser.shapes import ELLIPSE, POINT

Serve = Callable[..., Server]
Visit = Callable[..., ReviewPage]
CLOSE = 0.5
"""Pixels of the image."""


def found(line: dict, structure: str) -> list[list[float]]:
    """Return the points of the only shape of a structure in a line of the log."""
    (points,) = [shape["points"] for shape in line["after"]["shapes"] if shape["structure"] == structure]
    return points


def with_a_line(page: ReviewPage) -> list[list[float]]:
    """Open an image with a midline by its row, choose the line, and return its ends."""
    if page.page.input_value("#filter-structure") != "EPI":
        page.filter("structure", "EPI")
    page.press("1")
    return page.shape("MID")


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_dragged_end_of_a_line_is_saved_where_it_was_left(
    ratio: float, spines: Path, serve: Serve, visit: Visit
) -> None:
    page = visit(serve(spines), ratio=ratio)
    for zoom in (1, 4):
        ends = with_a_line(page)
        page.zoom(zoom, ends[0])
        target = (ends[0][0] + 12.4, ends[0][1] + 7.3)
        page.drag(ends[0], target)
        name = page.name
        saved = found(page.decide("c"), "MID")
        assert math.dist(saved[0], target) < CLOSE
        assert saved[1] == ends[1]
        page.until(lambda last=name: page.name != last)
        page.press("0")


@pytest.mark.parametrize("ratio", [1, 2])
def test_pixel_centres_are_whole_numbers(ratio: float, heads: Path, serve: Serve, visit: Visit) -> None:
    """A handle that is put onto the one bright pixel, found on a screenshot, is saved with that pixel's numbers."""
    page = visit(serve(heads), ratio=ratio)
    for zoom in (1, 4):
        page.choose("a")
        page.zoom(zoom, POINT)
        page.press("o")
        page.page.mouse.move(5, 5)
        page.page.wait_for_timeout(200)
        bright = brightest(page.page.screenshot(), ratio, page.on_screen(POINT), 4 * zoom + 2)
        page.press("o", "1")
        end = page.shape("HEAD")[1]
        page.drag(end, ((bright[0] - page.view()["left"]) / zoom, (bright[1] - page.view()["top"]) / zoom))
        saved = found(page.decide("c"), "HEAD")
        assert math.dist(saved[1], POINT) < CLOSE
        page.press("0")


def brightest(screenshot: bytes, ratio: float, near: tuple[float, float], reach: float) -> tuple[float, float]:
    """Return the centre of the brightest spot around a point, in CSS pixels, in which the edges of pixels are whole."""
    pixels = np.asarray(Image.open(io.BytesIO(screenshot)).convert("L"), dtype=float)
    left, top, right, bottom = (int((value + by) * ratio) for by in (-reach, reach) for value in near)
    part = pixels[top:bottom, left:right]
    weights = np.where(part > 0.5 * part.max(), part, 0)
    rows, columns = np.indices(part.shape)
    x, y = ((weights * index).sum() / weights.sum() for index in (columns, rows))
    return (left + x + 0.5) / ratio, (top + y + 0.5) / ratio


def test_corners_of_a_rectangle_are_saved_where_they_were_left(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.filter("structure", "VTB")
    page.press("2")
    (left, top), (right, bottom) = page.shape("VTB")
    page.drag((right, top), (right + 9.3, top - 6.2))
    page.drag((left, bottom), (left - 4.4, bottom + 5.6))
    saved = found(page.decide("c"), "VTB")
    assert np.allclose(saved, [[left - 4.4, top - 6.2], [right + 9.3, bottom + 5.6]], atol=CLOSE)


def test_a_rectangle_is_turned_and_its_sides_dragged(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.filter("structure", "VTB")
    page.press("r", "2")  # what the model found: tests share the server
    page.zoom(2, page.shape("VTB")[0])
    (left, top), (right, bottom) = page.shape("VTB")
    middle, half = ((left + right) / 2, (top + bottom) / 2), ((right - left) / 2, (bottom - top) / 2)
    away = half[1] + 26 / page.view()["zoom"]

    def at(along: float, across: float, degrees: float) -> tuple[float, float]:
        """Return a point from the middle, in the directions of the sides after turning clockwise."""
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        return middle[0] + along * cos - across * sin, middle[1] + along * sin + across * cos

    page.drag(at(0, -away, 0), at(0, -away, 20))
    corners = [at(x * half[0], y * half[1], 20) for x, y in [(-1, -1), (1, -1), (1, 1), (-1, 1)]]
    assert np.allclose(page.shape("VTB"), corners, atol=CLOSE)
    assert page.page.inner_text('[data-structure="VTB"] .what').startswith("turned 20.")
    is_whole = "nodes => nodes.every(node => node.scrollWidth <= node.clientWidth)"
    assert page.page.eval_on_selector_all("#structures, #structures .label", is_whole)
    page.drag(at(half[0], 0, 20), at(half[0] + 10, 7, 20))  # the right side: only outwards
    longer = [at(x * half[0] + (x > 0) * 10, y * half[1], 20) for x, y in [(-1, -1), (1, -1), (1, 1), (-1, 1)]]
    assert np.allclose(page.shape("VTB"), longer, atol=CLOSE)
    page.press("z", "z")
    assert page.shape("VTB") == [[left, top], [right, bottom]]
    page.press("Shift+z", "Shift+z")
    saved = found(page.decide("c"), "VTB")
    assert np.allclose(saved, longer, atol=CLOSE)


def test_with_shift_a_rectangle_turns_in_steps_and_back_to_rows_and_columns(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.filter("structure", "VTB")
    page.press("r", "2")  # what the model found: tests share the server
    (left, top), (right, bottom) = before = page.shape("VTB")
    centre, reach = ((left + right) / 2, (top + bottom) / 2), (bottom - top) / 2 + 26 / page.view()["zoom"]
    page.page.keyboard.down("Shift")
    page.drag((centre[0], centre[1] - reach), (centre[0] + reach * 0.55, centre[1] - reach))  # 29 degrees
    turned = np.array(page.shape("VTB"))
    along = turned[1] - turned[0]
    assert math.degrees(math.atan2(along[1], along[0])) == pytest.approx(30, abs=0.05)
    middle_of_top = turned[:2].mean(axis=0)
    outwards = (middle_of_top - centre) / np.linalg.norm(middle_of_top - centre)
    page.drag(tuple(centre + outwards * reach), (centre[0] + 1, centre[1] - reach))
    page.page.keyboard.up("Shift")
    assert np.allclose(page.shape("VTB"), before, atol=0.02) and len(page.shape("VTB")) == 2


def test_a_shape_can_be_dragged_before_the_picture_is_loaded(spines: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(spines))
    before = page.view()["zoom"]
    page.page.evaluate("() => { window.createImageBitmap = () => new Promise(() => null); }")
    page.page.select_option("#filter-status", "check")
    page.opens("Image_012")
    page.press("1")
    assert page.view()["zoom"] != before, "the view is that of the image before, or both have one size"
    end = page.shape("MID")[0]
    page.drag(end, (end[0] + 5, end[1] + 8))
    assert math.dist(found(page.decide("c"), "MID")[0], (end[0] + 5, end[1] + 8)) < CLOSE


def test_vertices_of_an_outline_are_dragged_added_and_deleted(nerves: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(nerves))
    page.press("1")
    page.drag((200, 80), (220, 70))
    page.page.mouse.dblclick(*page.on_screen((150, 161)))  # beside the lower side: the new vertex lies on it
    page.until(lambda: len(page.shape("NERVE")) == 5)
    assert np.allclose(page.shape("NERVE")[3], (150, 160), atol=CLOSE)
    page.drag((150, 160), (150, 190))
    page.drag((100, 80), (100, 80))
    page.press("Delete")
    saved = found(page.decide("c"), "NERVE")
    assert np.allclose(saved, [(220, 70), (200, 160), (150, 190), (100, 160)], atol=CLOSE)


def test_an_ellipse_is_dragged_turned_and_undone(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.press("1")
    start = page.shape("HEAD")
    assert start == [[float(x), float(y)] for x, y in ELLIPSE[2]]
    page.drag(start[1], (250, 140))  # as a caliper: the opposite end stays, the other axis keeps its length
    dragged = page.shape("HEAD")
    assert dragged[0] == start[0]
    assert math.dist(dragged[1], (250, 140)) < CLOSE
    assert math.dist(dragged[2], dragged[3]) == pytest.approx(100, abs=0.05)
    page.press("z")
    assert page.shape("HEAD") == start
    turn = (240 + 26 / page.view()["zoom"], 120)
    page.drag(turn, (160, 120 + 100))  # a quarter turn, clockwise
    turned = page.shape("HEAD")
    assert math.dist(turned[1], (160, 200)) < CLOSE
    assert math.dist(turned[0], (160, 40)) < CLOSE
    assert math.dist(turned[2], (210, 120)) < CLOSE
    page.press("z")
    assert page.shape("HEAD") == start
    page.press("Shift+z")
    assert page.shape("HEAD") == turned
    assert found(page.decide("c"), "HEAD") == turned


def test_arrow_keys_move_a_handle_by_a_tenth_and_by_one(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.press("1", "h", "h", "ArrowRight", "ArrowRight", "Shift+ArrowRight")
    assert page.shape("HEAD")[1] == [241.2, 120]
    page.press("z", "z", "z")
    assert page.shape("HEAD")[1] == [240, 120]


def test_a_drag_that_is_given_up_changes_nothing(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    page.press("1")
    start = page.shape("HEAD")
    page.page.mouse.move(*page.on_screen(start[1]))
    page.page.mouse.down()
    page.page.mouse.move(*page.on_screen((280, 150)), steps=3)
    assert page.shape("HEAD") != start
    page.press("Escape")
    page.page.mouse.up()
    assert page.shape("HEAD") == start


def test_measurements_follow_the_drag(heads: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(heads))
    value = '#measurements [data-key="ofd_mm"] .value'
    before = page.wait(value).inner_text()
    page.press("1")
    page.page.mouse.move(*page.on_screen((240, 120)))
    page.page.mouse.down()
    page.page.mouse.move(*page.on_screen((260, 120)), steps=12)
    page.until(lambda: page.page.inner_text(value) not in (before, "not measured"))  # while the button is down
    page.page.mouse.up()
    asked = sum(url.endswith("/measure") for url in page.requests)
    assert 1 <= asked <= 14


def test_brush_and_eraser(nerves: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(nerves))
    page.press("b")
    page.drag((200, 120), (240, 120))
    page.press("g")
    page.drag((150, 60), (150, 100))
    page.press("Escape")
    page.wait('#decision[data-decision="unsaved"]')
    points = np.array(found(page.decide("c"), "NERVE"))
    assert points[:, 0].max() == pytest.approx(248, abs=1.5)  # the end of the stroke, and the radius of 8
    from sonoseg.geometry import SHAPE_KINDS

    window, part = SHAPE_KINDS["region"].draw(points, (240, 320))
    mask = np.zeros((240, 320), dtype=bool)
    mask[window] = part
    assert mask[120, 240]
    assert not mask[90, 150]
    assert mask[90, 120]
    assert mask[150, 150]


def test_what_is_painted_stays_after_many_other_strokes(nerves: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(nerves))
    page.press("b")
    page.drag((200, 120), (240, 120))
    first = page.until(lambda: page.page.evaluate(PAINTED)[0])
    page.page.evaluate(MANY)
    page.drag((150, 165), (150, 200))
    page.until(lambda: page.page.evaluate(PAINTED)[0] not in (None, first))
    painted, is_decoded, inside = page.page.evaluate(PAINTED)
    assert is_decoded and inside == [1, 1, 1]
    page.page.evaluate(MANY)
    page.press("Escape", "z")  # to a mask whose pixels were forgotten
    page.until(lambda: page.page.evaluate(PAINTED) == [first, True, [1, 1, 0]])
    page.press("Shift+z")
    page.until(lambda: page.page.evaluate(PAINTED) == [painted, True, [1, 1, 1]])


PAINTED = """async () => {
    const {edits} = await import("/static/edits.js"), {maskOf} = await import("/static/masks.js");
    const shape = edits.shapes.find((each) => each.mask);
    const mask = shape && maskOf(shape);
    const at = (x, y) => mask.bits[y * mask.width + x];
    return [shape?.mask ?? null, Boolean(mask), mask ? [at(150, 120), at(240, 120), at(150, 195)] : []];
}"""
MANY = """async () => {
    const {emptyMask, remember} = await import("/static/masks.js");
    for (let number = 0; number < 70; number += 1) remember(`${Date.now()} ${number}`, emptyMask(4, 4));
}"""


def test_a_missing_structure_is_drawn_and_marked_as_not_visible(spines: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(spines))
    with_a_line(page)
    page.press("2", "Delete", "2")
    page.drag((100, 150), (160, 180))
    (left, top), (right, bottom) = page.shape("VTB")
    assert np.allclose([left, top, right, bottom], [100, 150, 160, 180], atol=CLOSE)
    page.press("3", "n")
    line = page.decide("c")
    assert line["after"]["not_visible"] == ["EPI"]
    assert {shape["structure"] for shape in line["after"]["shapes"]} == {"MID", "VTB"}


def test_calibration_gives_millimetres(nerves: Path, serve: Serve, visit: Visit) -> None:
    page = visit(serve(nerves))
    assert page.page.inner_text("#spacing") == "Size of a pixel unknown"
    page.press("k")
    page.drag((50, 50), (150, 50))
    page.wait("#dialog-input").fill("20")
    page.press("Enter")
    page.until(lambda: "0.2000 mm" in page.page.inner_text("#spacing"))
    spacing = page.decide("c")["after"]["spacing_mm"]
    assert spacing["col"] == pytest.approx(0.2, rel=0.01)
