"""A Segmentation has the bits of the label maps, of stills and of loops, and says which frame each belongs to."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
import pytest
from PIL import Image

from sonoseg.dicom.loops import label_pages
from sonoseg.dicom.result import Result
from sonoseg.dicom.segmentation import Page, segmentation
from sonoseg.dicom.source import read_source
from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.schema.task import Task
from tests.dicom.objects import dciodvfy, record, result
from tests.dicom_files import real_dicom

RNG = np.random.default_rng(7)
SIZE = (37, 51)
"""The bits of a frame of this size end within a byte."""
STILL, LOOP = RNG.integers(0, 255, SIZE, dtype=np.uint8), RNG.integers(0, 255, (5, *SIZE), dtype=np.uint8)


def labels(*present: int) -> np.ndarray:
    return RNG.choice([0, *present], SIZE).astype(np.uint8)


def written(made: Result, pages: Sequence[Page], folder: Path) -> tuple[Path, "highdicom.seg.Segmentation"]:
    path = folder / "seg.dcm"
    path.write_bytes(segmentation(made, pages))
    return path, highdicom.seg.segread(BytesIO(path.read_bytes()))


def frames_of(dataset: "highdicom.seg.Segmentation", made: Result, numbers: Sequence[int]) -> np.ndarray:
    found = dataset.get_pixels_by_source_frame(
        made.source.dataset.SOPInstanceUID,
        numbers,
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
        combine_segments=True,
    )
    return np.asarray(found)


@pytest.mark.parametrize("values", [(1, 2, 3), (2,), ()])
def test_a_still(tmp_path: Path, spine: Task, values: tuple[int, ...]) -> None:
    made, mask = result(tmp_path, spine, STILL), labels(*values)
    path, dataset = written(made, [(None, mask)], tmp_path)
    assert dciodvfy(path) == []
    found = dataset.get_pixels_by_source_instance(["1.2.3.4.5"], combine_segments=True)
    assert np.array_equal(found[0], mask)
    assert [str(item.SegmentLabel) for item in dataset.SegmentSequence] == ["MID", "VTB", "EPI"]
    assert "f" * 64 in dataset.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters


def test_one_structure(tmp_path: Path, fetal_head: Task) -> None:
    made, mask = result(tmp_path, fetal_head, STILL), labels(1)
    path, dataset = written(made, [(None, mask)], tmp_path)
    assert dciodvfy(path) == [] and np.array_equal(dataset.pixel_array.reshape(SIZE), mask)


@pytest.mark.parametrize("name", ["spine", "fetal_head"])
def test_a_loop(tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    task: Task = request.getfixturevalue(name)
    made = result(tmp_path, task, LOOP)
    present = (1, 2, 3) if name == "spine" else (1,)
    masks = [labels(*present), labels(), labels(1), labels(*present[1:]), labels(*present)]
    path, dataset = written(made, list(enumerate(masks, start=1)), tmp_path)
    assert dciodvfy(path) == []
    assert np.array_equal(frames_of(dataset, made, [1, 2, 3, 4, 5]), np.stack(masks))
    nonempty = sum(bool((mask == value).any()) for mask in masks for value in present)
    assert dataset.NumberOfFrames == nonempty
    for group in dataset.PerFrameFunctionalGroupsSequence:
        (source,) = group.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPClassUID == made.source.dataset.SOPClassUID  # of loops
        assert source.ReferencedSOPInstanceUID == "1.2.3.4.5"


def test_some_frames_of_a_loop(tmp_path: Path, spine: Task) -> None:
    made, masks = result(tmp_path, spine, LOOP), {2: labels(1, 3), 5: labels(2)}
    path, dataset = written(made, list(masks.items()), tmp_path)
    assert dciodvfy(path) == []
    assert np.array_equal(frames_of(dataset, made, [2, 5]), np.stack(list(masks.values())))
    numbers = [
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        for group in dataset.PerFrameFunctionalGroupsSequence
    ]
    assert numbers == [2, 2, 5]


def test_a_loop_that_shows_nothing(tmp_path: Path, spine: Task) -> None:
    made = result(tmp_path, spine, LOOP)
    path, dataset = written(made, [(1, labels()), (2, labels())], tmp_path)
    assert dciodvfy(path) == [] and dataset.NumberOfFrames == 1 and not dataset.pixel_array.any()


def test_one_frame_of_a_loop(tmp_path: Path, spine: Task) -> None:
    made, mask = result(tmp_path, spine, LOOP, ImageRef(tmp_path / "a.dcm", frame=3)), labels(1, 2)
    path, dataset = written(made, [(made.frame, mask)], tmp_path)
    assert dciodvfy(path) == [] and np.array_equal(frames_of(dataset, made, [4])[0], mask)


def test_pages_of_a_file(tmp_path: Path, spine: Task) -> None:
    made, masks = result(tmp_path, spine, LOOP), [labels(1), labels(2, 3), labels()]
    first, *others = [Image.fromarray(mask) for mask in masks]
    first.save(tmp_path / "a_masks.tif", save_all=True, append_images=others)
    pages = list(label_pages(tmp_path / "a_masks.tif"))
    assert [number for number, _ in pages] == [1, 2, 3]
    _, dataset = written(made, pages, tmp_path)
    assert np.array_equal(frames_of(dataset, made, [1, 2, 3]), np.stack(masks))
    data = (tmp_path / "a_masks.tif").read_bytes()
    (tmp_path / "short.tif").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="damaged or cut short"):
        list(label_pages(tmp_path / "short.tif"))


def test_a_real_loop(tmp_path: Path, spine: Task) -> None:
    path = real_dicom("color3d_jpeg_baseline.dcm")
    source = read_source(path, path.read_bytes(), DEFAULT_LIMITS)
    made = Result(source, ImageRef(path), "a", record(spine), spine)
    masks = {frame: RNG.choice([0, 1, 2, 3], source.size).astype(np.uint8) for frame in (1, 60, 120)}
    written_path, dataset = written(made, list(masks.items()), tmp_path)
    assert source.frames == 120 and dciodvfy(written_path) == []
    assert np.array_equal(frames_of(dataset, made, [1, 60, 120]), np.stack(list(masks.values())))


def test_label_maps_that_do_not_fit(tmp_path: Path, spine: Task) -> None:
    made = result(tmp_path, spine, STILL)
    for mask in (np.zeros((37, 50), np.uint8), np.full(SIZE, 4, np.uint8)):
        with pytest.raises(DataError, match="does not fit"):
            segmentation(made, [(None, mask)])
    with pytest.raises(DataError, match="no label map"):
        segmentation(made, [])
