"""Stage 1: what it writes, what it refuses, and that a refusal writes nothing."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image

from sonoseg.io.masks import read_mask
from sonoseg.prepare.split import assert_no_leak
from tests.conftest import REPOSITORY
from tests.datasets import EPI, LINE, RECT
from tests.prepare.conftest import rows


def refused(run, out, *expected):
    code, _, err = run()
    assert code == 2
    assert not out.exists()
    for text in expected:
        assert text in err, err
    return err


def test_a_file_with_several_frames_is_a_fault(run, out, spine_data):
    """An annotation has to name the frame."""
    images = spine_data() / "images"
    first, *others = [Image.open(images / f"i{number:02}.png") for number in range(3)]
    first.save(images / "i00.png", save_all=True, append_images=others)
    assert "1 fault" in refused(
        run, out, "'i00': i00.png has 3 frames; expected the number of one in the name, such as i00_"
    )


def test_a_good_dataset(run, out, tmp_path, spine_data):
    spine_data(count=20)
    code, said, _ = run()
    assert code == 0
    assert "next: python image_preprocessing.py --task spine" in said
    tables = rows(out)
    assert_no_leak(tables["train"], tables["test"])
    assert len(tables["train"]) == 16 and len(tables["test"]) == 4
    assert {sample.fold for sample in tables["train"]} == {0, 1, 2, 3, 4}
    assert {sample.fold for sample in tables["test"]} == {None}
    first = tables["train"][0]
    assert first.spacing == (0.1, 0.2) and (first.height, first.width) == (48, 64)
    assert first.image.path.parent == tmp_path / "Datasets" / "spine" / "images"
    mask = read_mask(first.mask)
    assert mask.shape == (48, 64) and mask[6, 20] == 1 and mask[35, 12] == 2 and mask[20, 20] == 3
    assert Image.open(first.mask).mode == "P"


def test_the_report_counts(run, out, spine_data):
    spine_data(count=20)
    run()
    report = json.loads((out / "dataset_report.json").read_text())
    assert report["counts"]["train"]["images_with_class"] == {"MID": 16, "VTB": 16, "EPI": 16}
    assert report["counts"]["test"] == {"images": 4, "patients": 2, "images_with_class": {"MID": 4, "VTB": 4, "EPI": 4}}
    assert sum(fold["images"] for fold in report["counts"]["folds"]) == 16
    assert report["settings"] == {"test_size": 0.2, "folds": 5, "seed": 42}
    assert report["spacing_mm"]["images_with"] == 20 and report["warnings"] == []


def test_every_fault_is_listed_at_once(run, out, spine_data, write_picture):
    data = spine_data(
        annotations={
            "i00": [LINE, ["NOSE", "line", [[1, 1], [2, 2]]], ["MID", "line", [[float("nan"), 1], [2, 2]]]],
            "i01": [["MID", "rect", [[1, 1], [2, 2]]], ["MID", "circle", [[1, 1], [2, 2]]]],
            "i02": [["EPI", "line", [[1, 1], [2, 2], [3, 3]]], ["EPI", "line", [[5, 5], [5, 5]]]],
            "i03": [["VTB", "rect", [[1, 1], [1e12, 9]]], "no list", ["VTB", "rect", [[True, 1], [5, 9]]]],
            "i04": [LINE],
            "i05": [LINE, RECT, EPI],
            "ghost": [LINE],
            "../../secret": [LINE],
            "/etc/passwd": [LINE],
            "C:\\x": [LINE],
            "": [LINE],
        }
    )
    (data / "images" / "i04.png").write_bytes((data / "images" / "i04.png").read_bytes()[:400])
    write_picture(data / "images" / "i05.jpg", seed=50)
    shutil.copy(data / "images" / "i02.png", data / "images" / "odd\nname.png")
    err = refused(
        run,
        out,
        "annotations.json, 'i00', shape 1: unknown class 'NOSE'; the classes are MID, VTB or EPI",
        "annotations.json, 'i00', shape 2: MID: points have to be [x, y] pairs of finite numbers",
        "annotations.json, 'i01', shape 0: MID is annotated as rectangle; the task says line",
        "annotations.json, 'i01', shape 1: MID: unknown shape 'circle'",
        "annotations.json, 'i02', shape 0: EPI: 3 points; a line has 2",
        "images/i02.png, shape 1 (EPI): both ends of the line are the same point",
        "images/i03.png, shape 0 (VTB): point (1e+12, 9) lies outside the image of 64x48 pixels",
        "annotations.json, 'i03', shape 1: expected [class, shape, points]",
        "annotations.json, 'i03', shape 2: VTB: points",
        "images/i04.png: the file is damaged or cut short",
        "images/i05.png: has the same id as images/i05.jpg",
        "annotations.json, 'ghost': annotation for an image that is not there",
        "annotations.json, '../../secret': a path",
        "annotations.json, '/etc/passwd': a path",
        "annotations.json, 'C:\\\\x': a path",
        "annotations.json, '': a path",
        "images/odd\\nname.png: a line break",
    )
    assert "17 faults found and nothing was written" in err


def test_same_picture_of_two_patients(run, out, spine_data):
    data = spine_data()
    shutil.copy(data / "images" / "i00.png", data / "images" / "i05.png")
    said = "images/i00.png: the same file as images/i05.png, but of patients P0, P2; remove one, or correct the patient"
    refused(run, out, f"{said}; --drop-duplicates keeps the first one by its name\n")
    code, _, _ = run("--drop-duplicates")
    assert code == 0


def test_many_pictures_of_two_patients_are_one_line_that_names_the_flag(run, out, spine_data):
    data = spine_data(20)
    for number in range(5):
        shutil.copy(data / "images" / f"i{number:02}.png", data / "images" / f"i{number + 10}.png")
    refused(run, out, "remove one of each pair, or correct the patients; --drop-duplicates keeps the first one")


def test_same_picture_stored_in_another_way(run, out, spine_data):
    data = spine_data()
    Image.open(data / "images" / "i00.png").convert("RGB").save(data / "images" / "i05.png")
    refused(run, out, "images/i00.png: the same pixels as images/i05.png, but of patients P0, P2")


def test_same_picture_of_one_patient_is_a_warning(run, out, spine_data):
    data = spine_data()
    shutil.copy(data / "images" / "i00.png", data / "images" / "i01.png")
    code, said, _ = run()
    said_of_it = "images/i00.png: the same file as images/i01.png, of one patient: it counts twice; --drop-duplicates"
    assert code == 0 and said_of_it in said


def test_names_that_differ_in_case_only(run, out, spine_data, write_picture):
    data = spine_data()
    write_picture(data / "images" / "I05.png", seed=99)
    refused(run, out, "images/i05.png: has the same id as images/I05.png")


def test_names_in_two_unicode_forms(run, out, spine_data, write_picture):
    data = spine_data()
    write_picture(data / "images" / "\u00e9.png", seed=98)
    write_picture(data / "images" / "e\u0301.png", seed=99)
    refused(run, out, "has the same id as images/")


@pytest.mark.parametrize("name", ["with space", "<script>", "=1+1", "'=1+1", "\u00e9\u4e2d", "001", "NA", "a.b"])
def test_unusual_names_come_back_from_the_tables(run, out, tmp_path, spine_data, write_picture, name):
    data = spine_data()
    write_picture(data / "images" / f"{name}.png", seed=77)
    annotations = json.loads((data / "annotations.json").read_text())
    annotations[name] = [LINE]
    (data / "annotations.json").write_text(json.dumps(annotations))
    assert run()[0] == 0
    tables = rows(out)
    (found,) = [sample for sample in (*tables["train"], *tables["test"]) if sample.id == name]
    assert found.image.path.is_file() and read_mask(found.mask).any()


def test_links_that_leave_the_data_folder(run, out, tmp_path, spine_data, write_picture):
    data = spine_data()
    outside = write_picture(tmp_path / "outside.png", seed=5)
    (data / "images" / "linked.png").symlink_to(outside)
    refused(run, out, "images/linked.png: is a link that leads out of the data folder")


def test_a_linked_image_folder(run, out, tmp_path, spine_data):
    data = spine_data()
    shutil.move(data / "images", tmp_path / "elsewhere")
    (data / "images").symlink_to(tmp_path / "elsewhere")
    refused(run, out, "images: leads out of the data folder")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"i00": [\n  ["MID",]]}', "annotations.json, line 2, column"),
        ("[]", 'expected {"image name"'),
        ("{", "line 1, column 2"),
        ('{"i00": {"MID": 1}}', "'i00': expected a list of [class, shape, points]"),
        ('{"i00": [], "i00": []}', "'i00': a second annotation of the same image"),
        ('{"i00": [], "i00.png": []}', "'i00.png': a second annotation of the same image"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"i00": [["MID", "line", [[1e999, 1], [2, 2]]]]}', "'i00', shape 0: MID: points"),
        ('{"i00": [["MID", "line", [[1' + "0" * 400 + ", 1], [2, 2]]]]}", "'i00', shape 0: MID: points"),
    ],
)
def test_annotation_files_that_are_not_right(run, out, spine_data, content, expected):
    data = spine_data()
    (data / "annotations.json").write_text(content)
    refused(run, out, expected)


def test_annotation_file_with_byte_order_mark(run, spine_data):
    data = spine_data()
    (data / "annotations.json").write_bytes(b"\xef\xbb\xbf" + (data / "annotations.json").read_bytes())
    assert run()[0] == 0


def test_rows_of_the_table_are_collected_with_the_rest(run, out, spine_data):
    data = spine_data(table="image,patient,row_mm,col_mm\ni00,P0,-1,1\ni00,P0,1,1\n")
    (data / "images" / "i03.png").write_bytes(b"not a picture")
    refused(
        run, out, "metadata.csv, row 2: row_mm", "metadata.csv, row 3: image 'i00'", "images/i03.png: not a readable"
    )


def test_missing_things_are_one_sentence(run, out, tmp_path, spine_data):
    refused(run, out, "Datasets/spine: no such folder")
    data = spine_data()
    (data / "annotations.json").unlink()
    refused(run, out, "annotations.json: no such annotation file")
    shutil.rmtree(data / "images")
    refused(run, out, "images: no such folder")


def test_an_empty_folder(run, out, spine_data):
    spine_data(count=0)
    refused(run, out, "no annotated images found")


def test_unannotated_images_are_left_out(run, out, spine_data):
    spine_data(annotations={f"i{index:02}": [LINE] for index in range(5)})
    code, said, _ = run()
    assert code == 0 and "images/i05.png: not in annotations.json; left out" in said
    assert sum(map(len, rows(out).values())) == 5


def test_an_image_that_shows_nothing_is_kept(run, out, spine_data):
    spine_data(annotations={f"i{index:02}": [LINE] if index else [] for index in range(6)})
    code, said, _ = run()
    assert code == 0 and "images/i00.png: its mask is empty" in said
    (empty,) = [sample for table in rows(out).values() for sample in table if not any(sample.present.values())]
    assert empty.id == "i00"


def test_a_class_that_others_cover_is_warned_of(run, out, spine_data):
    small = ["VTB", "rect", [[19, 20], [21, 22]]]
    spine_data(count=4, annotations={f"i{index:02}": [LINE, small] for index in range(4)})
    assert "images/i00.png, VTB: is completely covered by other classes" in run()[1]
    assert not any(sample.present["VTB"] for table in rows(out).values() for sample in table)


def test_a_missing_patient_column_is_reported(run, out, spine_data):
    spine_data(table="image,row_mm,col_mm\n" + "".join(f"i{index:02},1,1\n" for index in range(6)))
    code, said, _ = run()
    assert code == 0 and "each counts as a patient of its own" in said
    assert len({sample.patient for table in rows(out).values() for sample in table}) == 6


def test_images_without_a_row_are_named(run, spine_data):
    spine_data(table="image,patient,row_mm,col_mm\ni00,P,1,1\n")
    code, said, _ = run()
    assert code == 0 and "metadata.csv: no row for 5 images (i01, i02, i03, i04, i05)" in said


def test_patients_that_differ_in_case(run, spine_data):
    spine_data(table="image,patient\n" + "".join(f"i{i:02},{'pP'[i % 2]}1\n" for i in range(6)))
    assert "patient p1: differs from P1 in upper and lower case only" in run()[1]


def test_unwritable_output_fails_before_work(run, out, tmp_path, spine_data, monkeypatch):
    spine_data()
    (tmp_path / "Train_Test_Dataset").write_text("a file where the folder should be")
    monkeypatch.setattr("sonoseg.prepare.verify.read_frames", lambda *_: pytest.fail("work began"))
    code, _, err = run()
    assert code == 2 and "cannot be written" in err


@pytest.mark.parametrize("flags", [["--test-size", "1"], ["--test-size", "nan"], ["--folds", "1"], ["--seed", "-1"]])
def test_flags_out_of_range(run, flags):
    code, _, said = run(*flags)
    assert code == 2 and "expected a number from" in said


def test_a_task_that_states_every_setting_needs_no_torch(tmp_path, spine_data):
    code = (
        "import sys, train_test_data_preparation\n"
        "assert train_test_data_preparation.main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'monai', 'lightning_fabric'} & set(sys.modules)"
    )
    arguments = ["--task", "spine", "--workspace", str(tmp_path), "--data", str(spine_data())]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
