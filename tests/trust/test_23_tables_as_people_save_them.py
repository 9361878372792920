"""Check 23: a table with BOM, semicolons, CP1252, `001`, `NA`, spaces: ids kept, or an error with the row."""

from pathlib import Path

import numpy as np
import pytest
import yaml

import image_preprocessing as stage2
import train_test_data_preparation as stage1
from sonoseg.io.png import write_image
from sonoseg.runs.split_tables import read_index, read_split
from tests.trust.conftest import everything

PATIENTS = {"001": "007", "1": "7", "NA": "NA", "nan": "null", "1e3": "Müller", "true": "0x10", "x": "  ", "-": "1,5"}
"""Image -> patient: what a table program would take for numbers, dates, or nothing at all. One has no patient."""
MM = "0.25"


def dataset(root: Path, table: bytes) -> list[str]:
    """Put images of PATIENTS and a table into `root`; return what stages 1 and 2 are called with."""
    shape = '[["VTB", "rect", [[10, 10], [50, 30]]]]'
    for number, name in enumerate(PATIENTS):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 96), np.uint8)
        write_image(root / "data" / "images" / f"{name}.png", pixels)
    entries = ", ".join(f'"{name}": {shape}' for name in PATIENTS)
    (root / "data" / "annotations.json").write_text(f"{{{entries}}}")
    (root / "data" / "metadata.csv").write_bytes(table)
    fields = {"extends": "spine", "name": "tables", "input": {"size": [64, 96]}, "enhancement": {"denoise": None}}
    (root / "task.yaml").write_text(yaml.safe_dump(fields))
    return ["--task", str(root / "task.yaml"), "--workspace", str(root)]


def prepare(root: Path, table: bytes) -> int:
    flags = dataset(root, table)
    return stage1.main([*flags, "--data", str(root / "data"), "--folds", "2"])


def text(separator: str = ",", pad: str = "", ends: str = "\n", quote: str = "", extension: str = "") -> str:
    comma = separator == ","
    lines = [["image", "patient", "row_mm", "col_mm"]]
    for name, patient in PATIENTS.items():
        cells = [name + extension, patient, MM if comma else MM.replace(".", ","), MM]
        lines.append([f'"{cell}"' if quote or (comma and "," in cell) else cell for cell in cells])
    return ends.join(separator.join(cell + pad for cell in line) for line in lines) + ends


WAYS = {
    "plain": text().encode(),
    "BOM": text().encode("utf-8-sig"),
    "BOM and semicolons": text(";", ends="\r\n").encode("utf-8-sig"),
    "semicolons in CP1252": text(";", ends="\r\n").encode("cp1252"),
    "CP1252": text().encode("cp1252"),
    "tabs": text("\t").encode(),
    "spaces at the ends": text(";", pad="  ").encode(),
    "everything in quotes": text(quote='"').encode(),
    "old line ends": text(ends="\r").encode(),
    "empty lines": text(ends="\n\n").encode(),
    "names with extension": text(extension=".png").encode(),
    "no line end at the end": text().rstrip("\n").encode(),
}


@pytest.mark.parametrize("way", WAYS)
def test_ids_and_patients_are_kept(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, WAYS[way]) == 0
    split = tmp_path / "Train_Test_Dataset" / "tables"
    samples = [one for part in ("train", "test") for one in read_split(split / f"{part}_split.csv", ["VTB"], tmp_path)]
    expected = {name: patient.strip() or name for name, patient in PATIENTS.items()}
    assert {one.id: one.patient for one in samples} == expected
    assert {one.spacing for one in samples} == {(0.25, 0.25)}
    said = capsys.readouterr().out
    assert "no patient for 1 image (x)" in said, "what is taken for a patient of its own is said"


def test_stage_2_keeps_them_too(tmp_path: Path) -> None:
    assert prepare(tmp_path, WAYS["BOM and semicolons"]) == 0
    flags = ["--task", str(tmp_path / "task.yaml"), "--workspace", str(tmp_path)]
    assert stage2.main([*flags, "--copies", "1", "--jobs", "1"]) == 0
    split = tmp_path / "Train_Test_Dataset" / "tables"
    rows = [row for part in ("train", "test") for row in read_index(split / part / "index.csv", tmp_path)]
    assert {row.source_id: row.patient for row in rows} == {name: one.strip() or name for name, one in PATIENTS.items()}


HEAD = "image,patient,row_mm,col_mm\n"
FAULTS = {
    "one image twice": (HEAD + "001,a,1,1\n1,b,1,1\n001,c,1,1\n", "row 4: image '001' is already in row 2"),
    "with and without extension": (HEAD + "001,a,1,1\n001.png,b,1,1\n", "row 3: image '001.png' is already in row 2"),
    "twice after a space": (HEAD + "001,a,1,1\n001 ,b,1,1\n", "row 3: image '001' is already in row 2"),
    "no name": (HEAD + "001,a,1,1\n,b,1,1\n", "row 3: no image name"),
    "a spacing that is text": (HEAD + "001,a,1,1\n1,b,one,1\n", "row 3: row_mm is 'one'"),
    "a spacing of nothing": (HEAD + "001,a,0,0\n", "row 2: row_mm is '0'; expected a number above 0"),
    "a spacing below nothing": (HEAD + "001,a,-1,1\n", "row 2: row_mm is '-1'"),
    "a spacing without end": (HEAD + "001,a,inf,1\n", "row 2: row_mm is 'inf'"),
    "half a spacing": (HEAD + "001,a,1,\n", "row 2: only one of row_mm and col_mm is given"),
    "a decimal comma among commas": (HEAD + "001,a,0,25,0,25\n", "row 2: more cells than the header's 4"),
    "no column of names": ("picture,patient\n001,a\n", "no column 'image' with the images' names"),
    "empty": ("", "the table is empty"),
    "a picture": ("image,patient\n\x00\x01" + "x" * 200_000 + "\n", "row "),
    "one column twice": ("image,patient,patient\n001,a,b\n", "column 'patient' is there twice"),
}


@pytest.mark.parametrize("what", FAULTS)
def test_what_cannot_be_kept_is_named_with_its_row(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, message = FAULTS[what]
    flags = [*dataset(tmp_path, table.encode()), "--data", str(tmp_path / "data")]
    before = everything(tmp_path)
    assert stage1.main([*flags, "--folds", "2"]) == 2
    said = capsys.readouterr().err
    assert message in said and "metadata.csv" in said and "Traceback" not in said
    assert everything(tmp_path) == before


def test_all_bad_rows_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, (HEAD + "001,a,x,1\n1,b,1,1\n1,c,1,1\n,d,1,1\n").encode()) == 2
    said = capsys.readouterr().err
    assert "row 2: row_mm is 'x'" in said and "row 4: image '1'" in said and "row 5: no image name" in said


UNCLOSED = {
    "at the first cell": ('001,a,1,1\n"1,b,1,1\nNA,c,1,1\n', "row 3"),
    "in the middle": ('001,a,1,1\n1,"b,1,1\nNA,c,1,1\n\nx,d,1,1\n', "row 3"),
    "in the last row": ('001,a,1,1\n\n1,b,1,"1', "row 4"),
    "before 200 kB": ('001,"a,1,1\n' + "1,b,1,1\n" * 25_000, "row 2"),
    "ended by another one": ('001,"a,1,1\nNA,b",1,1\n', "row 2: a line break, control character"),
}


@pytest.mark.parametrize("what", UNCLOSED)
def test_an_unclosed_quotation_mark_names_its_row(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, message = UNCLOSED[what]
    assert prepare(tmp_path, (HEAD + rows).encode()) == 2
    said = capsys.readouterr().err
    assert message in said and "metadata.csv" in said
    assert not list(tmp_path.rglob("*_split.csv"))


@pytest.mark.parametrize("number", ["1_0", "0_1", "\uff11", "1e999", "nan", "0x1", "1 0"])
def test_only_plain_numbers_are_numbers(number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, (HEAD + f"001,a,{number},1\n").encode()) == 2
    assert f"row 2: row_mm is {number!r}; expected a number above 0" in capsys.readouterr().err
