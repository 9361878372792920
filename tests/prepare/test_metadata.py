"""The metadata table, with everything that spreadsheets do to tables."""

from pathlib import Path

import pytest

from sonoseg.errors import DataError
from sonoseg.io.faults import FaultsError
from sonoseg.prepare.metadata import ImageMetadata, meta_of, read_metadata
from sonoseg.schema.task_files import load_task

HEADER = "image,patient,row_mm,col_mm\n"


@pytest.fixture
def read(tmp_path, spine):
    def read(content: str | bytes):
        path = tmp_path / "metadata.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_metadata(path, spine.metadata, spine.patients)

    return read


def test_plain(read):
    assert read(HEADER + "a.png,P1,0.1,0.2\nb,P2,,\n") == {
        "a.png": ImageMetadata((0.1, 0.2), "P1", {}),
        "b": ImageMetadata(None, "P2", {}),
    }


def test_other_units_become_millimetres(tmp_path, spine):
    path = tmp_path / "metadata.csv"
    path.write_text("image,height_cm,width_cm\na,0.01,0.02\n")
    columns = {"row_mm": "height_cm", "col_mm": "width_cm", "unit": "cm"}
    metadata = spine.metadata.model_copy(update=columns)
    assert read_metadata(path, metadata, spine.patients)["a"].spacing == pytest.approx((0.1, 0.2))
    path.write_text("image,height_cm,width_cm\na,1,2\n")
    with pytest.raises(FaultsError, match="a pixel spacing of 10 mm"):
        read_metadata(path, metadata, spine.patients)


def test_standard_columns_stand_in_for_those_of_the_task(tmp_path, fetal_head):
    """Tables that the guide describes go with every task, also with one that names the columns of its own data."""
    path = tmp_path / "metadata.csv"
    for image in ("image", "filename"):
        path.write_text(f"{image},row_mm,col_mm\na.png,0.1,0.2\n")
        assert read_metadata(path, fetal_head.metadata, fetal_head.patients)["a.png"].spacing == (0.1, 0.2)
    path.write_text("filename,pixel size(mm),row_mm,col_mm\na.png,0.3,0.1,0.2\n")
    assert read_metadata(path, fetal_head.metadata, fetal_head.patients)["a.png"].spacing == (0.3, 0.3)
    path.write_text("name,row_mm,col_mm\na.png,0.1,0.2\n")
    with pytest.raises(DataError, match="no column 'filename' or 'image' with the images' names; it has name, row_mm"):
        read_metadata(path, fetal_head.metadata, fetal_head.patients)


def test_ids_stay_text(read):
    table = read(HEADER + "001,007,0.1,0.1\nNA,NA,0.1,0.1\n 1e5 , null ,0.1,0.1\n")
    assert {name: meta.patient for name, meta in table.items()} == {"001": "007", "NA": "NA", "1e5": "null"}


def test_byte_order_mark_semicolons_and_decimal_comma(read):
    assert read("\ufeffimage;patient;row_mm;col_mm\na;P;0,25;0,5\n")["a"].spacing == (0.25, 0.5)


def test_decimal_comma_between_commas_is_an_error(read):
    with pytest.raises(FaultsError, match=r"row 2: row_mm is '0,25'"):
        read(HEADER + 'a,P,"0,25",0.5\n')


def test_windows_1252(read):
    assert read("image,patient\na,Müller\n".encode("cp1252"))["a"].patient == "Müller"


def test_missing_columns_are_unknown(read):
    assert read("image\na\n") == {"a": ImageMetadata()}


def test_empty_rows_are_skipped(read):
    assert list(read(HEADER + "a,P,1,1\n,,,\n")) == ["a"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b,P,-0.1,0.1", "row_mm is '-0.1'"),
        ("b,P,0,0.1", "row_mm is '0'"),
        ("b,P,nan,0.1", "row_mm is 'nan'"),
        ("b,P,0.1,inf", "col_mm is 'inf'"),
        ("b,P,0.1,wide", "col_mm is 'wide'"),
        ("b,P,0.1,", "only one of row_mm and col_mm"),
        ("a,P,0.1,0.1", "image 'a' is already in row 2"),
        ("a.png,P,0.1,0.1", "image 'a.png' is already in row 2"),
        (",P,0.1,0.1", "no image name"),
    ],
)
def test_a_bad_row_is_named(read, row, said):
    with pytest.raises(FaultsError) as caught:
        read(HEADER + f"a,P,0.1,0.1\n{row}\n")
    (fault,) = caught.value.faults
    assert fault.where == "metadata.csv, row 3" and said in fault.message


def test_all_bad_rows_at_once(read):
    with pytest.raises(FaultsError) as caught:
        read(HEADER + "a,P,x,1\nb,P,1,1\nc,P,1,-1\n")
    assert [fault.where for fault in caught.value.faults] == ["metadata.csv, row 2", "metadata.csv, row 4"]


def test_no_image_column_lists_the_columns(read):
    with pytest.raises(DataError, match=r"no column 'image'.*it has picture or patient"):
        read("picture,patient\na,P\n")


def test_looked_up_with_or_without_extension(read):
    table = read(HEADER + "a.png,P1,1,1\nb,P2,1,1\n")
    assert meta_of(table, Path("x/a.png")).patient == "P1"
    assert meta_of(table, Path("x/b.jpg")).patient == "P2"
    assert meta_of(table, Path("x/a.jpg")) is None
    assert meta_of(table, Path("x/c.png")) is None


def test_reference_values(tmp_path):
    task = load_task("fetal_head")
    (tmp_path / "t.csv").write_text(
        "filename,pixel size(mm),head circumference (mm)\n001_HC.png,0.0897,56.81\n2.png,0.1,\n"
    )
    table = read_metadata(tmp_path / "t.csv", task.metadata, task.patients)
    assert table == {
        "001_HC.png": ImageMetadata((0.0897, 0.0897), None, {"hc_mm": 56.81}),
        "2.png": ImageMetadata((0.1, 0.1)),
    }
