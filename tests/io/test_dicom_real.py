"""Real ultrasound files of pydicom and pydicom-data: sizes, frames, millimetres, and equal pixels in all codings."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from sonoseg.errors import DataError
from sonoseg.io.image_ref import WHOLE_FRAME, ImageRef
from sonoseg.io.readers import read_image, read_image_header, read_loop
from tests.dicom_files import real_dicom

CROPPED = "a region ends at column {} and row {} of a picture of {}: it was cropped or scaled"
FILES = {
    "OBXXXX1A.dcm": ((600, 800), 1, 0.2623, "SequenceOfUltrasoundRegions"),
    "JPGLosslessP14SV1_1s_1f_8b.dcm": ((768, 1024), 1, 0.2548, "SequenceOfUltrasoundRegions"),
    "color3d_jpeg_baseline.dcm": ((480, 640), 120, 0.5105, "SequenceOfUltrasoundRegions"),
    "gdcm-US-ALOKA-16.dcm": ((480, 640), 1, 0.3827, "SequenceOfUltrasoundRegions"),
    "US1_J2KI.dcm": ((480, 640), 1, None, "unknown"),
    "examples_jpeg2k.dcm": ((480, 640), 1, None, "unknown"),
    "examples_overlay.dcm": ((300, 484), 1, 0.7231, "PixelSpacing"),
    "examples_palette.dcm": ((350, 800), 1, None, CROPPED.format(800, 518, "800x350")),
    "examples_rgb_color.dcm": ((240, 320), 1, None, "unknown"),
    "examples_ybr_color.dcm": ((240, 320), 30, None, CROPPED.format(595, 414, "320x240")),
}
"""File -> size of a frame, number of frames, millimetres of a pixel (all are square), and where they come from."""


@pytest.mark.parametrize("name", FILES)
def test_what_real_files_state(name: str) -> None:
    size, frames, spacing, source = FILES[name]
    path = real_dicom(name)
    header = read_image_header(path)
    assert (header.size, header.frames) == (size, frames)
    assert header.spacing == (spacing and pytest.approx((spacing, spacing), abs=5e-5)) and source in header.spacing_from
    first = read_image(header.refs(path)[0])
    assert first.frame_size in (size, None) and first.pixels.std() > 5
    if frames > 1:
        assert sum(1 for _ in read_loop(header.loop_refs(path)[0])) == frames


def test_two_regions_side_by_side_are_two_images() -> None:
    path = real_dicom("gdcm-US-ALOKA-16.dcm")
    first, second = (read_image(image) for image in read_image_header(path).refs(path))
    assert first.pixels.shape == second.pixels.shape == (392, 304)
    assert first.region and second.region and (first.region.left, second.region.left) == (32, 336)


def test_jpeg_2000_without_loss_and_plain_pixels_are_equal() -> None:
    plain, coded = (read_image(real_dicom(f"US1_{name}.dcm")).pixels for name in ("UNCR", "J2KR"))
    assert np.array_equal(plain, coded)
    lossy = read_image(real_dicom("US1_J2KI.dcm")).pixels.astype(float)
    assert np.abs(lossy - plain).mean() < 3


def test_a_file_that_begins_as_tiff_is_dicom() -> None:
    assert read_image(real_dicom("examples_rgb_color.dcm")).pixels.shape == (240, 320)


@pytest.mark.parametrize(
    "name",
    [
        "OBXXXX1A_expb.dcm",
        "OBXXXX1A_rle.dcm",
        "OBXXXX1A_2frame.dcm",
        "OBXXXX1A_expb_2frame.dcm",
        "OBXXXX1A_rle_2frame.dcm",
    ],
)
def test_one_real_picture_in_all_its_codings(name: str) -> None:
    plain, path = read_image(real_dicom("OBXXXX1A.dcm")), real_dicom(name)
    image = ImageRef(path, 0) if "2frame" in name else ImageRef(path)
    assert np.array_equal(read_image(image).pixels, plain.pixels) and plain.pixels.std() > 10


def test_jpeg_without_loss_is_read_in_silence_and_never_filled_with_grey(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = real_dicom("JPGLosslessP14SV1_1s_1f_8b.dcm")
    assert read_image(whole).pixels.std() > 10
    data = bytearray(whole.read_bytes())
    end = data.rindex(b"\xff\xd9")
    data[end - 30_000 : end - 29_998] = b"\xff\xd9"  # the frame's end, long before its last pixels
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(DataError, match="cut short"):
        read_image(tmp_path / "a.dcm")
    assert capfd.readouterr().err == ""


def test_palettes_of_16_bits_in_both_byte_orders() -> None:
    little, big = (
        read_image(ImageRef(real_dicom(f"gdcm-US-ALOKA-16{kind}.dcm"), region=0)).pixels for kind in ("", "_big")
    )
    assert np.array_equal(little, big) and little.max() > 200


def solid_cross() -> np.ndarray:
    cross = np.zeros((12, 12), np.float32)
    cross[5:7, 1:11] = cross[1:11, 5:7] = 1
    return cross


def hollow_cross() -> np.ndarray:
    cross = np.full((17, 17), 0.45, np.float32)
    cross[6:11, 0:6] = cross[6:11, 11:17] = cross[0:6, 6:11] = cross[11:17, 6:11] = 0
    cross[7:10, 1:6] = cross[7:10, 11:16] = cross[1:6, 7:10] = cross[11:16, 7:10] = 1
    return cross


@pytest.mark.parametrize(
    ("name", "cross", "text_row", "centimetres"),
    [("OBXXXX1A.dcm", solid_cross(), 120, "1.06"), ("JPGLosslessP14SV1_1s_1f_8b.dcm", hollow_cross(), 0, "3.3")],
)
def test_calipers_that_are_burned_in(name: str, cross: np.ndarray, text_row: int, centimetres: str) -> None:
    """The device has drawn two crosses and written their distance into the picture."""
    path = real_dicom(name)
    frame = read_image(ImageRef(path, region=WHOLE_FRAME)).pixels.astype(np.float32)
    likeness = cv2.matchTemplate(frame, cross, cv2.TM_CCOEFF_NORMED)
    likeness[:text_row] = 0
    (top, left), (bottom, right) = np.argwhere(likeness > 0.75)
    row_mm, col_mm = read_image_header(path).spacing or (math.nan, math.nan)
    distance = math.hypot((right - left) * col_mm, (bottom - top) * row_mm) / 10
    assert distance == pytest.approx(float(centimetres), abs=0.03)
