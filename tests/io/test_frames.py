"""Files with several frames: TIFF pages and animated PNG, counted from the header and decoded one by one."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import READERS, is_image, list_images, read_image, read_image_header

FRAMES = [np.random.default_rng(number).integers(0, 256, (24, 32), dtype=np.uint8) for number in range(3)]


def write_frames(path: Path, frames: list[np.ndarray]) -> Path:
    first, *others = map(Image.fromarray, frames)
    first.save(path, save_all=True, append_images=others)
    return path


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_each_frame_is_decoded(tmp_path: Path, suffix: str) -> None:
    path = write_frames(tmp_path / f"a.{suffix}", FRAMES)
    header = read_image_header(path)
    assert header == ImageHeader((24, 32), frames=3)
    images = header.refs(path)
    assert [image.frame for image in images] == [0, 1, 2]
    assert [image.name for image in images] == ["a_frame0001", "a_frame0002", "a_frame0003"]
    for image, expected in reversed(list(zip(images, FRAMES, strict=True))):
        record = read_image(image)
        assert record.ref == image and np.array_equal(record.pixels, expected)
    with pytest.raises(DataError, match=rf"a\.{suffix}, frame 4: no such frame"):
        read_image(ImageRef(path, 3))
    for read in (read_image, read_mask):
        with pytest.raises(DataError, match=rf"a\.{suffix}: 2 frames or more; expected a single picture"):
            read(path)


@pytest.mark.parametrize("suffix", ["tif", "png", "jpg", "bmp"])
def test_a_single_picture_has_no_frame_number(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / f"a.{suffix}")
    header = read_image_header(tmp_path / f"a.{suffix}")
    assert header.frames == 1 and header.refs(tmp_path / "a") == [ImageRef(tmp_path / "a")]
    assert ImageRef(tmp_path / "a.png").name == "a" and ImageRef(tmp_path / "a.png").frame_number is None


def test_limits_hold_for_every_frame(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.tif", [FRAMES[0], np.zeros((60, 70), np.uint8)])
    limits = ReadLimits(max_pixels=24 * 32, max_frames=2)
    assert read_image_header(path, limits).frames == 2 and read_image(ImageRef(path, 0), limits).pixels.shape == (
        24,
        32,
    )
    with pytest.raises(DataError, match="70x60 pixels declared; at most 768"):
        read_image(ImageRef(path, 1), limits)
    with pytest.raises(DataError, match="more than 1 frames"):
        read_image_header(path, ReadLimits(max_frames=1))
    with pytest.raises(DataError, match="no such frame"):
        read_image(ImageRef(path, 1), ReadLimits(max_frames=1))


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on damaged metadata
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_damaged_frames_give_a_reason(tmp_path: Path, suffix: str) -> None:
    whole = write_frames(tmp_path / f"a.{suffix}", FRAMES).read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(60):
        data = bytearray(whole[: rng.integers(len(whole) // 2, len(whole))])
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path = tmp_path / f"b.{suffix}"
        path.write_bytes(data)
        try:
            for image in read_image_header(path).refs(path):
                assert read_image(image).pixels.ndim == 2
        except DataError:
            refused += 1
    assert refused > 30


class TextReader:
    """Reads files such as `TEXT 3`: so many frames of 2 x 2 pixels, with spacing and patient."""

    suffixes = (".txt",)

    def accepts(self, start: bytes) -> bool:
        return start.startswith(b"TEXT")

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        return ImageHeader((2, 2), int(path.read_text().split()[1]), (0.5, 0.25), "text header", "P1")

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        return ImageRecord(image, np.full((2, 2), image.frame, np.uint8), (0.5, 0.25), "text header", "P1")


def test_a_reader_is_one_entry_and_is_chosen_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(FRAMES[0]).save(tmp_path / "picture.png")
    (tmp_path / "picture.png").rename(tmp_path / "a.txt")
    (tmp_path / "b.png").write_text("TEXT 3")
    with pytest.raises(DataError, match="not a readable picture"):
        read_image_header(tmp_path / "b.png")
    assert not is_image(tmp_path / "a.txt")
    monkeypatch.setitem(READERS, "text", TextReader())
    assert [path.name for path in list_images(tmp_path)] == ["a.txt", "b.png"]
    header = read_image_header(tmp_path / "b.png")
    assert (header.frames, header.spacing, header.spacing_from, header.patient) == (3, (0.5, 0.25), "text header", "P1")
    assert (read_image(ImageRef(tmp_path / "b.png", 2)).pixels == 2).all()
    assert np.array_equal(read_image(tmp_path / "a.txt").pixels, FRAMES[0])
