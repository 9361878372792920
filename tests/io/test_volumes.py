"""MetaImage and NIfTI: images, loops and masks are read, volumes and damaged files are refused by name."""

import gzip
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from sonoseg.errors import DataError, LimitError
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import list_images, read_frames, read_image, read_image_header, read_loop, volume
from sonoseg.io.readers.opening import digest_of_file, files_of, is_unchanged, read_file
from tests.io.volumes import meta_image, nifti

SCENE = (np.add.outer(np.arange(24) * 3, np.arange(32) * 5) % 256).astype(np.uint8)
LOOP = np.stack([np.roll(SCENE, step, 1) for step in range(5)])
WAYS: dict[str, Callable[..., Path]] = {"a.mha": meta_image, "a.mhd": meta_image, "a.nii": nifti, "a.nii.gz": nifti}
every_way = pytest.mark.parametrize("name", list(WAYS))


@every_way
@pytest.mark.parametrize("type_", ["uint8", "int16", "uint16", "float32"])
def test_an_image_is_as_it_was_stored(tmp_path: Path, name: str, type_: str) -> None:
    path = WAYS[name](tmp_path / name, SCENE.astype(type_), (0.2, 0.1))
    image = read_image(path)
    assert np.array_equal(image.pixels, SCENE) and np.array_equal(read_mask(path), SCENE)
    assert image.spacing == pytest.approx((0.1, 0.2)), "(row_mm, col_mm): the first number is that of x"
    assert list_images(tmp_path) == [path] and stem_of(path) == "a"
    moved = read_file(path, DEFAULT_LIMITS)
    for file in tmp_path.iterdir():
        file.write_bytes(b"")
    assert np.array_equal(read_image(path, data=moved).pixels, SCENE), "the given bytes are what is decoded"


@pytest.mark.parametrize("packed", [False, True])
def test_packed_and_swapped_bytes(tmp_path: Path, packed: bool) -> None:
    deep = SCENE.astype(np.uint16) * 257
    assert np.array_equal(read_image(meta_image(tmp_path / "a.mhd", deep, packed=packed)).pixels, SCENE)
    assert np.array_equal(read_image(nifti(tmp_path / "a.nii", deep, order="<>"[packed])).pixels, SCENE)


@pytest.mark.parametrize("packed", [False, True])
def test_the_digest_of_a_header_is_that_of_its_values_too(tmp_path: Path, packed: bool) -> None:
    path = meta_image(tmp_path / "a.mhd", SCENE, packed=packed)
    values = next(file for file in tmp_path.iterdir() if file != path)
    both = path.read_bytes() + values.read_bytes()
    digest, states = digest_of_file(path, DEFAULT_LIMITS)
    assert digest == hashlib.sha256(both).hexdigest() and read_file(path, DEFAULT_LIMITS) == both
    assert files_of(path) == [path, values] == list(states) and is_unchanged(states)
    os.utime(values, ns=(1, 1))
    assert not is_unchanged(states)
    meta_image(path, 255 - SCENE, packed=packed)
    assert digest_of_file(path, DEFAULT_LIMITS)[0] != digest
    with pytest.raises(DataError, match=f"{values.name}: .* at most"):
        read_file(path, ReadLimits(max_bytes=values.stat().st_size - 1))
    values.unlink()
    assert files_of(path) == [path] and not is_unchanged(states)
    with pytest.raises(DataError, match="which is not beside it"):
        digest_of_file(path, DEFAULT_LIMITS)


@pytest.mark.parametrize("skipped", [7, -1])
def test_bytes_before_the_values_are_skipped(tmp_path: Path, skipped: int) -> None:
    path = meta_image(tmp_path / "a.mhd", SCENE)
    (tmp_path / "a.raw").write_bytes(bytes(7) + SCENE.tobytes())
    path.write_text(path.read_text().replace("DimSize", f"HeaderSize = {skipped}\nDimSize"))
    for data in (None, read_file(path, DEFAULT_LIMITS)):
        assert np.array_equal(read_image(path, data=data).pixels, SCENE)


@every_way
def test_a_loop(tmp_path: Path, name: str) -> None:
    path = WAYS[name](tmp_path / name, LOOP, (0.2, 0.1, 1))
    header = read_image_header(path)
    assert (header.frames, header.is_loop, header.size) == (5, True, (24, 32))
    assert np.array_equal([frame.pixels for frame in read_loop(ImageRef(path))], LOOP)  # type: ignore[union-attr]
    assert np.array_equal(read_image(ImageRef(path, 3)).pixels, LOOP[3])
    assert np.array_equal(read_mask(ImageRef(path, 3)), LOOP[3])
    with pytest.raises(DataError, match="2 frames or more"):
        read_image(path)
    with pytest.raises(DataError, match="no such frame"):
        read_image(ImageRef(path, 5))


@pytest.mark.parametrize(("name", "passes"), [("a.nii.gz", 1), ("a.mhd", 1), ("a.mha", 1), ("a.nii", 2)])
@pytest.mark.parametrize("in_memory", [False, True])
def test_frames_of_compressed_values_are_read_in_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, passes: int, in_memory: bool
) -> None:
    path = nifti(tmp_path / name, LOOP) if ".nii" in name else meta_image(tmp_path / name, LOOP, packed=True)
    counted = Mock(side_effect=volume.read_values)
    monkeypatch.setattr(volume, "read_values", counted)
    data = read_file(path, DEFAULT_LIMITS) if in_memory else None
    first, missing, last = read_frames([ImageRef(path, index) for index in (1, 7, 4)], data=data)
    assert isinstance(missing, DataError) and "no such frame" in str(missing)
    for record, frame in ((first, LOOP[1]), (last, LOOP[4])):
        assert not isinstance(record, DataError) and np.array_equal(record.pixels, frame)
    assert counted.call_count == passes


def test_the_fourth_axis_of_nifti_is_time(tmp_path: Path) -> None:
    header = read_image_header(nifti(tmp_path / "a.nii", LOOP[:, None], (0.2, 0.1, 3, 0.04)))
    assert header.frames == 5 and header.frame_seconds == pytest.approx(0.04)


def test_three_layers_are_colours(tmp_path: Path) -> None:
    path = meta_image(tmp_path / "a.mha", np.stack([SCENE] * 3), (1, 1, 1))
    header = read_image_header(path)
    assert header.frames == 1 and np.array_equal(read_image(path).pixels, SCENE)
    assert header.spacing is None and header.spacing_from == "unknown (the header has 1 and 1, which stand for none)"
    with pytest.raises(DataError, match="a coloured mask"):
        read_mask(path)


def test_a_length_without_a_unit_is_unknown(tmp_path: Path) -> None:
    assert read_image_header(nifti(tmp_path / "a.nii", SCENE, (0.2, 0.1), units=0)).spacing is None
    microns = read_image_header(nifti(tmp_path / "b.nii", SCENE, (200, 100), units=3))
    assert microns.spacing == pytest.approx((0.1, 0.2))


@pytest.mark.parametrize("values", [LOOP, LOOP.astype(np.int16)])
@every_way
def test_volumes_are_refused(tmp_path: Path, name: str, values: np.ndarray) -> None:
    step = 0.5 if values.dtype == np.uint8 else 1
    with pytest.raises(DataError, match="a volume of 32 x 24 x 5 pixels; expected an image with two axes"):
        read_image_header(WAYS[name](tmp_path / name, values, (0.2, 0.1, step)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 1.4, 200.6], [0, 1, 201]),
        ([-1024.0, 0, 3], None),
        ([0, 1, 300.0], None),
        ([0, np.nan, 1], None),
    ],
)
def test_fractions(tmp_path: Path, values: list[float], expected: list[int] | None) -> None:
    path = meta_image(tmp_path / "a.mha", np.array([values], np.float32))
    if expected:
        assert read_image(path).pixels.tolist() == [expected]
    else:
        with pytest.raises(DataError, match="no grey values of an ultrasound image"):
            read_image(path)


def test_masks_have_whole_numbers(tmp_path: Path) -> None:
    for values in ([[0, 0.5]], [[0, 256]], [[-1, 0]], [[0, np.nan]]):
        with pytest.raises(DataError, match="expected whole numbers 0 to 255"):
            read_mask(meta_image(tmp_path / "a.mha", np.array(values, np.float32)))


@every_way
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    path = WAYS[name](tmp_path / name, SCENE, (0.2, 0.1))
    cut = path if name != "a.mhd" else path.with_suffix(".raw")
    whole = cut.read_bytes()
    for length in (5, len(whole) // 2, len(whole) - 1):
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_image(path)


def test_a_changed_byte_of_packed_values_is_noticed(tmp_path: Path) -> None:
    for path in (nifti(tmp_path / "a.nii.gz", SCENE), meta_image(tmp_path / "a.mha", SCENE, packed=True)):
        data = bytearray(path.read_bytes())
        data[-20] ^= 16
        path.write_bytes(data)
        with pytest.raises(DataError, match="damaged or cut short"):
            read_image(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.raw", "which is not beside it"),
        ("/etc/passwd", "which is not beside it"),
        ("LIST", "in several files"),
        ("slice%03d.raw 1 9 1", "in several files"),
        ("missing.raw", "which is not beside it"),
    ],
)
def test_a_header_leads_nowhere_else(tmp_path: Path, name: str, said: str) -> None:
    path = meta_image(tmp_path / "a" / "a.mhd", SCENE)
    (tmp_path / "secret.raw").write_bytes(bytes(SCENE.size))
    path.write_text(path.read_text().replace("a.raw", name))
    with pytest.raises(DataError, match=said):
        read_image(path)


def test_sizes_are_checked_before_anything_is_decoded(tmp_path: Path) -> None:
    path = meta_image(tmp_path / "a.mha", SCENE)
    huge = path.read_bytes().replace(b"DimSize = 32 24", b"DimSize = 99999 99999")
    path.write_bytes(huge)
    with pytest.raises(LimitError, match="99999x99999 pixels declared"):
        read_image(path)
    with pytest.raises(DataError, match="at most 3 are read"):
        read_image_header(meta_image(tmp_path / "b.mha", LOOP), ReadLimits(max_frames=3))
    with pytest.raises(LimitError, match="bytes of pixels declared"):
        read_image_header(nifti(tmp_path / "c.nii.gz", LOOP), ReadLimits(max_bytes=2000))
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(DataError, match="no NIfTI image in this gzip file"):
        read_image(tmp_path / "d.nii.gz")
