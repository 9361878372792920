"""Pages: one file, nothing from outside, nothing that a value could start."""

import base64

import cv2
import numpy as np
import pytest
from jinja2 import DictLoader, UndefinedError

from sonoseg.reporting import pages as page


@pytest.fixture
def render(monkeypatch):
    """Return a function that renders a template given as text."""

    def render(text, **values):
        environment = page._environment().overlay(loader=DictLoader({"here.j2": text}))
        monkeypatch.setattr(page, "_environment", lambda: environment)
        return page.render("here.j2", **values)

    return render


def decoded(uri):
    head, _, data = uri.partition(";base64,")
    return head, cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_UNCHANGED)


def test_values_are_escaped_whatever_the_template_is_called(render):
    hostile = "<img src=x onerror=alert(1)>\"'"
    said = render('<p title="{{ name }}">{{ name }}</p>', name=hostile)
    assert "<img" not in said and said.count("&lt;img src=x onerror=alert(1)&gt;&#34;&#39;") == 2


def test_a_value_that_is_missing_is_an_error(render):
    with pytest.raises(UndefinedError):
        render("{{ nothing }}")


def test_the_base_forbids_everything_from_outside():
    said = page.render("base.html.j2")
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in said
    assert "Not for clinical use" in said
    assert "<script" not in said and "http://" not in said and "https://" not in said and "url(" not in said


def test_a_png_is_exact():
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    head, read = decoded(page.picture_uri(grey))
    assert head == "data:image/png"
    np.testing.assert_array_equal(read, grey)
    color = np.zeros((4, 5, 3), np.uint8)
    color[..., 0] = 200
    np.testing.assert_array_equal(decoded(page.picture_uri(color))[1][0, 0], [0, 0, 200])  # OpenCV: blue first


def test_a_jpeg_is_close():
    grey = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    head, read = decoded(page.picture_uri(grey, kind="jpeg"))
    assert head == "data:image/jpeg"
    assert np.abs(read.astype(int) - grey).max() < 8


@pytest.mark.parametrize("pixels", [np.zeros((0, 3), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2))])
def test_what_is_no_picture(pixels):
    with pytest.raises(ValueError, match="expected uint8"):
        page.picture_uri(pixels)


def test_a_figure_is_a_picture_and_then_empty():
    def draw():
        figure = page.new_figure(320, 160)
        figure.add_subplot().plot([1, 3, 2])
        return figure

    figure = draw()
    uri = page.figure_uri(figure)
    head, read = decoded(uri)
    assert head == "data:image/png" and read.shape[1] == pytest.approx(2 * read.shape[0], abs=2)
    assert not figure.axes and uri == page.figure_uri(draw())


def test_numbers_for_people():
    assert page.number(1234567) == "1\u202f234\u202f567"
    assert page.number(0.125, 2) == "0.12" and page.number(None) == page.number(float("nan")) == "\u2013"
    assert page.percent(0.256, 1) == "25.6\u202f%" and page.percent(None) == "\u2013"
