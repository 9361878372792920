"""Datumaro, which comes from the makers of CVAT, reads what is written, and writes what is read.

Runs where `datumaro` is installed, which the other tests do not need. It knows no ellipses.
"""

from pathlib import Path

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import Cvat
from sonoseg.schema.annotations import Structure

datumaro = pytest.importorskip("datumaro")

SIZE = (40, 60)
MASK = np.random.default_rng(0).random((7, 9)) > 0.5
MASK[[0, -1], [0, -1]] = True
SHAPES = (
    Shape("MID", "line", np.array([(3.0, 4), (30, 20)])),
    Shape("AREA", "region", np.array([(3.0, 4), (30, 20), (5, 30.25)])),
    Shape("VTB", "rectangle", np.array([(3.0, 4), (30, 20)])),
    Bitmap.of("AREA", MASK, 11, 13),
)
STRUCTURES = [
    Structure(name="MID", shape="line", color="#ff0000", thickness_px=1),
    Structure(name="VTB", shape="rectangle", color="#00ff00"),
    Structure(name="AREA", shape="region", color="#0000ff"),
]


@pytest.fixture
def data(tmp_path: Path, write_picture) -> Path:
    """A data folder with an image and its annotation, written here."""
    write_picture(tmp_path / "images" / "a.png", size=SIZE)
    FORMATS["cvat"].write(tmp_path, Cvat(format="cvat"), [Annotation("a.png", SHAPES, size=SIZE)])
    return tmp_path


def test_what_is_written_is_read_by_datumaro(data: Path) -> None:
    dataset = datumaro.Dataset.import_from(str(data), "cvat")
    (item,) = dataset
    line, region, box, mask = item.annotations
    names = [label.name for label in dataset.categories()[datumaro.AnnotationType.label]]
    assert [names[each.label] for each in item.annotations] == ["MID", "AREA", "VTB", "AREA"]
    assert item.id == "a" and line.points == [3.5, 4.5, 30.5, 20.5] and box.points == [3.5, 4.5, 30.5, 20.5]
    assert region.points == [3.5, 4.5, 30.5, 20.5, 5.5, 30.75]
    expected = np.zeros(SIZE, bool)
    expected[13:20, 11:20] = MASK
    assert np.array_equal(mask.image > 0, expected)


def test_what_datumaro_writes_is_read(data: Path) -> None:
    datumaro.Dataset.import_from(str(data), "cvat").export(str(data / "again"), "cvat")
    (file,) = (data / "again").glob("*.xml")
    section = Cvat(format="cvat", file=file.relative_to(data).as_posix())
    (item,), faults = FORMATS["cvat"].read(data, section, STRUCTURES)
    assert faults == [] and item.size == SIZE
    read = [shape.points.tolist() if isinstance(shape, Shape) else shape.mask.tolist() for _, shape in item.shapes]
    written = [shape.points.tolist() if isinstance(shape, Shape) else shape.mask.tolist() for shape in SHAPES]
    assert sorted(map(str, read)) == sorted(map(str, written))
