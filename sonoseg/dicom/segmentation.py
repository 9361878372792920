"""Label maps as a DICOM Segmentation of type BINARY: a bit per pixel, a segment per structure.

The frames refer to the pixels of the source one to one. Ultrasound has no frame of reference, and highdicom writes one
frame of such a source; the others are added here in the same way.
"""

import copy
from collections.abc import Iterable, Iterator
from itertools import chain

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset

import sonoseg
from sonoseg.dicom.codes import FAMILY
from sonoseg.dicom.result import NAME, NOTICE, Result, encoded, instance_arguments
from sonoseg.errors import DataError
from sonoseg.io.masks import rgb
from sonoseg.types import Pixels

_ULTRASOUND_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
_FRAME_CONTENT, _TEMPORAL_POSITION = 0x00209111, 0x00209128

Page = tuple[int | None, Pixels]
"""Frame of the source, counted from 1 (None where it has only one), and its label map `(H, W)` uint8."""


def segmentation(result: Result, pages: Iterable[Page]) -> bytes:
    """Return the file of a Segmentation of label maps in the order of their frames.

    Each structure has a frame for each label map; those of several frames without a pixel are left out, as all but one
    may be empty. One page is in memory at a time. Raises DataError for no page and for another size than the source's.
    """
    remaining = _checked(pages, result)
    first = next(remaining, None)
    if first is None:
        raise DataError("no label map", result.image.path)
    dataset = _single_frame(result, first[1])
    if result.source.frames > 1:
        _replace_frames(dataset, result, chain([first], remaining))
    dataset.PatientOrientation = None  # has to be there, and is not known
    for item in _references(dataset):
        item.ReferencedSOPClassUID = result.source.dataset.SOPClassUID
    _replace_identifiers(dataset, result)
    return encoded(dataset)


def _checked(pages: Iterable[Page], result: Result) -> Iterator[Page]:
    for frame, labels in pages:
        if labels.shape != result.source.size or labels.max(initial=0) > len(result.task.structures):
            raise DataError("its label map does not fit the image or the task; run stage 4 again", result.image.path)
        yield frame, labels


def _single_frame(result: Result, labels: Pixels) -> Segmentation:
    """Return the Segmentation of one label map, with a frame for each structure."""
    source = copy.deepcopy(result.source.dataset)
    source.SOPClassUID = _ULTRASOUND_IMAGE  # highdicom looks up what a source of this class has to have
    return Segmentation(
        [source],
        labels,
        "BINARY",
        _segments(result),
        content_label="SONOSEG",
        content_description=NOTICE,
        omit_empty_frames=False,
        **instance_arguments(result, "seg"),
    )


def _segments(result: Result) -> list[SegmentDescription]:
    parameters = {"model_sha256": result.model, "task": result.task.name}
    algorithm = highdicom.AlgorithmIdentificationSequence(
        NAME, FAMILY, sonoseg.__version__, source=NAME, parameters=parameters
    )
    codes = result.codes
    return [
        SegmentDescription(
            number,
            structure.name[:64],
            codes[structure.name].category,
            codes[structure.name].kind,
            "AUTOMATIC",
            algorithm,
            tracking_uid=result.uid("segment", number),
            tracking_id=structure.name,
            display_color=CIELabColor.from_rgb(*rgb(structure.color)),
        )
        for number, structure in enumerate(result.task.structures, start=1)
    ]


def _replace_frames(dataset: Dataset, result: Result, pages: Iterator[Page]) -> None:
    """Replace the frames of one label map, which `dataset` has, by those of all pages."""
    templates = list(dataset.PerFrameFunctionalGroupsSequence)
    bits, numbers, groups = _Bits(), list[tuple[int, int]](), list[Dataset]()
    empty: Page | None = None
    for frame, labels in pages:
        empty = empty or (frame, labels)
        for segment, template in enumerate(templates, start=1):
            mask = labels == segment
            if mask.any():
                bits.add(mask)
                numbers.append((segment, frame or 1))
                groups.append(_group(template, frame or 1))
    if not groups and empty:
        bits.add(np.zeros(empty[1].shape, np.bool_))
        numbers.append((1, empty[0] or 1))
        groups.append(_group(templates[0], empty[0] or 1))
    positions = {frame: index for index, frame in enumerate(sorted({frame for _, frame in numbers}), start=1)}
    for group, (segment, frame) in zip(groups, numbers, strict=True):
        content = group.FrameContentSequence[0]
        content.TemporalPositionIndex = positions[frame]
        content.DimensionIndexValues = [segment, positions[frame]]
    index = copy.deepcopy(dataset.DimensionIndexSequence[0])
    index.DimensionIndexPointer, index.FunctionalGroupPointer = _TEMPORAL_POSITION, _FRAME_CONTENT
    index.DimensionDescriptionLabel = "Temporal Position Index"
    dataset.DimensionIndexSequence.append(index)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.NumberOfFrames = len(groups)
    dataset.PixelData = bits.bytes()


def _group(template: Dataset, frame: int) -> Dataset:
    """Return the functional groups of a frame of the source, from those of its structure."""
    group = copy.deepcopy(template)
    group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = frame
    return group


class _Bits:
    """Masks packed to bits as DICOM has them: without a gap between frames, the first pixel in the lowest bit."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._rest = np.zeros(0, np.bool_)

    def add(self, mask: NDArray[np.bool_]) -> None:
        bits = np.concatenate([self._rest, mask.ravel()])
        whole = bits.size // 8 * 8
        self._packed.append(np.packbits(bits[:whole], bitorder="little").tobytes())
        self._rest = bits[whole:]

    def bytes(self) -> bytes:
        """Return the bits, filled up to an even number of bytes."""
        data = b"".join([*self._packed, np.packbits(self._rest, bitorder="little").tobytes()])
        return data + b"\0" * (len(data) % 2)


def _references(dataset: Dataset) -> Iterator[Dataset]:
    """Yield the items that refer to the source."""
    for series in dataset.ReferencedSeriesSequence:
        yield from series.ReferencedInstanceSequence
    for group in dataset.PerFrameFunctionalGroupsSequence:
        yield from group.DerivationImageSequence[0].SourceImageSequence


def _replace_identifiers(dataset: Dataset, result: Result) -> None:
    """Replace the identifier of the dimensions, which is random, by one of this object."""
    dimensions = result.uid("dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
