"""Check 16: however one scene is stored, its mask is the same, or its mode is refused by name; 16 bits are not cut."""

from pathlib import Path

import numpy as np
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.types import Pixels
from tests.trust.conftest import Segmented

WHITE_IS_ZERO = {262: 0}


def forms(scene: Pixels) -> dict[str, tuple[Image.Image, dict]]:
    """Return file name -> picture and options to save it, all of the same scene."""
    colour = np.dstack([scene] * 3)
    deep = scene.astype(np.uint16) * 257
    solid = np.full_like(scene, 255)
    colours = np.random.default_rng(16).permutation(256)  # the grey of each index: no index is its own grey's
    palette = Image.fromarray(np.argsort(colours).astype(np.uint8)[scene])
    palette.putpalette([int(grey) for grey in colours.repeat(3)])
    return {
        "8.png": (Image.fromarray(scene), {}),
        "8.bmp": (Image.fromarray(scene), {}),
        "8.tif": (Image.fromarray(scene), {}),
        "8_lzw.tif": (Image.fromarray(scene), {"compression": "tiff_lzw"}),
        "8_white_is_zero.tif": (Image.fromarray(scene), {"tiffinfo": WHITE_IS_ZERO}),
        "16.png": (Image.fromarray(deep), {}),
        "16.tif": (Image.fromarray(deep), {}),
        "16_big_endian.tif": (Image.frombytes("I;16B", scene.shape[::-1], deep.astype(">u2").tobytes()), {}),
        "32.tif": (Image.fromarray(deep.astype(np.int32)), {}),
        "rgb.png": (Image.fromarray(colour), {}),
        "rgb.bmp": (Image.fromarray(colour), {}),
        "rgb.tif": (Image.fromarray(colour), {}),
        "rgba.png": (Image.fromarray(np.dstack([colour, solid])), {}),
        "rgba.tif": (Image.fromarray(np.dstack([colour, solid])), {}),
        "la.png": (Image.fromarray(np.dstack([scene, solid])), {}),
        "palette.png": (palette, {}),
        "palette.bmp": (palette, {}),
        "cmyk.tif": (Image.fromarray(colour).convert("CMYK"), {}),
        "grey.jpg": (Image.fromarray(scene), {"quality": 98}),
        "rgb.jpg": (Image.fromarray(colour), {"quality": 98}),
        "cmyk.jpg": (Image.fromarray(colour).convert("CMYK"), {"quality": 98}),
        "progressive.jpeg": (Image.fromarray(scene), {"quality": 98, "progressive": True}),
    }


def test_masks_agree(segmented: Segmented, scene: Pixels, tmp_path: Path) -> None:
    images, output = tmp_path / "new", tmp_path / "out"
    images.mkdir()
    pictures = forms(scene)
    for name, (picture, options) in pictures.items():
        picture.save(images / name, **options)
    code, rows = segmented(images, output, "--spacing", "0.5")
    assert code == 0 and rows.keys() == pictures.keys()
    expected = read_mask(output / f"{rows['8.png']['name']}_mask.png")
    assert 2000 < np.count_nonzero(expected) < expected.size / 2
    for name, row in rows.items():
        mask, image = read_mask(output / f"{row['name']}_mask.png"), read_image(images / name).pixels.astype(int)
        assert np.array_equal(mask, expected) and row["status"] == "ok", name
        assert row["hc_mm"] == rows["8.png"]["hc_mm"], name
        assert np.abs(image - scene).max() <= (12 if name.endswith(("jpg", "jpeg")) else 0), name


def test_16_bits_are_scaled(tmp_path: Path) -> None:
    """Every grey of 16 bits, in order: the 8-bit greys rise with them from 0 to 255 and none is more frequent."""
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for name in ("a.png", "a.tif"):
        Image.fromarray(ramp).save(tmp_path / name)
        grey = read_image(tmp_path / name).pixels.ravel().astype(int)
        assert (np.diff(grey) >= 0).all() and grey[0] == 0 and grey[-1] == 255
        assert np.bincount(grey)[1:-1].tolist() == [257] * 254


def test_modes_that_are_refused(segmented: Segmented, scene: Pixels, tmp_path: Path) -> None:
    images = tmp_path / "new"
    images.mkdir()
    Image.fromarray(scene).save(images / "good.png")
    Image.fromarray(scene / np.float32(255)).save(images / "float.tif")
    Image.fromarray(np.dstack([scene] * 3)).convert("LAB").save(images / "lab.tif")
    Image.fromarray(scene.astype(np.int32) * 70_000).save(images / "beyond.tif")
    Image.fromarray(scene.astype(np.int32) - 10_000).save(images / "negative.tif")
    code, rows = segmented(images, tmp_path / "out")
    assert code == 1 and rows["good.png"]["status"] == "ok"
    reasons = {name: row["reason"] for name, row in rows.items() if row["status"] == "failed"}
    assert "colour mode F; expected" in reasons["float.tif"] and "colour mode LAB; expected" in reasons["lab.tif"]
    assert all("expected 8 or 16 bits" in reasons[name] for name in ("beyond.tif", "negative.tif"))


def test_white_is_zero_in_16_bits(tmp_path: Path, scene: Pixels) -> None:
    """TIFF may store greys the other way round: read as they are meant, or refused, never as a negative."""
    path = tmp_path / "a.tif"
    Image.fromarray((255 - scene).astype(np.uint16) * 257).save(path, tiffinfo=WHITE_IS_ZERO)
    try:
        assert np.array_equal(read_image(path).pixels, scene)
    except DataError as refusal:
        assert str(path) in str(refusal) and "white" in str(refusal)
