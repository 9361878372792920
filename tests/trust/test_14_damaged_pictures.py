"""Check 14: of damaged pictures each ends well or as failed with a reason; none is filled with grey; the batch ends.

A JPEG has no checksum: a flipped bit may change the picture without an error. Missing data are detected.
Of DICOM see also check 38.
"""

import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sonoseg.io.readers import read_image
from sonoseg.types import Pixels
from tests.trust.conftest import Segmented

FLIPS = 200
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "jpg": ("JPEG", {"quality": 90}),
    "progressive.jpg": ("JPEG", {"quality": 90, "progressive": True}),
    "bmp": ("BMP", {}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
}
FLIPPED = [*FORMS][:3]


def encoded(scene: Pixels, form: str) -> bytes:
    kind, options = FORMS[form]
    stream = io.BytesIO()
    Image.fromarray(scene).save(stream, kind, **options)
    return stream.getvalue()


def is_grey_filled(path: Path) -> bool:
    """Tell whether a picture ends in the grey of blocks without data. No part of the scene is that uniform."""
    last = read_image(path).pixels[-8:, -8:]
    return bool((last == 128).all())


def check_batch(images: Path, output: Path, segmented: Segmented) -> dict[str, dict[str, str]]:
    """Segment a folder and return its rows: every file has one, with a reason where it failed, and the counts agree."""
    code, rows = segmented(images, output)
    assert rows.keys() == {path.name for path in images.iterdir()}
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert code == (1 if failed else 0) and all(row["reason"] for row in failed)
    assert not [row for row in failed if "unexpected" in row["reason"]], "a reason that nobody has thought of"
    counts = json.loads((output / "run.json").read_text())["counts"]
    assert counts["inputs"] == len(rows) == sum(counts.values()) - counts["inputs"]
    assert counts["failed"] == len(failed)
    for row in rows.values():
        whole = [(output / f"{row['name']}{end}").is_file() for end in ("_mask.png", "_overlay.png", ".json")]
        assert whole == [row["status"] != "failed"] * 3
    return rows


@pytest.mark.parametrize("form", FORMS)
def test_cut_short(segmented: Segmented, scene: Pixels, tmp_path: Path, form: str) -> None:
    images, data = tmp_path / "new", encoded(scene, form)
    images.mkdir()
    for percent in (10, 50, 99, 100):
        (images / f"{percent}.{form[-3:]}").write_bytes(data[: len(data) * percent // 100])
    rows = check_batch(images, tmp_path / "out", segmented)
    assert {name.split(".")[0]: row["status"] for name, row in rows.items()} == {
        "10": "failed",
        "50": "failed",
        "99": "failed",
        "100": "ok",
    }


@pytest.mark.parametrize("form", FLIPPED)
def test_flipped_bits(segmented: Segmented, scene: Pixels, tmp_path: Path, form: str) -> None:
    images, data, rng = tmp_path / "new", encoded(scene, form), random.Random(14)
    images.mkdir()
    for number in range(FLIPS):
        place = rng.randrange(len(data))
        flipped = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
        (images / f"{number}.{form[-3:]}").write_bytes(flipped)
    rows = check_batch(images, tmp_path / "out", segmented)
    passed = [name for name, row in rows.items() if row["status"] != "failed"]
    assert not [name for name in passed if is_grey_filled(images / name)]
    if form == "png":
        assert len(passed) < FLIPS // 20, "its checksums tell"
        whole = read_image(write(images / "whole.png", data)).pixels
        assert all(np.array_equal(read_image(images / name).pixels, whole) for name in passed)


@pytest.mark.parametrize("form", ["jpg", "progressive.jpg"])
@pytest.mark.parametrize("marker", [0xD9, 0x01], ids=lambda marker: f"FF{marker:02X}")
def test_data_that_end_too_early(segmented: Segmented, scene: Pixels, tmp_path: Path, form: str, marker: int) -> None:
    """One byte in the middle of the picture becomes a marker, as a flipped bit makes it."""
    images, data = tmp_path / "new", encoded(scene, form)
    images.mkdir()
    begin = data.index(b"\xff\xda") + 100
    place = begin + (len(data) - begin) // 3
    (images / "cut.jpg").write_bytes(data[:place] + bytes([0xFF, marker]) + data[place + 2 :])
    (images / "whole.jpg").write_bytes(data)
    rows = check_batch(images, tmp_path / "out", segmented)
    assert rows["whole.jpg"]["status"] == "ok"
    assert rows["cut.jpg"]["status"] == "failed"


def dicom(length: int) -> bytes:
    """Return the first bytes of a DICOM file: its preamble, and groups that would go on."""
    return (bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0\0\2\0\0" + bytes(range(256)) * 4)[:length]


@pytest.mark.parametrize("name", ["a.png", "a.dcm"])
def test_a_dicom_header_alone_is_refused(segmented: Segmented, scene: Pixels, tmp_path: Path, name: str) -> None:
    for percent in (10, 50, 99, 100):
        images = tmp_path / f"{percent}"
        images.mkdir()
        write(images / name, dicom(1000 * percent // 100))
        Image.fromarray(scene).save(images / "good.png")
        rows = check_batch(images, tmp_path / f"out_{percent}", segmented)
        assert rows[name]["status"] == "failed" and name in rows[name]["reason"]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
