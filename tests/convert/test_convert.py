"""`sonoseg convert`: from each format to each other, what a format cannot hold, and wrong use."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from sonoseg.__main__ import main as sonoseg
from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.annotations.shapes_of_masks import union
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.io.masks import read_mask, write_label_map
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure, label_values
from sonoseg.types import Mask

SIZE = (150, 200)
THICKNESS = 8.0
STRUCTURES = [
    Structure(name="LINE", shape="line", color="#ff0000", thickness_px=THICKNESS),
    Structure(name="BOX", shape="rectangle", color="#00ff00"),
    Structure(name="OVAL", shape="ellipse", color="#0000ff"),
    Structure(name="AREA", shape="region", color="#ffff00"),
]
NAMES = ("a", "b", "empty")


def shapes_of(number: int) -> list[Shape | Bitmap]:
    """Return a shape of each kind, none over another."""
    star = np.linspace(0, 2 * np.pi, 41)[:-1]
    radii = (24 + 6 * np.sin(5 * star))[:, None]
    return [
        Shape("LINE", "line", np.array([(12.0, 12 + number), (90.5, 30.25)])),
        Shape("BOX", "rectangle", np.array([(110.0, 10), (180, 40 + number)])),
        Shape("OVAL", "ellipse", Ellipse(50, 95, 70, 50, 20 + 30 * number).axis_ends().round(2)),
        Shape("AREA", "region", (np.array([150, 105]) + radii * np.stack([np.cos(star), np.sin(star)], 1)).round(2)),
    ]


def write_images(data: Path, names: Sequence[str] = NAMES) -> None:
    (data / "images").mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        pixels = np.random.default_rng(seed).integers(0, 256, SIZE, dtype=np.uint8)
        Image.fromarray(pixels).save(data / "images" / f"{name}.png")


def section_of(name: str) -> Any:
    return annotations_section(name, **({"without_annotation": "empty"} if name in ("coco", "cvat") else {}))


def write_data(data: Path, name: str, shapes: dict[str, list[Shape | Bitmap]]) -> None:
    """Write a data folder of these shapes, and the task file `task.yaml` for it."""
    write_images(data, tuple(shapes))
    if name == "mask_folder":
        for image, drawn in shapes.items():
            labels = np.zeros(SIZE, np.uint8)
            for shape in drawn:
                value = label_values(STRUCTURES)[shape.structure]
                labels[union([shape], SIZE, THICKNESS if shape.structure == "LINE" else None)] = value
            write_label_map(data / "masks" / f"{image}_mask.png", labels, [one.color for one in STRUCTURES])
    else:
        items = [Annotation(f"{image}.png", tuple(drawn), size=SIZE) for image, drawn in shapes.items()]
        FORMATS[name].write(data, section_of(name), items)
    fields = {"name": "mixed", "structures": [one.model_dump(exclude_none=True) for one in STRUCTURES]}
    fields["annotations"] = {key: value for key, value in section_of(name).model_dump().items() if value is not None}
    (data / "task.yaml").write_text(yaml.safe_dump(fields))


def read_out(out: Path, structures: Sequence[Structure] = STRUCTURES) -> list[AnnotatedImage]:
    """Return what a task with the section that was written reads."""
    fields = yaml.safe_load((out / "annotations_section.yaml").read_text())["annotations"]
    items, faults = FORMATS[fields["format"]].read(
        out, annotations_section(**{"name": fields.pop("format")}, **fields), structures
    )
    assert faults == [] and not any(item.unread for item in items)
    return items


def masks_of(item: AnnotatedImage) -> dict[str, Mask]:
    if item.masks:
        labels = read_mask(item.masks[0].path)
        return {name: labels == value for name, value in label_values(STRUCTURES).items()}
    return {
        one.name: union([shape for _, shape in item.shapes if shape.structure == one.name], SIZE, one.thickness_px)
        for one in STRUCTURES
    }


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def convert(data: Path, out: Path, to: str, *flags: str) -> int:
    return sonoseg(["convert", str(data), str(out), "--to", to, *flags])


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_every_format_to_every_other(source: str, to: str, tmp_path: Path) -> None:
    data, out = tmp_path / "in", tmp_path / "out"
    shapes = {"a": shapes_of(0), "b": shapes_of(1), "empty": []}
    write_data(data, source, shapes)
    assert convert(data, out, to, "--task", str(data / "task.yaml")) == 0
    items = read_out(out)
    assert [item.id for item in items] == [*NAMES]
    for item in items:
        name = item.image.path.name
        assert item.image.path.read_bytes() == (data / "images" / name).read_bytes()
        masks = masks_of(item)
        assert any(mask.any() for mask in masks.values()) == (item.id != "empty")
        for shape in shapes[item.id]:
            drawn = union([shape], SIZE, THICKNESS if shape.structure == "LINE" else None)
            if shape.structure != "LINE":
                assert iou(masks[shape.structure], drawn) >= 0.99
            elif to == "mask_folder":
                assert iou(masks["LINE"], drawn) >= (0.99 if source != "mask_folder" else 1)
            else:
                (line,) = [read for _, read in item.shapes if read.structure == "LINE"]
                assert isinstance(line, Shape) and line.kind == "line"
                ends = min(np.abs(line.points - shape.points).max(), np.abs(line.points[::-1] - shape.points).max())
                assert ends <= (0.5 if source == "mask_folder" else 0.01)
        if to not in ("mask_folder", "coco"):
            expected = ["line", "rectangle", "ellipse", "region"] if item.id != "empty" else []
            assert [shape.kind for _, shape in item.shapes if isinstance(shape, Shape)] == expected


@pytest.mark.parametrize("to", ["labelme", "coco", "cvat", "label_studio", "mask_folder"])
@pytest.mark.parametrize("source", ["labelme", "coco", "cvat", "label_studio", "mask_folder"])
def test_pixels_with_a_hole_are_the_same_pixels(source: str, to: str, tmp_path: Path) -> None:
    mask = np.zeros(SIZE, bool)
    mask[20:70, 30:90] = True
    mask[40:50, 50:60] = False
    mask[100, 100:120] = True
    write_data(tmp_path / "in", source, {"a": [Bitmap.of("AREA", mask)]})
    assert convert(tmp_path / "in", tmp_path / "out", to, "--task", str(tmp_path / "in" / "task.yaml")) == 0
    (item,) = read_out(tmp_path / "out")
    assert np.array_equal(masks_of(item)["AREA"], mask)


def test_bitmaps_become_polygons_with_filled_holes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.zeros(SIZE, bool)
    mask[20:70, 30:90] = True
    mask[40:50, 50:60] = False
    write_data(tmp_path / "in", "labelme", {"a": [Bitmap.of("AREA", mask)], "b": shapes_of(1)})
    assert convert(tmp_path / "in", tmp_path / "out", "shapes_json", "--task", str(tmp_path / "in" / "task.yaml")) == 0
    assert "1 bitmap is written as a polygon for each component, with its holes filled" in capsys.readouterr().out
    mask[40:50, 50:60] = True
    assert np.array_equal(masks_of(read_out(tmp_path / "out")[0])["AREA"], mask)


def test_other_kinds_than_the_structures_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """shapes_json takes one kind per structure: polygons of an ellipse become ellipses, others need another task."""
    outline = Shape("OVAL", "region", shapes_of(0)[2].outline().round(2))  # type: ignore[union-attr]
    write_data(tmp_path / "in", "coco", {"a": [outline], "b": shapes_of(1)})
    task = str(tmp_path / "in" / "task.yaml")
    assert convert(tmp_path / "in", tmp_path / "out", "shapes_json", "--task", task) == 0
    assert "OVAL: 1 mask written as ellipses" in capsys.readouterr().out
    for item, number in zip(read_out(tmp_path / "out"), (0, 1), strict=True):
        assert iou(masks_of(item)["OVAL"], union([shapes_of(number)[2]], SIZE)) >= 0.99
    bent = Shape("LINE", "region", np.array([(10.0, 10), (60, 10), (60, 90), (50, 90), (50, 20), (10, 20)]))
    write_data(tmp_path / "bent", "coco", {"a": [bent], "b": shapes_of(1)})
    assert convert(tmp_path / "bent", tmp_path / "out2", "shapes_json", "--task", task) == 0
    assert "LINE: 1 mask written as polygons" in capsys.readouterr().out
    assert "`shape: region`" in (tmp_path / "out2" / "annotations_section.yaml").read_text()
    changed = Structure(name="LINE", shape="region", color="#ff0000")
    first, second = read_out(tmp_path / "out2", [changed, *STRUCTURES[1:]])
    drawn = [union([shape for _, shape in one.shapes if shape.structure == "LINE"], SIZE) for one in (first, second)]
    assert iou(drawn[0], union([bent], SIZE)) >= 0.99
    assert iou(drawn[1], union([shapes_of(1)[0]], SIZE, THICKNESS)) >= 0.99


@pytest.mark.parametrize("to", ["labelme", "mask_folder"])
def test_attributes_that_are_not_written_are_named(to: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the images that are written; those of an image that the task excludes are not counted."""
    data = tmp_path / "in"
    write_data(data, "labelme", {name: shapes_of(number) for number, name in enumerate("abc")})
    for name in "abc":
        document = json.loads((data / "images" / f"{name}.json").read_text())
        for entry in document["shapes"]:
            entry["flags"] = {"blurred": True, "cut": entry["label"] == "BOX", "no": False}
        document["flags"] = {"poor": name == "a", "excluded": name == "c"}
        (data / "images" / f"{name}.json").write_text(json.dumps(document))
    with (data / "task.yaml").open("a") as stream:
        stream.write("exclude: [c]\n")
    assert convert(data, tmp_path / "out", to, "--task", str(data / "task.yaml")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("attributes")]
    assert lines == ["attributes that are not written: 'blurred' (8 shapes), 'cut' (2 shapes), 'poor' (1 image)"]
    assert convert(tmp_path / "out", tmp_path / "again", "coco", "--task", str(data / "task.yaml"), "--from", to) == 0
    assert "attributes that" not in capsys.readouterr().out


def test_masks_that_no_shape_reproduces_stay_pixels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ell = np.zeros(SIZE, bool)
    ell[20:100, 20:40] = ell[80:100, 20:140] = True
    good = [shapes_of(number)[2] for number in range(4)]
    images: dict[str, list[Shape | Bitmap]] = {f"i{number}": [shape] for number, shape in enumerate(good)}
    write_data(tmp_path / "in", "mask_folder", {**images, "z": [Bitmap.of("OVAL", ell)]})
    task = str(tmp_path / "in" / "task.yaml")
    assert convert(tmp_path / "in", tmp_path / "out", "coco", "--task", task) == 0
    printed = capsys.readouterr().out
    assert "OVAL: 5 masks written as ellipses" in printed and "1 with a Dice below 0.98 stay pixels" in printed
    assert "4 ellipses are each written as a polygon: coco has no ellipse" in printed
    *_, last = read_out(tmp_path / "out")
    assert isinstance(last.shapes[0][1], Bitmap) and np.array_equal(masks_of(last)["OVAL"], ell)
    write_data(tmp_path / "ells", "mask_folder", {name: [Bitmap.of("OVAL", ell)] for name in "ab"})
    assert convert(tmp_path / "ells", tmp_path / "out2", "cvat", "--task", task) == 0
    assert "OVAL: 2 masks stay pixels" in capsys.readouterr().out
    assert all(isinstance(item.shapes[0][1], Bitmap) for item in read_out(tmp_path / "out2"))


def test_where_another_structure_lies_on_top(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rectangle over an ellipse, as a label map has it: both are recovered, and drawn again they are the same."""
    oval, box = shapes_of(0)[2], Shape("BOX", "rectangle", np.array([(40.0, 80), (60, 100)]))
    data = tmp_path / "in"
    write_data(data, "mask_folder", {"a": [oval, box]})
    fields = yaml.safe_load((data / "task.yaml").read_text())
    fields["structures"][2] |= {"shape": "region", "covered_by": ["BOX"]}
    (data / "task.yaml").write_text(yaml.safe_dump(fields))
    assert convert(data, tmp_path / "out", "cvat", "--task", str(data / "task.yaml")) == 0
    structures = [*STRUCTURES[:2], Structure(**fields["structures"][2]), STRUCTURES[3]]
    (item,) = read_out(tmp_path / "out", structures)
    kinds = {shape.structure: getattr(shape, "kind", "bitmap") for _, shape in item.shapes}
    assert kinds == {"BOX": "rectangle", "OVAL": "region"}
    (data / "task.yaml").write_text(
        yaml.safe_dump(
            {
                **fields,
                "annotations": yaml.safe_load((tmp_path / "out" / "annotations_section.yaml").read_text())[
                    "annotations"
                ],
            }
        )
    )
    capsys.readouterr()
    assert convert(tmp_path / "out", tmp_path / "back", "mask_folder", "--task", str(data / "task.yaml")) == 0
    assert "1 structure lies partly under another" in capsys.readouterr().out
    before, after = read_mask(data / "masks" / "a_mask.png"), read_mask(tmp_path / "back" / "masks" / "a_mask.png")
    assert np.mean(before == after) >= 0.999


def test_masks_are_palette_pictures_and_the_table_is_copied(tmp_path: Path) -> None:
    data, out = tmp_path / "in", tmp_path / "out"
    write_data(data, "cvat", {"a": shapes_of(0)})
    (data / "metadata.csv").write_text("image,patient,row_mm,col_mm\na,7,0.1,0.1\n")
    assert convert(data, out, "mask_folder", "--task", str(data / "task.yaml")) == 0
    picture = Image.open(out / "masks" / "a_mask.png")
    assert picture.mode == "P" and picture.getpalette()[3:6] == [255, 0, 0]  # type: ignore[index]
    assert (out / "metadata.csv").read_bytes() == (data / "metadata.csv").read_bytes()
    assert {path.name for path in out.iterdir()} == {"images", "masks", "metadata.csv", "annotations_section.yaml"}
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"} and out.stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize("source", FORMATS)
def test_a_folder_without_a_task(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"p{number}_scan" for number in range(6)]
    shapes = {name: [shapes_of(number)[2]] for number, name in enumerate(names)}
    write_data(tmp_path / "in", source, {**shapes, **({"q_scan": []} if source == "coco" else {})})
    (tmp_path / "in" / "task.yaml").unlink()
    assert convert(tmp_path / "in", tmp_path / "out", "labelme") == 0
    printed = capsys.readouterr().out
    assert "recognised: " in printed and "6 images written as labelme" in printed
    assert ("left out" in printed) == (source == "coco")
    label = json.loads((tmp_path / "out" / "images" / "p0_scan.json").read_text())["shapes"][0]["label"]
    (item, *_) = read_out(tmp_path / "out", [Structure(name=label, shape="ellipse", color="#0000ff")])
    assert iou(union([shape for _, shape in item.shapes], SIZE), union([shapes_of(0)[2]], SIZE)) >= 0.99


def test_the_format_to_be_read_where_there_are_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "in"
    write_data(data, "cvat", {"a": shapes_of(0)[:1], "b": shapes_of(1)[:1]})
    write_data(data, "labelme", {"a": shapes_of(0)[1:2], "b": shapes_of(1)[1:2]})
    for number, (source, name) in enumerate([("cvat", "LINE"), ("labelme", "BOX")]):
        for flags in [], ["--task", str(data / "task.yaml")]:
            out = tmp_path / f"out{number}{len(flags)}"
            assert convert(data, out, "label_studio", "--from", source, *flags) == 0
            assert {shape.structure for item in read_out(out) for _, shape in item.shapes} == {name}
    fields = yaml.safe_load((data / "task.yaml").read_text())
    fields["annotations"] = {"format": "coco", "labels": {"LINE": "BOX"}}
    (data / "task.yaml").write_text(yaml.safe_dump(fields))
    assert convert(data, tmp_path / "other", "cvat", "--from", "cvat", "--task", str(data / "task.yaml")) == 2
    assert "an open line, and the structure is a rectangle" in capsys.readouterr().err  # labels are the task's
    assert convert(data, tmp_path / "none", "coco", "--from", "label_studio", "--task", str(data / "task.yaml")) == 2
    assert "no annotations of the format label_studio" in capsys.readouterr().err
    assert convert(data, tmp_path / "none", "coco", "--from", "label_studio") == 2
    assert "no annotations recognised" in capsys.readouterr().err


def test_wrong_use_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "in"
    write_data(data, "labelme", {"a": shapes_of(0)})
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    task = ["--task", str(data / "task.yaml")]
    for folder, out, flags, message in [
        (data, full, task, "exists already and is not an empty folder"),
        (data, full / "mine.txt", task, "exists already and is not an empty folder"),
        (data, data / "out", task, "lies in the folder that is converted"),
        (tmp_path / "no", tmp_path / "out", task, "no such folder"),
        (tmp_path / "no", tmp_path / "out", [], "no such folder"),
        (data, tmp_path / "out", ["--task", "nothing"], "nothing"),
        (full, tmp_path / "out", [], "no picture"),
    ]:
        assert convert(folder, out, "coco", *flags) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1, error
    (tmp_path / "empty").mkdir()
    assert convert(data, tmp_path / "empty", "coco", *task) == 0
    assert [path.name for path in full.iterdir()] == ["mine.txt"]


def test_faulty_annotations_are_listed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "in"
    write_data(data, "labelme", {"a": shapes_of(0), "b": shapes_of(1), "c": shapes_of(2)})
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(data / "images" / "a.png")
    (data / "images" / "b.png").write_bytes(b"no picture")
    frames = [Image.open(data / "images" / "c.png").convert("L")] * 2
    frames[0].save(data / "images" / "c.tif", save_all=True, append_images=frames[1:])
    (data / "images" / "c.png").unlink()
    assert convert(data, tmp_path / "out", "coco", "--task", str(data / "task.yaml")) == 2
    error = capsys.readouterr().err
    assert "3 faults found and nothing was written" in error and "2 frames" in error and "Traceback" not in error
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


@pytest.mark.parametrize("as_list", [True, False])
def test_excluded_images_are_left_out_even_with_faults(
    as_list: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also an image that cannot be read, and one that is annotated twice."""
    data = tmp_path / "in"
    write_data(data, "shapes_json", {name: shapes_of(number) for number, name in enumerate("abcd")})
    (data / "images" / "b.png").write_bytes(b"no picture")
    text = (data / "annotations.json").read_text()
    second = text.replace('"c.png"', '"c"') if '"c.png"' in text else text.replace('"c"', '"c.png"')
    both = {**json.loads(text), **json.loads(second)}
    (data / "annotations.json").write_text(json.dumps(both))
    names = ["b.png", "c"]
    (data / "out.txt").write_text("\n".join(names))
    with (data / "task.yaml").open("a") as stream:
        stream.write(yaml.safe_dump({"exclude": names if as_list else "out.txt"}))
    assert convert(data, tmp_path / "out", "labelme", "--task", str(data / "task.yaml")) == 0
    said = capsys.readouterr().out
    assert "exclude: 2 images left out: b, c" in said and "2 images written as labelme" in said
    assert [item.id for item in read_out(tmp_path / "out")] == ["a", "d"]
    assert sorted(path.name for path in (tmp_path / "out" / "images").glob("*.png")) == ["a.png", "d.png"]


def test_a_list_of_excluded_images_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "in"
    write_data(data, "labelme", {"a": shapes_of(0)})
    with (data / "task.yaml").open("a") as stream:
        stream.write("exclude: none.txt\n")
    assert convert(data, tmp_path / "out", "coco", "--task", str(data / "task.yaml")) == 2
    assert "none.txt: no such list of images" in capsys.readouterr().err and not (tmp_path / "out").exists()
