"""`sonoseg convert` on DICOM loops: frames keep their names, and coordinates are those of the frame."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from sonoseg.__main__ import main as sonoseg
from sonoseg.annotations import FORMATS, Annotation
from sonoseg.geometry.shapes import Shape
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.prepare.reading.labels import read_labels
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure
from tests.dicom_files import region_item, write_dicom

SIZE = (60, 100)
A = Structure(name="A", shape="rectangle", color="#ff0000")
NAMES = ("loop_frame0002", "loop_frame0004", "still")


@pytest.mark.parametrize("source", ["shapes_json", "coco"])
@pytest.mark.parametrize("to", FORMATS)
def test_a_loop(tmp_path: Path, source: str, to: str) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    (data / "images").mkdir(parents=True)
    frames = np.random.default_rng(1).integers(0, 255, (5, *SIZE), dtype=np.uint8)
    regions = [region_item(10, 5, 39, 44), region_item(50, 5, 89, 44)]
    write_dicom(data / "images" / "loop.dcm", frames, regions)
    write_dicom(data / "images" / "still.dcm", frames[0], regions)
    boxes = [Shape("A", "rectangle", np.array([[left, 6.0], [left + 20, 30.0]])) for left in (12.0, 15.0, 60.0)]
    images = [f"{name}.{'dcm' if name == 'still' else 'png'}" for name in NAMES]
    annotations = [Annotation(image, (box,), size=SIZE) for image, box in zip(images, boxes, strict=True)]
    FORMATS[source].write(data, annotations_section(source), annotations)
    fields = {"name": "boxes", "structures": [A.model_dump(exclude_none=True)], "annotations": {"format": source}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    assert sonoseg(["convert", str(data), str(out), "--to", to, "--task", str(tmp_path / "task.yaml")]) == 0
    assert sorted(path.name for path in (out / "images").iterdir() if path.suffix == ".dcm") == [
        "loop.dcm",
        "still.dcm",
    ]
    written = yaml.safe_load((out / "annotations_section.yaml").read_text())["annotations"]
    section = annotations_section(written.pop("format"), **written)
    items, faults = FORMATS[to].read(out, section, [A])
    assert faults == [] and tuple(item.id for item in items) == NAMES
    for item, box in zip(items, boxes, strict=True):
        labels, _ = read_labels(item, SIZE, out, [A], DEFAULT_LIMITS)
        window, mask = box.draw(SIZE)
        assert labels is not None and labels[window].sum() == mask.sum() == labels.sum()
