"""Annotations of the frames of a loop: how each format names them, and names of frames that are not there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault
from sonoseg.io.image_ref import ImageRef
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure
from tests.dicom_files import write_dicom

A = Structure(name="A", shape="rectangle", color="#ff0000")
SIZE = (24, 40)
BOX = Shape("A", "rectangle", np.array([[5.0, 6.0], [20.0, 12.0]]))
FRAMES = np.random.default_rng(1).integers(0, 255, (6, *SIZE), dtype=np.uint8)
TOOLS = ("labelme", "coco", "cvat", "label_studio")


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """A data folder with `images/loop.dcm` of 6 frames and the still `images/still.png`."""
    (tmp_path / "images").mkdir()
    write_dicom(tmp_path / "images" / "loop.dcm", FRAMES)
    Image.fromarray(FRAMES[0]).save(tmp_path / "images" / "still.png")
    return tmp_path


def read(data: Path, name: str, **fields: Any) -> tuple[dict[str, AnnotatedImage], list[Fault]]:
    items, faults = FORMATS[name].read(data, annotations_section(name, **fields), [A])
    return {item.id: item for item in items}, faults


def write(data: Path, name: str, *images: str, **fields: Any) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[6:13, 5:21] = 1
    annotations = [Annotation(image, (BOX,), mask, SIZE) for image in images]
    FORMATS[name].write(data, annotations_section(name, **fields), annotations)


@pytest.mark.parametrize("name", FORMATS)
def test_frames_are_read_and_those_of_a_loop_without_annotation_are_left_out(loop: Path, name: str) -> None:
    write(loop, name, "loop_frame0002.png", "loop_frame0006.png", "still.png")
    items, faults = read(loop, name)
    assert faults == [] and list(items) == ["loop_frame0002", "loop_frame0006", "still"]
    path = loop / "images" / "loop.dcm"
    assert items["loop_frame0002"].image == ImageRef(path, 1) and items["loop_frame0006"].image == ImageRef(path, 5)
    assert items["still"].image == ImageRef(loop / "images" / "still.png")
    for item in items.values():
        assert item.masks if name == "mask_folder" else item.shapes[0][1].draw(SIZE)[1].sum() == 16 * 7


@pytest.mark.parametrize("name", [one for one in FORMATS if one != "mask_folder"])
@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("loop_frame9999.png", "frame 9999 of loop.dcm, which has 6 frames, 1 to 6; correct the number"),
        ("loop_frame0000.png", "frame 0 of loop.dcm, which has 6 frames"),
        ("loop.png", "loop.dcm has 6 frames; expected the number of one in the name, such as loop_frame0001"),
    ],
)
def test_a_frame_that_is_not_there(loop: Path, name: str, called: str, said: str) -> None:
    write(loop, name, called, "still.png")
    items, faults = read(loop, name)
    assert list(items) == ["still"]
    (fault,) = [fault for fault in faults if fault.level == "error"]
    assert said in fault.message


@pytest.mark.parametrize("name", FORMATS)
def test_a_loop_without_any_annotation(loop: Path, name: str) -> None:
    write(loop, name, "still.png")
    items, (fault,) = read(loop, name)
    assert list(items) == ["still"] and fault.where == "images/loop.dcm"
    assert fault.level == ("error" if name == "mask_folder" else "warning")


@pytest.mark.parametrize("name", TOOLS)
def test_frames_that_a_file_lists_without_a_shape(loop: Path, name: str) -> None:
    """Formats that do not tell whether somebody looked at a frame leave it out, unless the task says otherwise."""
    annotations = [Annotation("loop_frame0001.png", (BOX,), size=SIZE), Annotation("loop_frame0003.png", size=SIZE)]
    FORMATS[name].write(loop, annotations_section(name), [*annotations, Annotation("still.png", (BOX,), size=SIZE)])
    states_empty = FORMATS[name].states_empty
    for without, expected in ((None, states_empty), ("leave_out", states_empty), ("empty", True)):
        items, faults = read(loop, name, without_annotation=without)
        assert faults == [] and ("loop_frame0003" in items) == expected and len(items) == 2 + expected


def cvat(names: dict[str, str], source: str = "") -> str:
    box = '<box label="A" xtl="5.5" ytl="6.5" xbr="20.5" ybr="12.5"/>'
    images = [f'<image id="{at}" name="{name}" width="40" height="24">{box}</image>' for at, name in names.items()]
    head = f"<meta><task><size>6</size></task><source>{source}</source></meta>" if source else ""
    return f"<annotations><version>1.1</version>{head}{''.join(images)}</annotations>"


def test_cvat_counts_the_frames_of_a_video_from_0(loop: Path) -> None:
    (loop / "annotations.xml").write_text(cvat({"0": "frame_000000", "5": "frame_000005"}))
    items, faults = read(loop, "cvat", without_annotation="leave_out")
    assert list(items) == ["loop_frame0001", "loop_frame0006"] and [fault.where for fault in faults] == [
        "images/still.png"
    ]
    (loop / "annotations.xml").write_text(cvat({"6": "frame_000006"}))
    assert "frame 6 of loop.dcm, which has 6 frames, 0 to 5" in read(loop, "cvat")[1][0].message


def test_the_video_of_a_task_of_cvat(loop: Path) -> None:
    write_dicom(loop / "images" / "other.dcm", FRAMES[:3])
    (loop / "annotations.xml").write_text(cvat({"1": "frame_000001"}))
    assert "is that of a frame of any video, and 2 files have several frames" in read(loop, "cvat")[1][0].message
    (loop / "annotations.xml").write_text(cvat({"1": "frame_000001"}, source="other.dcm"))
    items, _ = read(loop, "cvat", without_annotation="leave_out")
    assert list(items) == ["other_frame0002"]


def test_cocos_export_of_a_video_of_cvat(loop: Path) -> None:
    write(loop, "coco", "frame_000003.PNG", "still.png")
    assert list(read(loop, "coco")[0]) == ["loop_frame0004", "still"]


def test_a_file_of_that_name_comes_first(loop: Path) -> None:
    Image.fromarray(FRAMES[2]).save(loop / "images" / "loop_frame0003.png")
    write(loop, "shapes_json", "loop_frame0003.png", "loop_frame0004.png")
    items, _ = read(loop, "shapes_json")
    assert items["loop_frame0003"].image.path.name == "loop_frame0003.png"
    assert items["loop_frame0004"].image == ImageRef(loop / "images" / "loop.dcm", 3)


def test_files_that_are_named_by_their_identifier(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name, frames in (("1.2.840.5", FRAMES[0]), ("1.2.840.6", FRAMES)):
        write_dicom(tmp_path / "images" / name, frames)
    entry = [BOX.to_json()]
    (tmp_path / "annotations.json").write_text(json.dumps({"1.2.840.5": entry, "1.2.840.6_frame0002": entry}))
    items, faults = read(tmp_path, "shapes_json")
    assert faults == [] and list(items) == ["1.2.840.5", "1.2.840.6_frame0002"]


@pytest.fixture
def masks(loop: Path) -> Callable[..., tuple[dict[str, AnnotatedImage], list[Fault]]]:
    """Return a function that writes masks `name=pages` and reads the folder with `still_mask.png` in it."""

    def build(**pages: int) -> tuple[dict[str, AnnotatedImage], list[Fault]]:
        (loop / "masks").mkdir(exist_ok=True)
        for name, count in {"still_mask": 1, **pages}.items():
            first, *others = [Image.fromarray(np.full(SIZE, page % 2, np.uint8)) for page in range(count)]
            suffix = ".tif" if name.startswith("tif") else ".png"
            first.save(loop / "masks" / (name.removeprefix("tif") + suffix), save_all=count > 1, append_images=others)
        return read(loop, "mask_folder")

    return build


@pytest.mark.parametrize("name", ["loop_0002_mask", "loop_frame0002_mask", "loop_2_mask"])
def test_masks_of_single_frames(masks: Any, name: str) -> None:
    items, faults = masks(**{name: 1})
    assert faults == [] and list(items) == ["loop_frame0002", "still"] and not items["loop_frame0002"].drop_empty


@pytest.mark.parametrize("name", ["tifloop_mask", "loop_mask"])
def test_a_mask_with_a_page_for_each_frame(masks: Any, name: str) -> None:
    items, faults = masks(**{name: 6})
    frames = [f"loop_frame000{number}" for number in range(1, 7)]
    assert faults == [] and list(items) == [*frames, "still"]
    assert [items[one].masks[0].page for one in frames] == list(range(6)) and items[frames[0]].drop_empty


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ({"tifloop_mask": 5}, "has 6 frames, and its mask loop_mask.tif has 5 pages; expected a page for each frame"),
        ({"loop_mask": 1}, "its mask loop_mask.png has 1 page"),
        ({"loop_mask": 6, "loop_0002_mask": 1}, "a mask for the whole file and masks for single frames"),
        ({"loop_9999_mask": 1}, "a mask of frame 9999 of loop.dcm, which has 6 frames, 1 to 6; correct the name"),
        ({"loop_0002_mask": 1, "loop_frame0002_mask": 1}, "a second mask of frame 2; keep one"),
        (
            {},
            "has no mask (expected masks/loop_frame0001_mask.png, or a page for each of its 6 frames); set",
        ),
    ],
)
def test_masks_of_a_loop_that_do_not_fit(masks: Any, pages: dict[str, int], said: str) -> None:
    items, (fault,) = masks(**pages)
    assert said in fault.message and "still" in items
