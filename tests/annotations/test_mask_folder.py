"""Images and masks paired by name, and masks of every kind through stage 1."""

import numpy as np
import pytest
from PIL import Image

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.errors import TaskError
from sonoseg.io.faults import group_faults
from sonoseg.io.masks import decode_label_map, read_mask
from sonoseg.prepare.verify import check
from sonoseg.schema.yaml_text import read_yaml

ONE = [{"name": "HEAD", "shape": "region"}]
TWO = [{"name": "A", "shape": "region"}, {"name": "B", "shape": "region"}]
ASKED = (
    "set annotations.without_annotation in the task to empty, where such images do not show it, or to leave_out, where "
    "nobody has annotated them; or add the mask"
)


def touch(data, *names):
    for name in names:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 6)).save(data / name)


def pairs(data, task):
    items, faults = FORMATS["mask_folder"].read(data, task.annotations, task.structures)
    return {item.id: (item.image.path.name, item.masks[0].path.name) for item in items}, sorted(map(str, faults))


def test_one_folder_with_a_suffix(tmp_path, make_task):
    task = make_task(ONE, images="d", masks="d", mask_suffix="_Annotation")
    touch(tmp_path, "d/001_HC.png", "d/001_HC_Annotation.png", "d/2.jpg", "d/2_Annotation.bmp")
    expected = {"001_HC": ("001_HC.png", "001_HC_Annotation.png"), "2": ("2.jpg", "2_Annotation.bmp")}
    assert pairs(tmp_path, task) == (expected, [])


def test_two_folders_with_equal_names(tmp_path, make_task):
    task = make_task(ONE, mask_suffix="")
    touch(tmp_path, "images/a.png", "masks/a.png", "images/b_mask.png", "masks/b_mask.png")
    assert pairs(tmp_path, task) == ({"a": ("a.png", "a.png"), "b_mask": ("b_mask.png", "b_mask.png")}, [])


def test_both_have_a_suffix(tmp_path, make_task):
    task = make_task(ONE, images="d", masks="d", image_suffix="_image", mask_suffix="_mask")
    touch(tmp_path, "d/a_image.png", "d/a_mask.png", "d/notes.png")
    assert pairs(tmp_path, task) == ({"a_image": ("a_image.png", "a_mask.png")}, [])


def test_every_pairing_fault(tmp_path, make_task):
    touch(tmp_path, "images/a.png", "images/b.png", "masks/b_mask.png", "masks/b_mask.bmp", "masks/c_mask.png")
    items, faults = pairs(tmp_path, make_task(ONE))
    assert items == {}
    assert faults == [
        f"images/a.png: has no mask (expected masks/a_mask.png); {ASKED}",
        "images/b.png: has several masks: b_mask.bmp, b_mask.png; keep one",
        "masks/c_mask.png: a mask for an image that is not there",
    ]


@pytest.mark.parametrize(
    ("choice", "ids", "said"),
    [
        (
            None,
            ["a"],
            ["2 images without a mask, or without one of a structure (images/b.png, images/c.png); set"],
        ),
        ("empty", ["a", "b", "c"], []),
        (
            "leave_out",
            ["a"],
            [f"(warning) images/{name}.png: has no mask (expected masks/{name}_mask.png); left out" for name in "bc"],
        ),
    ],
)
def test_an_image_without_a_mask_is_asked_about(tmp_path, make_task, choice, ids, said):
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a_mask.png")
    task = make_task(ONE, without_annotation=choice)
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert [item.id for item in items] == ids and [len(item.masks) for item in items] == [1, 0, 0][: len(ids)]
    lines = [line for group in group_faults(faults) for line in group.lines()]
    assert len(lines) == len(said) and all(line.startswith(start) for line, start in zip(lines, said, strict=True))


@pytest.mark.parametrize(("choice", "level"), [(None, "error"), ("leave_out", "error"), ("empty", "warning")])
def test_a_structure_without_any_mask_is_a_wrong_name(tmp_path, make_task, choice, level):
    """A folder or suffix that fits no file is never taken for images that do not show the structure."""
    touch(tmp_path, "images/1.png", "images/2.png", "masks/a/1_mask.png", "masks/a/2_mask.png", "masks/b/1.png")
    task = make_task(TWO, masks=FOLDERS, without_annotation=choice)
    items, (other, *faults) = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert str(other) == "(warning) masks/b/1.png: ends with no annotations.mask_suffix (_mask); not used"
    assert {(fault.level, fault.kind) for fault in faults} == {(level, "none_with_mask")}
    assert all("correct annotations.masks or annotations.mask_suffix" in fault.message for fault in faults)
    assert "of B" in faults[0].message and len(items) == (2 if choice == "empty" else 0)


def test_a_mask_that_is_a_link_out(tmp_path, make_task):
    data = tmp_path / "data"
    touch(data, "images/a.png", "masks/keep.txt.png")
    (data / "masks/keep.txt.png").unlink()
    touch(tmp_path, "outside.png")
    (data / "masks/a_mask.png").symlink_to(tmp_path / "outside.png")
    assert "a link that leads out of the data folder; copy" in pairs(data, make_task(ONE))[1][0]


def test_one_folder_needs_a_suffix(tmp_path, make_task):
    touch(tmp_path, "d/a.png")
    with pytest.raises(TaskError, match="mask_suffix"):
        pairs(tmp_path, make_task(ONE, images="d", masks="d", mask_suffix=""))


@pytest.fixture
def labels_of(tmp_path, write_picture):
    """Return a function that sends one mask through verification and gives (label map or None, faults)."""

    def labels_of(mask: Image.Image, task):
        write_picture(tmp_path / "images" / "a.png", size=(6, 8))
        (tmp_path / "masks").mkdir(exist_ok=True)
        mask.save(tmp_path / "masks" / "a_mask.png")
        (item,), _ = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
        checked, faults = check(item, tmp_path, task)
        if checked is None:
            return None, [str(fault) for fault in faults]
        (tmp_path / "out.png").write_bytes(checked.mask_png)
        return read_mask(tmp_path / "out.png"), [str(fault) for fault in faults]

    return labels_of


INDICES = np.array([[0, 1, 2, 2, 0, 0, 0, 0]] * 6, dtype=np.uint8)


def test_palette_mask_gives_indices_whatever_its_colours(labels_of, make_task):
    picture = Image.fromarray(INDICES)
    picture.putpalette([9, 9, 9, 250, 250, 250, 1, 1, 1])
    labels, faults = labels_of(picture, make_task(TWO))
    assert np.array_equal(labels, INDICES) and faults == []


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1"])
def test_binary_masks_of_every_mode(labels_of, make_task, mode):
    picture = Image.fromarray((INDICES > 0).astype(np.uint8) * 255).convert(mode)
    labels, faults = labels_of(picture, make_task(ONE))
    assert np.array_equal(labels, INDICES > 0) and faults == []


def test_soft_edges_are_cut_at_half_with_a_warning(labels_of, make_task):
    values = np.array([[0, 10, 127, 128, 250, 255, 255, 0]] * 6, dtype=np.uint8)
    labels, faults = labels_of(Image.fromarray(values), make_task(ONE))
    assert labels[0].tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    assert "(warning) masks/a_mask.png: 6 grey values, 0 to 255: read as the class above 127.5" in faults


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (Image.fromarray(INDICES * 100), "masks/a_mask.png: mask values 100, 200 are no class"),
        (Image.new("L", (9, 6)), "masks/a_mask.png: the mask has 9x6 pixels, its image has 8x6"),
        (
            Image.new("RGB", (8, 6), (255, 0, 0)),
            "masks/a_mask.png: a coloured mask (RGB); expected class indices; name ",
        ),
    ],
)
def test_masks_that_are_refused(labels_of, make_task, picture, said):
    labels, faults = labels_of(picture, make_task(TWO))
    assert labels is None and said in faults[0]


def test_empty_and_full_masks_are_warned_of(labels_of, make_task):
    assert "its mask is empty" in labels_of(Image.new("L", (8, 6)), make_task(ONE))[1][0]
    assert "covers the whole image" in labels_of(Image.new("L", (8, 6), 255), make_task(ONE))[1][0]


def test_an_image_that_looks_like_a_mask_is_warned_of(tmp_path, make_task):
    task = make_task(ONE, images="d", masks="d", without_annotation="empty")
    touch(tmp_path, "d/a.png", "d/a_mask.png", "d/a_other.png")
    Image.fromarray((INDICES > 1).astype(np.uint8) * 255).save(tmp_path / "d/a_other.png")
    items, _ = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    said = [str(fault) for fault in check(items[1], tmp_path, task)[1]]
    assert "(warning) d/a_other.png: has only the grey values 0 and 255: is it a mask?" in said


def test_outlines_are_filled_where_the_task_says_so(labels_of, make_task):
    box = np.zeros((6, 8), dtype=np.uint8)
    box[1:5, 1:6] = 255
    box[2:4, 2:5] = 0
    assert (labels_of(Image.fromarray(box), make_task(ONE))[0] > 0).sum() == 20 - 6
    assert (labels_of(Image.fromarray(box), make_task(ONE, fill_outlines=True))[0] > 0).sum() == 20


def test_an_open_outline_is_warned_of(labels_of, make_task):
    corner = np.zeros((6, 8), dtype=np.uint8)
    corner[1, 1:3] = 255
    labels, faults = labels_of(Image.fromarray(corner), make_task(ONE, fill_outlines=True))
    assert (labels > 0).sum() == 2 and "its outline is open" in faults[0]


@pytest.mark.parametrize(
    ("images", "masks", "shared"), [("d", "./d/", True), ("d", "e/../d", True), ("images", "masks", False)]
)
def test_whether_a_file_is_a_mask_does_not_depend_on_the_current_folder(
    tmp_path, monkeypatch, make_task, images, masks, shared
):
    (tmp_path / "masks").mkdir()
    (tmp_path / "images").symlink_to("masks")
    section = make_task(ONE, images=images, masks=masks).annotations
    for folder in ("/", tmp_path):
        monkeypatch.chdir(folder)
        assert FORMATS["mask_folder"].is_annotation(tmp_path / "data" / images / "a_mask.png", section) == shared


FOLDERS = {"A": "masks/a", "B": "masks/b"}


def test_a_folder_of_binary_masks_per_structure(tmp_path, make_task):
    touch(tmp_path, "images/1.png", "images/2.png", "masks/a/1_mask.png", "masks/b/1_mask.tif", "masks/a/2_mask.png")
    touch(tmp_path, "masks/b/3_mask.png", "images/4.png")
    task = make_task(TWO, masks=FOLDERS)
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    (item,) = items
    assert [(mask.structure, mask.path.name) for mask in item.masks] == [("A", "1_mask.png"), ("B", "1_mask.tif")]
    assert sorted(map(str, faults)) == [
        f"images/2.png: has no mask of B (expected masks/b/2_mask.png); {ASKED}",
        f"images/4.png: has no mask (expected masks/a/4_mask.png and masks/b/4_mask.png); {ASKED}",
        "masks/b/3_mask.png: a mask for an image that is not there",
    ]
    assert FORMATS["mask_folder"].folders(task.annotations) == ["images", "masks/a", "masks/b"]
    with pytest.raises(ValueError, match="are only read"):
        FORMATS["mask_folder"].write(tmp_path, task.annotations, [Annotation("1.png", mask=INDICES)])


def test_a_structure_whose_masks_lie_beside_the_images(tmp_path, make_task):
    touch(tmp_path, "d/1.png", "d/1_mask.png", "b/1_mask.png")
    task = make_task(TWO, images="d", masks={"A": "d", "B": "b"})
    (item,), faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert item.image.path.name == "1.png" and len(item.masks) == 2 and faults == []
    assert FORMATS["mask_folder"].is_annotation(tmp_path / "d/1_mask.png", task.annotations)


SUFFIXES = {"A": "_nerve", "B": "_vessel"}


@pytest.mark.parametrize(
    ("images", "masks", "section"),
    [
        ("d/{}.png", ("d/{}_nerve.png", "d/{}_vessel.tif"), {"images": "d", "masks": "d"}),
        ("images/{}.png", ("masks/{}_nerve.png", "masks/{}_vessel.png"), {}),
        ("i/{}_us.png", ("i/{}_nerve.png", "i/{}_vessel.png"), {"images": "i", "masks": "i", "image_suffix": "_us"}),
        ("images/{}.png", ("a/{}_nerve.png", "b/{}_vessel.png"), {"masks": {"B": "b", "A": "a"}}),
        ("i/{}.png", ("i/{}_nerve.png", "m/{}_vessel.png"), {"images": "i", "masks": {"A": "i", "B": "m"}}),
    ],
)
def test_a_suffix_per_structure(tmp_path, make_task, images, masks, section):
    names = ("case01", "case 01_b", "a_nerve_x")
    touch(tmp_path, *(pattern.format(name) for pattern in (images, *masks) for name in names))
    task = make_task(TWO, mask_suffix=SUFFIXES, **section)
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert faults == [] and len(items) == 3
    for item in items:
        name = item.image.path.stem.removesuffix("_us")
        found = {mask.structure: mask.path.relative_to(tmp_path).as_posix() for mask in item.masks}
        assert found == {structure: pattern.format(name) for structure, pattern in zip("AB", masks, strict=True)}
        first = FORMATS["mask_folder"].image_files(task.annotations, item.image.path.name)[0]
        assert first == f"{task.annotations.mask_sets[0].folder}/{name}{task.annotations.mask_sets[0].suffix}.png"
    with pytest.raises(ValueError, match="are only read"):
        FORMATS["mask_folder"].write(tmp_path, task.annotations, [Annotation("1.png", mask=INDICES)])


def test_the_longest_suffix_decides(tmp_path, make_task):
    touch(tmp_path, "images/1.png", "images/2.png", "masks/1.png", "masks/1_b.png", "masks/2.png", "masks/2_b.png")
    task = make_task(TWO, mask_suffix={"A": "", "B": "_b"})
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert [[mask.path.name for mask in item.masks] for item in items] == [["1.png", "1_b.png"], ["2.png", "2_b.png"]]
    assert faults == []
    assert FORMATS["mask_folder"].folders(task.annotations) == ["images", "masks"]


def test_masks_of_suffixes_lie_among_the_images(tmp_path, make_task):
    section = make_task(TWO, images="d", masks="d", mask_suffix=SUFFIXES).annotations
    shown = {
        name: FORMATS["mask_folder"].is_annotation(tmp_path / f"d/{name}.png", section) for name in ("1", "1_nerve")
    }
    assert shown == {"1": False, "1_nerve": True}


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_names_that_are_almost_those_of_masks(tmp_path, make_task, folder):
    """A mask is never taken for an image that shows nothing, nor left out without a word."""
    for name in ("1", "2"):
        touch(tmp_path, f"images/{name}.png", f"{folder}/{name}_nerve.png", f"{folder}/{name}_vessel.png")
    touch(tmp_path, f"{folder}/1_Nerve.png", f"{folder}/1_vessel_2.png", f"{folder}/2_artery.png")
    task = make_task(TWO, masks=folder, mask_suffix=SUFFIXES, without_annotation="empty")
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert [item.id for item in items] == ["1", "2", *(["2_artery"] if folder == "images" else [])]
    ends = f"{folder}/1_Nerve.png: ends with _Nerve, and annotations.mask_suffix of the task is _nerve; rename the mask"
    begins = (
        f"{folder}/1_vessel_2.png: its name begins with that of the mask 1_vessel: set annotations.unite to true, "
        "where both show parts of a structure, name its end in annotations.mask_suffix for a structure of its own, or "
        "move it away"
    )
    other = f"(warning) {folder}/2_artery.png: ends with no annotations.mask_suffix (_nerve or _vessel); not used"
    assert sorted(map(str, faults)) == ([ends, begins] if folder == "images" else [other, ends, begins])


@pytest.fixture
def both_labels(tmp_path, write_picture):
    """Return a function that sends binary masks of A and B through verification: (label map or None, faults)."""

    def both_labels(first: np.ndarray, second: np.ndarray, task):
        write_picture(tmp_path / "images" / "a.png", size=(6, 8))
        for name, mask in (("a", first), ("b", second)):
            (tmp_path / "masks" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / name / "a_mask.png")
        (item,), _ = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
        checked, faults = check(item, tmp_path, task)
        if checked is None:
            return None, [str(fault) for fault in faults]
        (tmp_path / "out.png").write_bytes(checked.mask_png)
        return read_mask(tmp_path / "out.png"), [str(fault) for fault in faults]

    return both_labels


def columns(*shown: int) -> np.ndarray:
    mask = np.zeros((6, 8), bool)
    mask[:, list(shown)] = True
    return mask


def test_a_structure_that_an_image_has_no_mask_of_is_not_on_it(tmp_path, both_labels, make_task):
    task = make_task(TWO, masks=FOLDERS, without_annotation="empty")
    both_labels(columns(1), columns(2), task)
    touch(tmp_path, "images/b.png", "images/c.png", "masks/b/b_mask.png")
    Image.fromarray(columns(4).astype(np.uint8)).save(tmp_path / "masks/b/b_mask.png")
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert [item.id for item in items] == ["a", "b", "c"] and faults == []
    labels = [decode_label_map(check(item, tmp_path, task)[0].mask_png)[0].tolist() for item in items]
    assert labels == [[0, 1, 2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 2, 0, 0, 0], [0] * 8]


def test_overlaps_of_folders_follow_covered_by(both_labels, make_task):
    a_below = make_task([{**TWO[0], "covered_by": ["B"]}, TWO[1]], masks=FOLDERS)
    b_below = make_task([TWO[0], {**TWO[1], "covered_by": ["A"]}], masks=FOLDERS)
    assert both_labels(columns(1, 2), columns(2, 3), a_below)[0][0].tolist() == [0, 1, 2, 2, 0, 0, 0, 0]
    assert both_labels(columns(1, 2), columns(2, 3), b_below)[0][0].tolist() == [0, 1, 1, 2, 0, 0, 0, 0]
    assert "masks/a/a_mask.png, A: is completely covered by other classes" in str(
        both_labels(columns(1), columns(1, 2), a_below)[1]
    )


def test_every_folder_is_checked_and_filled_by_itself(both_labels, make_task):
    box = columns(1, 2, 3)
    box[2:4, 2] = False
    task = make_task(TWO, masks=FOLDERS, fill_outlines=True)
    assert both_labels(box, columns(), task)[0][3].tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    labels, faults = both_labels(np.zeros((5, 8)), np.zeros((6, 9)), task)
    assert labels is None and [fault.split(":")[0] for fault in faults] == ["masks/a/a_mask.png", "masks/b/a_mask.png"]


def test_values_that_are_no_indices(labels_of, make_task):
    task = make_task(TWO, values={"128": "B", "255": "A"})
    stored = np.array([0, 255, 128], np.uint8)[INDICES]
    labels, faults = labels_of(Image.fromarray(stored), task)
    assert np.array_equal(labels, INDICES) and faults == []
    labels, faults = labels_of(Image.fromarray(INDICES), task)
    said = "mask values 1, 2 are not in annotations.values; expected 0 background, 128 B, 255 A"
    assert labels is None and said in faults[0]


COLORS = {"#FF0000": "B", "#00c850": "A"}
SHOWN = np.array([[0, 0, 0], [0, 200, 80], [255, 0, 0]], np.uint8)
"""Colour of each of INDICES."""


@pytest.mark.parametrize("kind", ["RGB", "transparent", "palette"])
def test_masks_in_colours(labels_of, make_task, kind):
    picture = Image.fromarray(SHOWN[INDICES])
    if kind == "transparent":  # white without opacity is background
        opaque = np.where(INDICES > 0, 255, 0)[..., None].astype(np.uint8)
        white = np.where(INDICES[..., None] > 0, SHOWN[INDICES], 255).astype(np.uint8)
        picture = Image.fromarray(np.concatenate([white, opaque], axis=2))
    if kind == "palette":
        picture = Image.fromarray(INDICES)
        picture.putpalette(SHOWN.ravel().tolist())
    labels, faults = labels_of(picture, make_task(TWO, values=COLORS))
    assert np.array_equal(labels, INDICES) and faults == []


def test_a_colour_that_is_background(labels_of, make_task):
    labels, faults = labels_of(
        Image.fromarray(SHOWN[INDICES]), make_task(ONE, values={"#ff0000": "HEAD", "#00c850": None})
    )
    assert np.array_equal(labels, INDICES == 2) and faults == []


def test_few_pixels_of_other_colours_are_read_as_the_nearest(tmp_path, make_task, write_picture):
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[5:10, 5:10], stored[5:10, 15:20] = SHOWN[2], SHOWN[1]
    stored[5, 5], stored[5, 15], stored[0, 0] = (200, 30, 30), (10, 150, 60), (60, 0, 0)
    task, expected = make_task(TWO, values=COLORS), np.zeros((20, 30), np.uint8)
    expected[5:10, 5:10], expected[5:10, 15:20] = 2, 1
    write_picture(tmp_path / "images" / "a.png", size=(20, 30))
    (tmp_path / "masks").mkdir()
    mask = tmp_path / "masks" / "a_mask.png"

    def checked():
        Image.fromarray(stored).save(mask)
        (item,), _ = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
        found, faults = check(item, tmp_path, task)
        return found and decode_label_map(found.mask_png), [str(fault) for fault in faults]

    labels, faults = checked()
    assert np.array_equal(labels, expected)
    assert faults == [
        "(warning) masks/a_mask.png: 3 pixels of other colours than those in annotations.values: read as the nearest "
        "of these"
    ]
    stored[12:14, 4:10] = (250, 120, 0)
    labels, faults = checked()
    assert labels is None and "15 pixels (2.5%) have colours" in faults[0]
    stored[12:15, 4:10], stored[12:15, 4:7] = 0, (1, 1, 1)  # an index, of few pixels
    labels, faults = checked()
    assert labels is None and faults == [
        "masks/a_mask.png: 12 pixels (2.0%) have colours that are not in annotations.values (#010101, #0a963c, "
        "#3c0000, ...); expected #000000, #ff0000 or #00c850; add them there, null for background"
    ]


def test_masks_in_colours_are_written_as_they_are_read(tmp_path, make_task):
    task = make_task(TWO, values=COLORS)
    positions = np.array([0, 2, 1], np.uint8)[INDICES]  # of the colours, of which that of B is the first
    FORMATS["mask_folder"].write(tmp_path, task.annotations, [Annotation("a.png", mask=positions)])
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "a_mask.png")), SHOWN[INDICES])


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"values": {"#ff0000": "A", "2": "B"}}, "values has numbers and colours; expected one kind"),
        ({"values": {"#000000": "A", "#ff0000": "B"}}, "#000000 is background; remove it"),
        ({"values": {"#ff00": "A", "#ff0000": "B"}}, "values.#ff00: .*should match pattern"),
        ({"values": {"red": "A", "#ff0000": "B"}}, "values.red: .*valid integer"),
        ({"masks": {"A": "a", "B": "./a"}}, "two structures have the same folder"),
        ({"masks": {}}, "masks: names nothing"),
        ({"mask_suffix": {}}, "mask_suffix: names nothing"),
        ({"mask_suffix": {"A": "_a"}}, "annotations.mask_suffix: has nothing for B; add it, or remove the structure"),
        ({"mask_suffix": {"A": "_a", "B": "_a"}}, "two structures have the same folder and mask_suffix"),
        ({"mask_suffix": {"A": "_a", "B": "/../../b"}}, "mask_suffix.B: '/../../b' leads out of the data folder"),
        ({"mask_suffix": SUFFIXES, "values": {"1": "A", "2": "B"}}, "masks of one structure are binary"),
        ({"mask_suffix": ["_a", "_b"]}, "mask_suffix: input should be a valid string"),
        ({"masks": {"A": "a", "C": "c"}}, "annotations.masks: unknown class 'C'"),
        ({"masks": {"A": "a"}}, "annotations.masks: has nothing for B; add it, or remove the structure"),
        ({"masks": {"A": "a", "B": "../b"}}, "masks.B: '../b' leads out of the data folder"),
        ({"masks": 3}, "masks: input should be a valid string"),
        ({"values": {"1": "A"}}, "annotations.values: has nothing for B"),
        ({"values": {"0": "A", "1": "B"}}, "greater than or equal to 1"),
        ({"masks": FOLDERS, "values": {"1": "A", "2": "B"}}, "masks of one structure are binary"),
    ],
)
def test_settings_that_are_refused(make_task, section, said):
    with pytest.raises(TaskError, match=said):
        make_task(TWO, **section)


def test_values_may_be_written_without_quotes_and_are_left_out_when_empty(tmp_path, make_task):
    file = tmp_path / "a.yaml"
    file.write_text("values: {128: A, 0255: B}\n")
    assert read_yaml(file) == {"values": {"128": "A", "0255": "B"}}
    # fingerprints of earlier versions
    assert not {"values", "without_annotation"} & make_task(TWO).annotations.model_dump().keys()
    assert make_task(TWO, without_annotation="empty").annotations.model_dump()["without_annotation"] == "empty"
    for values in ({"128": "A", "255": "B"}, {"#0000ff": "A", "#ff0000": "B"}):
        section = make_task(TWO, values=values).model_dump(mode="json")["annotations"]
        assert section["values"] == values == make_task(TWO, **section).model_dump(mode="json")["annotations"]["values"]


def read_of(data, task):
    items, faults = FORMATS["mask_folder"].read(data, task.annotations, task.structures)
    return {item.id: sorted(mask.path.name for mask in item.masks) for item in items}, sorted(map(str, faults))


def test_masks_with_a_number_are_united_on_request(tmp_path, make_task):
    touch(tmp_path, "d/a.png", "d/a_mask.png", "d/a_mask_1.png", "d/a_mask2.png", "d/b.png", "d/b_mask.png")
    task = make_task(ONE, images="d", masks="d", unite=True)
    shown, faults = read_of(tmp_path, task)
    assert shown == {"a": ["a_mask.png", "a_mask2.png", "a_mask_1.png"], "b": ["b_mask.png"]}
    assert faults == ["(warning) d/a.png: 3 masks, united"]
    touch(tmp_path, "d/b_mask.bmp", "d/c_mask_x.png")
    shown, faults = read_of(tmp_path, task)
    assert list(shown) == ["a"] or "b" not in shown
    assert "d/b.png: has several masks: b_mask.bmp, b_mask.png; keep one" in faults
    with pytest.raises(TaskError, match=r"annotations.unite: is for binary masks"):
        make_task(TWO, images="d", masks="d", unite=True)


def test_a_star_is_the_same_folder_in_both_names(tmp_path, make_task):
    touch(tmp_path, "x/i/1.png", "x/m/1_mask.png", "y/i/1.png", "y/m/1_mask.png", "z/i/2.png", "w/m/3_mask.png")
    task = make_task(ONE, images="*/i", masks="*/m")
    shown, faults = read_of(tmp_path, task)
    assert shown == {"x_1": ["1_mask.png"], "y_1": ["1_mask.png"]}
    assert faults == [
        "w/m/: a folder of masks (1), and no folder */i of their images",
        f"z/i/2.png: has no mask (expected z/m/2_mask.png); {ASKED}",
    ]
    with pytest.raises(TaskError, match=r"the same number of \*"):
        make_task(ONE, images="*/i", masks="m")


def test_a_star_leads_nowhere_else(tmp_path, make_task):
    touch(tmp_path, "out/i/1.png", "out/m/1_mask.png", "d/x/i/1.png", "d/x/m/1_mask.png", "d/.hidden/i/9.png")
    (tmp_path / "d/y").symlink_to(tmp_path / "out")
    shown, faults = read_of(tmp_path / "d", make_task(ONE, images="*/i", masks="*/m"))
    assert list(shown) == ["x_1"] and all("y/" in fault and "leads out of the data folder" in fault for fault in faults)


def test_prefixes_and_ignored_pictures(tmp_path, make_task):
    touch(tmp_path, "images/bus_1.png", "masks/mask_1.png", "masks/mask_1_colour.png", "masks/notes.png")
    task = make_task(ONE, image_prefix="bus_", mask_prefix="mask_", mask_suffix="", ignore=["_colour"])
    assert read_of(tmp_path, task) == (
        {"bus_1": ["mask_1.png"]},
        [
            "(warning) masks/mask_1_colour.png: annotations.ignore names the end of its name; not used",
            "(warning) masks/notes.png: does not begin with annotations.mask_prefix (mask_); not used",
        ],
    )
