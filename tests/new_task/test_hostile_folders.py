"""Folders from which no task follows, or that try to break the command or its file: one clear sentence each."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.geometry.shapes import Shape
from sonoseg.new_task.label_files import described
from sonoseg.schema.annotation_formats import section_of
from tests.conftest import REPOSITORY
from tests.new_task.conftest import NERVE, picture, save, truth

SQUARE = np.array([[0.0, 0], [2, 0], [2, 2], [0, 2]])


def good(data: Path, images: str = "images", masks: str = "masks", count: int = 4) -> None:
    for number in range(count):
        save(data / images / f"{number}.png", picture(number))
        save(data / masks / f"{number}.png", (truth(number) == NERVE).astype(np.uint8) * 255)


def test_no_folder_and_a_file(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").write_text("a")
    assert "no such folder" in refused(tmp_path / "none") and "no such folder" in refused(tmp_path / "file")


def test_an_empty_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "d").mkdir()
    assert "no picture (.png" in refused(tmp_path / "d")


def test_only_pictures(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(12):
        save(tmp_path / f"d/a/{number}.png", picture(number))
        save(tmp_path / f"d/b/{number}.png", picture(50 + number))
    assert "24 pictures, and no annotations recognised" in refused(tmp_path / "d")


def test_only_masks(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(12):
        for folder in "ab":
            save(tmp_path / f"d/{folder}/{number}.png", truth(number))
    assert "24 pictures, and no annotations recognised" in refused(tmp_path / "d")


def test_unreadable_pictures(tmp_path: Path, refused: Callable[..., str]) -> None:
    good(tmp_path / "d")
    for path in (tmp_path / "d/images").iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    assert "images/0.png: " in refused(tmp_path / "d")


def test_masks_with_soft_edges_in_colours(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(3):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[truth(number)]
        save(tmp_path / f"d/masks/{number}.jpg", colours)
    assert "masks/0.jpg: a mask with soft edges in colours, as a JPEG has; save masks as PNG" in refused(tmp_path / "d")


def test_masks_with_too_many_colours_together(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(12):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        colours = np.array([[0, 0, 0], [255, 20 * number, 0], [0, 20 * number, 255]], np.uint8)[truth(number)]
        save(tmp_path / f"d/masks/{number}.png", colours)
    assert "masks that have more than 20 colours together" in refused(tmp_path / "d")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [], "annotations": [', "a.json: not readable as JSON"),
        ('{"annotations": [NaN], "images": []}', "a.json: not readable as JSON"),
        ('{"annotations": ' + "[" * 100_000, "a.json: not readable as JSON"),
        ('{"images": [{"file_name": "x.png"}], "annotations": []}', "none of a picture that is there"),
        ('{"images": [{"file_name": "0.png"}], "annotations": []}', "no object with a list `categories`"),
        ('{"images": [{"file_name": "0.png"}], "annotations": [], "categories": []}', "no shape that can be read"),
        ('{"0": [["my class", "line", [[1, 2], [3, 4]]]]}', "class 'my class': expected a name of letters"),
        ('[{"data": {"image": "0.png"}, "annotations": 3}]', "export from Label Studio again"),
        ('{"a": ["line"]}', "no annotations recognised"),
        ("[1, 2, 3]", "no annotations recognised"),
        ("", "no annotations recognised"),
        ('"\\ud800 line"', "no annotations recognised"),
    ],
)
def test_broken_and_other_json(text: str, said: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    save(tmp_path / "d/0.png", picture(0))
    (tmp_path / "d/a.json").write_text(text)
    assert said in refused(tmp_path / "d")


def test_shapes_with_faults_are_left_to_stage_1(tmp_path: Path, command: Callable[..., Any]) -> None:
    save(tmp_path / "d/0.png", picture(0))
    shapes = '{"0": [["A", "line", 3], ["A", "line"]], "1": null, "2": 7, "3": {"line": []}}'
    (tmp_path / "d/a.json").write_text(shapes)
    done = command(tmp_path / "d")
    assert done.code == 0 and "stage 1 will refuse 5 faults of the data" in done.out


def test_broken_files_of_labelme(tmp_path: Path, refused: Callable[..., str]) -> None:
    save(tmp_path / "d/0.png", picture(0))
    (tmp_path / "d/0.json").write_text('{"shapes": [{"label": "a"], "imagePath": "0.png"}')
    assert "0.json: not readable as JSON" in refused(tmp_path / "d")


def test_broken_xml(tmp_path: Path, refused: Callable[..., str]) -> None:
    save(tmp_path / "d/0.png", picture(0))
    (tmp_path / "d/a.xml").write_text('<annotations><image name="0.png"')
    assert "a.xml" in refused(tmp_path / "d")


def test_a_large_file_without_annotations_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.new_task.label_files.parse_json", lambda _: pytest.fail("decoded"))
    for text in ("[" + "1, " * 5_000_000 + "1]", json.dumps({"a" * 9: ["b"] * 99})):
        (tmp_path / "a.json").write_text(text)
        assert described(tmp_path / "a.json") == (None, [])


def test_a_file_above_the_limit_and_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr("sonoseg.io.reading.MAX_TEXT_BYTES", 100)
    save(tmp_path / "d/0.png", picture(0))
    (tmp_path / "d/a.json").write_text("[" * 101)
    os.mkfifo(tmp_path / "d/b.json")
    os.mkfifo(tmp_path / "d/c.png")
    assert "a.json: 101 bytes, at most 100 are read" in refused(tmp_path / "d")


def test_links_that_lead_out(tmp_path: Path, refused: Callable[..., str], command: Callable[..., Any]) -> None:
    good(tmp_path / "elsewhere")
    (tmp_path / "d").mkdir()
    for folder in ("images", "masks"):
        (tmp_path / "d" / folder).symlink_to(tmp_path / "elsewhere" / folder)
    assert "images/ is a link that leads out of the folder" in refused(tmp_path / "d")
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    good(tmp_path / "d", "i", "m")
    (tmp_path / "d/metadata.csv").symlink_to(tmp_path / "elsewhere/metadata.csv")
    (tmp_path / "d/i/4.png").symlink_to(tmp_path / "elsewhere/images/3.png")
    done = command(tmp_path / "d")
    assert done.code == 0 and "stage 1 will refuse 1 faults of the data" in done.out


def test_deep_nesting(tmp_path: Path, refused: Callable[..., str]) -> None:
    deep = tmp_path / "d" / "/".join("x" * 20 for _ in range(8))
    good(deep)
    assert "too deep to be looked at" in refused(tmp_path / "d")


def test_many_folders(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(60):
        save(tmp_path / f"d/{number}/image.png", picture(number))
    assert "pictures lie in 60 folders" in refused(tmp_path / "d")


def test_five_thousand_files(tmp_path: Path, command: Callable[..., Any]) -> None:
    good(tmp_path / "d", count=1)
    (image,), (mask,) = ((tmp_path / "d" / name).iterdir() for name in ("images", "masks"))
    for number in range(1, 2500):
        os.link(image, image.with_name(f"{number}.png"))
        os.link(mask, mask.with_name(f"{number}.png"))
    done = command(tmp_path / "d", "--list")
    assert done.code == 0 and json.loads(done.out)["images"] == 2500


NAMES = [
    "a'b\"c",
    "Müller #1: x",
    "[x, y]",
    "- a",
    "{{x}}",
    "%d",
    "&a *b !c",
    "~",
    "null",
    "1e3",
    "x\u2028",
    "日本",
    "auto",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_folders_and_images(name: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    good(tmp_path / name, images=f"{name} i".replace("\u2028", ""), masks=f"{name}m".replace("\u2028", ""))
    done = command(tmp_path / name)
    assert done.code == 0, done.err
    assert yaml.safe_load(done.file.read_text(encoding="utf-8"))["annotations"]["images"] == f"{name} i".replace(
        "\u2028", ""
    )


@pytest.mark.parametrize("name", ["a\nplan: {minutes: 9}", "a\u2028b", "\\server", "a\x1b[1m", os.fsdecode(b"\xff")])
def test_folders_that_no_task_file_can_name(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    good(tmp_path / "d", images=name)
    assert "has a name that a task file cannot name; rename it" in refused(tmp_path / "d")


@pytest.mark.parametrize("name", ["a\nplan: {minutes: 9}", "a\x85b: c", os.fsdecode(b"\xff")])
def test_line_ends_in_names_do_not_reach_the_file(name: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    good(tmp_path / name)
    save(tmp_path / name / "images" / f"{name}.png", picture(9))
    done = command(tmp_path / name, "--name", "x")
    assert done.code == 0 and "stage 1 will refuse 1 faults" in done.out
    fields = yaml.safe_load(done.file.read_text(encoding="utf-8"))
    assert fields["plan"] == {"minutes": 30} and list(fields) == [
        "name",
        "structures",
        "annotations",
        "patients",
        "plan",
    ]


@pytest.mark.parametrize(
    ("folder", "name"),
    [("1", "task_1"), ("ÄÖ", "task"), ("auto", "task_auto"), ("spine", "spine_data"), ("N" * 200, "n" * 80)],
)
def test_the_name_of_the_task_follows_from_the_folder(
    folder: str, name: str, tmp_path: Path, command: Callable[..., Any]
) -> None:
    good(tmp_path / folder)
    done = command(tmp_path / folder)
    assert done.code == 0 and done.file.name == f"{name}.yaml"


@pytest.mark.parametrize("name", ["A", "1a", "a b", "a\n", "auto", "a" * 101, "../a", "ä"])
def test_names_that_no_task_has(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    good(tmp_path / "d")
    assert "expected small letters, digits and underscores" in refused(tmp_path / "d", "--name", name)


@pytest.mark.parametrize("name", ["null", "no", "on", "true"])
def test_names_that_yaml_takes_as_something_else(name: str, tmp_path: Path, command: Callable[..., Any]) -> None:
    good(tmp_path / "d")
    assert yaml.safe_load(command(tmp_path / "d", "--name", name).file.read_text())["name"] == name


def labelled(data: Path, labels: list[str]) -> None:
    """Write a folder of labelme with a square of each label in one image."""
    save(data / "0.png", picture(0))
    section = section_of({"format": "labelme", "images": ".", "annotations": "."})
    corners = [np.array([4 * (number % 20), 4 * (number // 20)]) for number in range(len(labels))]
    shapes = tuple(Shape(label, "region", SQUARE + at) for label, at in zip(labels, corners, strict=True))
    FORMATS["labelme"].write(data, section, [Annotation("0.png", shapes, size=(60, 80))])


def test_labels_of_any_kind(tmp_path: Path, through: Callable[..., Any]) -> None:
    labels = ["no", "1", "ä", "a b", "a-b", "A_B", "x" * 300, "'\"", "image_path", "auto", "#: [", "~"]
    labelled(tmp_path / "d", labels)
    done = through(tmp_path / "d")
    assert done.errors == [] and len(done.task.class_names) == len(labels)
    mapped = done.task.annotations.labels
    assert {mapped.get(label, label) for label in labels} == set(done.task.class_names)


@pytest.mark.parametrize("count", [16, 17, 40, 254])
def test_many_labels_still_make_forty_lines(count: int, tmp_path: Path, through: Callable[..., Any]) -> None:
    labelled(tmp_path / "d", [f"label {number}" for number in range(count)])
    assert len(through(tmp_path / "d").task.structures) == count


def test_too_many_labels_and_control_characters(tmp_path: Path, refused: Callable[..., str]) -> None:
    labelled(tmp_path / "d", [f"label {number}" for number in range(255)])
    assert "255 labels, more than 254" in refused(tmp_path / "d")
    labelled(tmp_path / "e", ["a\nb"])
    assert "a line break, control character" in refused(tmp_path / "e")


def test_nothing_is_overwritten(tmp_path: Path, command: Callable[..., Any]) -> None:
    good(tmp_path / "d")
    for name in ("d.yaml", "d_outlines.png"):
        work = command(tmp_path / "none").work
        (work / name).symlink_to("nowhere")  # also what is a link to nothing
        done = command(tmp_path / "d")
        assert done.code == 2 and f"{name}: exists already" in done.err and "--out" in done.err
        (work / name).unlink()
        assert not list(work.iterdir())
    assert command(tmp_path / "d").code == 0
    before = (work / "d.yaml").read_bytes()
    assert command(tmp_path / "d").code == 2 and (work / "d.yaml").read_bytes() == before


def test_where_the_file_may_lie(tmp_path: Path, refused: Callable[..., str], command: Callable[..., Any]) -> None:
    good(tmp_path / "d")
    assert "ends in .yaml, with --out" in refused(tmp_path / "d", "--out", "task.txt")
    inside = str(tmp_path / "d/images/task.yaml")
    assert "in the folder of the images" in refused(tmp_path / "d", "--out", inside)
    assert "no such folder" in refused(tmp_path / "none", "--out", inside)
    assert not list((tmp_path / "d/images").glob("task*"))
    assert command(tmp_path / "d", "--out", str(tmp_path / "d/task.yml")).code == 0


def test_a_failure_after_the_file_was_written_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    good(tmp_path / "d")
    monkeypatch.setattr("sonoseg.new_task.writing.write_image", full)
    assert "No space left on device" in refused(tmp_path / "d")


def test_list_prints_json_in_any_locale_and_writes_nothing(tmp_path: Path) -> None:
    good(tmp_path / "dä")
    environment = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONPATH": str(REPOSITORY)}
    call = [sys.executable, "-m", "sonoseg", "new-task", str(tmp_path / "dä"), "--list"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0 and done.stdout.isascii() and found["images"] == 4
    assert [one["settings"] for one in found["patients"]] == ["unknown"] and found["table"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["dä"]
