"""Lines in several pieces, and stray pieces beside them."""

import math

import numpy as np
import pytest

from sonoseg.geometry.line_fit import fit_line
from sonoseg.geometry.line_pieces import line_pieces
from sonoseg.geometry.shapes import Shape
from tests.geometry import drawn_shapes as drawn

SHAPE = (480, 640)
MM_PER_PX = 0.1
TRIALS = 250


def midline(rng: np.random.Generator) -> np.ndarray:
    """Return the ends `(2, 2)` of a line of 120 to 320 px, at most 20 degrees from vertical, inside the image."""
    angle, half = math.radians(rng.uniform(-20, 20)), rng.uniform(60, 160)
    along = half * np.array([math.sin(angle), math.cos(angle)])
    centre = np.array([rng.uniform(200, 440), rng.uniform(170, 310)])
    return np.stack([centre - along, centre + along])


def drawn_in_pieces(ends: np.ndarray, pieces: int, rng: np.random.Generator) -> np.ndarray:
    """Return the mask of a line 10 px thick, with gaps of 4 to 15 % of its length between its pieces."""
    mask = np.zeros(SHAPE, bool)
    window, line = Shape("MID", "line", ends).draw(SHAPE, 10)
    mask[window] = line
    rows, columns = np.nonzero(mask)
    along = ends[1] - ends[0]
    position = ((columns - ends[0, 0]) * along[0] + (rows - ends[0, 1]) * along[1]) / (along @ along)
    for index in range(1, pieces):
        middle, half = index / pieces + rng.uniform(-0.08, 0.08), rng.uniform(0.02, 0.075)
        gap = abs(position - middle) <= half
        mask[rows[gap], columns[gap]] = False
    return mask


def add_speck(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Add a square of 81 to 441 px, anywhere in the image."""
    side = int(rng.integers(9, 22))
    left, top = int(rng.integers(0, SHAPE[1] - side)), int(rng.integers(0, SHAPE[0] - side))
    mask[top : top + side, left : left + side] = True


def turn_and_move(fitted: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the angle in degrees between two lines, and the distance in mm of the expected ends from the other."""
    (dx, dy), (expected_dx, expected_dy) = fitted[1] - fitted[0], expected[1] - expected[0]
    angle = math.degrees(math.atan2(dx, dy) - math.atan2(expected_dx, expected_dy))
    away = expected - fitted[0]
    distances = abs(away[:, 0] * dy - away[:, 1] * dx) / math.hypot(dx, dy)
    return abs((angle + 90) % 180 - 90), MM_PER_PX * distances.max()


@pytest.mark.parametrize("most_pieces", [1, 3])
def test_a_speck_anywhere_neither_turns_nor_moves_a_line(most_pieces: int) -> None:
    beyond, lengths = [], []
    for seed in range(TRIALS):
        rng = np.random.default_rng(seed)
        ends = midline(rng)
        mask = drawn_in_pieces(ends, min(most_pieces, 2 + seed % 2), rng)
        add_speck(mask, rng)
        fitted = fit_line(mask)
        turned_deg, moved_mm = turn_and_move(fitted, ends)
        beyond += [seed] if turned_deg > 3 or moved_mm > 3 else []
        lengths.append(math.dist(*fitted) / math.dist(*ends))
    assert beyond == []
    assert np.mean(np.abs(np.array(lengths) - 1) < 0.05) > 0.97, "a line is as long as all its pieces"


@pytest.mark.parametrize("angle", [0, 33, 90, 145])
def test_pieces_of_a_line_are_kept_and_others_are_not(angle: int) -> None:
    along = np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))])
    across = np.array([-along[1], along[0]])
    middle = np.array([320.0, 240.0])
    line = drawn.line(SHAPE, middle - 100 * along, middle - 20 * along)
    line |= drawn.line(SHAPE, middle + 40 * along, middle + 60 * along)
    beside, oblique = middle + 20 * across, middle + 75 * along + 15 * across
    stray = drawn.line(SHAPE, beside - 40 * along, beside + 40 * along)
    stray |= drawn.line(SHAPE, oblique, oblique + 30 * across + 30 * along)
    assert np.array_equal(line_pieces(line | stray), line)
    assert np.abs(np.sort(fit_line(line | stray), axis=0) - np.sort(fit_line(line), axis=0)).max() < 1e-6


def test_a_line_may_be_smaller_piece_by_piece_than_a_speck() -> None:
    line = drawn.line(SHAPE, (300, 100), (300, 125)) | drawn.line(SHAPE, (301, 140), (301, 165))
    stray = drawn.rectangle(SHAPE, 420, 150, 440, 170)
    assert stray.sum() > line.sum() / 2
    assert np.array_equal(line_pieces(line | stray), line)


def test_a_gap_is_bridged_when_the_pieces_beside_it_have_a_direction() -> None:
    upper = drawn.line(SHAPE, (300, 60), (300, 100))
    far, too_far = (drawn.line(SHAPE, (300, start), (300, start + 40)) for start in (250, 290))
    spot = drawn.rectangle(SHAPE, 295, 170, 304, 179)
    assert np.array_equal(line_pieces(upper | far), upper | far)
    assert line_pieces(upper | too_far).sum() == upper.sum()
    assert np.array_equal(line_pieces(upper | spot), upper), "further away than the line is long"


def test_a_disc_has_no_direction_and_stays_alone() -> None:
    disc, other = drawn.line(SHAPE, (300, 200), (300, 200), 12), drawn.rectangle(SHAPE, 315, 200, 324, 208)
    assert np.array_equal(line_pieces(disc | other), disc)


def test_components_that_nearly_touch_or_that_other_pixels_connect_are_one_piece() -> None:
    stripes = drawn.line(SHAPE, (300, 100), (320, 300))
    stripes[np.arange(SHAPE[0]) % 3 != 0] = False
    assert np.array_equal(line_pieces(stripes), stripes)
    short = drawn.rectangle(SHAPE, 295, 100, 304, 104) | drawn.rectangle(SHAPE, 295, 120, 304, 124)
    between = drawn.rectangle(SHAPE, 200, 105, 400, 119)
    assert line_pieces(short).sum() == short.sum() / 2
    assert np.array_equal(line_pieces(short, between), short)


def test_masks_of_one_piece_and_empty_ones_are_returned_as_they_are() -> None:
    for mask in (np.zeros(SHAPE, bool), drawn.line(SHAPE, (300, 100), (320, 300))):
        assert line_pieces(mask) is mask
