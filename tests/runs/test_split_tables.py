"""Tables between the stages: round trips, and faults that name the row."""

from pathlib import Path

import pytest

from sonoseg.errors import DataError
from sonoseg.io.image_ref import WHOLE_FRAME, ImageRef
from sonoseg.io.tables import read_table
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Prepared, Sample, read_index, read_split, write_index, write_split

ROOT = Path("/data/workspace")


def a_sample(**changes):
    fields = {
        "id": "001",
        "image": ImageRef(ROOT / "Datasets" / "x" / "001.png"),
        "mask": ROOT / "m" / "001.png",
        "patient": "NA",
        "fold": 3,
        "present": {"A": True, "B": False},
        "height": 48,
        "width": 64,
        "spacing": (0.1, 0.25),
        "sha256": "ab",
        "mask_sha256": "cd",
        "reference": {"hc_mm": 56.81},
    }
    return Sample(**(fields | changes))


def test_split_table_round_trip(tmp_path):
    other = ImageRef(Path("/elsewhere/cine.tif"), 4)
    samples = [a_sample(), a_sample(id="=x", image=other, fold=None, spacing=None, reference={}, patient="ü, y")]
    samples += [a_sample(id=str(region), image=ImageRef(ROOT / "a.dcm", 2, region)) for region in (0, 1, WHOLE_FRAME)]
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, samples, ["A", "B"], ["hc_mm"])
    assert read_split(tmp_path / "t.csv", ["A", "B"], ROOT) == samples
    header = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[0]
    columns = "id,image_path,frame,region,mask_path,patient,fold,A,B,width,height,row_mm,col_mm,sha256,mask_sha256"
    assert header == f"{columns},reference_hc_mm"


def test_index_round_trip(tmp_path):
    rows = [
        Prepared("001_1", "001", "P", 0, ROOT / "i.png", ROOT / "m.png", "flip"),
        Prepared("2", "2", "Q", None, ROOT / "i", ROOT / "m", "none", 6),
    ]
    write_index(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, rows)
    assert read_index(tmp_path / "t.csv", ROOT) == rows


def test_tables_without_the_columns_frame_and_region_are_read(tmp_path):
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [a_sample()], ["A", "B"], ["hc_mm"])
    old = (tmp_path / "t.csv").read_text()
    old = old.replace("frame,region,", "").replace("001.png,,,", "001.png,")
    (tmp_path / "t.csv").write_text(old)
    assert read_split(tmp_path / "t.csv", ["A", "B"], ROOT) == [a_sample()]


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_wrong_frame_names_the_row(tmp_path, number):
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [a_sample()], ["A", "B"])
    text = (tmp_path / "t.csv").read_text().replace("001.png,,", f"001.png,{number},")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=r"t\.csv, row 2: .*" + number):
        read_split(tmp_path / "t.csv", ["A", "B"], ROOT)


def test_a_wrong_region_names_the_row(tmp_path):
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [a_sample()], ["A", "B"])
    (tmp_path / "t.csv").write_text((tmp_path / "t.csv").read_text().replace("001.png,,,", "001.png,,-1,"))
    with pytest.raises(DataError, match=r"t\.csv, row 2: region -1"):
        read_split(tmp_path / "t.csv", ["A", "B"], ROOT)


def test_empty_table_round_trip(tmp_path):
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [], ["A"])
    assert read_split(tmp_path / "t.csv", ["A"], ROOT) == []


def test_a_bad_cell_names_the_row(tmp_path):
    write_split(
        OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [a_sample(), a_sample(height="tall")], ["A", "B"]
    )
    with pytest.raises(DataError, match=r"t\.csv, row 3: .*tall"):
        read_split(tmp_path / "t.csv", ["A", "B"], ROOT)


def test_other_classes_are_an_error(tmp_path):
    write_split(OutputFolder(tmp_path, "stage1"), tmp_path / "t.csv", ROOT, [a_sample()], ["A", "B"])
    with pytest.raises(DataError, match=r"no column 'C'.*made for another task"):
        read_split(tmp_path / "t.csv", ["A", "C"], ROOT)


def test_a_missing_table_says_who_writes_it(tmp_path):
    with pytest.raises(DataError, match=r"no such table; stage 1 writes it"):
        read_split(tmp_path / "t.csv", ["A"], ROOT)


@pytest.mark.parametrize(
    "content",
    [
        "id,patient\n001,NA\n",
        "\ufeffid,patient\r\n001,NA\r\n",
        "id;patient\n001;NA\n",
        "id\tpatient\n001\tNA\n",
        " id , patient \n 001 ,  NA  \n",
        '"id","patient"\n"001","NA"\n',
        "id,patient\n\n001,NA\n\n",
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content.encode())
    assert [row for _, row in read_table(tmp_path / "t.csv", "you")] == [{"id": "001", "patient": "NA"}]


def test_windows_1252(tmp_path):
    (tmp_path / "t.csv").write_bytes("id,patient\n1,Müller\n".encode("cp1252"))
    assert read_table(tmp_path / "t.csv", "you") == [(2, {"id": "1", "patient": "Müller"})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the table is empty"),
        ("\n", "the table is empty"),
        ("a,b\n1,2\n1,2,3\n", "row 3: more cells than the header's 2"),
    ],
)
def test_tables_that_are_refused(tmp_path, content, said):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv", "you")


def test_a_file_that_is_no_table(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "x" * 200_000 + ",1\n")
    with pytest.raises(DataError, match="is it a text table"):
        read_table(tmp_path / "t.csv", "you")
