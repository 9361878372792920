"""Damaged DICOM files and videos, for `stress.fuzz`: read, or refused with a SonoSegError."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sonoseg.io.image_ref import ImageRef
from sonoseg.io.readers import read_image, read_image_header, read_loop
from stress.damage import damaged
from stress.findings import Findings

_EXPLICIT, _JPEG, _JPEG_2000, _RLE = (f"1.2.840.10008.1.2{end}" for end in (".1", ".4.50", ".4.90", ".5"))
_LOOP = "1.2.840.10008.5.1.4.1.1.3.1"
_OF_PYDICOM = (
    *("ExplVR_BigEnd", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "SC_rgb_jpeg_gdcm", "SC_rgb_jls_lossy_line"),
    *("SC_rgb_rle_16bit", "SC_rgb_gdcm_KY", "SC_rgb_jpeg_dcmtk", "SC_ybr_full_422_uncompressed", "examples_palette"),
)
"""Files that come with pydicom: other byte order, colours, palette, 16 bits, JPEG lossless and JPEG-LS."""


def fuzz_images(count: int, number: int, folder: Path, findings: Findings, advance: Callable[[], None]) -> None:
    """Damage DICOM files and videos, and read header, one image and all frames of each."""
    rng = random.Random(number)
    sources = list(_valid_images(folder))
    for _ in range(count):
        suffix, data = rng.choice(sources)
        path = folder / f"image{suffix}"
        path.write_bytes(damaged(data, rng))
        findings.note("image file", partial(_read, path), path.read_bytes)
        advance()


def _read(path: Path) -> None:
    header = read_image_header(path)
    for image in header.refs(path)[:2]:
        read_image(image)
    if header.frames > 1:
        for _ in read_loop(ImageRef(path, region=0 if header.regions else None)):
            pass


def _valid_images(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (suffix, bytes) of small DICOM files of several codings, and of videos."""
    import pydicom.data

    grey = (np.indices((24, 32)).sum(axis=0) * 4 % 256).astype(np.uint8)
    loop = np.stack([grey, grey[::-1], grey[:, ::-1]])
    for syntax in (_EXPLICIT, _JPEG, _JPEG_2000, _RLE):
        for frames in (loop[:1], loop):
            yield ".dcm", _dicom(folder / "valid.dcm", frames, syntax)
    for name in _OF_PYDICOM:
        yield ".dcm", (Path(pydicom.data.__file__).parent / "test_files" / f"{name}.dcm").read_bytes()
    for suffix, code in ((".mp4", "mp4v"), (".avi", "MJPG")):
        path = folder / f"valid{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, (32, 24))
        for frame in loop:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
        writer.release()
        yield suffix, path.read_bytes()


def _dicom(path: Path, frames: np.ndarray, syntax: str) -> bytes:
    """Return a DICOM file of grey frames `(N, H, W)` uint8 with one region."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = _LOOP, "1.2.3"
    meta.TransferSyntaxUID = _EXPLICIT if syntax == _RLE else syntax
    dataset: Any = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientID = _LOOP, "1.2.3", "1"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    region: Any = Dataset()
    region.RegionSpatialFormat, region.RegionDataType = 1, 1
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 4, 4
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 27, 19
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.01
    dataset.SequenceOfUltrasoundRegions = [region]
    if syntax in (_JPEG, _JPEG_2000):
        format = "JPEG" if syntax == _JPEG else "JPEG2000"
        dataset.PixelData = encapsulate([_coded(frame, format) for frame in frames])
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = frames.tobytes()
        dataset["PixelData"].VR = "OB"
    if syntax == _RLE:
        dataset.compress(_RLE)
    dataset.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def _coded(frame: np.ndarray, format: str) -> bytes:
    stream = BytesIO()
    options = {"no_jp2": True} if format == "JPEG2000" else {}  # the bare code stream, as DICOM has it
    Image.fromarray(frame).save(stream, format, **options)
    return stream.getvalue()


IMAGE_KINDS = {"image file": fuzz_images}
