"""Check 38: hostile DICOM: headers, regions, loops of 10^6 frames, burned-in text. One row each; memory is bounded."""

import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.dicom_files import EXPLICIT, JPEG, region_item, write_dicom
from tests.trust.conftest import Segmented, everything

SECRET = "SECRETNAME"
FRAME = (140, 200)


def in_a_frame(scene: np.ndarray) -> tuple[np.ndarray, object]:
    """Return a frame with the scene as its region, and a name burned in above; and the region."""
    frame = np.zeros(FRAME, np.uint8)
    frame[30 : 30 + scene.shape[0], 20 : 20 + scene.shape[1]] = scene
    cv2.putText(frame, SECRET, (2, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2)
    return frame, region_item(20, 30, 19 + scene.shape[1], 29 + scene.shape[0], (0.5, 0.5))


def nested(path: Path, depth: int = 300) -> None:
    """Put sequences of undefined length, each within the one before, in front of the pixels of a file."""
    data = path.read_bytes()
    begin = struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    at = data.index(struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OB", 0))
    path.write_bytes(data[:at] + begin * depth + end * depth + data[at:])


def test_each_hostile_file_is_one_row(segmented: Segmented, tmp_path: Path, scene: np.ndarray) -> None:
    images, output = tmp_path / "new", tmp_path / "deep" / "results"
    images.mkdir()
    frame, region = in_a_frame(scene)
    names = {"PatientID": f"../{SECRET}", "PatientName": f"{SECRET}^<script>\n=1+1", "StudyDescription": SECRET}
    write_dicom(images / "good.dcm", frame, [region], **names)
    for name, elements in {
        "frames": {"NumberOfFrames": 10**6},
        "large": {"Rows": 65535, "Columns": 65535},
        "syntax": {},
        "order": {},
        "nested": {},
        "text_as_number": {"PixelSpacing": ["1e999", "nan"]},
    }.items():
        write_dicom(images / f"{name}.dcm", frame, [region], **{**names, **elements})
    nested(images / "nested.dcm")
    data = (images / "syntax.dcm").read_bytes()
    (images / "syntax.dcm").write_bytes(data.replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.1.2.4.50"[:20]))
    data = (images / "order.dcm").read_bytes()
    (images / "order.dcm").write_bytes(data.replace(EXPLICIT.encode() + b"\0", b"1.2.840.10008.1.2.2\0"))
    for percent in (10, 50, 99):
        whole = write_dicom(images / f"cut{percent}.dcm", frame, [region], JPEG, **names)
        whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * percent // 100])
    before = everything(tmp_path)

    code, rows = segmented(images, output)

    assert code == 1 and rows["good.dcm"]["status"] == rows["text_as_number.dcm"]["status"] == "ok"
    failed = {name.removesuffix(".dcm") for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"frames", "large", "syntax", "order", "nested", "cut10", "cut50", "cut99"}
    assert len(rows) == len(failed) + 2, "a file has no row"
    assert all(row["reason"] for row in rows.values() if row["status"] == "failed")
    new = everything(tmp_path).keys() - before.keys() - {"deep", "deep/results"}
    assert all(name.startswith("deep/results/") and name.count("/") == 2 for name in new), "something is elsewhere"
    for path in output.iterdir():
        assert SECRET.encode() not in path.read_bytes() and SECRET not in path.name, path.name


def test_what_is_burned_in_around_the_region_is_in_no_picture(
    segmented: Segmented, tmp_path: Path, scene: np.ndarray
) -> None:
    images, output = tmp_path / "new", tmp_path / "results"
    images.mkdir()
    frame, region = in_a_frame(scene)
    write_dicom(images / "text.dcm", frame, [region])
    frame[:28] = 0
    write_dicom(images / "none.dcm", frame, [region])
    segmented(images, output, "--heatmap")
    kinds = ("overlay", "mask", "heatmap", "probability")
    pictures = [[(output / f"{name}_{kind}.png").read_bytes() for kind in kinds] for name in ("text", "none")]
    assert pictures[0] == pictures[1] and cv2.imread(str(output / "text_overlay.png")).shape[:2] == FRAME
    segmented(images, output, "--keep-frame")
    assert (output / "text_overlay.png").read_bytes() != (output / "none_overlay.png").read_bytes()


def test_a_region_gives_the_results_of_its_picture(segmented: Segmented, tmp_path: Path, scene: np.ndarray) -> None:
    images = tmp_path / "new"
    images.mkdir()
    frame, region = in_a_frame(scene)
    write_dicom(images / "a.dcm", frame, [region])
    cv2.imwrite(str(images / "b.png"), scene)
    _, rows = segmented(images, tmp_path / "results", "--spacing", "0.5")
    numbers = [key for key in rows["a.dcm"] if key.endswith(("_mm", "_px", "quality")) or key.startswith("confidence")]
    assert numbers and all(rows["a.dcm"][key] == rows["b.png"][key] for key in numbers)
    whole, part = (cv2.imread(str(tmp_path / "results" / f"{name}_mask.png"), 0) for name in "ab")
    assert np.array_equal(whole[30 : 30 + scene.shape[0], 20 : 20 + scene.shape[1]], part)
    assert np.count_nonzero(whole) == np.count_nonzero(part) > 0


READER = """
import resource, sys
from pathlib import Path
from sonoseg.errors import DataError
from sonoseg.io.readers import read_image, read_image_header
import pydicom, pydicom.pixels
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 200 * 2**20,) * 2)
for read in (read_image_header, read_image):
    try:
        read(Path(sys.argv[1]))
        print("taken")
    except DataError as error:
        print(error)
"""


@pytest.mark.parametrize("kind", ["frames", "large", "length", "nested"])
def test_memory_is_bounded(tmp_path: Path, kind: str) -> None:
    elements = {"frames": {"NumberOfFrames": 10**6}, "large": {"Rows": 65535, "Columns": 65535}}.get(kind, {})
    path = write_dicom(tmp_path / "a.dcm", np.zeros((64, 64), np.uint8), **elements)
    if kind == "length":  # pixels that are said to be of 4 GB
        data = path.read_bytes()
        at = data.index(struct.pack("<HH2sH", 0x7FE0, 0x0010, b"OB", 0)) + 8
        path.write_bytes(data[:at] + struct.pack("<I", 0xFFFFFFFE) + data[at + 4 :])
    if kind == "nested":
        nested(path, 100_000)
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path)], capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and done.returncode == 0 and not done.stderr, done.stderr
    if kind != "length":
        assert all("a.dcm" in line for line in lines)
