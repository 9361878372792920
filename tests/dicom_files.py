"""DICOM and video files for tests: written here from any pictures, and the real ones of pydicom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

JPEG, RLE, EXPLICIT = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1"
_STILL, _LOOP = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.840.10008.5.1.4.1.1.3.1"
_ROOT = "1.2.826.0.1.3680043.10.511.9."


def real_dicom(name: str) -> Path:
    """Return a real ultrasound file of pydicom or pydicom-data; the test is skipped where the package is missing."""
    data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
    import pydicom.data

    for root in (Path(data_store.__file__).parent / "data", Path(pydicom.data.__file__).parent / "test_files"):
        if (root / name).is_file():
            return root / name
    raise FileNotFoundError(name)


def region_item(
    left: int, top: int, right: int, bottom: int, spacing: tuple[float, float] | None = None, **elements: Any
) -> Any:
    """Return an item of the Sequence of Ultrasound Regions: tissue in a plane, (row_mm, col_mm) between pixels."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = left, top
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = right, bottom
    unit = 3 if spacing else 0
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = unit
    row_mm, col_mm = spacing or (0.0, 0.0)
    item.PhysicalDeltaX, item.PhysicalDeltaY = col_mm / 10, row_mm / 10
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def write_dicom(
    path: Path, frames: np.ndarray, regions: Sequence[Any] = (), syntax: str = EXPLICIT, **elements: Any
) -> Path:
    """Write grey `(H, W)` or `(N, H, W)` uint8, or colour `(H, W, 3)`, as an ultrasound image or loop.

    syntax: `EXPLICIT`, or `JPEG` (quality 95) or `RLE`. elements: further data elements by keyword, which win.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    colour = frames.ndim == 3 and frames.shape[2] == 3
    stack = frames[None] if frames.ndim == 2 or colour else frames
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = _LOOP if len(stack) > 1 else _STILL
    meta.MediaStorageSOPInstanceUID = elements.get("SOPInstanceUID", f"{_ROOT}{abs(hash(path.name)) % 10**9}")
    meta.TransferSyntaxUID = EXPLICIT if syntax == RLE else syntax
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = f"{_ROOT}1", f"{_ROOT}2", "US"
    dataset.PatientID, dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = (
        "P1",
        "Doe^Jane",
        "19800101",
        "F",
    )
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20260101", "120000", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "A1", ""
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.Manufacturer = 1, 1, "SonoSeg tests"
    dataset.ImageType, dataset.PatientOrientation = ["ORIGINAL", "PRIMARY"], ""
    dataset.Rows, dataset.Columns = stack.shape[1:3]
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    if colour:
        dataset.PlanarConfiguration = 0
    if len(stack) > 1:
        dataset.NumberOfFrames, dataset.FrameTime = len(stack), 33.3
        dataset.FrameIncrementPointer = 0x00181063
    if regions:
        dataset.SequenceOfUltrasoundRegions = list(regions)
    if syntax == JPEG:
        coded = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for frame in stack]
        dataset.PixelData = encapsulate(coded)
        dataset["PixelData"].is_undefined_length = True
        dataset.LossyImageCompression = "01"
    else:
        data = stack.tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OB"
    for name, value in elements.items():
        setattr(dataset, name, value)
    if syntax == RLE:
        dataset.compress(RLE)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_video(path: Path, frames: np.ndarray, rate: float = 30.0) -> Path:
    """Write grey frames `(N, H, W)` uint8 as MP4 or AVI, by the suffix; the grey values change a little."""
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), code, rate, frames.shape[:0:-1], isColor=True)
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path
