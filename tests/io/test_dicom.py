"""DICOM files are read with true millimetres, in all codings, and nothing of what surrounds a region remains."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from sonoseg.errors import DataError
from sonoseg.io.image_ref import WHOLE_FRAME, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers import is_image, list_images, read_frames, read_image, read_image_header, read_loop
from tests.dicom_files import EXPLICIT, JPEG, RLE, region_item, write_dicom, write_video

RNG = np.random.default_rng(5)
PICTURE = RNG.integers(0, 256, (60, 80), dtype=np.uint8)
LOOP = RNG.integers(0, 256, (4, 60, 80), dtype=np.uint8)
REGION = region_item(10, 5, 69, 44, (0.2, 0.3))


@pytest.mark.parametrize("syntax", [EXPLICIT, RLE])
def test_pixels_are_exact(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, syntax=syntax)
    record = read_image(path)
    assert np.array_equal(record.pixels, PICTURE)
    assert (record.spacing, record.region, record.frame_size) == (None, None, None)


def test_a_region_is_the_image(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, [REGION])
    header, record = read_image_header(path), read_image(path)
    assert header.size == record.frame_size == (60, 80) and header.spacing == pytest.approx((0.2, 0.3))
    assert np.array_equal(record.pixels, PICTURE[5:45, 10:70])
    assert record.region is not None and (record.region.top, record.region.left) == (5, 10)
    assert record.spacing == pytest.approx((0.2, 0.3)) and record.spacing_from == "SequenceOfUltrasoundRegions"
    whole = read_image(ImageRef(path, region=WHOLE_FRAME))
    assert np.array_equal(whole.pixels, PICTURE) and whole.spacing == record.spacing and whole.region is None


@pytest.mark.parametrize(
    ("elements", "spacing"),
    [
        ({"PhysicalDeltaX": -0.03, "PhysicalDeltaY": -0.02}, (0.2, 0.3)),
        ({"PhysicalUnitsXDirection": 4}, None),
        ({"PhysicalDeltaX": 0.0}, None),
        ({"PhysicalDeltaX": math.nan}, None),
    ],
)
def test_spacing_of_a_region(tmp_path: Path, elements: dict[str, float], spacing: tuple[float, float] | None) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, [region_item(10, 5, 69, 44, (0.2, 0.3), **elements)])
    found = read_image_header(path)
    assert found.spacing == (spacing and pytest.approx(spacing))
    assert found.spacing_from.startswith("SequenceOf" if spacing else "unknown")


@pytest.mark.parametrize(
    "item",
    [
        region_item(10, 5, 81, 44, (0.2, 0.3)),
        region_item(10, 5, 69, 61, (0.2, 0.3)),
        region_item(10, 44, 69, 5, (0.2, 0.3)),
        region_item(70, 5, 69, 44, (0.2, 0.3)),
    ],
)
def test_regions_that_do_not_fit_give_no_millimetres(tmp_path: Path, item: object) -> None:
    header = read_image_header(write_dicom(tmp_path / "a.dcm", PICTURE, [item], PixelSpacing=[0.1, 0.1]))
    assert (header.spacing, header.regions) == (None, ())
    assert header.spacing_from.startswith("unknown (a region ends at") and "cropped or scaled" in header.spacing_from


def test_the_size_as_largest_column_is_tolerated(tmp_path: Path) -> None:
    (region,) = read_image_header(write_dicom(tmp_path / "a.dcm", PICTURE, [region_item(0, 0, 80, 60)])).regions
    assert region.size == (60, 80)


def test_two_regions_are_two_images(tmp_path: Path) -> None:
    items = [
        region_item(40, 5, 79, 44, (0.4, 0.4)),
        region_item(0, 5, 39, 44, (0.2, 0.2)),
        region_item(5, 10, 20, 20, (0.2, 0.2), RegionDataType=2),  # the box of the colour flow
        region_item(0, 50, 79, 59, RegionSpatialFormat=3),  # a spectrum
        region_item(0, 0, 9, 4, RegionDataType=13),  # a colour bar
    ]
    path = write_dicom(tmp_path / "a.dcm", PICTURE, items)
    header = read_image_header(path)
    left, right = header.refs(path)
    assert [left.name, right.name] == ["a_region1", "a_region2"] and header.spacing is None
    assert read_image(left).spacing == pytest.approx((0.2, 0.2))
    assert np.array_equal(read_image(right).pixels, PICTURE[5:45, 40:80])
    with pytest.raises(DataError, match="2 ultrasound images side by side"):
        read_image(path)
    assert [ref.region for ref in header.refs(path, keep_frame=True)] == [WHOLE_FRAME]


@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG])
def test_frames(tmp_path: Path, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", LOOP, [REGION], syntax)
    header = read_image_header(path)
    assert (header.frames, header.is_loop, header.frame_seconds) == (4, True, pytest.approx(0.0333))
    records = list(read_loop(ImageRef(path)))
    for index, record in enumerate(records):
        assert not isinstance(record, DataError) and record.ref == ImageRef(path, index)
        assert np.array_equal(record.pixels, read_image(ImageRef(path, index)).pixels)
        if syntax == EXPLICIT:
            assert np.array_equal(record.pixels, LOOP[index, 5:45, 10:70])
    with pytest.raises(DataError, match="2 frames or more"):
        read_image(path)
    with pytest.raises(DataError, match="no such frame"):
        read_image(ImageRef(path, 4))


def test_a_damaged_frame_fails_alone(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", LOOP, syntax=JPEG)
    data = bytearray(path.read_bytes())
    second = data.index(b"\xff\xd8", data.index(b"\xff\xd9"))
    data[second + 2 : second + 40] = bytes(38)
    path.write_bytes(data)
    assert [isinstance(record, DataError) for record in read_loop(ImageRef(path))] == [False, True, False, False]


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PhotometricInterpretation": "MONOCHROME1"}, lambda grey: 255 - grey),
        ({"BitsStored": 7, "HighBit": 6}, None),
    ],
)
def test_grey_kinds(tmp_path: Path, elements: dict[str, object], expected: object) -> None:
    picture = PICTURE // 2 if "BitsStored" in elements else PICTURE
    pixels = read_image(write_dicom(tmp_path / "a.dcm", picture, **elements)).pixels
    if callable(expected):
        assert np.array_equal(pixels, expected(PICTURE))
    else:
        assert np.array_equal(pixels, np.round(picture / 127 * 255).astype(np.uint8))


def test_the_patient_is_in_no_text(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, PatientID="SECRET1", PatientName="SECRET^TWO")
    header, record = read_image_header(path), read_image(path)
    assert header.patient == record.patient == "SECRET1"
    assert "SECRET" not in f"{header} {record}"


@pytest.mark.parametrize(
    ("elements", "named"),
    [
        ({"NumberOfFrames": 10**6}, "1000000 frames"),
        ({"Rows": 65535, "Columns": 65535}, "65535x65535 pixels"),
        ({"Rows": 0}, "80x0"),
        ({"BitsAllocated": 32}, "32 bits"),
        ({"PixelRepresentation": 1}, "signed"),
        ({"PhotometricInterpretation": "HSV"}, "colours of a kind"),
        ({"Rows": 61}, "damaged or cut short"),
    ],
)
def test_one_sentence(tmp_path: Path, elements: dict[str, object], named: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", PICTURE, **elements)
    with pytest.raises(DataError, match=named):
        read_image_header(path)
        read_image(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG])
def test_cut_short(tmp_path: Path, share: float, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", np.tile(PICTURE, (4, 4)), syntax=syntax)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError):
        read_image(path)


def test_dicom_is_known_by_its_content(tmp_path: Path) -> None:
    write_dicom(tmp_path / "1.2.840.113", PICTURE)
    write_dicom(tmp_path / "DICOMDIR", PICTURE)
    (tmp_path / "notes").write_text("no image")
    assert [path.name for path in list_images(tmp_path)] == ["1.2.840.113"]
    assert not is_image(tmp_path / "missing")


def test_limits_and_a_name_that_is_a_link(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", LOOP)
    with pytest.raises(DataError, match="at most 3 are read"):
        read_image_header(path, ReadLimits(max_frames=3))
    shutil.copy(path, tmp_path / "b")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    assert [path.name for path in list_images(tmp_path)] == ["a.dcm", "b", "c"]


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mov"])
def test_video(tmp_path: Path, name: str) -> None:
    frames = np.stack([np.full((64, 96), 40 * index + 20, np.uint8) for index in range(5)])
    path = write_video(tmp_path / name, frames, rate=25)
    header = read_image_header(path)
    assert (header.frames, header.size, header.is_loop) == (5, (64, 96), True)
    assert header.frame_seconds == pytest.approx(0.04) and header.spacing is None
    loop = list(read_loop(ImageRef(path)))
    for index, record in enumerate(loop):
        assert not isinstance(record, DataError)
        assert np.array_equal(record.pixels, read_image(ImageRef(path, index)).pixels)
        assert abs(float(record.pixels.mean()) - (40 * index + 20)) < 4
    assert len(loop) == 5
    with pytest.raises(DataError, match="no such frame"):
        read_image(ImageRef(path, 5))


def test_a_video_that_is_cut_short(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", LOOP)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="video is damaged"):
        read_image_header(path)


@pytest.mark.parametrize("name", ["a.dcm", "b.dcm", "a.mp4", "a.tif"])
def test_frames_of_one_pass_are_those_that_are_read_alone(tmp_path: Path, name: str) -> None:
    path, number = tmp_path / name, [0, 0, 2, 3, 7]  # two regions of the first frame, and a frame that is not there
    if name.endswith("dcm"):
        regions = [region_item(0, 0, 39, 59), region_item(40, 0, 79, 59)]
        write_dicom(path, LOOP, regions, JPEG if name == "b.dcm" else EXPLICIT)
        images = [ImageRef(path, one, index % 2) for index, one in enumerate(number)]
    else:
        images = [ImageRef(path, one) for one in number]
        if name == "a.tif":
            tifffile.imwrite(path, LOOP, photometric="minisblack")
        else:
            write_video(path, LOOP)
    data = path.read_bytes()
    *records, last = read_frames(images, data=data)
    assert isinstance(last, DataError) and "no such frame" in str(last) and str(last).startswith(str(images[-1]))
    for image, record in zip(images, records, strict=False):
        assert not isinstance(record, DataError) and record.ref == image
        assert np.array_equal(record.pixels, read_image(image, data=data).pixels)
    if name == "a.mp4":
        path.write_bytes(path.read_bytes() + b" ")
        assert all("has changed while it was read" in str(one) for one in list(read_frames(images, data=data))[:-1])
