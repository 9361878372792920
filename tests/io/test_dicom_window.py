"""Pictures of more than 8 bits are seen through the window of their header."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.io.readers import read_image
from tests.dicom_files import write_dicom

DEEP = np.random.default_rng(6).integers(0, 4096, (60, 80), dtype=np.uint16)
TWELVE_BITS: dict[str, Any] = {"BitsAllocated": 16, "BitsStored": 12, "HighBit": 11}
IN_PROPORTION = np.rint(DEEP / 4095 * 255)


def pixels(tmp_path: Path, values: np.ndarray = DEEP, **elements: Any) -> np.ndarray:
    return read_image(write_dicom(tmp_path / "a.dcm", values, **TWELVE_BITS | elements)).pixels


@pytest.mark.parametrize(
    ("window", "shares"),
    [
        ({}, (DEEP - 999.5) / 499 + 0.5),  # PS3.3 C.11.2.1.2.1
        ({"VOILUTFunction": "LINEAR"}, (DEEP - 999.5) / 499 + 0.5),
        ({"VOILUTFunction": "LINEAR_EXACT"}, (DEEP - 1000.0) / 500 + 0.5),
        ({"VOILUTFunction": "SIGMOID"}, 1 / (1 + np.exp(-4 * (DEEP - 1000.0) / 500))),
        ({"RescaleSlope": "2", "RescaleIntercept": "-100"}, (2.0 * DEEP - 100 - 999.5) / 499 + 0.5),
        ({"WindowCenter": ["1000", "9"], "WindowWidth": ["500", "9"]}, (DEEP - 999.5) / 499 + 0.5),
    ],
)
def test_the_first_window(tmp_path: Path, window: dict[str, Any], shares: np.ndarray) -> None:
    elements = {"WindowCenter": "1000", "WindowWidth": "500"} | window
    expected = np.rint(255 * np.clip(shares, 0, 1))
    found = pixels(tmp_path, **elements)
    assert np.abs(found - expected).max() <= 1 and np.mean(found == expected) > 0.999
    inverse = pixels(tmp_path, PhotometricInterpretation="MONOCHROME1", **elements)
    assert np.array_equal(inverse, 255 - found)


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "1000"},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": "1000", "WindowWidth": "0"},
        {"WindowCenter": "1000", "WindowWidth": "-5"},
        {"WindowCenter": "1000", "WindowWidth": "500", "VOILUTFunction": "CUBIC"},
        {"WindowCenter": "1000", "WindowWidth": "500", "RescaleSlope": "0", "RescaleIntercept": "0"},
    ],
)
def test_a_window_that_is_not_valid(tmp_path: Path, window: dict[str, Any]) -> None:
    assert np.array_equal(pixels(tmp_path, **window), IN_PROPORTION)


def test_8_bits_stay_as_they_are_stored(tmp_path: Path) -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    path = write_dicom(tmp_path / "a.dcm", values, WindowCenter="60", WindowWidth="40")
    assert np.array_equal(read_image(path).pixels, values)
