"""The header of a DICOM file, and whether it is that of an image that is read."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import DataError, LimitError, NoImageError, choices
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.dicom.window import grey_levels
from sonoseg.sizes import Size

PHOTOMETRIC = (
    *("MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420"),
    *("YBR_ICT", "YBR_RCT"),
)
"""Photometric interpretations that are read."""
_ONE_VALUE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_NO_IMAGES = "1.2.840.10008.5.1.4.1.1.66"
"""Raw data, registrations, fiducials and segmentations: SOP classes whose objects are made from images."""
_IMAGES = ("Image", "US Volume")
"""Words in the names of the SOP classes whose objects have pixels."""
_MOST_REGION_BYTES = 1 << 20
"""Of the ultrasound regions, which take about 400 bytes each."""
DAMAGED = "the DICOM file is damaged or cut short; replace it"


class DicomHeader:
    """The data elements of a file that are needed, without its pixels; `dataset` is pydicom's.

    pixel_vr: value representation of the pixels, which decides their byte order; empty when it is not stated.
    """

    def __init__(self, dataset: Any, path: Path):
        self.dataset, self.path, self.pixel_vr = dataset, path, ""

    @property
    def size(self) -> Size:
        return int(self.dataset.Rows), int(self.dataset.Columns)

    @cached_property
    def grey_levels(self) -> NDArray[np.uint8]:
        """The grey level of each stored value, see `window.grey_levels`."""
        return grey_levels(self.dataset)

    @property
    def frames(self) -> int:
        return int(self.dataset.get("NumberOfFrames") or 1)

    @property
    def frame_bytes(self) -> int:
        """The bytes of a frame that is not compressed."""
        dataset = self.dataset
        height, width = self.size
        samples = 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else int(dataset.SamplesPerPixel)
        return height * width * samples * int(dataset.BitsAllocated) // 8

    @property
    def is_encapsulated(self) -> bool:
        return bool(self.dataset.file_meta.TransferSyntaxUID.is_encapsulated)


def check_header(header: DicomHeader, limits: ReadLimits) -> None:
    """Raise DataError for the header of a file that is damaged, beyond the limits, or of a kind that is not read.

    NoImageError: of a file that has no image, such as a report.
    """
    dataset, path = header.dataset, header.path
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    is_complete = None not in (dataset.get("Rows"), dataset.get("Columns"))
    if sop_class.startswith(_NO_IMAGES) or (not is_complete and _is_no_image(sop_class)):
        raise NoImageError("a DICOM file without an image, such as a report or a segmentation; leave it out", path)
    if not is_complete:
        raise DataError(DAMAGED, path)
    regions = dataset.get_item("SequenceOfUltrasoundRegions")
    if isinstance(getattr(regions, "value", None), bytes) and len(regions.value) > _MOST_REGION_BYTES:
        raise DataError("its ultrasound regions are far more than a device states; replace the file", path)
    (height, width), frames = header.size, header.frames
    if height < 1 or width < 1 or frames < 1:
        raise DataError(f"{frames} frames of {width}x{height} pixels declared; replace the file", path)
    if width * height > limits.max_pixels:
        reason = f"{width}x{height} pixels declared; at most {limits.max_pixels} are decoded"
        raise LimitError(f"{reason}; raise the limit if the image is right", path)
    if frames > limits.max_frames:
        raise DataError(f"{frames} frames; at most {limits.max_frames} are read, split the file", path)
    depth, samples = dataset.get("BitsAllocated"), dataset.get("SamplesPerPixel")
    if depth not in (8, 16) or samples not in (1, 3):
        is_stated = isinstance(depth, int) and isinstance(samples, int)  # else it may be any text
        found = f"{samples} values of {depth} bits" if is_stated else "no number of values or bits"
        raise DataError(f"{found} in a pixel; expected 1 or 3 of 8 or 16 bits", path)
    if dataset.get("PixelRepresentation"):
        raise DataError("signed pixels; expected grey values or colours of a display: save it as PNG", path)
    colours = dataset.get("PhotometricInterpretation")
    if colours not in PHOTOMETRIC:
        raise DataError(f"colours of a kind that is not read; expected {choices(PHOTOMETRIC)}; save it as PNG", path)
    if (samples == 1) != (colours in _ONE_VALUE):
        raise DataError(f"{colours} with {samples} values in a pixel, which contradicts itself; replace the file", path)
    stored, high = dataset.get("BitsStored"), dataset.get("HighBit")
    if not isinstance(stored, int) or not 1 <= stored <= depth or high != stored - 1:
        raise DataError("its bits stored and high bit contradict its bits allocated; replace the file", path)


def _is_no_image(sop_class: str) -> bool:
    """Return whether objects of a SOP class need not have pixels: it is private, or named as something else."""
    from pydicom.uid import UID

    return bool(sop_class) and not any(word in UID(sop_class).name for word in _IMAGES)
