"""The pages of the stages in a real browser: no error, no request, nothing that a file name could start."""

import json
import shutil
from pathlib import Path

import pytest

from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.phantom.__main__ import main as simulate
from sonoseg.prepare.output import check_path, page_path
from sonoseg.reporting.pages import render
from sonoseg.runs.workspace import Workspace
from tests.browser import open_page, outside
from train_test_data_preparation import main

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory) -> Path:
    """A workspace with six simulated images, one of them under a name that would be markup."""
    root = tmp_path_factory.mktemp("pages")
    data = root / "Datasets" / "spine"
    assert simulate(["--out", str(data), "--images", "6", "--size-scale", "0.3"]) == 0
    annotations = json.loads((data / "annotations.json").read_text())
    first = sorted(annotations)[0]
    annotations[HOSTILE] = annotations[first]
    source = next((data / "images").glob(f"{first}.*"))
    shutil.copy(source, source.with_name(HOSTILE + source.suffix))
    (data / "annotations.json").write_text(json.dumps(annotations))
    return root


def clean(page: Path) -> str:
    messages, requests = open_page(page)
    assert messages == []
    assert page.resolve().as_uri() in requests and outside(requests, page) == []
    return page.read_text()


def test_a_page_that_asks_for_something_is_caught(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(render("base.html.j2").replace("<main>", '<main><img src="http://localhost:9/x.png">'))
    messages, requests = open_page(page)
    assert messages or outside(requests, page)


def test_the_report_of_refused_data(phantom, capsys):
    # The hostile copy is the same picture under two patients' names, or under one that nobody knows: an error.
    assert main(["--workspace", str(phantom), "--report-only"]) == 2
    assert str(check_path(Workspace(phantom, "spine"))) in capsys.readouterr().err
    said = clean(check_path(Workspace(phantom, "spine")))
    assert "Not ready for training: 1 error" in said
    assert HOSTILE not in said and "&lt;img src=x onerror=alert(1)&gt;" in said
    assert not page_path(Workspace(phantom, "spine")).exists()


def test_the_report_of_good_data(phantom, capsys):
    (picture,) = (phantom / "Datasets" / "spine" / "images").glob("<*")
    write_image(picture, read_image(picture).pixels[::-1].copy())
    assert main(["--workspace", str(phantom)]) == 0
    page = page_path(Workspace(phantom, "spine"))
    assert f"look at: {page}" in capsys.readouterr().out
    said = clean(page)
    assert "Not for clinical use" in said and "<script" not in said
    assert HOSTILE not in said and "&lt;img src=x onerror=alert(1)&gt;" in said
