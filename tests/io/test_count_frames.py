"""Frames are counted without decoding: that of every picture of a data folder, before any is verified."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoseg.io.readers import count_frames
from tests.dicom_files import write_dicom, write_video

PAGES = [Image.fromarray(np.full((20, 30), value, np.uint8)) for value in (10, 90, 200)]


@pytest.mark.parametrize(
    ("name", "pages"),
    [("a.png", 1), ("a.png", 3), ("a.jpg", 1), ("a.bmp", 1), ("a.tif", 1), ("a.tif", 3), ("a.dcm", 3), ("a.avi", 3)],
)
def test_count(tmp_path: Path, name: str, pages: int) -> None:
    path = tmp_path / name
    frames = np.stack([np.asarray(page) for page in PAGES[:pages]])
    if name == "a.dcm":
        write_dicom(path, frames)
    elif name == "a.avi":
        write_video(path, frames)
    else:
        PAGES[0].save(path, **({"save_all": True, "append_images": PAGES[1:]} if pages > 1 else {}))
    assert count_frames(path) == pages


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


def test_no_pixel_of_a_single_picture_is_decoded(tmp_path: Path) -> None:
    """Its pixels are no pixels."""
    header = (40).to_bytes(4, "big") + (30).to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"acTL nothing"))
    assert count_frames(tmp_path / "a.png") == 1
