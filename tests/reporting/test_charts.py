"""Charts of an evaluation against known values."""

import numpy as np
import pytest

from sonoseg.io.masks import rgb
from sonoseg.reporting.charts import (
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    bland_altman,
    dice_distribution,
    outlines,
)
from sonoseg.reporting.pages import figure_uri


def test_bland_altman_draws_bias_and_limits() -> None:
    # Errors 1, 3, -1, 1: bias 1, standard deviation sqrt(8/3).
    deviation = 1.96 * (8 / 3) ** 0.5
    lines = 1, [1 - deviation, 1 + deviation]
    axes = bland_altman("HC", "mm", [11, 23, 29, 41], [10, 20, 30, 40], *lines).axes[0]
    heights = sorted(float(line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 2)
    assert heights == pytest.approx([1 - deviation, 0, 1, 1 + deviation])
    points = next(line for line in axes.lines if len(line.get_xdata()) == 4)
    assert list(points.get_xdata()) == [10.5, 21.5, 29.5, 40.5] and list(points.get_ydata()) == [1, 3, -1, 1]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["+1.96 SD\n+4.20 mm", "bias\n+1.00 mm", "\N{MINUS SIGN}1.96 SD\n\N{MINUS SIGN}2.20 mm"]
    assert "(mm)" in axes.get_xlabel() and "n = 4" in axes.get_title(loc="left")
    assert figure_uri(bland_altman("A", "°", [1, 1], [1, 1], 0, [0, 0])).startswith("data:image/png")


def test_bland_altman_without_limits_has_the_bias_alone() -> None:
    axes = bland_altman("HC", "mm", [11, 23], [10, 20], 1.5, [None, None]).axes[0]
    assert sorted(float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() != "o") == [0, 1.5]
    assert [text.get_text() for text in axes.texts] == ["bias\n+1.50 mm"]


def test_labels_of_close_lines_stay_apart() -> None:
    references = np.zeros(200)
    predictions = np.r_[np.full(199, 0.01), 100.0]  # limits 14 from the bias, on an axis of more than 100
    bias, deviation = predictions.mean(), 1.96 * predictions.std(ddof=1)
    lines = bias, [bias - deviation, bias + deviation]
    axes = bland_altman("HC", "mm", predictions.tolist(), references.tolist(), *lines).axes[0]
    bottom, top = axes.get_ylim()
    places = [text.get_position()[1] for text in axes.texts]
    assert places[0] - places[1] >= 0.13 * (top - bottom) and places[1] - places[2] >= 0.13 * (top - bottom)


def test_the_distribution_shows_every_image() -> None:
    axes = dice_distribution({"A": [0.5, 0.7, 0.9], "B": [1.0]}).axes[0]
    shown = [sorted(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert shown == [[0.5, 0.7, 0.9], [1.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]


def test_outlines_are_where_the_masks_end() -> None:
    image = np.full((100, 200), 100, np.uint8)
    reference, prediction = np.zeros((2, 100, 200), np.uint8)
    reference[20:80, 40:160] = 1
    prediction[20:80, 40:120] = 1
    plain, drawn = outlines(image, reference, prediction, 400)
    assert plain.shape == (200, 400) and drawn.shape == (200, 400, 3) and (plain == 100).all()
    assert tuple(drawn[100, 319]) == rgb(REFERENCE_COLOR)  # only the reference reaches so far
    assert tuple(drawn[100, 239]) == tuple(drawn[100, 80]) == rgb(PREDICTION_COLOR)
    assert tuple(drawn[100, 150]) == (100, 100, 100) == tuple(drawn[10, 10])  # in both, and in neither
    tinted = drawn[100, 280]
    assert tinted[2] > 140 > 100 > tinted[0]  # blue: the prediction lacks it
    small, _ = outlines(image, reference, prediction, 50)
    assert small.shape == (25, 50)
