"""One scene in every file form gives one image, and what cannot be trusted is refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from sonoseg.errors import DataError
from sonoseg.io.masks import read_mask, rgb, write_label_map
from sonoseg.io.png import write_image
from sonoseg.io.readers import list_images, read_image, read_image_header

SCENE = (np.add.outer(np.arange(24) * 3, np.arange(32) * 5) % 256).astype(np.uint8)
COLOUR = np.stack([SCENE] * 3, axis=-1)


def saved(path, picture, **options):
    picture.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("8.png", Image.fromarray(SCENE)),
        ("8.bmp", Image.fromarray(SCENE)),
        ("8.tif", Image.fromarray(SCENE)),
        ("16.png", Image.fromarray(SCENE.astype(np.uint16) * 257)),
        ("16.tif", Image.fromarray(SCENE.astype(np.uint16) * 257)),
        ("32.tif", Image.fromarray(SCENE.astype(np.int32) * 257)),
        ("rgb.png", Image.fromarray(COLOUR)),
        ("rgba.png", Image.fromarray(np.dstack([COLOUR, np.full_like(SCENE, 255)]))),
        ("la.png", Image.fromarray(np.dstack([SCENE, np.full_like(SCENE, 255)]))),
        ("palette.png", Image.fromarray(COLOUR).quantize(256)),
        ("cmyk.tif", Image.fromarray(COLOUR).convert("CMYK")),
    ],
)
def test_every_mode_gives_the_same_image(tmp_path, name, picture):
    image = read_image(saved(tmp_path / name, picture)).pixels
    assert image.dtype == np.uint8
    assert np.array_equal(image, SCENE)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    image = read_image(saved(tmp_path / "a.jpg", Image.fromarray(COLOUR).convert(mode), quality=100)).pixels
    assert np.abs(image.astype(int) - SCENE).max() <= 3


def test_16_bit_is_scaled_and_not_clipped(tmp_path):
    deep = np.array([[0, 128, 129, 257, 32768, 65535]], dtype=np.uint16)
    assert read_image(saved(tmp_path / "a.png", Image.fromarray(deep))).pixels.tolist() == [[0, 0, 1, 1, 128, 255]]


def test_transparency_lies_over_black(tmp_path):
    layer = np.zeros((1, 3, 4), dtype=np.uint8)
    layer[0, :, :3] = 200
    layer[0, :, 3] = [0, 128, 255]
    found = read_image(saved(tmp_path / "a.png", Image.fromarray(layer))).pixels
    assert found[0, 0] == 0 and abs(int(found[0, 1]) - 100) <= 1 and found[0, 2] == 200


def test_colour_becomes_luma(tmp_path):
    picture = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8))
    assert read_image(saved(tmp_path / "a.png", picture)).pixels.tolist() == [[76, 150, 29]]


# How a picture has to be turned, as numpy sees it, so that its stored pixels need the given EXIF orientation.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](SCENE)))
    path = saved(tmp_path / "a.png", stored, exif=exif)
    assert np.array_equal(read_image(path).pixels, SCENE)
    assert np.array_equal(read_mask(path), SCENE)
    assert read_image_header(path).size == (24, 32)


def chunks(data: bytes) -> list[bytes]:
    """Return the chunks of a PNG, each with its length, name and checksum."""
    found, position = [], 8
    while position < len(data):
        length = 12 + int.from_bytes(data[position : position + 4], "big")
        found.append(data[position : position + length])
        position += length
    return found


def test_exif_after_the_pixels_of_a_png_counts(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path / "a.png", Image.fromarray(np.ascontiguousarray(STORED[6](SCENE))), exif=exif)
    data = path.read_bytes()
    first = [chunk for chunk in chunks(data) if chunk[4:8] != b"eXIf"]
    (moved,) = (chunk for chunk in chunks(data) if chunk[4:8] == b"eXIf")
    path.write_bytes(data[:8] + b"".join(first[:-1]) + moved + first[-1])
    assert read_image_header(path).size == (24, 32)
    assert np.array_equal(read_image(path).pixels, SCENE)


def test_the_header_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.png", Image.fromarray(SCENE))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda picture: pytest.fail("decoded"))
    assert read_image_header(path).size == (24, 32)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, suffix, kept):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64), dtype=np.uint8)
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=r"a\.(png|jpg)"):
        read_image(path)


def test_flipped_bits_end_in_an_image_or_a_reason(tmp_path):
    whole = saved(tmp_path / "a.png", Image.fromarray(SCENE)).read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(100):
        data = bytearray(whole)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        (tmp_path / "b.png").write_bytes(data)
        try:
            assert read_image(tmp_path / "b.png").pixels.ndim == 2
        except DataError:
            refused += 1
    assert refused > 50


def png_declaring(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 40_000))
        + chunk(b"IEND", b"")
    )


def test_a_huge_declared_size_is_refused_from_the_header(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png_declaring(30000, 30000))
    monkeypatch.setattr(Image.Image, "load", lambda *args: pytest.fail("pixels were decoded"))
    for read in (read_image, read_mask, read_image_header):
        with pytest.raises(DataError, match="30000x30000 pixels declared"):
            read(path)


def test_modes_that_mean_nothing_here_are_refused_by_name(tmp_path):
    path = saved(tmp_path / "a.tif", Image.fromarray(SCENE.astype(np.float32)))
    with pytest.raises(DataError, match="colour mode F"):
        read_image(path)


def test_missing_and_other_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "a.png")
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="not a readable picture"):
        read_image(tmp_path / "a.png")


def test_label_map_round_trip(tmp_path):
    labels = (SCENE % 4).astype(np.uint8)
    path = write_label_map(tmp_path / "m.png", labels, ["#ff0000", "#00ff00", "#0000ff"])
    assert np.array_equal(read_mask(path), labels)
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert np.array_equal(np.array(picture.convert("RGB"))[labels == 2][0], [0, 255, 0])


def test_mask_of_three_equal_channels(tmp_path):
    assert np.array_equal(read_mask(saved(tmp_path / "a.png", Image.fromarray(COLOUR))), SCENE)


def test_coloured_and_deep_masks_are_refused(tmp_path):
    with pytest.raises(DataError, match="a coloured mask"):
        read_mask(saved(tmp_path / "a.png", Image.new("RGB", (4, 4), (255, 0, 0))))
    with pytest.raises(DataError, match="mask values up to 300"):
        read_mask(saved(tmp_path / "b.png", Image.fromarray(np.full((4, 4), 300, dtype=np.uint16))))


def test_written_colours_are_read_as_written(tmp_path):
    picture = np.zeros((2, 2, 3), dtype=np.uint8)
    picture[..., 0] = 255
    with Image.open(write_image(tmp_path / "a.png", picture)) as written:
        assert written.getpixel((0, 0)) == (255, 0, 0)
    assert rgb("#0a10ff") == (10, 16, 255)


def test_list_images(tmp_path):
    for name in ("b.PNG", "a.jpeg", ".hidden.png", "notes.txt"):
        (tmp_path / name).write_text("")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpeg", "b.PNG"]
    with pytest.raises(DataError, match="no such folder"):
        list_images(tmp_path / "none")
