"""Whether the header of a DICOM file is that of an image that is read."""

from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, LimitError, NoImageError, choices
from sonoseg.io.limits import ReadLimits

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


def check(dataset: Any, path: Path, limits: ReadLimits) -> None:
    """Raise DataError for the header of a file that is damaged, beyond the limits, or of a kind that is not read.

    dataset: pydicom's, of the whole header. NoImageError: of a file that has no image, such as a report.
    """
    sop_class = str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or "")
    is_complete = None not in (dataset.get("Rows"), dataset.get("Columns"))
    if sop_class.startswith(_NO_IMAGES) or (not is_complete and _is_no_image(sop_class)):
        raise NoImageError("a DICOM file without an image, such as a report or a segmentation; leave it out", path)
    if not is_complete:
        raise DataError(DAMAGED, path)
    regions = dataset.get_item("SequenceOfUltrasoundRegions")
    if isinstance(getattr(regions, "value", None), bytes) and len(regions.value) > _MOST_REGION_BYTES:
        raise DataError("its ultrasound regions are far more than a device states; replace the file", path)
    height, width, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
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
