"""Check 29: an image is replaced while it is processed: no digest of one picture with the measurement of another."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import image_preprocessing as stage2
import sonoseg.inference.process_image as processing
import sonoseg.prepare.verify as verifying
import sonoseg.preprocess.prepared as preparing
from sonoseg.annotations import AnnotatedImage, MaskFile
from sonoseg.inference.sources import Source
from sonoseg.inference.watch import Arrivals
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import write_label_map
from sonoseg.io.readers import read_frames, read_image
from sonoseg.prepare.verify import check
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.trust.conftest import Segmented
from tests.trust.runs import flags

OK = {"status": "ok", "image": "a.png", "reason": ""}


def replacing(path: Path, other: Path, function: Callable[..., object]) -> Callable[..., object]:
    """Return `function`, before whose first call the file `path` is replaced by `other`."""
    waiting = [True]

    def wrapped(*arguments: object) -> object:
        if waiting.pop() if waiting else False:
            shutil.copy(other, path.with_name("new"))
            os.replace(path.with_name("new"), path)
        return function(*arguments)

    return wrapped


@pytest.fixture
def two(tmp_path: Path, scene: Pixels) -> tuple[Path, Path]:
    """A picture in a folder of images, and another one with a smaller head outside of it."""
    (tmp_path / "images").mkdir()
    first, second = tmp_path / "images" / "a.png", tmp_path / "b.png"
    Image.fromarray(scene).save(first)
    smaller = np.full_like(scene, 20)
    smaller[24:72, 36:108] = scene[::2, ::2]
    Image.fromarray(smaller).save(second)
    return first, second


def test_digest_and_measurement_are_of_one_picture(
    two: tuple[Path, Path], segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    reference = tmp_path / "reference"
    reference.mkdir()
    for path in two:
        shutil.copy(path, reference)
    assert segmented(reference, tmp_path / "expected")[0] == 0
    records = [json.loads((tmp_path / "expected" / f"{path.stem}.json").read_text()) for path in two]
    expected = {record["made_from"]["image_sha256"]: record["measurements"] for record in records}
    assert len({json.dumps(values) for values in expected.values()}) == 2

    monkeypatch.setattr(processing, "read_image", replacing(first, second, read_image))
    assert segmented(first.parent, tmp_path / "out")[0] == 0
    assert first.read_bytes() == second.read_bytes(), "it was replaced"
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["measurements"] == expected[record["made_from"]["image_sha256"]]
    assert segmented(first.parent, tmp_path / "out")[0] == 0
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    assert record["made_from"]["image_sha256"] == hashlib.sha256(second.read_bytes()).hexdigest(), "measured again"
    assert record["measurements"] == expected[record["made_from"]["image_sha256"]]


def test_stage_1_lists_the_digest_of_the_picture_that_it_verified(
    two: tuple[Path, Path], fetal_head: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    pixels = {
        hashlib.sha256(path.read_bytes()).hexdigest(): verifying._pixel_hash(read_image(path).pixels) for path in two
    }
    mask = write_label_map(tmp_path / "a_mask.png", (read_image(first).pixels > 128).astype(np.uint8), ["#ffffff"])
    item = AnnotatedImage("a", ImageRef(first), (MaskFile(mask),))
    monkeypatch.setattr(verifying, "read_frames", replacing(first, second, read_frames))
    image, _ = check(item, tmp_path, fetal_head)
    assert first.read_bytes() == second.read_bytes() and image is not None
    assert image.pixels_sha256 == pixels[image.sha256]


def test_stage_2_prepares_no_other_picture_than_stage_1_listed(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    images = sorted((root / "spine" / "images").glob("*.png"))
    monkeypatch.setattr(preparing, "read_file", replacing(images[0], images[1], preparing.read_file))
    assert stage2.main([*flags(stage2, root), "--seed", "7"]) == 2
    assert f"{images[0].name}: the file has changed since stage 1" in capsys.readouterr().err


@pytest.mark.parametrize("way", ["replaced", "written in place"])
def test_a_watched_file_of_equal_size_and_time_is_processed_again(way: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"first")
    status, source, arrivals = path.stat(), Source(ImageRef(path), "a"), Arrivals()
    arrivals.ready([source], 0)
    assert arrivals.ready([source], 1) == [source]
    changed = path if way == "written in place" else tmp_path / "new"
    changed.write_bytes(b"other")  # while `a` is processed
    os.utime(changed, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(changed, path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert not arrivals.record(source, OK, 2) and arrivals.rows() == [], "the row may be of either picture"
    assert arrivals.ready([source], 3) == [source]
    assert arrivals.record(source, OK, 4) and arrivals.rows() == [OK]
    assert arrivals.ready([source], 5) == []
