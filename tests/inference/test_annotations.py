"""Results of stage 4 as annotations of a tool: what is written, read back, completed by a later run, and protected."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.annotations import FORMATS
from sonoseg.annotations.shapes_of_masks import union
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape, fit_shapes
from sonoseg.inference.annotations import ToolAnnotations
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.masks import write_label_map
from sonoseg.runs.command_line import TOOL_FORMATS
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.dicom_files import region_item, write_dicom
from tests.models.members import always_load, member, note_reused

SIZE = (120, 160)
FILES = {"coco": "annotations.json", "cvat": "annotations.xml"}
FILES |= {"label_studio": "annotations.json", "shapes_json": "annotations.json"}
COLORS = ("#ff0000", "#00ff00", "#0000ff", "#ffff00")


def bright(batch: torch.Tensor) -> torch.Tensor:
    return torch.stack([batch[:, 0] <= 0.5, batch[:, 0] > 0.5], dim=1).float() * 8


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number, name in enumerate("abc"):
        image = np.zeros(SIZE, np.uint8)
        cv2.ellipse(image, (70 + 5 * number, 60), (50, 35), 20, 0, 360, 255, -1)
        Image.fromarray(image).save(tmp_path / "in" / f"{name}.png")
    nothing = np.zeros(SIZE, np.uint8)
    nothing[0, 0] = 1
    Image.fromarray(nothing).save(tmp_path / "in" / "nothing.png")
    return tmp_path / "in"


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch, fetal_head: Task) -> Task:
    task = changed(fetal_head, input={"size": (128, 160), "fit": "letterbox"})
    always_load(monkeypatch, member(bright, task, "m", "f" * 64))
    return task


def run(pictures: Path, *flags: object) -> int:
    out = pictures.parent / "out"
    arguments = ["--task", "fetal_head", "--images", pictures, "--output", out, "--jobs", "1", *flags]
    return inference.main([str(argument) for argument in arguments])


def read(data: Path, name: str, task: Task, **fields: object) -> dict[str, list[Shape | Bitmap]]:
    section = annotations_section(name, **fields)
    items, faults = FORMATS[name].read(data, section, task.structures)
    assert [fault for fault in faults if fault.level == "error"] == []
    return {item.id: [shape for _, shape in item.shapes] for item in items}


def test_the_formats_of_the_command_line_are_those_with_shapes() -> None:
    assert {*TOOL_FORMATS, "mask_folder"} == set(FORMATS)


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_ellipses_of_a_run(head: Task, pictures: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pictures, "--annotations", name) == 0
    out = pictures.parent / "out"
    assert f"{name}: annotations have shapes only" in capsys.readouterr().out
    assert json.loads((out / "run.json").read_text())["settings"]["annotations"] == name
    assert sonoseg(["verify", str(out)]) == 0 and "annotations/" in (out / "stage4.sha256").read_text()
    if name == "labelme":
        assert {path.name for path in (out / "annotations").iterdir()} == {"a.json", "b.json", "c.json", "nothing.json"}
        stated = json.loads((out / "annotations" / "a.json").read_text())["imagePath"]
        assert stated == "../../in/a.png" and (out / "annotations" / stated).samefile(pictures / "a.png")
    else:
        assert [path.name for path in (out / "annotations").iterdir()] == [FILES[name]]
    # As a data folder: the images beside the annotations.
    shutil.copytree(pictures, out / "annotations" / "images")
    empty = {"without_annotation": "empty"}
    fields = {"labelme": {"annotations": "."}, "coco": empty, "cvat": empty}
    shapes = read(out / "annotations", name, head, **fields.get(name, {}))
    assert shapes["nothing"] == [] and shapes.keys() == {"a", "b", "c", "nothing"}
    for image in "abc":
        (shape,) = shapes[image]
        assert isinstance(shape, Shape) and shape.kind == "ellipse" and shape.structure == "HEAD"
        (_, _, points) = json.loads((out / f"{image}.json").read_text())["shapes"][0]
        assert np.abs(shape.points - np.array(points)).max() <= 0.02


def test_a_later_run_writes_the_annotations_of_earlier_results(
    head: Task, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(pictures) == 0
    reused = note_reused(monkeypatch)
    (pictures / "new.png").write_bytes((pictures / "a.png").read_bytes())
    assert run(pictures, "--annotations", "shapes_json") == 0
    assert sorted(reused) == [False, True, True, True, True]
    path = pictures.parent / "out" / "annotations" / "annotations.json"
    entries = json.loads(path.read_text())
    assert entries.keys() == {"a", "b", "c", "new", "nothing"} and entries["new"] == entries["a"]
    before = path.read_bytes()
    assert run(pictures, "--annotations", "shapes_json") == 0 and path.read_bytes() == before
    assert run(pictures) == 0 and path.read_bytes() == before
    assert sonoseg(["verify", str(path.parents[1])]) == 0


def test_a_corrected_file_is_not_overwritten(head: Task, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pictures.parent / "out"
    assert run(pictures, "--annotations", "labelme") == 0
    path = out / "annotations" / "b.json"
    path.write_text(path.read_text().replace('"flags": {}', '"flags": {"done": true}', 1))
    corrected = path.read_bytes()
    assert run(pictures, "--annotations", "labelme") == 2
    message = capsys.readouterr().err
    assert f"{path}: was changed since it was written" in message and message.count("\n") == 1
    names = [path.relative_to(out).as_posix() for path in out.rglob("*.*")]
    (out / "stage4.sha256").unlink()  # as a killed run leaves the folder: nothing tells the digests
    (out / ".stage4.writing").write_text(json.dumps(names) + "\n")
    assert run(pictures, "--annotations", "labelme") == 2
    assert "may have been changed since" in capsys.readouterr().err and path.read_bytes() == corrected
    path.unlink()
    assert run(pictures, "--annotations", "labelme") == 0 and sonoseg(["verify", str(out)]) == 0


def test_somebody_elses_file_is_not_overwritten(head: Task, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pictures.parent / "out" / "annotations" / "annotations.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert run(pictures, "--annotations", "coco") == 2
    assert "not written by this stage" in capsys.readouterr().err and path.read_text() == "mine"


def test_failed_images_have_no_annotation(head: Task, pictures: Path) -> None:
    out = pictures.parent / "out" / "annotations"
    assert run(pictures, "--annotations", "labelme") == 0
    (pictures / "b.png").write_bytes(b"no picture")
    assert run(pictures, "--annotations", "labelme") == 1
    assert {path.name for path in out.iterdir()} == {"a.json", "c.json", "nothing.json"}
    assert run(pictures, "--annotations", "cvat") == 1
    assert "b.png" not in (out / "annotations.xml").read_text()


def test_a_watched_folder_has_no_annotations(head: Task, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(pictures, "--annotations", "coco", "--watch") == 2
    message = capsys.readouterr().err
    assert "--annotations needs all images" in message and message.count("\n") == 1


def test_frames_and_names_that_differ_in_their_extension(
    head: Task, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = Image.open(pictures / "a.png")
    image.save(pictures / "many.tif", save_all=True, append_images=[Image.open(pictures / "b.png")])
    image.save(pictures / "a.bmp")
    out = pictures.parent / "out" / "annotations"
    assert run(pictures, "--annotations", "labelme") == 0
    printed = capsys.readouterr().out
    assert "labelme: 2 frames of files with several are left out" in printed
    assert "labelme: 2 images share a name without the extension" in printed
    assert {path.stem for path in out.iterdir()} == {"a_bmp", "a_png", "b", "c", "nothing"}
    assert json.loads((out / "a_bmp.json").read_text())["imagePath"] == "../../in/a.bmp"
    assert run(pictures, "--annotations", "coco") == 0
    assert "coco: 2 frames of files with several are named as their results" in capsys.readouterr().out
    names = {entry["file_name"] for entry in json.loads((out / "annotations.json").read_text())["images"]}
    frames = {"many_frame0001.png", "many_frame0002.png"}
    assert names == {"a.png", "a.bmp", "b.png", "c.png", "nothing.png"} | frames


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_regions_of_a_dicom_file_have_one_annotation_that_stage_1_reads(
    head: Task, pictures: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (np.array(Image.open(pictures / f"{one}.png")) for one in "ab")
    frame = np.full((SIZE[0], 2 * SIZE[1]), 90, np.uint8)  # what the device has drawn around the regions
    frame[5:115, 5:155], frame[5:115, 165:315] = a[5:115, 5:155], b[5:115, 5:155]
    regions = [region_item(left, 5, left + 149, 114, (0.2, 0.2)) for left in (5, 165)]
    for path in [*pictures.iterdir()]:
        path.unlink()
    write_dicom(pictures / "two.dcm", frame, regions)
    write_dicom(pictures / "1.2.840.7", frame[:, :160], regions[:1])
    Image.fromarray(b).save(pictures / "x.png")
    assert run(pictures, "--annotations", name) == 0
    out, said = pictures.parent / "out" / "annotations", capsys.readouterr().out
    assert "share a name" not in said and ("2 DICOM files, of which it opens none: a picture" in said) == (
        name == "labelme"
    )
    names = {"two", "1.2.840.7", "x"}
    if name == "labelme":
        assert {path.name for path in out.iterdir()} == {"two.png", "1.2.840.7.png", *(f"{one}.json" for one in names)}
        shown = np.array(Image.open(out / json.loads((out / "two.json").read_text())["imagePath"]))
        expected = np.zeros_like(frame)
        expected[5:115, 5:155], expected[5:115, 165:315] = frame[5:115, 5:155], frame[5:115, 165:315]
        assert np.array_equal(shown, expected)
        for path in [*out.glob("*.png")]:  # corrected files go beside the images that were segmented
            path.unlink()
    shutil.copytree(pictures, out / "images")
    shapes = read(out, name, head, **({"annotations": "."} if name == "labelme" else {}))
    assert shapes.keys() == names and [len(shapes[one]) for one in ("two", "1.2.840.7", "x")] == [2, 1, 1]
    centres = [one.points.mean(axis=0)[0] for one in shapes["two"]]
    assert centres == pytest.approx([70, 235], abs=1.5)


def test_labels_are_those_of_a_task_with_the_same_format(
    fetal_head: Task, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = {"format": "coco", "labels": {"skull": "HEAD", "other": None}}
    task = changed(fetal_head, input={"size": (128, 160), "fit": "letterbox"}, annotations=section)
    always_load(monkeypatch, member(bright, task, "m", "f" * 64))
    out = pictures.parent / "out" / "annotations"
    assert run(pictures, "--annotations", "coco") == 0
    assert [one["name"] for one in json.loads((out / "annotations.json").read_text())["categories"]] == ["skull"]


@pytest.fixture
def mixed(fetal_head: Task) -> Task:
    """A task with a structure of each kind."""
    structures = [
        {"name": "LINE", "shape": "line", "color": COLORS[0], "thickness_px": 5},
        {"name": "BOX", "shape": "rectangle", "color": COLORS[1]},
        {"name": "OVAL", "shape": "ellipse", "color": COLORS[2]},
        {"name": "AREA", "shape": "region", "color": COLORS[3]},
    ]
    loss = {"name": "dice_ce"}
    more = {"measurements": [], "review": {}, "metadata": {}, "postprocessing": {}}
    training = {**fetal_head.training.model_dump(), "loss": loss}
    return changed(fetal_head, name="mixed", structures=structures, training=training, **more)


def write_result(folder: Path, task: Task, labels: np.ndarray) -> Source:
    """Write what stage 4 writes of an image with this label map, without its overlay."""
    folder.mkdir(exist_ok=True)
    write_label_map(folder / "x_mask.png", labels, COLORS)
    shapes = [
        shape.to_json()
        for value, structure in enumerate(task.structures, start=1)
        for shape in fit_shapes(labels == value, structure.name, structure.shape)
    ]
    record = {"height": labels.shape[0], "width": labels.shape[1], "shapes": shapes}
    (folder / "x.json").write_text(json.dumps(record))
    return Source(ImageRef(folder.parent / "x.png"), "x")


def written(tmp_path: Path, task: Task, name: str, labels: np.ndarray) -> tuple[list[Shape | Bitmap], list[str]]:
    """Return what one image's annotations contain after reading, and the remarks."""
    out = tmp_path / "out"
    source = write_result(out, task, labels)
    (out / "annotations" / "images").mkdir(parents=True)
    Image.fromarray(labels).save(out / "annotations" / "images" / "x.png")
    with OutputFolder(out, "stage4") as output:
        annotations = ToolAnnotations(output, name, task, DEFAULT_LIMITS)
        lines = annotations.write([source], [{"status": "ok"}])
    fields = {"annotations": "."} if name == "labelme" else {}
    return read(out / "annotations", name, task, **fields)["x"], lines


def mixed_labels() -> np.ndarray:
    """A line, a rectangle and a well-formed ellipse, none touching another."""
    labels = np.zeros(SIZE, np.uint8)
    for value, shape in enumerate(
        [
            Shape("", "line", np.array([(10.0, 10), (60, 30)])),
            Shape("", "rectangle", np.array([(80.0, 10), (120, 30)])),
            Shape("", "ellipse", np.array([(10.0, 80), (70, 80), (40, 60), (40, 100)])),
        ],
        start=1,
    ):
        labels[union([shape], SIZE, 5)] = value
    return labels


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_every_kind_is_written_as_the_fitted_shape(mixed: Task, tmp_path: Path, name: str) -> None:
    labels = mixed_labels()
    labels[50:110, 90:150] = 4
    labels[50:80, 120:150] = 0  # an area of the form of an L
    shapes, lines = written(tmp_path, mixed, name, labels)
    assert [(shape.structure, getattr(shape, "kind", "bitmap")) for shape in shapes] == [
        *(("LINE", "line"), ("BOX", "rectangle"), ("OVAL", "ellipse"), ("AREA", "region"))
    ]
    for value, shape in enumerate(shapes, start=1):
        mask, drawn = labels == value, union([shape], SIZE, 5)
        assert (mask & drawn).sum() >= (0.9 if value == 1 else 0.99) * (mask | drawn).sum()
    named = {line.split(" is ")[0].removeprefix(f"{name}: ") for line in lines[1:]}
    expected = {"labelme": {"1 ellipse"}, "coco": {"1 line", "1 rectangle", "1 ellipse"}, "label_studio": {"1 line"}}
    assert named == expected.get(name, set())


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_holes_and_components(mixed: Task, tmp_path: Path, name: str) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:40, 10:40] = 4
    labels[20:25, 20:25] = 0
    labels[60, 60:80] = 4  # one pixel wide, with a corner
    labels[60:90, 60] = 4
    shapes, lines = written(tmp_path, mixed, name, labels)
    drawn = union(shapes, SIZE)
    if name == "shapes_json":
        assert len(shapes) == 2 and (drawn & (labels == 0)).sum() == 25 and drawn[22, 22]
        expected = "1 bitmap is written as a polygon for each component, with its holes filled: shapes_json has no"
        assert any(expected in line for line in lines)
    else:
        assert len(shapes) == 1 and isinstance(shapes[0], Bitmap) and np.array_equal(drawn, labels == 4)


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_components_without_holes_are_polygons(mixed: Task, tmp_path: Path, name: str) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:40, 10:40] = 4
    labels[60, 60:80] = 4
    labels[60:90, 60] = 4
    labels[100, 100] = 4
    shapes, _ = written(tmp_path, mixed, name, labels)
    assert all(isinstance(shape, Shape) and shape.kind == "region" for shape in shapes) and len(shapes) == 3
    assert np.array_equal(union(shapes, SIZE), labels == 4)


@pytest.mark.parametrize("name", TOOL_FORMATS)
def test_a_shape_that_does_not_reproduce_its_mask(mixed: Task, tmp_path: Path, name: str) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[20:100, 20:30] = 3
    labels[90:100, 20:140] = 3  # an L, which is no ellipse
    shapes, lines = written(tmp_path, mixed, name, labels)
    (shape,) = shapes
    assert isinstance(shape, Shape)
    if name == "shapes_json":  # the task reads no other kind
        assert shape.kind == "ellipse" and any("1 ellipse does not reproduce the mask" in line for line in lines)
    else:
        assert shape.kind == "region" and np.array_equal(union([shape], SIZE), labels == 3)


def test_an_image_without_structures_is_named_where_the_format_cannot_say_so(mixed: Task, tmp_path: Path) -> None:
    labels = np.zeros(SIZE, np.uint8)
    out = tmp_path / "out"
    source = write_result(out, mixed, labels)
    for name in TOOL_FORMATS:
        with OutputFolder(out, f"stage4_{name}") as output:
            output.adopt(["annotations/annotations.json"])
            (out / "annotations" / "annotations.json").unlink(missing_ok=True)
            lines = ToolAnnotations(output, name, mixed, DEFAULT_LIMITS).write([source], [{"status": "ok"}])
        assert any("1 image shows no structure" in line for line in lines) == (name in ("coco", "cvat"))


def test_a_name_that_a_format_cannot_write(mixed: Task, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_result(out, mixed, np.zeros(SIZE, np.uint8))
    source = Source(ImageRef(tmp_path / "x\x01.png"), "x")
    with pytest.raises(DataError, match="rename the image"), OutputFolder(out, "stage4") as output:
        ToolAnnotations(output, "cvat", mixed, DEFAULT_LIMITS).write([source], [{"status": "ok"}])
